//! Known-answer vectors of the hybrid handshake, `hybrid.json` beside this file, for whoever implements it anew.
//!
//! The file is written by a second, small implementation (`reference.rs`) from other libraries than the program uses,
//! straight from the design; this test checks that it still computes the file byte for byte, and that the program,
//! given the same random draws, sends the same messages and ends with the same keys.
//!
//! `UPDATE_VECTORS=1 cargo test -p vpn_core --test vectors` writes the file anew. A change to it is a change of the
//! protocol.

mod reference;
mod script;

use reference::Case;
use script::Script;
use std::{net::SocketAddr, path::Path, time::Instant};
use vpn_core::{
    asymmetric::Identity,
    base::{ReceiverIndex, SecretBytes},
    handshake::{
        Agreement, PresharedKey,
        hybrid::{CookieJar, InitGate, Initiation, InitiatorSettings, ResponderSettings, respond},
    },
    session::{Keypair, REKEY_AFTER_TIME},
    wire::{
        hybrid::{ParametersBytes, SuiteSet},
        transport::{HEADER_SIZE, OVERHEAD},
    },
};
use zerocopy::{FromBytes as _, IntoBytes as _};

fn cases() -> Vec<Case> {
    let plain = Case::plain();
    vec![
        plain.clone(),
        Case { name: "preshared key", preshared_key: [0x50; 32], ..plain.clone() },
        Case { name: "network key", network_key: [0x60; 32], ..plain.clone() },
        Case { name: "cookie, IPv4", cookie_for: Some("192.0.2.1:51820"), ..plain.clone() },
        Case { name: "cookie, IPv6", cookie_for: Some("[2001:db8::1]:51820"), ..plain.clone() },
        Case { name: "AES-256-GCM", suites: [3, 3], ..plain.clone() },
        Case { name: "AES-256-GCM offered, not supported", suites: [3, 1], ..plain.clone() },
        Case {
            name: "everything",
            preshared_key: [0x50; 32],
            network_key: [0x60; 32],
            cookie_for: Some("192.0.2.1:51820"),
            suites: [3, 3],
            ..plain.clone()
        },
        Case {
            name: "checksums may be left out",
            initiator_parameters: with_features(plain.initiator_parameters),
            responder_parameters: with_features(plain.responder_parameters),
            payload: reference::without_checksum(),
            ..plain
        },
    ]
}

/// The same with feature bit 0.
fn with_features([_, _, _, _, rest @ ..]: [u8; 8]) -> [u8; 8] {
    let [a, b, c, d] = rest;
    [1, 0, 0, 0, a, b, c, d]
}

#[test]
fn reference_implementation_computes_the_file_byte_for_byte() {
    let computed: Vec<_> = cases().iter().map(reference::run).collect();
    let text = reference::to_json(&computed);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/hybrid.json");
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(&path, &text).expect("the file is writable");
    }
    let stored = std::fs::read_to_string(&path).expect("the file is there");
    assert!(stored == text, "hybrid.json differs from what the design says; UPDATE_VECTORS=1 writes it anew");
    serde_json::from_str::<serde_json::Value>(&text).expect("JSON");
}

#[test]
fn program_sends_the_messages_of_the_file_and_ends_with_its_keys() {
    for case in cases() {
        let expected = reference::run(&case);
        let actual = program(&case);
        assert!(!actual.is_empty());
        for (name, bytes) in actual {
            assert_eq!(bytes, *expected.get(name), "{name} of \"{}\"", case.name);
        }
    }
}

/// Runs the program's own implementation; answers what can be seen of it from outside.
fn program(case: &Case) -> Vec<(&'static str, Vec<u8>)> {
    let (initiator, responder) = (identity(case.initiator_seed), identity(case.responder_seed));
    let network_key = SecretBytes::new(case.network_key);
    let preshared_key = PresharedKey::new(case.preshared_key);
    let gate = InitGate::new(responder.public_key(), vec![SecretBytes::new(case.network_key)]);
    let mut out = Vec::new();

    let settings = InitiatorSettings {
        responder: responder.public_key(),
        network_key: &network_key,
        suites: SuiteSet(case.suites[0]),
    };
    let mut rng = Script::new(&[&case.initiator_x25519, &[case.ml_kem_d, case.ml_kem_z].concat()]);
    let (mut state, mut init) =
        Initiation::start(&settings, ReceiverIndex::new(case.initiator_index), &mut rng);
    out.push(("init", init.as_bytes().to_vec()));

    let now = Instant::now();
    let jar = CookieJar::new(&mut Script::new(&[&case.cookie_secret, &[0xee; 32]]), now);
    let from: SocketAddr = case.cookie_for.unwrap_or("192.0.2.1:51820").parse().expect("an address");
    if case.cookie_for.is_some() {
        let verified = gate.check(&init, || jar.cookies_of(from)).expect("genuine");
        let reply = jar.reply(&verified, from, &mut Script::new(&[&case.cookie_nonce]));
        out.push(("cookie_reply", reply.as_bytes().to_vec()));
        init = state.read_cookie_reply(&reply).expect("genuine");
        out.push(("init_with_cookie", init.as_bytes().to_vec()));
    }

    let verified = gate.check(&init, || jar.cookies_of(from)).expect("genuine");
    let settings = ResponderSettings {
        identity: &responder,
        suites: SuiteSet(case.suites[1]),
        parameters: parameters(case.responder_parameters),
    };
    let mut rng = Script::new(&[&case.responder_x25519, &case.ml_kem_m]);
    let index = ReceiverIndex::new(case.responder_index);
    let (response, half_open) = respond(&verified, &settings, index, &mut rng).expect("genuine");
    out.push(("response", response.as_bytes().to_vec()));

    let completed = state
        .read_response(&response, &initiator, &preshared_key, parameters(case.initiator_parameters))
        .expect("genuine");
    out.push(("finish", completed.finish.as_bytes().to_vec()));
    let agreement = half_open
        .read_identity(&completed.finish)
        .expect("genuine")
        .authenticate(&half_open, &completed.finish, &preshared_key)
        .expect("genuine");
    out.extend(transport(&completed.agreement, &agreement, &case.payload, now));
    out
}

fn transport(
    initiator: &Agreement,
    responder: &Agreement,
    payload: &[u8],
    now: Instant,
) -> Vec<(&'static str, Vec<u8>)> {
    let keypair = |agreement| Keypair::new(agreement, REKEY_AFTER_TIME, now);
    let (ours, theirs) = (keypair(initiator), keypair(responder));
    let seal = |keypair: &Keypair, payload: &[u8]| {
        let mut frame = vec![0; payload.len() + OVERHEAD];
        frame[HEADER_SIZE..HEADER_SIZE + payload.len()].copy_from_slice(payload);
        let counter = keypair.reserve(1, now).expect("fresh").next().expect("one");
        keypair.seal(counter, &mut frame);
        frame
    };
    vec![
        ("initiator_to_responder_key", initiator.sending.expose().to_vec()),
        ("responder_to_initiator_key", initiator.receiving.expose().to_vec()),
        ("confirmation", seal(&theirs, &[])),
        ("first_packet_of_the_initiator", seal(&ours, payload)),
        ("second_packet_of_the_initiator", seal(&ours, &[])),
    ]
}

fn identity(seed: [u8; 32]) -> Identity {
    Identity::from_seed(&SecretBytes::new(seed))
}

fn parameters(bytes: [u8; 8]) -> ParametersBytes {
    ParametersBytes::read_from_bytes(&bytes).expect("8 bytes")
}
