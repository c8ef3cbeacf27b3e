//! The hybrid handshake a second time: both roles in one straight line, from the design alone, on other libraries
//! (RustCrypto and dalek) than the program's. Not fast, not careful with secrets.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, XChaCha20Poly1305, aead::Aead as _, aead::Payload};
use ed25519_dalek::{Signer as _, SigningKey};
use ml_kem::{B32, Decapsulate as _, KeyExport as _, Seed, ml_kem_768};
use std::{fmt::Write as _, net::SocketAddr};
use x25519_dalek::{PublicKey, StaticSecret};

pub(crate) const PROTOCOL: &[u8] = b"VPN hybrid v1 X25519+ML-KEM-768 Ed25519 ChaCha20-Poly1305 BLAKE3";
pub(crate) const INIT_MAC: &str = "VPN hybrid v1 init mac";
const COOKIE_REPLY: &str = "VPN hybrid v1 cookie reply";

/// What a case is made from: configuration and every random draw.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) initiator_seed: [u8; 32],
    pub(crate) responder_seed: [u8; 32],
    pub(crate) network_key: [u8; 32],
    pub(crate) preshared_key: [u8; 32],
    /// Offered by the initiator, supported by the responder.
    pub(crate) suites: [u8; 2],
    pub(crate) initiator_index: u32,
    pub(crate) responder_index: u32,
    pub(crate) initiator_parameters: [u8; 8],
    pub(crate) responder_parameters: [u8; 8],
    pub(crate) initiator_x25519: [u8; 32],
    pub(crate) ml_kem_d: [u8; 32],
    pub(crate) ml_kem_z: [u8; 32],
    pub(crate) responder_x25519: [u8; 32],
    pub(crate) ml_kem_m: [u8; 32],
    /// The initiator's address, if a cookie is demanded of it.
    pub(crate) cookie_for: Option<&'static str>,
    pub(crate) cookie_secret: [u8; 32],
    pub(crate) cookie_nonce: [u8; 24],
    /// Of the initiator's first packet.
    pub(crate) payload: Vec<u8>,
    /// Of the responder's second packet, where it has one: what it answers.
    pub(crate) answer: Option<Vec<u8>>,
}

impl Case {
    /// Without any option.
    pub(crate) fn plain() -> Self {
        let rising = |first: u8| core::array::from_fn(|i| first + i as u8);
        Self {
            name: "plain",
            initiator_seed: rising(0x00),
            responder_seed: rising(0x20),
            network_key: [0; 32],
            preshared_key: [0; 32],
            suites: [1, 1],
            initiator_index: 0x0403_0201,
            responder_index: 0x0807_0605,
            initiator_parameters: [0, 0, 0, 0, 0x8c, 0x05, 0, 0],
            responder_parameters: [0, 0, 0, 0, 0x78, 0x05, 0, 0],
            initiator_x25519: rising(0x40),
            ml_kem_d: rising(0x60),
            ml_kem_z: rising(0x80),
            responder_x25519: rising(0xa0),
            ml_kem_m: rising(0xc0),
            cookie_for: None,
            cookie_secret: rising(0xe0),
            cookie_nonce: core::array::from_fn(|i| 0x11 * (i as u8 % 15 + 1)),
            payload: ipv4_header(),
            answer: None,
        }
    }
}

/// Values by name, in the order in which they are computed.
pub(crate) struct Values {
    name: &'static str,
    inputs: Vec<(&'static str, String)>,
    computed: Vec<(&'static str, Vec<u8>)>,
}

impl Values {
    fn put(&mut self, name: &'static str, bytes: impl AsRef<[u8]>) {
        self.computed.push((name, bytes.as_ref().to_vec()));
    }

    pub(crate) fn get(&self, name: &str) -> &Vec<u8> {
        &self.computed.iter().find(|(known, _)| *known == name).expect("a value of the file").1
    }
}

struct Transcript {
    h: [u8; 32],
    ck: [u8; 32],
}

impl Transcript {
    fn mix_hash(&mut self, bytes: &[u8]) {
        self.h = *blake3::hash(&[&self.h, bytes].concat()).as_bytes();
    }

    fn mix_key(&mut self, input: &[u8]) -> [u8; 32] {
        let (ck, k) = keyed_64(&self.ck, input);
        self.ck = ck;
        k
    }

    fn seal(&mut self, key: &[u8; 32], text: &[u8]) -> Vec<u8> {
        let payload = Payload { msg: text, aad: &self.h };
        let sealed = ChaCha20Poly1305::new(key.into()).encrypt(&[0; 12].into(), payload).expect("short");
        self.mix_hash(&sealed);
        sealed
    }
}

pub(crate) fn keyed_64(key: &[u8; 32], input: &[u8]) -> ([u8; 32], [u8; 32]) {
    let mut stream = [0; 64];
    blake3::Hasher::new_keyed(key).update(input).finalize_xof().fill(&mut stream);
    let (first, second) = stream.split_at(32);
    (first.try_into().expect("32 bytes"), second.try_into().expect("32 bytes"))
}

pub(crate) fn keyed(key: &[u8; 32], input: &[u8], len: usize) -> Vec<u8> {
    blake3::keyed_hash(key, input).as_bytes()[..len].to_vec()
}

/// An IPv4 header, no more.
fn ipv4_header() -> Vec<u8> {
    let mut packet = vec![0x45, 0, 0, 20, 0, 0, 0, 0, 64, 253, 0, 0, 10, 66, 0, 2, 10, 66, 0, 1];
    packet[10..12].copy_from_slice(&[0x65, 0x67]);
    packet
}

/// A UDP packet of four bytes without its checksum: the example of the specification.
pub(crate) fn without_checksum() -> Vec<u8> {
    let ip = [0x75, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0x26, 0x47, 10, 66, 0, 2, 10, 66, 0, 1];
    let udp = [0x0f, 0xa0, 0x0f, 0xa1, 0, 12, 0, 0, 1, 2, 3, 4];
    [ip.as_slice(), &udp].concat()
}

/// A probe of the path and its answer: the example of the specification.
pub(crate) fn probe_and_answer() -> [Vec<u8>; 2] {
    [vec![0x20, 0, 12, 0, 1, 2, 3, 4, 0, 0, 0, 0], vec![0x21, 0, 12, 0, 1, 2, 3, 4]]
}

/// Runs one case.
pub(crate) fn run(case: &Case) -> Values {
    let initiator = SigningKey::from_bytes(&case.initiator_seed);
    let responder = SigningKey::from_bytes(&case.responder_seed);
    let responder_key = responder.verifying_key().to_bytes();
    let mut out = Values { name: case.name, inputs: inputs(case), computed: Vec::new() };
    out.put("initiator_identity", initiator.verifying_key().to_bytes());
    out.put("responder_identity", responder_key);

    let protocol = *blake3::hash(PROTOCOL).as_bytes();
    let mut t = Transcript { h: protocol, ck: protocol };
    t.mix_key(&case.network_key);
    t.mix_hash(&responder_key);
    out.put("h_at_start", t.h);
    out.put("ck_at_start", t.ck);

    let decapsulation_key = ml_kem_768::DecapsulationKey::from_seed(
        Seed::try_from([case.ml_kem_d, case.ml_kem_z].concat().as_slice()).expect("64 bytes"),
    );
    let init = make_init(case, &responder_key, &decapsulation_key, &mut out);
    t.mix_hash(&init[..init.len() - 8]);
    out.put("h_after_init", t.h);

    let response = make_response(case, &responder, &init, &decapsulation_key, &mut t, &mut out);
    out.put("response", response);
    let finish = make_finish(case, &initiator, &mut t, &mut out);
    out.put("finish", finish);
    make_transport(case, &t, &mut out);
    out
}

/// The init that is answered: without a cookie or, after a cookie reply, with one.
fn make_init(
    case: &Case,
    responder_key: &[u8; 32],
    decapsulation_key: &ml_kem_768::DecapsulationKey,
    out: &mut Values,
) -> Vec<u8> {
    let ephemeral = PublicKey::from(&StaticSecret::from(case.initiator_x25519));
    let mut init = vec![5, 1, 0, case.suites[0]];
    init.extend_from_slice(&case.initiator_index.to_le_bytes());
    init.extend_from_slice(ephemeral.as_bytes());
    init.extend_from_slice(&decapsulation_key.encapsulation_key().to_bytes());
    let material = [responder_key.as_slice(), &case.network_key].concat();
    let mac_key = blake3::derive_key(INIT_MAC, &material);
    let mut with_cookie = init.clone();
    init.extend_from_slice(&keyed(&mac_key, &init, 8));
    out.put("init_mac_key", mac_key);
    out.put("init", &init);
    out.put("init_hash", blake3::hash(&init).as_bytes());
    let Some(address) = case.cookie_for else { return init };

    let cookie = keyed(&case.cookie_secret, &address_bytes(address), 16);
    let reply_key = blake3::derive_key(COOKIE_REPLY, &material);
    let init_hash = blake3::hash(&init);
    let payload = Payload { msg: &cookie, aad: init_hash.as_bytes() };
    let sealed = XChaCha20Poly1305::new((&reply_key).into())
        .encrypt((&case.cookie_nonce).into(), payload)
        .expect("short");
    let mut reply = vec![8, 1, 0, 0];
    reply.extend_from_slice(&case.initiator_index.to_le_bytes());
    reply.extend_from_slice(&case.cookie_nonce);
    reply.extend_from_slice(&sealed);
    with_cookie[2] = 1;
    let mac_key = blake3::derive_key(INIT_MAC, &[&material, &cookie[..]].concat());
    with_cookie.extend_from_slice(&keyed(&mac_key, &with_cookie, 8));
    out.put("cookie", cookie);
    out.put("cookie_reply_key", reply_key);
    out.put("cookie_reply", reply);
    out.put("init_mac_key_with_cookie", mac_key);
    out.put("init_with_cookie", &with_cookie);
    out.put("init_with_cookie_hash", blake3::hash(&with_cookie).as_bytes());
    with_cookie
}

fn address_bytes(address: &str) -> Vec<u8> {
    let port = |port: u16| port.to_le_bytes();
    match address.parse().expect("an address") {
        SocketAddr::V4(v4) => [v4.ip().octets().as_slice(), &port(v4.port())].concat(),
        SocketAddr::V6(v6) => [v6.ip().octets().as_slice(), &port(v6.port())].concat(),
    }
}

fn make_response(
    case: &Case,
    responder: &SigningKey,
    init: &[u8],
    decapsulation_key: &ml_kem_768::DecapsulationKey,
    t: &mut Transcript,
    out: &mut Values,
) -> Vec<u8> {
    let secret = StaticSecret::from(case.responder_x25519);
    let x25519 = secret.diffie_hellman(&PublicKey::from(&StaticSecret::from(case.initiator_x25519)));
    let m = B32::try_from(case.ml_kem_m.as_slice()).expect("32 bytes");
    let (ciphertext, ml_kem) = decapsulation_key.encapsulation_key().encapsulate_deterministic(&m);
    assert_eq!(decapsulation_key.decapsulate(&ciphertext), ml_kem);

    let mut response = vec![6, 1, 0, chosen_suite(case)];
    response.extend_from_slice(&case.responder_index.to_le_bytes());
    response.extend_from_slice(&case.initiator_index.to_le_bytes());
    response.extend_from_slice(PublicKey::from(&secret).as_bytes());
    response.extend_from_slice(&ciphertext);
    t.mix_hash(&response);
    out.put("x25519_secret", x25519.as_bytes());
    out.put("ml_kem_secret", ml_kem.as_slice());
    out.put("h_signed_by_responder", t.h);
    let signed = [PROTOCOL, b" responder\0", &t.h].concat();
    let k2 = t.mix_key(&[x25519.as_bytes().as_slice(), &ml_kem, &t.h].concat());
    let signature = responder.sign(&signed).to_bytes();
    response.extend_from_slice(&t.seal(&k2, &[signature.as_slice(), &case.responder_parameters].concat()));
    response.extend_from_slice(&keyed(blake3::hash(init).as_bytes(), &response, 8));
    out.put("k2", k2);
    out.put("ck_after_k2", t.ck);
    out.put("responder_signature", signature);
    out.put("h_after_response", t.h);
    response
}

fn make_finish(case: &Case, initiator: &SigningKey, t: &mut Transcript, out: &mut Values) -> Vec<u8> {
    let identity = initiator.verifying_key().to_bytes();
    let mut finish = vec![7, 1, 0, 0];
    finish.extend_from_slice(&case.responder_index.to_le_bytes());
    t.mix_hash(&finish);
    out.put("h_signed_by_initiator", t.h);
    let signature = initiator.sign(&[PROTOCOL, b" initiator\0", &t.h, &identity].concat()).to_bytes();
    let k3 = t.mix_key(&[]);
    finish.extend_from_slice(&t.seal(&k3, &[identity.as_slice(), &signature].concat()));
    out.put("k3", k3);
    out.put("ck_after_k3", t.ck);
    out.put("initiator_signature", signature);
    out.put("h_after_identity", t.h);
    let k4 = t.mix_key(&case.preshared_key);
    finish.extend_from_slice(&t.seal(&k4, &case.initiator_parameters));
    out.put("k4", k4);
    out.put("ck_after_k4", t.ck);
    out.put("h_after_finish", t.h);
    finish
}

fn make_transport(case: &Case, t: &Transcript, out: &mut Values) {
    let (up, down) = keyed_64(&t.ck, &[b"transport".as_slice(), &t.h].concat());
    out.put("initiator_to_responder_key", up);
    out.put("responder_to_initiator_key", down);
    let frame = |index: u32, counter: u64, key: &[u8; 32], text: &[u8]| {
        let mut frame = vec![4, 0, 0, 0];
        frame.extend_from_slice(&index.to_le_bytes());
        frame.extend_from_slice(&counter.to_le_bytes());
        frame.extend_from_slice(&seal_transport(chosen_suite(case), key, counter, text));
        frame
    };
    out.put("confirmation", frame(case.initiator_index, 0, &down, &[]));
    out.put("first_packet_of_the_initiator", frame(case.responder_index, 0, &up, &case.payload));
    out.put("second_packet_of_the_initiator", frame(case.responder_index, 1, &up, &[]));
    if let Some(answer) = &case.answer {
        out.put("second_packet_of_the_responder", frame(case.initiator_index, 1, &down, answer));
    }
}

fn chosen_suite(case: &Case) -> u8 {
    if case.suites[0] & case.suites[1] & 2 != 0 { 2 } else { 1 }
}

fn seal_transport(suite: u8, key: &[u8; 32], counter: u64, text: &[u8]) -> Vec<u8> {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    if suite == 1 {
        return ChaCha20Poly1305::new(key.into()).encrypt(&nonce.into(), text).expect("short");
    }
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes"));
    let mut sealed = text.to_vec();
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed)
        .expect("short");
    sealed
}

// ---- the file ----

fn inputs(case: &Case) -> Vec<(&'static str, String)> {
    let answer =
        case.answer.iter().map(|answer| ("payload_of_the_second_packet_of_the_responder", hex(answer)));
    let mut inputs = vec![
        ("initiator_ed25519_seed", hex(&case.initiator_seed)),
        ("responder_ed25519_seed", hex(&case.responder_seed)),
        ("network_key", hex(&case.network_key)),
        ("preshared_key", hex(&case.preshared_key)),
        ("suites_offered", hex(&case.suites[..1])),
        ("suites_supported_by_responder", hex(&case.suites[1..])),
        ("initiator_index_as_sent", hex(&case.initiator_index.to_le_bytes())),
        ("responder_index_as_sent", hex(&case.responder_index.to_le_bytes())),
        ("initiator_parameters", hex(&case.initiator_parameters)),
        ("responder_parameters", hex(&case.responder_parameters)),
        ("initiator_x25519_secret", hex(&case.initiator_x25519)),
        ("ml_kem_d", hex(&case.ml_kem_d)),
        ("ml_kem_z", hex(&case.ml_kem_z)),
        ("responder_x25519_secret", hex(&case.responder_x25519)),
        ("ml_kem_m", hex(&case.ml_kem_m)),
        ("cookie_for", case.cookie_for.unwrap_or_default().to_owned()),
        ("cookie_secret", hex(&case.cookie_secret)),
        ("cookie_nonce", hex(&case.cookie_nonce)),
        ("payload_of_the_first_packet", hex(&case.payload)),
    ];
    inputs.extend(answer);
    inputs
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _never_fails = write!(text, "{byte:02x}");
        text
    })
}

/// One line a value, in the order of computation.
pub(crate) fn to_json(cases: &[Values]) -> String {
    let object = |fields: Vec<(&str, String)>| {
        let lines: Vec<_> =
            fields.iter().map(|(name, text)| format!("      \"{name}\": \"{text}\"")).collect();
        format!("{{\n{}\n    }}", lines.join(",\n"))
    };
    let cases: Vec<_> = cases
        .iter()
        .map(|case| {
            let values = case.computed.iter().map(|(name, bytes)| (*name, hex(bytes))).collect();
            format!(
                "  {{\n    \"name\": \"{}\",\n    \"inputs\": {},\n    \"values\": {}\n  }}",
                case.name,
                object(case.inputs.clone()),
                object(values)
            )
        })
        .collect();
    format!("[\n{}\n]\n", cases.join(",\n"))
}
