//! Against the second implementation in `oracle.rs`, in both roles, and the known-answer vector that it computes.
//!
//! `UPDATE_VECTORS=1 cargo test -p vpn_core --test wireguard_handshake` writes the vector anew.

use super::{
    oracle::{self, Answer, End},
    script::Script,
};
use proptest::prelude::*;
use std::{
    path::Path,
    time::{Duration, Instant},
};
use vpn_core::{
    asymmetric::X25519PublicKey,
    base::{ReceiverIndex, SecretBytes},
    handshake::{
        Agreement,
        wireguard::{Initiation, LocalKey, RemoteKey, Tai64n, read_initiation},
    },
    wire::wireguard as wire,
};
use zerocopy::{FromBytes as _, IntoBytes as _};

fn keys(agreement: &Agreement) -> [[u8; 32]; 2] {
    [*agreement.sending.expose(), *agreement.receiving.expose()]
}

fn local(end: &End) -> LocalKey {
    super::local_key(end.secret)
}

/// Ours as the initiator: its messages, the keys of both.
fn initiate(ours: &End, theirs: &End, timestamp: Tai64n) -> (Vec<u8>, Answer, [[u8; 32]; 2]) {
    let (local, now) = (local(ours), Instant::now());
    let mut remote = RemoteKey::new(&local, X25519PublicKey(theirs.public()));
    let mut draws = Script::new(&[&ours.ephemeral]);
    let index = ReceiverIndex::new(ours.index);
    let (state, initiation) =
        Initiation::start(&local, &mut remote, index, timestamp, &mut draws, now).expect("honest keys");
    let answer = theirs.respond(initiation.as_bytes()).expect("genuine");
    assert!(local.verifies_mac1(&answer.response));
    let response = wire::Response::read_from_bytes(&answer.response).expect("92 bytes");
    let psk = SecretBytes::new(ours.preshared_key);
    let agreement = state.read_response(&response, &local, &psk).expect("genuine");
    assert_eq!(agreement.remote_index.get(), theirs.index);
    (initiation.as_bytes().to_vec(), answer, keys(&agreement))
}

/// Ours as the responder to `initiation`: the response, the keys in the initiator's order.
fn respond(ours: &End, initiator: [u8; 32], initiation: &[u8]) -> (Vec<u8>, [[u8; 32]; 2]) {
    let (local, now) = (local(ours), Instant::now());
    let mut remote = RemoteKey::new(&local, X25519PublicKey(initiator));
    assert!(local.verifies_mac1(initiation));
    let initiation = wire::Initiation::read_from_bytes(initiation).expect("148 bytes");
    let received = read_initiation(&local, &initiation).expect("genuine");
    assert_eq!(received.initiator().0, initiator);
    let authenticated = received.authenticate(&mut remote, now).expect("genuine");
    let mut draws = Script::new(&[&ours.ephemeral]);
    let psk = SecretBytes::new(ours.preshared_key);
    let index = ReceiverIndex::new(ours.index);
    let (response, agreement) =
        authenticated.respond(&mut remote, &psk, index, &mut draws, now).expect("honest keys");
    let [sending, receiving] = keys(&agreement);
    (response.as_bytes().to_vec(), [receiving, sending])
}

fn end() -> impl Strategy<Value = End> {
    let psk = prop_oneof![Just([0; 32]), any::<[u8; 32]>()];
    (any::<[u8; 32]>(), any::<[u8; 32]>(), any::<u32>(), psk)
        .prop_map(|(secret, ephemeral, index, preshared_key)| End { secret, ephemeral, index, preshared_key })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn both_roles_send_the_bytes_and_end_with_the_keys_of_the_second_implementation(
        initiator in end(),
        responder in end(),
        clock in 0u64..1 << 40,
        nanos in 0u32..1_000_000_000,
    ) {
        let responder = End { preshared_key: initiator.preshared_key, ..responder };
        let timestamp = Tai64n::from_unix(Duration::new(clock, nanos));

        let (initiation, answer, keys) = initiate(&initiator, &responder, timestamp);
        prop_assert_eq!(answer.initiator, initiator.public());
        prop_assert_eq!(&answer.timestamp, timestamp.as_bytes());
        prop_assert_eq!(answer.keys, keys);

        let (state, theirs) = initiator.initiate(&responder.public(), timestamp.as_bytes());
        prop_assert_eq!(&initiation, &theirs);
        let (response, keys) = respond(&responder, initiator.public(), &theirs);
        prop_assert_eq!(&response, &answer.response);
        prop_assert_eq!(oracle::complete(state, &response).expect("genuine"), keys);
    }

    #[test]
    fn response_under_another_preshared_key_opens_for_neither_implementation(
        initiator in end(),
        responder in end(),
    ) {
        prop_assume!(initiator.preshared_key != responder.preshared_key);
        let timestamp = Tai64n::from_unix(Duration::from_secs(1));
        let (state, initiation) = initiator.initiate(&responder.public(), timestamp.as_bytes());
        let (response, _) = respond(&responder, initiator.public(), &initiation);
        prop_assert!(oracle::complete(state, &response).is_err());
    }
}

/// Fixed inputs of a whole handshake, as JSON, computed by the second implementation alone.
fn vector() -> (End, End, Tai64n, serde_json::Value) {
    let end = |byte: u8, index, psk| End {
        secret: [byte; 32],
        ephemeral: [byte + 0x10; 32],
        index,
        preshared_key: [psk; 32],
    };
    let (initiator, responder) = (end(1, 0x0403_0201, 0x50), end(2, 0x0807_0605, 0x50));
    let timestamp = Tai64n::from_unix(Duration::new(1_800_000_000, 500_000_000));
    let (state, initiation) = initiator.initiate(&responder.public(), timestamp.as_bytes());
    let answer = responder.respond(&initiation).expect("genuine");
    let keys = oracle::complete(state, &answer.response).expect("genuine");
    assert_eq!(keys, answer.keys);
    let side = |end: &End| {
        serde_json::json!({
            "static_private": hex(&end.secret),
            "static_public": hex(&end.public()),
            "ephemeral_private": hex(&end.ephemeral),
            "index": end.index,
        })
    };
    let vector = serde_json::json!({
        "source": "snow 0.10 over x25519-dalek, chacha20poly1305 and blake2; tests/wireguard_handshake/oracle.rs",
        "initiator": side(&initiator),
        "responder": side(&responder),
        "preshared_key": hex(&initiator.preshared_key),
        "timestamp": hex(timestamp.as_bytes()),
        "initiation": hex(&initiation),
        "response": hex(&answer.response),
        "initiator_to_responder_key": hex(&keys[0]),
        "responder_to_initiator_key": hex(&keys[1]),
    });
    (initiator, responder, timestamp, vector)
}

#[test]
fn second_implementation_computes_the_vector_and_the_program_sends_it() {
    let (initiator, responder, timestamp, vector) = vector();
    let text = format!("{vector:#}\n");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/wireguard.json");
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(&path, &text).expect("the file is writable");
    }
    let stored = std::fs::read_to_string(&path).expect("the file is there");
    assert!(stored == text, "wireguard.json is not what snow computes; UPDATE_VECTORS=1 writes it anew");

    let (initiation, _, keys) = initiate(&initiator, &responder, timestamp);
    let (response, responders) = respond(&responder, initiator.public(), &initiation);
    assert_eq!(hex(&initiation), vector["initiation"]);
    assert_eq!(hex(&response), vector["response"]);
    assert_eq!(keys, responders);
    assert_eq!(hex(&keys[0]), vector["initiator_to_responder_key"]);
    assert_eq!(hex(&keys[1]), vector["responder_to_initiator_key"]);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
