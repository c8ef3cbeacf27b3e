//! Cookies, both ways.

use super::{World, oracle};
use std::{net::SocketAddr, time::Duration};
use vpn_core::{
    base::SecretBytes,
    handshake::{
        HandshakeError,
        hybrid::CookieJar,
        wireguard::{LocalKey, verifies_mac2},
    },
    wire::wireguard::{CookieReply, Initiation, Response},
};
use zerocopy::{FromBytes as _, IntoBytes as _};

const COOKIE: [u8; 16] = [0xc0; 16];
const COOKIES: [[u8; 16]; 2] = [COOKIE, [0xc1; 16]];

fn to_initiation(
    local: &LocalKey,
    message: &Initiation,
    world: &mut rand_chacha::ChaCha20Rng,
) -> CookieReply {
    local.cookie_reply(message.sender, &message.mac1, COOKIE, world)
}

#[test]
fn initiation_after_a_cookie_reply_carries_the_cookie_and_none_did_before() {
    let mut world = World::new();
    let (_, first) = world.start();
    assert_eq!(first.mac2, [0; 16]);
    assert!(!verifies_mac2(first.as_bytes(), &COOKIES));
    let reply = to_initiation(&world.responder.local, &first, &mut world.rng);
    assert_eq!(reply.receiver, first.sender);
    world.initiator.remote.read_cookie_reply(&reply, world.now).expect("genuine");

    let (state, second) = world.start();
    assert!(world.responder.local.verifies_mac1(second.as_bytes()));
    assert!(verifies_mac2(second.as_bytes(), &COOKIES));
    assert!(verifies_mac2(second.as_bytes(), &[COOKIES[1], COOKIE]), "of the secret before");
    assert!(!verifies_mac2(second.as_bytes(), &[[0; 16], COOKIES[1]]));
    let (response, _) = world.answer(&second).expect("genuine");
    world.read(state, &response).expect("genuine");
}

#[test]
fn response_after_a_cookie_reply_carries_the_cookie() {
    let mut world = World::new();
    let (_, initiation) = world.start();
    let (response, _) = world.answer(&initiation).expect("genuine");
    assert_eq!(response.mac2, [0; 16]);
    let reply = world.initiator.local.cookie_reply(response.sender, &response.mac1, COOKIE, &mut world.rng);
    world.responder.remote.read_cookie_reply(&reply, world.now).expect("genuine");
    let (_, initiation) = world.start();
    let (response, _): (Box<Response>, _) = world.answer(&initiation).expect("genuine");
    assert!(verifies_mac2(response.as_bytes(), &COOKIES));
}

#[test]
fn cookie_is_used_for_115_seconds() {
    let mut world = World::new();
    let (_, first) = world.start();
    let reply = to_initiation(&world.responder.local, &first, &mut world.rng);
    world.initiator.remote.read_cookie_reply(&reply, world.now).expect("genuine");
    world.advance(Duration::from_millis(113_999)); // and a second more in `start`
    assert!(verifies_mac2(world.start().1.as_bytes(), &COOKIES));
    assert_eq!(world.start().1.mac2, [0; 16]);
}

#[test]
fn mac2_covers_every_byte_before_it() {
    let mut world = World::new();
    let (_, first) = world.start();
    let reply = to_initiation(&world.responder.local, &first, &mut world.rng);
    world.initiator.remote.read_cookie_reply(&reply, world.now).expect("genuine");
    let (_, message) = world.start();
    for at in 0..size_of::<Initiation>() {
        let mut changed = message.as_bytes().to_vec();
        changed[at] ^= 1 << (at % 8);
        assert!(!verifies_mac2(&changed, &COOKIES), "byte {at}");
    }
    assert!(!verifies_mac2(&message.as_bytes()[..31], &COOKIES));
}

#[test]
fn cookie_reply_with_any_bit_changed_is_refused_and_the_genuine_one_is_still_taken() {
    let mut world = World::new();
    let (_, first) = world.start();
    let reply = to_initiation(&world.responder.local, &first, &mut world.rng);
    // Type and index are not sealed: whoever looks for the peer checks them.
    for bit in 8 * 8..8 * size_of::<CookieReply>() {
        let mut bytes = reply.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let changed = CookieReply::read_from_bytes(&bytes).expect("same size");
        let refused = world.initiator.remote.read_cookie_reply(&changed, world.now);
        assert_eq!(refused, Err(HandshakeError::BadMac), "bit {bit}");
    }
    world.initiator.remote.read_cookie_reply(&reply, world.now).expect("genuine");
}

#[test]
fn one_cookie_reply_is_taken_for_a_message_and_none_before_a_message_or_for_another() {
    let mut world = World::new();
    let (_, first) = world.start();
    let reply = to_initiation(&world.responder.local, &first, &mut world.rng);
    let unasked = world.responder.remote.read_cookie_reply(&reply, world.now);
    assert_eq!(unasked, Err(HandshakeError::NotOffered));
    let (_, second) = world.start();
    let remote = &mut world.initiator.remote;
    assert_eq!(remote.read_cookie_reply(&reply, world.now), Err(HandshakeError::BadMac), "stale");
    let reply = to_initiation(&world.responder.local, &second, &mut world.rng);
    remote.read_cookie_reply(&reply, world.now).expect("genuine");
    assert_eq!(remote.read_cookie_reply(&reply, world.now), Err(HandshakeError::NotOffered), "again");
}

#[test]
fn cookie_reply_by_somebody_else_is_refused() {
    let mut world = World::new();
    let (_, first) = world.start();
    let reply = to_initiation(&world.initiator.local, &first, &mut world.rng);
    let refused = world.initiator.remote.read_cookie_reply(&reply, world.now);
    assert_eq!(refused, Err(HandshakeError::BadMac));
}

#[test]
fn cookie_jar_of_the_hybrid_handshake_serves_this_one_too() {
    let mut world = World::new();
    let jar = CookieJar::new(&mut world.rng, world.now);
    let [here, elsewhere] = [1, 2].map(|host| SocketAddr::from(([192, 0, 2, host], 51820)));
    let (_, first) = world.start();
    let cookie = jar.cookies_of(here)[0];
    let reply = world.responder.local.cookie_reply(first.sender, &first.mac1, cookie, &mut world.rng);
    world.initiator.remote.read_cookie_reply(&reply, world.now).expect("genuine");
    let (_, second) = world.start();
    assert!(verifies_mac2(second.as_bytes(), &jar.cookies_of(here)));
    assert!(!verifies_mac2(second.as_bytes(), &jar.cookies_of(elsewhere)));
}

#[test]
fn cookie_replies_and_mac2_are_those_of_the_second_implementation() {
    let mut world = World::new();
    let (_, first) = world.start();
    let responder = world.responder.local.public_key().0;
    let theirs = oracle::cookie_reply(&responder, first.as_bytes(), [5; 24], COOKIE);
    let mut script = super::script::Script::new(&[&[5; 24]]);
    let ours = world.responder.local.cookie_reply(first.sender, &first.mac1, COOKIE, &mut script);
    assert_eq!(ours.as_bytes(), theirs);

    let reply = CookieReply::read_from_bytes(&theirs).expect("64 bytes");
    world.initiator.remote.read_cookie_reply(&reply, world.now).expect("genuine");
    let (_, second) = world.start();
    let text = second.as_bytes()[..116].to_vec();
    assert_eq!(second.as_bytes(), oracle::with_macs(text, &responder, Some(COOKIE)));
    let secret: SecretBytes<16> = SecretBytes::new(COOKIE);
    assert_eq!(second.mac2, vpn_core::symmetric::blake2s_mac(&secret, &second.as_bytes()[..132]));
}
