//! The WireGuard handshake on its states themselves: no device, no time. Against a second implementation
//! (`differential.rs`), against forgers (`forgery.rs`), and its cookies (`cookies.rs`).

mod cookies;
mod differential;
mod forgery;
mod oracle;
#[path = "../vectors/script.rs"]
mod script;

use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use std::time::{Duration, Instant};
use vpn_core::{
    asymmetric::X25519SecretKey,
    base::{ReceiverIndex, SecretBytes},
    handshake::{
        Agreement, HandshakeError, PresharedKey, Protocol, Role,
        wireguard::{Authenticated, Initiation, LocalKey, RemoteKey, Tai64n, read_initiation},
    },
    symmetric::Suite,
    wire::wireguard as wire,
};
use zerocopy::IntoBytes as _;

/// One node: its key, its peer, and its clocks.
struct Node {
    local: LocalKey,
    remote: RemoteKey,
    index: ReceiverIndex,
    preshared_key: PresharedKey,
}

/// Two nodes that are peers of each other, one source of chance, and the time.
struct World {
    rng: ChaCha20Rng,
    initiator: Node,
    responder: Node,
    now: Instant,
    /// Since the Unix epoch.
    wall_clock: Duration,
}

fn local_key(secret: [u8; 32]) -> LocalKey {
    LocalKey::new(X25519SecretKey::new(&SecretBytes::new(secret)))
}

impl World {
    fn new() -> Self {
        let node = |own: u8, peer: u8, index| {
            let local = local_key([own; 32]);
            let remote = RemoteKey::new(&local, local_key([peer; 32]).public_key());
            Node { local, remote, index: ReceiverIndex::new(index), preshared_key: PresharedKey::ZERO }
        };
        Self {
            rng: ChaCha20Rng::seed_from_u64(1),
            initiator: node(1, 2, 0x1111),
            responder: node(2, 1, 0x2222),
            now: Instant::now(),
            wall_clock: Duration::from_secs(1_800_000_000),
        }
    }

    fn advance(&mut self, time: Duration) {
        self.now += time;
        self.wall_clock += time;
    }

    fn start(&mut self) -> (Initiation, Box<wire::Initiation>) {
        self.advance(Duration::from_secs(1));
        let Node { local, remote, index, .. } = &mut self.initiator;
        let timestamp = Tai64n::from_unix(self.wall_clock);
        Initiation::start(local, remote, *index, timestamp, &mut self.rng, self.now).expect("honest keys")
    }

    fn authenticate(&mut self, message: &wire::Initiation) -> Result<Authenticated, HandshakeError> {
        let Node { local, remote, .. } = &mut self.responder;
        read_initiation(local, message)?.authenticate(remote, self.now)
    }

    fn answer(
        &mut self,
        message: &wire::Initiation,
    ) -> Result<(Box<wire::Response>, Agreement), HandshakeError> {
        let authenticated = self.authenticate(message)?;
        let Node { remote, preshared_key, index, .. } = &mut self.responder;
        authenticated.respond(remote, preshared_key, *index, &mut self.rng, self.now)
    }

    fn read(&self, state: Initiation, response: &wire::Response) -> Result<Agreement, HandshakeError> {
        let Node { local, preshared_key, .. } = &self.initiator;
        state.read_response(response, local, preshared_key).map_err(|rejected| rejected.error)
    }
}

fn assert_same_keys(initiator: &Agreement, responder: &Agreement) {
    assert!(initiator.sending.ct_eq(&responder.receiving));
    assert!(initiator.receiving.ct_eq(&responder.sending));
    assert!(!initiator.sending.ct_eq(&initiator.receiving));
    assert_eq!(initiator.local_index, responder.remote_index);
    assert_eq!(initiator.remote_index, responder.local_index);
}

// ---- agreement ----

#[test]
fn both_ends_agree_on_keys_and_indices() {
    let mut world = World::new();
    let (state, initiation) = world.start();
    let received = read_initiation(&world.responder.local, &initiation).expect("genuine");
    assert_eq!(received.initiator(), world.initiator.local.public_key());
    let (response, theirs) = world.answer(&initiation).expect("genuine");
    let ours = world.read(state, &response).expect("genuine");
    assert_same_keys(&ours, &theirs);
    assert_eq!((ours.role, theirs.role), (Role::Initiator, Role::Responder));
    for agreement in [ours, theirs] {
        assert_eq!((agreement.protocol, agreement.suite), (Protocol::Wireguard, Suite::ChaCha20Poly1305));
    }
}

#[test]
fn both_ends_agree_only_with_the_same_preshared_key() {
    for (theirs, agree) in [(7, true), (8, false), (0, false)] {
        let mut world = World::new();
        world.initiator.preshared_key = SecretBytes::new([7; 32]);
        world.responder.preshared_key = SecretBytes::new([theirs; 32]);
        let (state, initiation) = world.start();
        let (response, theirs) = world.answer(&initiation).expect("the initiation does not tell");
        match world.read(state, &response) {
            Ok(ours) => {
                assert!(agree);
                assert_same_keys(&ours, &theirs);
            }
            Err(error) => assert_eq!((error, agree), (HandshakeError::BadSeal, false)),
        }
    }
}

#[test]
fn both_ends_agree_again_after_one_changed_its_key() {
    let mut world = World::new();
    world.start();
    let changed = local_key([9; 32]);
    world.initiator.remote = RemoteKey::new(&world.initiator.local, changed.public_key());
    let peer = RemoteKey::new(&world.responder.local, world.initiator.local.public_key());
    world.responder.remote = peer.rekeyed(Some(&changed));
    world.responder.local = changed;
    let (state, initiation) = world.start();
    let (response, theirs) = world.answer(&initiation).expect("genuine");
    assert_same_keys(&world.read(state, &response).expect("genuine"), &theirs);
}

#[test]
fn nothing_of_a_key_that_was_taken_away_authenticates_anybody() {
    let mut world = World::new();
    let (_, initiation) = world.start();
    let peer = world.responder.remote;
    world.responder.remote = peer.rekeyed(None);
    assert_eq!(world.answer(&initiation).expect_err("no key"), HandshakeError::BadKey);
    let peer = world.responder.remote;
    world.responder.remote = peer.rekeyed(Some(&world.responder.local));
    world.answer(&initiation).expect("genuine");
}

// ---- timestamps ----

#[test]
fn replayed_or_older_initiation_is_refused_and_a_newer_one_is_not() {
    let mut world = World::new();
    let (_, older) = world.start();
    let (_, newer) = world.start();
    world.answer(&newer).expect("genuine");
    world.advance(Duration::from_secs(100));
    for refused in [&newer, &older] {
        assert_eq!(world.answer(refused).expect_err("not new"), HandshakeError::Replayed);
    }
    let (_, newest) = world.start();
    world.answer(&newest).expect("genuine");
}

#[test]
fn initiation_is_refused_as_replayed_after_our_key_changed_and_came_back() {
    let mut world = World::new();
    let (_, initiation) = world.start();
    world.answer(&initiation).expect("genuine");
    world.advance(Duration::from_secs(100));
    let peer = world.responder.remote;
    world.responder.remote = peer.rekeyed(Some(&local_key([9; 32]))).rekeyed(Some(&world.responder.local));
    assert_eq!(
        read_initiation(&world.responder.local, &initiation)
            .expect("genuine")
            .authenticate(&mut world.responder.remote, world.now)
            .expect_err("not new"),
        HandshakeError::Replayed
    );
}

#[test]
fn more_than_fifty_initiations_a_second_are_refused_and_do_not_count_as_seen() {
    let mut world = World::new();
    let (_, first) = world.start();
    let (_, second) = world.start();
    world.authenticate(&first).expect("genuine");
    world.now += Duration::from_nanos(19_999_999);
    assert_eq!(world.authenticate(&second).expect_err("soon"), HandshakeError::TooFrequent);
    world.now += Duration::from_nanos(1);
    world.authenticate(&second).expect("20 ms after the first");
}

// ---- macs ----

#[test]
fn mac1_is_for_the_receiver_alone_and_covers_every_byte_before_it() {
    let mut world = World::new();
    let (_, initiation) = world.start();
    let (response, _) = world.answer(&initiation).expect("genuine");
    let (initiator, responder) = (&world.initiator.local, &world.responder.local);
    for (message, receiver, sender) in
        [(initiation.as_bytes(), responder, initiator), (response.as_bytes(), initiator, responder)]
    {
        assert!(receiver.verifies_mac1(message));
        assert!(!sender.verifies_mac1(message));
        for at in 0..message.len() {
            let mut changed = message.to_vec();
            changed[at] ^= 1 << (at % 8);
            // Mac2 is not covered: it is made after mac1.
            assert_eq!(receiver.verifies_mac1(&changed), at >= message.len() - wire::MAC_SIZE, "byte {at}");
        }
    }
}

#[test]
fn message_too_short_for_macs_has_none() {
    let local = local_key([1; 32]);
    for len in 0..2 * wire::MAC_SIZE {
        assert!(!local.verifies_mac1(&vec![0; len]));
    }
}

// ---- layouts ----

#[test]
fn messages_are_recognised_by_all_four_type_bytes_and_exact_length() {
    let sizes = [(1, 148), (2, 92), (3, 64)];
    let kind = |datagram: &[u8]| match wire::Message::parse(datagram) {
        Some(wire::Message::Initiation(_)) => 1,
        Some(wire::Message::Response(_)) => 2,
        Some(wire::Message::CookieReply(_)) => 3,
        None => 0,
    };
    for (expected, size) in sizes {
        let mut datagram = vec![0; size];
        datagram[0] = expected;
        assert_eq!(kind(&datagram), expected);
        assert_eq!(kind(&datagram[..size - 1]), 0);
        assert_eq!(kind(&[&datagram[..], &[0]].concat()), 0);
        for at in 1..4 {
            datagram[at] = 1;
            assert_eq!(kind(&datagram), 0, "byte {at}");
            datagram[at] = 0;
        }
    }
    assert_eq!(kind(&[]), 0);
}
