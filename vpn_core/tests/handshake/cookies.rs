//! Cookies (protocol.md 5).

use super::{World, accept, address, assert_same_keys};
use std::net::SocketAddr;
use vpn_core::{
    handshake::{HandshakeError, hybrid::COOKIE_LIFETIME},
    wire::hybrid::FLAG_COOKIE,
};

#[test]
fn one_cookie_reply_is_taken_for_an_init_and_none_for_an_init_with_a_cookie() {
    let mut world = World::new();
    let (mut state, init) = world.start();
    let reply = world.cookie_reply(&init, address());
    let with_cookie = state.read_cookie_reply(&reply).expect("genuine");
    assert_eq!(with_cookie.header.flags, FLAG_COOKIE);
    assert_eq!(world.check(&with_cookie), Ok(true));
    assert_eq!(state.read_cookie_reply(&reply).expect_err("again"), HandshakeError::NotOffered);
    let second = world.cookie_reply(&with_cookie, address());
    assert_eq!(state.read_cookie_reply(&second).expect_err("again"), HandshakeError::NotOffered);
    let (_, next) = world.start();
    assert_eq!(next.header.flags, 0, "the next init goes without");
}

#[test]
fn both_inits_of_a_cookie_exchange_may_be_answered() {
    for answer_first in [true, false] {
        let mut world = World::new();
        let (mut state, init) = world.start();
        let reply = world.cookie_reply(&init, address());
        let with_cookie = state.read_cookie_reply(&reply).expect("genuine");
        let answered = if answer_first { init } else { with_cookie };
        let (response, half_open) = world.answer(&answered).expect("genuine");
        let completed = world.read(state, &response).expect("either is answerable");
        assert_same_keys(&completed.agreement, &accept(&half_open, &completed.finish).expect("genuine"));
    }
}

#[test]
fn cookie_of_another_address_port_or_time_is_no_cookie() {
    let mut world = World::new();
    let elsewhere = [SocketAddr::from(([192, 0, 2, 1], 1)), SocketAddr::from(([192, 0, 2, 9], 51820))];
    for from in elsewhere {
        let (mut state, init) = world.start();
        let reply = world.cookie_reply(&init, from);
        let with_cookie = state.read_cookie_reply(&reply).expect("sealed by the responder");
        assert_eq!(world.check(&with_cookie), Err(HandshakeError::BadMac));
    }
    let (mut state, init) = world.start();
    let reply = world.cookie_reply(&init, address());
    let with_cookie = state.read_cookie_reply(&reply).expect("genuine");
    world.jar.rotate(&mut world.rng, world.now + COOKIE_LIFETIME);
    assert_eq!(world.check(&with_cookie), Ok(true), "of the secret before");
    world.jar.rotate(&mut world.rng, world.now + 2 * COOKIE_LIFETIME);
    assert_eq!(world.check(&with_cookie), Err(HandshakeError::BadMac), "too old");
}

#[test]
fn cookies_are_forgotten_after_a_long_quiet_time() {
    let mut world = World::new();
    let (mut state, init) = world.start();
    let reply = world.cookie_reply(&init, address());
    let with_cookie = state.read_cookie_reply(&reply).expect("genuine");
    world.jar.rotate(&mut world.rng, world.now + 2 * COOKIE_LIFETIME);
    assert_eq!(world.check(&with_cookie), Err(HandshakeError::BadMac));
}

#[test]
fn cookie_reply_to_another_init_is_refused_and_ends_nothing() {
    let mut world = World::new();
    let (mut state, init) = world.start();
    let (_, other) = world.start();
    let stale = world.cookie_reply(&other, address());
    assert_eq!(state.read_cookie_reply(&stale).expect_err("stale"), HandshakeError::BadMac);
    let (response, _) = world.answer(&init).expect("genuine");
    assert!(world.read(state, &response).is_ok());
}

#[test]
fn stripping_the_cookie_flag_on_the_way_breaks_the_mac() {
    let mut world = World::new();
    let (mut state, init) = world.start();
    let reply = world.cookie_reply(&init, address());
    let mut with_cookie = state.read_cookie_reply(&reply).expect("genuine");
    with_cookie.header.flags = 0;
    assert_eq!(world.check(&with_cookie), Err(HandshakeError::BadMac));
}
