//! What must not be taken: messages that differ from those of the plain handshake of `hybrid.json` in one thing, made with the
//! libraries of `reference.rs`. Wherever only an insider could make such a message, it is made right in everything else.

use super::reference::{Case, INIT_MAC, PROTOCOL, Values, hex, keyed, keyed_64, run};
use chacha20poly1305::{ChaCha20Poly1305, KeyInit as _, aead::Aead as _, aead::Payload};
use curve25519_dalek::scalar::Scalar;
use ed25519_dalek::{Signer as _, SigningKey};
use sha2::{Digest as _, Sha512};

/// Who receives a message, in which state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    /// The responder, before the handshake.
    Responder,
    /// The initiator, which has sent its init.
    Initiator,
    /// The responder, which has sent its response.
    HalfOpen,
}

/// What is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is dropped, and the genuine message is still taken after it.
    Dropped,
    /// The same, and it counts as a failure of the handshake (6.4.2).
    Counted,
    /// It is taken. A receiver that refuses it refuses what a later version may send.
    Taken,
}

/// One message.
pub(crate) struct Refused {
    pub(crate) name: &'static str,
    clause: &'static str,
    pub(crate) to: Receiver,
    pub(crate) message: Vec<u8>,
    pub(crate) outcome: Outcome,
}

/// What the messages of one handshake are made from.
struct Workshop {
    case: Case,
    values: Values,
    made: Vec<Refused>,
}

const SMALL_ORDER_X25519: [u8; 32] = [
    0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
    0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
];

/// Every message, in the order of the handshake.
pub(crate) fn all() -> Vec<Refused> {
    let case = Case::plain();
    let mut workshop = Workshop { values: run(&case), case, made: Vec::new() };
    workshop.inits();
    workshop.cookie_replies();
    workshop.responses();
    workshop.finishes();
    workshop.made
}

impl Workshop {
    fn get<const N: usize>(&self, name: &str) -> [u8; N] {
        self.values.get(name).as_slice().try_into().expect("of that length")
    }

    fn add(
        &mut self,
        to: Receiver,
        clause: &'static str,
        name: &'static str,
        outcome: Outcome,
        message: Vec<u8>,
    ) {
        self.made.push(Refused { name, clause, to, message, outcome });
    }

    // ---- inits ----

    /// The init after `change`, its mac made anew for `identity` and `network_key`.
    fn init(&self, identity: [u8; 32], network_key: [u8; 32], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut init = self.values.get("init").clone();
        change(&mut init);
        init.truncate(init.len() - 8);
        let key = blake3::derive_key(INIT_MAC, &[identity, network_key].concat());
        let mac = keyed(&key, &init, 8);
        init.extend_from_slice(&mac);
        init
    }

    fn inits(&mut self) {
        use Outcome::{Dropped, Taken};
        let to = Receiver::Responder;
        let responder = self.get("responder_identity");
        let genuine = self.values.get("init").clone();
        self.add(to, "4.2.4 (2)", "init with a bit of its mac flipped", Dropped, flipped(&genuine, 1231));
        self.add(
            to,
            "4.2.4 (2)",
            "init with a bit of its ML-KEM key flipped",
            Dropped,
            flipped(&genuine, 700),
        );
        self.add(to, "4.1.1", "init without its last byte", Dropped, genuine[..1231].to_vec());
        self.add(to, "4.1.1", "init with one byte more", Dropped, [&genuine[..], &[0]].concat());
        let other = self.get("initiator_identity");
        self.add(to, "4.2.3", "init for another responder", Dropped, self.init(other, [0; 32], |_| ()));
        let network = self.init(responder, [0x60; 32], |_| ());
        self.add(to, "4.2.5", "init with a network key where none is in force", Dropped, network);
        let changed = |change: fn(&mut Vec<u8>)| self.init(responder, [0; 32], change);
        let made = [
            ("4.1.1", "init of version 2", Dropped, changed(|init| init[1] = 2)),
            (
                "4.2.4 (2)",
                "init that claims a cookie, its mac made without",
                Dropped,
                changed(|init| init[2] = 1),
            ),
            ("4.2.4 (3)", "init without suite bit 0", Dropped, changed(|init| init[3] = 2)),
            ("3.1.2", "init with an all-zero X25519 key", Dropped, changed(|init| init[8..40].fill(0))),
            (
                "3.1.2",
                "init with an X25519 key of order 8",
                Dropped,
                changed(|init| init[8..40].copy_from_slice(&SMALL_ORDER_X25519)),
            ),
            (
                "3.1.3",
                "init with an ML-KEM coefficient of 3329",
                Dropped,
                // The first 12 bits, least significant first.
                changed(|init| (init[40], init[41]) = (0x01, init[41] & 0xf0 | 0x0d)),
            ),
            ("6.3.1", "init with unknown flag bits", Taken, changed(|init| init[2] = 0xfe)),
            ("6.3.1", "init with unknown suite bits", Taken, changed(|init| init[3] = 0xfd)),
        ];
        for (clause, name, outcome, message) in made {
            self.add(to, clause, name, outcome, message);
        }
    }

    // ---- cookie replies ----

    fn cookie_replies(&mut self) {
        let case = Case { cookie_for: Some("192.0.2.1:51820"), ..Case::plain() };
        // The init, and so what the reply is bound to, is that of the plain handshake.
        let genuine = run(&case).get("cookie_reply").clone();
        let mut made = vec![
            ("5.2", "cookie reply with a flag", changed(&genuine, 2, 1)),
            ("5.2", "cookie reply with a suite", changed(&genuine, 3, 1)),
            ("4.1.1", "cookie reply of version 2", changed(&genuine, 1, 2)),
        ];
        let bits =
            [(4, "5.4", "cookie reply for another index"), (8, "5.4 (2)", "cookie reply with another nonce")];
        made.extend(bits.map(|(at, clause, name)| (clause, name, flipped(&genuine, at))));
        made.push(("5.4 (2)", "cookie reply with a bit of its tag flipped", flipped(&genuine, 63)));
        for (clause, name, message) in made {
            self.add(Receiver::Initiator, clause, name, Outcome::Dropped, message);
        }
    }

    // ---- responses ----

    /// A response with its mac made anew, as anybody can who saw the init.
    fn remac(&self, mut response: Vec<u8>) -> Vec<u8> {
        response.truncate(response.len() - 8);
        let mac = keyed(&self.get("init_hash"), &response, 8);
        response.extend_from_slice(&mac);
        response
    }

    /// A response that is right for its header and X25519 key after `change`, as only the responder can make it. Such keys yield
    /// the secret `x25519`.
    fn response_after(&self, x25519: [u8; 32], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut response = self.values.get("response")[..1132].to_vec();
        change(&mut response);
        let h = blake3::hash(&[self.values.get("h_after_init"), &response[..]].concat());
        let secrets = [x25519.as_slice(), self.values.get("ml_kem_secret"), h.as_bytes()].concat();
        let (_, k2) = keyed_64(&self.get("ck_at_start"), &secrets);
        let signed = [PROTOCOL, b" responder\0", h.as_bytes()].concat();
        let signature = SigningKey::from_bytes(&self.case.responder_seed).sign(&signed).to_bytes();
        let block = [signature.as_slice(), &self.case.responder_parameters].concat();
        response.extend_from_slice(&seal(&k2, h.as_bytes(), &block));
        response.extend_from_slice(&[0; 8]);
        self.remac(response)
    }

    /// The response with another signature, sealed as only the responder can.
    fn response_signed(&self, signature: [u8; 64]) -> Vec<u8> {
        let mut response = self.values.get("response").clone();
        let block = [signature.as_slice(), &self.case.responder_parameters].concat();
        let sealed = seal(&self.get("k2"), &self.get("h_signed_by_responder"), &block);
        response[1132..1220].copy_from_slice(&sealed);
        self.remac(response)
    }

    fn responses(&mut self) {
        use Outcome::{Counted, Dropped};
        let genuine = self.values.get("response").clone();
        let secret = self.get("x25519_secret");
        assert_eq!(self.response_after(secret, |_| ()), genuine, "the workshop makes the genuine one");
        let with = |at: usize, value: u8| self.response_after(secret, |response| response[at] = value);
        let all_zero = self.response_after([0; 32], |response| response[12..44].fill(0));
        let small_order =
            self.response_after([0; 32], |response| response[12..44].copy_from_slice(&SMALL_ORDER_X25519));
        let damaged = |at| self.remac(flipped(&genuine, at));
        let made = [
            ("4.1.1", "response of version 2", Dropped, with(1, 2)),
            ("4.1.1", "response without its last byte", Dropped, genuine[..1227].to_vec()),
            ("4.4.4 (1)", "response for another index", Dropped, with(8, genuine[8] ^ 1)),
            ("4.4.4 (2)", "response with a bit of its mac flipped", Dropped, flipped(&genuine, 1227)),
            ("6.3.2", "response with flag bit 0", Counted, with(2, 1)),
            ("6.3.2", "response with an unknown flag", Counted, with(2, 0x80)),
            ("6.3.2", "response without a suite", Counted, with(3, 0)),
            ("6.3.2", "response with two suites", Counted, with(3, 3)),
            ("6.3.2", "response with a suite that was not offered", Counted, with(3, 2)),
            ("4.4.4 (4)", "response with an all-zero X25519 key", Counted, all_zero),
            ("4.4.4 (4)", "response with an X25519 key of order 8", Counted, small_order),
            ("3.1.3", "response with a bit of its ML-KEM ciphertext flipped", Counted, damaged(600)),
            ("4.4.4 (5)", "response with a bit of its sealed block flipped", Counted, damaged(1140)),
        ];
        for (clause, name, outcome, message) in made {
            self.add(Receiver::Initiator, clause, name, outcome, message);
        }
        self.responses_with_other_signatures();
    }

    fn responses_with_other_signatures(&mut self) {
        let h: [u8; 32] = self.get("h_signed_by_responder");
        let signed = [PROTOCOL, b" responder\0", &h].concat();
        let as_initiator = [PROTOCOL, b" initiator\0", &h].concat();
        let seed = &self.case.responder_seed;
        let (key, other) = (SigningKey::from_bytes(seed), SigningKey::from_bytes(&self.case.initiator_seed));
        let made = [
            ("4.4.4 (5)", "response signed by another identity", other.sign(&signed).to_bytes()),
            ("3.3.1", "response signed as an initiator", key.sign(&as_initiator).to_bytes()),
            (
                "3.1.4 (2)",
                "response whose S is above the group order",
                above_order(self.get("responder_signature")),
            ),
            ("3.1.4 (1)", "response whose R is of small order", small_order_commitment(seed, &signed)),
        ];
        for (clause, name, signature) in made {
            let message = self.response_signed(signature);
            self.add(Receiver::Initiator, clause, name, Outcome::Counted, message);
        }
    }

    // ---- finishes ----

    /// A finish with both blocks sealed, as only who has the session secrets can, for `identity`.
    fn finish(&self, identity: [u8; 32], signature: [u8; 64], preshared_key: [u8; 32]) -> Vec<u8> {
        let mut finish = self.values.get("finish")[..8].to_vec();
        let mut h: [u8; 32] = self.get("h_signed_by_initiator");
        let first = seal(&self.get("k3"), &h, &[identity.as_slice(), &signature].concat());
        h = *blake3::hash(&[h.as_slice(), &first].concat()).as_bytes();
        let (_, k4) = keyed_64(&self.get("ck_after_k3"), &preshared_key);
        finish.extend_from_slice(&first);
        finish.extend_from_slice(&seal(&k4, &h, &self.case.initiator_parameters));
        finish
    }

    /// A finish that is right for another header.
    fn finish_headed(&self, flags: u8, suites: u8) -> Vec<u8> {
        let genuine = self.values.get("finish");
        let mut finish = [&[7, 1, flags, suites], &genuine[4..8]].concat();
        let mut h = *blake3::hash(&[self.values.get("h_after_response"), &finish[..]].concat()).as_bytes();
        let key = SigningKey::from_bytes(&self.case.initiator_seed);
        let identity = key.verifying_key().to_bytes();
        let signature = key.sign(&[PROTOCOL, b" initiator\0", &h, &identity].concat()).to_bytes();
        let (ck, k3) = keyed_64(&self.get("ck_after_k2"), &[]);
        let first = seal(&k3, &h, &[identity.as_slice(), &signature].concat());
        h = *blake3::hash(&[h.as_slice(), &first].concat()).as_bytes();
        finish.extend_from_slice(&first);
        finish.extend_from_slice(&seal(&keyed_64(&ck, &[0; 32]).1, &h, &self.case.initiator_parameters));
        finish
    }

    fn finishes(&mut self) {
        use Outcome::{Counted, Dropped};
        let to = Receiver::HalfOpen;
        let genuine = self.values.get("finish").clone();
        let h: [u8; 32] = self.get("h_signed_by_initiator");
        let own = self.get("initiator_identity");
        let text = |identity: &[u8; 32]| [PROTOCOL, b" initiator\0", &h, identity].concat();
        let seed = &self.case.initiator_seed;
        let right = SigningKey::from_bytes(seed).sign(&text(&own)).to_bytes();
        assert_eq!(self.finish(own, right, [0; 32]), genuine, "the workshop makes the genuine one");
        assert_eq!(self.finish_headed(0, 0), genuine, "and so does this");
        let by = |seed: [u8; 32]| {
            let key = SigningKey::from_bytes(&seed);
            let identity = key.verifying_key().to_bytes();
            self.finish(identity, key.sign(&text(&identity)).to_bytes(), [0; 32])
        };
        let signed = |signature| self.finish(own, signature, [0; 32]);
        let stranger = SigningKey::from_bytes(&[0x77; 32]).sign(&text(&own)).to_bytes();
        let mut without_identity = text(&own);
        without_identity.truncate(without_identity.len() - 32);
        let without_identity = SigningKey::from_bytes(seed).sign(&without_identity).to_bytes();
        let made = [
            ("4.1.1", "finish of version 2", Dropped, changed(&genuine, 1, 2)),
            ("4.1.1", "finish without its last byte", Dropped, genuine[..143].to_vec()),
            ("4.5.2 (2)", "finish for another index", Dropped, flipped(&genuine, 4)),
            ("6.3.3", "finish with a flag", Dropped, self.finish_headed(1, 0)),
            ("6.3.3", "finish with a suite", Dropped, self.finish_headed(0, 1)),
            ("4.5.2 (4)", "finish with a bit of its first block flipped", Dropped, flipped(&genuine, 60)),
            ("4.5.2 (5)", "finish with a bit of its second block flipped", Counted, flipped(&genuine, 130)),
            ("4.5.2 (5)", "finish of an identity that is no peer", Counted, by([0x77; 32])),
            ("6.5.2", "finish of the responder's own identity", Counted, by(self.case.responder_seed)),
            ("4.5.2 (5)", "finish signed by another identity", Counted, signed(stranger)),
            ("3.3.2", "finish whose signature leaves the identity out", Counted, signed(without_identity)),
            (
                "6.6.2",
                "finish with a preshared key where none is configured",
                Counted,
                self.finish(own, right, [0x50; 32]),
            ),
            ("3.1.4 (2)", "finish whose S is above the group order", Counted, signed(above_order(right))),
            (
                "3.1.4 (1)",
                "finish whose R is of small order",
                Counted,
                signed(small_order_commitment(seed, &text(&own))),
            ),
        ];
        for (clause, name, outcome, message) in made {
            self.add(to, clause, name, outcome, message);
        }
    }
}

fn flipped(message: &[u8], at: usize) -> Vec<u8> {
    changed(message, at, message[at] ^ 1)
}

fn changed(message: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut message = message.to_vec();
    message[at] = value;
    message
}

fn seal(key: &[u8; 32], h: &[u8; 32], text: &[u8]) -> Vec<u8> {
    let payload = Payload { msg: text, aad: h };
    ChaCha20Poly1305::new(key.into()).encrypt(&[0; 12].into(), payload).expect("short")
}

/// The same signature with the group order added to its scalar: valid but for that.
fn above_order(mut signature: [u8; 64]) -> [u8; 64] {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = (sum as u8, sum >> 8);
    }
    signature
}

/// A signature with the neutral element for its commitment, which satisfies the verification equation.
fn small_order_commitment(seed: &[u8; 32], text: &[u8]) -> [u8; 64] {
    let mut neutral = [0; 32];
    neutral[0] = 1;
    let public = SigningKey::from_bytes(seed).verifying_key().to_bytes();
    let challenge = Sha512::new().chain_update(neutral).chain_update(public).chain_update(text).finalize();
    let k = Scalar::from_bytes_mod_order_wide(&challenge.into());
    let s = k * SigningKey::from_bytes(seed).to_scalar();
    [neutral, s.to_bytes()].concat().try_into().expect("64 bytes")
}

/// One object a message.
pub(crate) fn to_json(refused: &[Refused]) -> String {
    let entries: Vec<_> = refused
        .iter()
        .map(|refused| {
            let to = match refused.to {
                Receiver::Responder => "responder before the handshake",
                Receiver::Initiator => "initiator that waits for a response",
                Receiver::HalfOpen => "responder that waits for a finish",
            };
            let (outcome, counted) = match refused.outcome {
                Outcome::Dropped => ("dropped", false),
                Outcome::Counted => ("dropped", true),
                Outcome::Taken => ("taken", false),
            };
            format!(
                "  {{\n    \"name\": \"{}\",\n    \"clause\": \"{}\",\n    \"handshake\": \"plain\",\n    \"to\": \"{to}\",\n    \
                 \"outcome\": \"{outcome}\",\n    \"counted\": {counted},\n    \"message\": \"{}\"\n  }}",
                refused.name,
                refused.clause,
                hex(&refused.message)
            )
        })
        .collect();
    format!("[\n{}\n]\n", entries.join(",\n"))
}
