//! The rules that the security of the hybrid handshake rests on (protocol.md 6), one test each, on the handshake
//! states themselves: no device, no time.

mod cookies;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use std::{net::SocketAddr, time::Instant};
use vpn_core::{
    asymmetric::{Identity, PublicKey},
    base::{ReceiverIndex, SecretBytes},
    handshake::{
        Agreement, HandshakeError, PresharedKey,
        hybrid::{
            Completed, CookieJar, HalfOpen, InitGate, Initiation, InitiatorSettings, MAX_FINISH_FAILURES,
            MAX_RESPONSE_FAILURES, NetworkKey, Rejected, ResponderSettings, ResponseMacKey, init_hash,
            respond,
        },
    },
    symmetric::{DeriveKey, Suite, keyed_hash},
    wire::hybrid::{CookieReply, Finish, Init, Message, ParametersBytes, Response, SuiteSet, without_mac},
};
use zerocopy::{FromBytes as _, IntoBytes as _};

const BOTH: SuiteSet = SuiteSet::WITH_AES_256_GCM;
const CHACHA: SuiteSet = SuiteSet::CHACHA20_POLY1305;

/// Two nodes, their secrets, and one source of chance.
struct World {
    rng: ChaCha20Rng,
    initiator: Identity,
    responder: Identity,
    gate: InitGate,
    jar: CookieJar,
    network_key: NetworkKey,
    now: Instant,
    offered: SuiteSet,
    supported: SuiteSet,
}

fn seeded(byte: u8) -> Identity {
    Identity::from_seed(&SecretBytes::new([byte; 32]))
}

fn address() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 51820))
}

fn parameters(mtu: u16) -> ParametersBytes {
    ParametersBytes { mtu: mtu.into(), ..ParametersBytes::default() }
}

impl World {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let responder = seeded(2);
        let now = Instant::now();
        Self {
            gate: InitGate::new(responder.public_key(), Vec::new()),
            jar: CookieJar::new(&mut rng, now),
            initiator: seeded(1),
            responder,
            network_key: NetworkKey::ZERO,
            now,
            offered: BOTH,
            supported: BOTH,
            rng,
        }
    }

    fn start(&mut self) -> (Initiation, Box<Init>) {
        let settings = InitiatorSettings {
            responder: self.responder.public_key(),
            network_key: &self.network_key,
            suites: self.offered,
        };
        Initiation::start(&settings, ReceiverIndex::new(0x1111), &mut self.rng)
    }

    fn check(&self, init: &Init) -> Result<bool, HandshakeError> {
        self.gate.check(init, || self.jar.cookies_of(address())).map(|verified| verified.has_cookie())
    }

    fn answer(&mut self, init: &Init) -> Result<(Box<Response>, HalfOpen), HandshakeError> {
        let verified = self.gate.check(init, || self.jar.cookies_of(address()))?;
        let settings = ResponderSettings {
            identity: &self.responder,
            suites: self.supported,
            parameters: parameters(1400),
        };
        respond(&verified, &settings, ReceiverIndex::new(0x2222), &mut self.rng)
    }

    fn cookie_reply(&mut self, init: &Init, to: SocketAddr) -> CookieReply {
        let verified = self.gate.check(init, || self.jar.cookies_of(to)).expect("a genuine init");
        self.jar.reply(&verified, to, &mut self.rng)
    }

    fn read(&self, state: Initiation, response: &Response) -> Result<Completed, Rejected> {
        state.read_response(response, &self.initiator, &PresharedKey::ZERO, parameters(1300))
    }

    /// A handshake up to its finish.
    fn finish(&mut self) -> (HalfOpen, Completed) {
        let (state, init) = self.start();
        let (response, half_open) = self.answer(&init).expect("a genuine init");
        (half_open, self.read(state, &response).expect("a genuine response"))
    }
}

fn accept(half_open: &HalfOpen, finish: &Finish) -> Result<Agreement, HandshakeError> {
    half_open.read_identity(finish)?.authenticate(half_open, finish, &PresharedKey::ZERO)
}

/// Makes an init's mac anew, as anybody can who knows the responder's identity.
fn remac_init(init: &mut Init, responder: &PublicKey) {
    let key = DeriveKey::new("VPN hybrid v1 init mac").with(&responder.0).with(&[0; 32]).finish();
    init.mac = *keyed_hash(&key, without_mac(init)).first_chunk().expect("a hash");
}

/// Makes a response's mac anew, as anybody can who saw the init.
fn remac_response(response: &mut Response, init: &Init) {
    let key = SecretBytes::new(init_hash(init));
    response.mac = *keyed_hash(&key, without_mac(response)).first_chunk().expect("a hash");
    assert!(ResponseMacKey::new(init_hash(init)).verifies(response));
}

fn assert_same_keys(initiator: &Agreement, responder: &Agreement) {
    assert!(initiator.sending.ct_eq(&responder.receiving));
    assert!(initiator.receiving.ct_eq(&responder.sending));
    assert!(!initiator.sending.ct_eq(&initiator.receiving));
    assert_eq!(initiator.suite, responder.suite);
    assert_eq!(initiator.local_index, responder.remote_index);
    assert_eq!(initiator.remote_index, responder.local_index);
}

fn error(result: Result<Completed, Rejected>) -> HandshakeError {
    result.expect_err("must be refused").error
}

// ---- agreement ----

#[test]
fn both_ends_agree_on_keys_indices_suite_and_parameters() {
    let mut world = World::new();
    let (half_open, completed) = world.finish();
    let claimed = half_open.read_identity(&completed.finish).expect("genuine");
    assert_eq!(claimed.identity(), world.initiator.public_key());
    let agreement = accept(&half_open, &completed.finish).expect("genuine");
    assert_same_keys(&completed.agreement, &agreement);
    assert_eq!(completed.agreement.parameters, parameters(1400));
    assert_eq!(agreement.parameters, parameters(1300));
}

#[test]
fn aes_is_chosen_only_when_both_ends_have_it() {
    for (offered, supported, expected) in [
        (BOTH, BOTH, Suite::Aes256Gcm),
        (BOTH, CHACHA, Suite::ChaCha20Poly1305),
        (CHACHA, BOTH, Suite::ChaCha20Poly1305),
        (CHACHA, CHACHA, Suite::ChaCha20Poly1305),
    ] {
        let mut world = World { offered, supported, ..World::new() };
        let (half_open, completed) = world.finish();
        assert_eq!(completed.agreement.suite, expected);
        assert_same_keys(&completed.agreement, &accept(&half_open, &completed.finish).expect("genuine"));
    }
}

// ---- macs ----

#[test]
fn init_with_any_bit_changed_is_not_answered() {
    let mut world = World::new();
    let (_, init) = world.start();
    for at in (0..size_of::<Init>()).step_by(3).chain(0..48) {
        let mut bytes = init.as_bytes().to_vec();
        bytes[at] ^= 1 << (at % 8);
        let changed = Init::read_from_bytes(&bytes).expect("same size");
        assert_eq!(world.check(&changed), Err(HandshakeError::BadMac), "byte {at}");
    }
}

#[test]
fn init_under_a_network_key_that_is_not_in_force_is_not_answered() {
    let mut world = World::new();
    let keys = || vec![SecretBytes::new([1; 32]), SecretBytes::new([2; 32])];
    world.gate = InitGate::new(world.responder.public_key(), keys());
    for (byte, expected) in
        [(0, Err(HandshakeError::BadMac)), (1, Ok(false)), (2, Ok(false)), (3, Err(HandshakeError::BadMac))]
    {
        world.network_key = SecretBytes::new([byte; 32]);
        let (_, init) = world.start();
        assert_eq!(world.check(&init), expected, "network key {byte}");
    }
}

#[test]
fn response_made_without_seeing_the_init_is_dropped_before_any_public_key_work_and_not_counted() {
    let mut world = World::new();
    let (mut state, init) = world.start();
    let (response, _) = world.answer(&init).expect("a genuine init");
    for _ in 0..3 * u32::from(MAX_RESPONSE_FAILURES) {
        let mut forged = response.clone();
        forged.sealed[0] ^= 1;
        let rejected = world.read(state, &forged).expect_err("a forgery");
        assert_eq!(rejected.error, HandshakeError::BadMac);
        state = *rejected.state.expect("the handshake goes on");
    }
    assert!(world.read(state, &response).is_ok());
}

// ---- flags, suites, versions, lengths ----

#[test]
fn unknown_flag_and_suite_bits_of_an_init_are_ignored_but_hashed() {
    let mut world = World::new();
    let (state, mut init) = world.start();
    init.header.flags |= 0b1110;
    init.header.suites = SuiteSet(0b1000_0001);
    remac_init(&mut init, &world.responder.public_key());
    let (mut response, _) = world.answer(&init).expect("unknown bits are ignored");
    assert_eq!(response.header.flags, 0, "the response sets only flags that it knows");
    assert_eq!(response.header.suites, CHACHA);
    // The initiator sent other bits: somebody changed them on the way, and the transcripts differ.
    let (_, original) = World::new().start();
    remac_response(&mut response, &original);
    assert_eq!(error(world.read(state, &response)), HandshakeError::BadSeal);
}

#[test]
fn init_that_does_not_offer_the_mandatory_suite_is_refused() {
    let mut world = World { offered: SuiteSet(2), ..World::new() };
    let (_, init) = world.start();
    assert_eq!(world.check(&init), Err(HandshakeError::NotOffered));
}

#[test]
fn response_with_flags_or_suites_that_were_not_offered_is_refused_and_the_handshake_goes_on() {
    let mut world = World { offered: CHACHA, ..World::new() };
    let (mut state, init) = world.start();
    let (genuine, half_open) = world.answer(&init).expect("a genuine init");
    for (flags, suites) in [(1, 1), (2, 1), (0x80, 1), (0, 0), (0, 2), (0, 3), (0, 4), (0, 0x81)] {
        let mut response = genuine.clone();
        response.header.flags = flags;
        response.header.suites = SuiteSet(suites);
        remac_response(&mut response, &init);
        let rejected = world.read(state, &response).expect_err("not offered");
        assert_eq!(rejected.error, HandshakeError::NotOffered, "flags {flags:#x}, suites {suites:#x}");
        state = *rejected.state.expect("the handshake goes on");
    }
    let completed = world.read(state, &genuine).expect("the genuine one");
    assert_same_keys(&completed.agreement, &accept(&half_open, &completed.finish).expect("genuine"));
}

#[test]
fn suite_of_a_response_cannot_be_changed_on_the_way() {
    let mut world = World::new();
    let (state, init) = world.start();
    let (mut response, _) = world.answer(&init).expect("a genuine init");
    response.header.suites = CHACHA;
    remac_response(&mut response, &init);
    assert_eq!(error(world.read(state, &response)), HandshakeError::BadSeal, "a downgrade");
}

#[test]
fn finish_whose_flags_differ_from_the_responses_is_refused() {
    let mut world = World::new();
    let (half_open, completed) = world.finish();
    for (flags, suites) in [(1, 0), (2, 0), (0x80, 0), (0, 1)] {
        let mut finish = completed.finish.clone();
        finish.header.flags = flags;
        finish.header.suites = SuiteSet(suites);
        assert_eq!(accept(&half_open, &finish).expect_err("refused"), HandshakeError::NotOffered);
    }
    assert!(accept(&half_open, &completed.finish).is_ok());
}

#[test]
fn cookie_reply_that_sets_flags_is_refused() {
    let mut world = World::new();
    let (mut state, init) = world.start();
    let genuine = world.cookie_reply(&init, address());
    for (flags, suites) in [(1, 0), (0x80, 0), (0, 1)] {
        let mut reply = genuine.clone();
        reply.header.flags = flags;
        reply.header.suites = SuiteSet(suites);
        assert_eq!(state.read_cookie_reply(&reply).expect_err("refused"), HandshakeError::NotOffered);
    }
    assert!(state.read_cookie_reply(&genuine).is_ok());
}

#[test]
fn wrong_versions_and_lengths_are_no_messages() {
    let mut world = World::new();
    let (state, init) = world.start();
    let (response, _) = world.answer(&init).expect("a genuine init");
    let reply = world.cookie_reply(&init, address());
    let completed = world.read(state, &response).expect("a genuine response");
    let messages = [init.as_bytes(), response.as_bytes(), completed.finish.as_bytes(), reply.as_bytes()];
    for bytes in messages {
        assert!(Message::parse(bytes).is_some());
        assert!(bytes.len() <= vpn_core::wire::MAX_HANDSHAKE_MESSAGE);
        for version in [0, 2, 255] {
            let mut changed = bytes.to_vec();
            changed[1] = version;
            assert!(Message::parse(&changed).is_none());
        }
        assert!(Message::parse(&bytes[..bytes.len() - 1]).is_none());
        assert!(Message::parse(&[bytes, &[0]].concat()).is_none());
    }
    let mut confirm = vec![0; 1136];
    confirm[..2].copy_from_slice(&[9, 1]);
    assert!(Message::parse(&confirm).is_none(), "type 9 is reserved");
    assert!(response.as_bytes().len() <= init.as_bytes().len(), "no amplification");
}

// ---- ephemeral keys ----

/// u coordinates of the points of small order, RFC 7748 section 6.1 and its non-canonical twins.
fn low_order_points() -> Vec<[u8; 32]> {
    let mut one = [0; 32];
    one[0] = 1;
    let eight_a = hex32("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800");
    let eight_b = hex32("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157");
    let mut p = [0xff; 32];
    p[31] = 0x7f;
    let with_low_byte = |byte| {
        let mut point = p;
        point[0] = byte;
        point
    };
    vec![[0; 32], one, eight_a, eight_b, with_low_byte(0xec), with_low_byte(0xed), with_low_byte(0xee)]
}

fn hex32(text: &str) -> [u8; 32] {
    core::array::from_fn(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).expect("hex"))
}

#[test]
fn low_order_x25519_keys_are_refused_by_the_responder() {
    let mut world = World::new();
    for point in low_order_points() {
        let (_, mut init) = world.start();
        init.ephemeral = point;
        remac_init(&mut init, &world.responder.public_key());
        assert_eq!(world.answer(&init).expect_err("refused"), HandshakeError::BadKey, "{point:x?}");
    }
}

#[test]
fn low_order_x25519_keys_are_refused_by_the_initiator() {
    let mut world = World::new();
    for point in low_order_points() {
        let (state, init) = world.start();
        let (mut response, _) = world.answer(&init).expect("a genuine init");
        response.ephemeral = point;
        remac_response(&mut response, &init);
        assert_eq!(error(world.read(state, &response)), HandshakeError::BadKey, "{point:x?}");
    }
}

#[test]
fn ml_kem_keys_with_a_coefficient_beyond_the_modulus_are_refused() {
    let mut world = World::new();
    // FIPS 203, 7.2: a coefficient of 12 bits must be below q = 3329. The first, one in the middle, the last.
    for at in [0, 3 * 191, 3 * 383] {
        let (_, mut init) = world.start();
        init.encapsulation_key[at] = 0x01;
        init.encapsulation_key[at + 1] = (init.encapsulation_key[at + 1] & 0xf0) | 0x0d; // 0xd01 = 3329
        remac_init(&mut init, &world.responder.public_key());
        assert_eq!(world.answer(&init).expect_err("refused"), HandshakeError::BadKey);
        init.encapsulation_key[at] = 0x00; // 3328
        remac_init(&mut init, &world.responder.public_key());
        assert!(world.answer(&init).is_ok());
    }
}

#[test]
fn damaged_ciphertext_is_found_out_by_the_seal() {
    let mut world = World::new();
    let (state, init) = world.start();
    let (mut response, _) = world.answer(&init).expect("a genuine init");
    response.ciphertext[500] ^= 1;
    remac_response(&mut response, &init);
    assert_eq!(error(world.read(state, &response)), HandshakeError::BadSeal);
}

// ---- failures never end a handshake, up to a point ----

#[test]
fn sixteen_responses_of_somebody_who_saw_the_init_end_it_and_fifteen_do_not() {
    let mut world = World::new();
    for tries in [MAX_RESPONSE_FAILURES - 1, MAX_RESPONSE_FAILURES] {
        let (mut state, init) = world.start();
        let (genuine, _) = world.answer(&init).expect("a genuine init");
        for n in 1..=tries {
            let mut forged = genuine.clone();
            forged.sealed[usize::from(n)] ^= 1;
            remac_response(&mut forged, &init);
            let rejected = world.read(state, &forged).expect_err("a forgery");
            assert_eq!(rejected.error, HandshakeError::BadSeal);
            let Some(kept) = rejected.state else {
                assert_eq!(n, MAX_RESPONSE_FAILURES);
                return;
            };
            state = *kept;
        }
        assert!(world.read(state, &genuine).is_ok(), "after {tries} forgeries");
    }
    panic!("the sixteenth forgery must end the handshake");
}

#[test]
fn response_to_another_index_is_dropped_and_not_counted() {
    let mut world = World::new();
    let (mut state, init) = world.start();
    let (genuine, _) = world.answer(&init).expect("a genuine init");
    let mut misdirected = genuine.clone();
    misdirected.receiver = ReceiverIndex::new(0x1112);
    remac_response(&mut misdirected, &init);
    for _ in 0..=MAX_RESPONSE_FAILURES {
        let rejected = world.read(state, &misdirected).expect_err("not ours");
        state = *rejected.state.expect("not counted");
    }
    assert!(world.read(state, &genuine).is_ok());
}

#[test]
fn finishes_whose_first_block_does_not_open_are_not_counted() {
    let mut world = World::new();
    let (half_open, completed) = world.finish();
    for at in 0..112 {
        let mut finish = completed.finish.clone();
        finish.sealed_identity[at] ^= 0x10;
        // `read_identity` takes the state by shared reference: there is nothing that it could count in.
        assert_eq!(half_open.read_identity(&finish).expect_err("damaged"), HandshakeError::BadSeal);
    }
    assert!(accept(&half_open, &completed.finish).is_ok());
}

#[test]
fn sixteen_finishes_that_fail_behind_their_first_block_are_too_many() {
    let mut world = World::new();
    let (mut half_open, completed) = world.finish();
    let mut finish = completed.finish.clone();
    finish.sealed_parameters[0] ^= 1;
    for n in 1..=MAX_FINISH_FAILURES {
        assert_eq!(accept(&half_open, &finish).expect_err("damaged"), HandshakeError::BadSeal);
        assert_eq!(half_open.count_failure(), n < MAX_FINISH_FAILURES, "failure {n}");
    }
}

#[test]
fn finish_for_another_handshake_is_refused() {
    let mut world = World::new();
    let (half_open, _) = world.finish();
    let (_, other) = world.finish();
    assert_eq!(accept(&half_open, &other.finish).expect_err("another"), HandshakeError::BadSeal);
    let mut renamed = other.finish;
    renamed.receiver = ReceiverIndex::new(0x3333);
    assert_eq!(accept(&half_open, &renamed).expect_err("another"), HandshakeError::UnknownIndex);
}

// ---- identities and preshared keys ----

#[test]
fn response_signed_by_another_identity_is_refused() {
    let mut world = World::new();
    let (state, init) = world.start();
    world.responder = seeded(3); // The gate is still the genuine one's: a thief of its configuration, not of its key.
    let (response, _) = world.answer(&init).expect("the mac is right");
    assert_eq!(
        error(world.read(state, &response)),
        HandshakeError::BadSeal,
        "the transcript names the responder"
    );
}

#[test]
fn responders_own_identity_is_refused_in_a_finish() {
    let mut world = World::new();
    world.initiator = seeded(2);
    let (half_open, completed) = world.finish();
    assert_eq!(accept(&half_open, &completed.finish).expect_err("refused"), HandshakeError::BadSignature);
}

#[test]
fn preshared_keys_must_match_in_the_second_block_and_leave_the_first_readable() {
    let mut world = World::new();
    for (ours, theirs) in [(1, 1), (1, 2), (1, 0), (0, 1)] {
        let (state, init) = world.start();
        let (response, half_open) = world.answer(&init).expect("a genuine init");
        let key = |byte| PresharedKey::new([byte; 32]);
        let completed = state
            .read_response(&response, &world.initiator, &key(ours), parameters(1300))
            .expect("a preshared key plays no part before the finish");
        let claimed = half_open.read_identity(&completed.finish).expect("the first block");
        let result = claimed.authenticate(&half_open, &completed.finish, &key(theirs));
        match result {
            Ok(agreement) => {
                assert_eq!(ours, theirs);
                assert_same_keys(&completed.agreement, &agreement);
            }
            Err(error) => {
                assert_ne!(ours, theirs);
                assert_eq!(error, HandshakeError::BadSeal);
            }
        }
    }
}

#[test]
fn repeated_init_answered_anew_gets_a_fresh_ephemeral_and_a_fresh_encapsulation() {
    let mut world = World::new();
    let (_, init) = world.start();
    let (first, _) = world.answer(&init).expect("a genuine init");
    let (second, _) = world.answer(&init).expect("a genuine init");
    assert_ne!(first.ephemeral, second.ephemeral);
    assert_ne!(first.ciphertext, second.ciphertext);
    assert_ne!(first.sealed, second.sealed);
}
