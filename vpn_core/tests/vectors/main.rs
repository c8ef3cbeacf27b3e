//! Known-answer vectors of the hybrid handshake, `hybrid.json` beside this file, for whoever implements it anew.
//!
//! What must not be taken is in `hybrid_refused.json`. The files are written by a second, small implementation (`reference.rs`) from other libraries than the program uses,
//! straight from the design; this test checks that it still computes them byte for byte, and that the program,
//! given the same random draws, sends the same messages and ends with the same keys.
//!
//! `UPDATE_VECTORS=1 cargo test -p vpn_core --test vectors` writes them anew. A change to them is a change of the
//! protocol.

mod reference;
mod refused;
mod script;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use reference::Case;
use refused::{Outcome, Receiver, Refused};
use script::Script;
use std::{net::SocketAddr, path::Path, time::Instant};
use vpn_core::{
    asymmetric::{Identity, PublicKey},
    base::{ReceiverIndex, SecretBytes},
    handshake::{
        Agreement, HandshakeError, PresharedKey,
        hybrid::{
            CookieJar, HalfOpen, InitGate, Initiation, InitiatorSettings, MAX_RESPONSE_FAILURES, Rejected,
            ResponderSettings, respond,
        },
    },
    session::{Keypair, REKEY_AFTER_TIME},
    wire::{
        hybrid::{CookieReply, Finish, Init, Message, ParametersBytes, Response, SuiteSet},
        path::PathMessage,
        transport::{HEADER_SIZE, OVERHEAD},
    },
};
use zerocopy::{FromBytes as _, IntoBytes as _};

fn cases() -> Vec<Case> {
    let plain = Case::plain();
    let [probe, answer] = reference::probe_and_answer();
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
            initiator_parameters: with_features(plain.initiator_parameters, 1),
            responder_parameters: with_features(plain.responder_parameters, 1),
            payload: reference::without_checksum(),
            ..plain.clone()
        },
        Case {
            name: "a probe of the path and its answer",
            initiator_parameters: with_features(plain.initiator_parameters, 2),
            responder_parameters: with_features(plain.responder_parameters, 2),
            payload: probe,
            answer: Some(answer),
            ..plain
        },
    ]
}

/// The same with feature `bits`.
fn with_features([_, _, _, _, rest @ ..]: [u8; 8], bits: u8) -> [u8; 8] {
    let [a, b, c, d] = rest;
    [bits, 0, 0, 0, a, b, c, d]
}

#[test]
fn reference_implementation_computes_the_file_byte_for_byte() {
    let computed: Vec<_> = cases().iter().map(reference::run).collect();
    compare("hybrid.json", &reference::to_json(&computed));
    compare("hybrid_refused.json", &refused::to_json(&refused::all()));
}

fn compare(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(file);
    if std::env::var_os("UPDATE_VECTORS").is_some() {
        std::fs::write(&path, text).expect("the file is writable");
    }
    let stored = std::fs::read_to_string(&path).expect("the file is there");
    assert!(stored == text, "{file} differs from what the design says; UPDATE_VECTORS=1 writes it anew");
    serde_json::from_str::<serde_json::Value>(text).expect("JSON");
}

#[test]
fn program_answers_the_probe_of_the_file_as_the_file_does() {
    let [probe, answer] = reference::probe_and_answer();
    let Some(PathMessage::Probe { id, size }) = PathMessage::parse(&probe) else { panic!("a probe") };
    assert_eq!(PathMessage::Answer { id, size }.payload(), answer);
}

#[test]
fn program_drops_what_the_file_says_must_be_dropped_and_takes_what_must_be_taken() {
    let all = refused::all();
    assert!(all.len() > 40);
    for refused in all {
        assert_eq!(Handshake::plain().show(&refused), refused.outcome, "{}", refused.name);
    }
}

/// The program's own handshake, between two messages.
struct Handshake {
    case: Case,
    gate: InitGate,
    responder: Identity,
    initiator: Identity,
    initiation: Initiation,
    half_open: HalfOpen,
    response: Box<Response>,
    finish: Vec<u8>,
}

impl Handshake {
    fn plain() -> Self {
        let case = Case::plain();
        let (initiator, responder) = (identity(case.initiator_seed), identity(case.responder_seed));
        let gate = InitGate::new(responder.public_key(), Vec::new());
        let (initiation, init) = start(&case, responder.public_key());
        let (response, half_open) = answer(&case, &gate, &responder, &init).expect("genuine");
        let finish = reference::run(&case).get("finish").clone();
        Self { case, gate, responder, initiator, initiation, half_open, response, finish }
    }

    /// What the receiver makes of a message.
    fn show(self, refused: &Refused) -> Outcome {
        let Some(message) = Message::parse(&refused.message) else { return Outcome::Dropped };
        match (refused.to, message) {
            (Receiver::Responder, Message::Init(init)) => {
                let taken = answer(&self.case, &self.gate, &self.responder, init).is_ok();
                if taken { Outcome::Taken } else { Outcome::Dropped }
            }
            (Receiver::Initiator, Message::Response(response)) => self.read_response(response),
            (Receiver::Initiator, Message::CookieReply(reply)) => self.read_cookie_reply(reply),
            (Receiver::HalfOpen, Message::Finish(finish)) => self.read_finish(finish),
            (to, message) => panic!("{message:?} to {to:?}"),
        }
    }

    /// Shows a response as often as a handshake tolerates, and then the genuine one.
    fn read_response(self, response: &Response) -> Outcome {
        // A device finds the handshake by the index; the state looks at it once more.
        let psk = PresharedKey::ZERO;
        let mut state = Box::new(self.initiation);
        for _ in 0..MAX_RESPONSE_FAILURES {
            match state.read_response(
                response,
                &self.initiator,
                &psk,
                parameters(self.case.initiator_parameters),
            ) {
                Ok(_) => return Outcome::Taken,
                Err(Rejected { state: Some(kept), .. }) => state = kept,
                Err(Rejected { state: None, .. }) => return Outcome::Counted,
            }
        }
        let genuine = state.read_response(
            &self.response,
            &self.initiator,
            &psk,
            parameters(self.case.initiator_parameters),
        );
        assert_eq!(genuine.expect("still taken").finish.as_bytes(), self.finish);
        Outcome::Dropped
    }

    fn read_cookie_reply(mut self, reply: &CookieReply) -> Outcome {
        // A device finds the handshake by the index.
        let is_ours = reply.receiver == self.initiation.sender();
        if is_ours && self.initiation.read_cookie_reply(reply).is_ok() {
            Outcome::Taken
        } else {
            Outcome::Dropped
        }
    }

    fn read_finish(self, finish: &Finish) -> Outcome {
        let psk = PresharedKey::ZERO;
        let read = |finish: &Finish| {
            self.half_open.read_identity(finish).map(|claimed| {
                // A device looks the identity up among its peers, of which there is one.
                let is_peer = claimed.identity() == self.initiator.public_key();
                claimed.authenticate(&self.half_open, finish, &psk).is_ok() && is_peer
            })
        };
        let outcome = match read(finish) {
            Ok(true) => Outcome::Taken,
            Ok(false) => Outcome::Counted,
            Err(_) => Outcome::Dropped,
        };
        let genuine = Finish::read_from_bytes(&self.finish).expect("a finish");
        assert_eq!(read(&genuine), Ok(true), "still taken");
        outcome
    }
}

fn start(case: &Case, responder: PublicKey) -> (Initiation, Box<Init>) {
    let network_key = SecretBytes::new(case.network_key);
    let settings =
        InitiatorSettings { responder, network_key: &network_key, suites: SuiteSet(case.suites[0]) };
    let mut rng = Script::new(&[&case.initiator_x25519, &[case.ml_kem_d, case.ml_kem_z].concat()]);
    Initiation::start(&settings, ReceiverIndex::new(case.initiator_index), &mut rng)
}

fn answer(
    case: &Case,
    gate: &InitGate,
    identity: &Identity,
    init: &Init,
) -> Result<(Box<Response>, HalfOpen), HandshakeError> {
    let verified = gate.check(init, || [[0; 16]; 2])?;
    let settings = ResponderSettings {
        identity,
        suites: SuiteSet(case.suites[1]),
        parameters: parameters(case.responder_parameters),
    };
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let index = ReceiverIndex::new(case.responder_index);
    if *init.as_bytes() == **reference::run(case).get("init") {
        let mut rng = Script::new(&[&case.responder_x25519, &case.ml_kem_m]);
        return respond(&verified, &settings, index, &mut rng);
    }
    respond(&verified, &settings, index, &mut rng)
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
    out.extend(transport(&completed.agreement, &agreement, case, now));
    out
}

fn transport(
    initiator: &Agreement,
    responder: &Agreement,
    case: &Case,
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
    let mut out = vec![
        ("initiator_to_responder_key", initiator.sending.expose().to_vec()),
        ("responder_to_initiator_key", initiator.receiving.expose().to_vec()),
        ("confirmation", seal(&theirs, &[])),
        ("first_packet_of_the_initiator", seal(&ours, &case.payload)),
        ("second_packet_of_the_initiator", seal(&ours, &[])),
    ];
    out.extend(case.answer.iter().map(|answer| ("second_packet_of_the_responder", seal(&theirs, answer))));
    out
}

fn identity(seed: [u8; 32]) -> Identity {
    Identity::from_seed(&SecretBytes::new(seed))
}

fn parameters(bytes: [u8; 8]) -> ParametersBytes {
    ParametersBytes::read_from_bytes(&bytes).expect("8 bytes")
}
