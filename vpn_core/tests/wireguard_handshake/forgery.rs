//! What forgers can send: each bit changed, keys of small order, somebody else's messages.

use super::{World, assert_same_keys, local_key};
use vpn_core::{
    asymmetric::{X25519PublicKey, X25519SecretKey},
    base::{ReceiverIndex, SecretBytes},
    handshake::{
        HandshakeError,
        wireguard::{Initiation, RemoteKey, Tai64n, read_initiation},
    },
    wire::wireguard as wire,
};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// The points of small order and their non-canonical encodings (RFC 7748, section 6.1; curve25519 "contributory").
fn small_order() -> Vec<X25519PublicKey> {
    let with = |first: u8, fill: u8, last: u8| {
        let mut bytes = [fill; 32];
        (bytes[0], bytes[31]) = (first, last);
        X25519PublicKey(bytes)
    };
    let order_8: [u8; 32] = [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ];
    vec![
        with(0, 0, 0),
        with(1, 0, 0),
        with(0xec, 0xff, 0x7f),
        with(0xed, 0xff, 0x7f),
        with(0xee, 0xff, 0x7f),
        X25519PublicKey(order_8),
    ]
}

#[test]
fn initiation_with_any_bit_changed_is_refused_and_the_genuine_one_is_still_taken() {
    let mut world = World::new();
    let (state, initiation) = world.start();
    for bit in 0..8 * 116 {
        let mut bytes = initiation.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(!world.responder.local.verifies_mac1(&bytes), "bit {bit}");
        let changed = wire::Initiation::read_from_bytes(&bytes).expect("same size");
        if bit < 8 * 8 {
            continue; // Type and index: under no seal. With another index the response finds nobody.
        }
        let refused = world.answer(&changed).expect_err("forged");
        assert_eq!(refused, HandshakeError::BadSeal, "bit {bit}");
    }
    let (response, theirs) = world.answer(&initiation).expect("genuine");
    assert_same_keys(&world.read(state, &response).expect("genuine"), &theirs);
}

#[test]
fn top_bit_of_an_ephemeral_key_is_part_of_the_transcript() {
    let mut world = World::new();
    let (state, mut initiation) = world.start();
    initiation.ephemeral[31] ^= 0x80;
    assert_eq!(world.answer(&initiation).expect_err("forged"), HandshakeError::BadSeal);
    initiation.ephemeral[31] ^= 0x80;
    let (mut response, _) = world.answer(&initiation).expect("genuine");
    response.ephemeral[31] ^= 0x80;
    assert_eq!(world.read(state, &response).expect_err("forged"), HandshakeError::BadSeal);
}

#[test]
fn response_with_any_bit_changed_is_refused_and_the_genuine_one_is_still_taken() {
    let mut world = World::new();
    let (mut state, initiation) = world.start();
    let (response, theirs) = world.answer(&initiation).expect("genuine");
    let (local, preshared_key) = (&world.initiator.local, &world.initiator.preshared_key);
    for bit in 8 * 8..8 * 60 {
        let mut bytes = response.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(!local.verifies_mac1(&bytes), "bit {bit}");
        let changed = wire::Response::read_from_bytes(&bytes).expect("same size");
        let rejected = state.read_response(&changed, local, preshared_key).expect_err("forged");
        let expected = if bit < 8 * 12 { HandshakeError::UnknownIndex } else { HandshakeError::BadSeal };
        assert_eq!(rejected.error, expected, "bit {bit}");
        state = *rejected.state;
    }
    assert_same_keys(&world.read(state, &response).expect("genuine"), &theirs);
}

#[test]
fn response_to_another_initiation_is_refused() {
    let mut world = World::new();
    let (_, first) = world.start();
    let (second, _) = world.start();
    let (response, _) = world.answer(&first).expect("genuine");
    assert_eq!(world.read(second, &response).expect_err("stale"), HandshakeError::BadSeal);
}

#[test]
fn initiation_for_another_responder_is_refused() {
    let mut world = World::new();
    let (_, initiation) = world.start();
    let other = local_key([9; 32]);
    assert_eq!(read_initiation(&other, &initiation).expect_err("not ours"), HandshakeError::BadSeal);
}

/// Whoever knows both public keys can make an initiation up to its static key, not further.
#[test]
fn initiation_in_the_name_of_a_peer_is_refused_and_leaves_no_trace() {
    let mut world = World::new();
    let impostor = local_key([9; 32]);
    // Sealed with the impostor's own static agreement, under the peer's name.
    let mut remote = RemoteKey::new(&impostor, world.responder.local.public_key());
    let timestamp = Tai64n::from_unix(std::time::Duration::from_secs(u64::from(u32::MAX)));
    let index = ReceiverIndex::new(3);
    let started =
        Initiation::start(&world.initiator.local, &mut remote, index, timestamp, &mut world.rng, world.now);
    let (_, forged) = started.expect("honest keys");
    let received = read_initiation(&world.responder.local, &forged).expect("made for us");
    assert_eq!(received.initiator(), world.initiator.local.public_key());
    let refused = received.authenticate(&mut world.responder.remote, world.now);
    assert_eq!(refused.expect_err("forged"), HandshakeError::BadSeal);
    let (_, genuine) = world.start();
    world.now -= std::time::Duration::from_secs(1); // The same instant as the forged one: it did not count.
    world.answer(&genuine).expect("genuine, though its timestamp is less");
}

#[test]
fn initiation_of_one_peer_is_not_authenticated_as_another() {
    let mut world = World::new();
    let (_, initiation) = world.start();
    let mut other = RemoteKey::new(&world.responder.local, local_key([9; 32]).public_key());
    let received = read_initiation(&world.responder.local, &initiation).expect("genuine");
    assert_eq!(received.authenticate(&mut other, world.now).expect_err("another"), HandshakeError::BadKey);
}

#[test]
fn ephemeral_keys_of_small_order_are_refused() {
    for key in small_order() {
        let mut world = World::new();
        let (state, initiation) = world.start();
        let (response, _) = world.answer(&initiation).expect("genuine");
        let bad = wire::Initiation { ephemeral: key.0, ..*initiation };
        assert_eq!(world.answer(&bad).expect_err("invalid"), HandshakeError::BadKey, "{key:?}");
        let bad = wire::Response { ephemeral: key.0, ..*response };
        assert_eq!(world.read(state, &bad).expect_err("invalid"), HandshakeError::BadKey, "{key:?}");
    }
}

#[test]
fn peer_with_a_static_key_of_small_order_gets_no_handshake() {
    for key in small_order() {
        let mut world = World::new();
        world.initiator.remote = RemoteKey::new(&world.initiator.local, key);
        let (index, timestamp) = (ReceiverIndex::new(3), Tai64n::from_unix(world.wall_clock));
        let started = Initiation::start(
            &world.initiator.local,
            &mut world.initiator.remote,
            index,
            timestamp,
            &mut world.rng,
            world.now,
        );
        assert_eq!(started.expect_err("invalid"), HandshakeError::BadKey, "{key:?}");
    }
    assert!(X25519SecretKey::new(&SecretBytes::new([1; 32])).agree(&small_order()[0]).is_err());
}
