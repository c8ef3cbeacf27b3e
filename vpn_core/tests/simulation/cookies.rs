//! Floods of inits.

use super::{
    network::{Kind, Network, millis, secs},
    node::NodeSettings,
};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use std::net::{Ipv4Addr, SocketAddr};
use vpn_core::{
    base::{DropReason, Endpoint, ReceiverIndex, SecretBytes},
    device::MAX_HALF_OPEN,
    handshake::hybrid::{Initiation, InitiatorSettings},
    wire::hybrid::{FLAG_COOKIE, Message, ParametersBytes, SuiteSet},
};
use zerocopy::IntoBytes as _;

/// `count` inits that nobody will finish, each from an address of its own.
fn flood(net: &mut Network, count: u32, first: u32) {
    let responder = net.nodes[1].settings.identity().public_key();
    let mut rng = ChaCha8Rng::seed_from_u64(u64::from(first));
    let network_key = SecretBytes::ZERO;
    let settings =
        InitiatorSettings { responder, network_key: &network_key, suites: SuiteSet::CHACHA20_POLY1305 };
    for n in first..first + count {
        let (_, init) = Initiation::start(&settings, ReceiverIndex::new(n), &mut rng);
        let from = SocketAddr::from((Ipv4Addr::from(0xcb00_0000 + n), 7));
        net.inject(from, 1, init.as_bytes().to_vec());
    }
}

#[test]
fn client_connects_through_a_cookie_during_a_flood() {
    let mut net = Network::client_and_gateway();
    net.nodes[0].asleep = true;
    flood(&mut net, 1500, 0);
    net.run_for(millis(1));
    assert!(net.nodes[1].drops(DropReason::CookieDemanded) > 300);
    net.nodes[0].asleep = false;
    net.restart(0);
    let took = net.run_while(secs(2), |net| net.nodes[0].events.is_empty());
    assert!(took <= millis(120), "two round trips and a half: {took:?}");
    let inits: Vec<_> = net.captured(Kind::Init).iter().filter(|wire| wire.sender == 0).cloned().collect();
    let last = &inits[inits.len() - 1];
    assert_eq!(last.datagram[2], FLAG_COOKIE);
}

#[test]
fn client_whose_init_with_the_cookie_is_lost_repeats_that_one() {
    let mut net = Network::client_and_gateway();
    net.nodes[0].asleep = true;
    flood(&mut net, 1500, 0);
    net.run_for(millis(1));
    net.nodes[0].asleep = false;
    let mut left = 2;
    net.rule(move |wire| {
        let is_lost = wire.kind == Kind::Init && wire.datagram[2] == FLAG_COOKIE && left > 0;
        left -= i32::from(is_lost);
        !is_lost
    });
    net.restart(0);
    let took =
        net.run_while(secs(5), |net| !net.nodes[0].events.iter().any(|(_, event)| is_established(event)));
    assert!(took <= millis(1200), "the second repetition, {took:?}");
}

#[test]
fn responder_never_sends_more_bytes_than_it_received() {
    let mut net = Network::client_and_gateway();
    net.nodes[0].asleep = true;
    net.run_for(secs(1));
    net.capture.clear();
    flood(&mut net, 2000, 0);
    net.run_for(secs(1));
    let sent: usize = net.capture.iter().map(|wire| wire.datagram.len()).sum();
    assert!(sent <= 2000 * 1232, "{sent} bytes");
    assert!(net.capture.iter().all(|wire| matches!(wire.kind, Kind::Response | Kind::CookieReply)));
}

#[test]
fn half_open_handshakes_are_forgotten_after_five_seconds() {
    let mut net = Network::client_and_gateway();
    net.nodes[0].asleep = true;
    flood(&mut net, 1000, 0);
    net.run_for(secs(6));
    assert_eq!(net.nodes[1].poll_timeout(), None);
    let demanded = net.nodes[1].drops(DropReason::CookieDemanded);
    assert!(demanded > 0, "at an eighth of the table");
    net.nodes[0].asleep = false;
    net.restart(0);
    net.run_for(secs(1));
    assert_eq!(net.sent(1, Kind::CookieReply) as u64, demanded, "quiet again, no cookie");
}

#[test]
fn stale_and_forged_cookie_replies_delay_but_do_not_lock_out() {
    // A reply to another init, replies that are damaged, and a genuine one whose cookie is for another address.
    let mut net = Network::client_and_gateway();
    net.nodes[0].asleep = true;
    flood(&mut net, 1500, 0);
    net.run_for(millis(1));
    net.nodes[0].asleep = false;
    net.restart(0);
    let mut replies = Vec::new();
    net.rule(|wire| wire.kind != Kind::CookieReply);
    net.run_for(millis(30));
    replies.extend(net.captured(Kind::CookieReply).iter().rev().take(1).map(|wire| wire.datagram.clone()));
    let from = net.nodes[1].address;
    for at in 0..64 {
        let mut forged = replies[0].clone();
        forged[at] ^= 0x80;
        net.inject(from, 0, forged);
    }
    net.run_for(millis(10));
    assert_eq!(net.sent(0, Kind::Init), 2, "one before the restart, one after it, none for forgeries");
    net.clear_rules();
    net.inject(from, 0, replies[0].clone());
    net.inject(from, 0, replies[0].clone());
    net.run_while(secs(1), |net| net.nodes[0].events.is_empty());
    assert_eq!(net.sent(0, Kind::Init), 3, "one reply is taken for one init");
}

#[test]
fn cookie_made_for_another_address_only_costs_one_more_attempt() {
    let mut net = Network::client_and_gateway();
    net.nodes[0].asleep = true;
    flood(&mut net, 1500, 0);
    net.run_for(millis(1));
    net.nodes[0].asleep = false;
    // An on-path attacker has the gateway make the cookie for his own address.
    net.rule(|wire| wire.kind != Kind::Init || wire.sender != 0 || wire.datagram[2] == FLAG_COOKIE);
    net.restart(0);
    net.run_for(millis(1));
    let init = net.captured(Kind::Init).last().expect("sent").datagram.clone();
    let attacker = SocketAddr::from(([203, 0, 113, 66], 66));
    net.inject(attacker, 1, init);
    net.run_for(millis(10));
    let reply = net.captured(Kind::CookieReply).last().expect("a cookie").clone();
    assert_eq!(reply.to, attacker);
    let gateway = net.nodes[1].address;
    net.inject(gateway, 0, reply.datagram);
    net.run_for(millis(100));
    assert_eq!(net.nodes[1].drops(DropReason::BadMac), 1, "the cookie is no good from the client's address");
    net.clear_rules();
    net.run_while(secs(6), |net| net.nodes[0].events.iter().all(|(_, event)| !is_established(event)));
}

#[test]
fn established_peers_do_not_notice_a_flood() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    let mut numbers = Vec::new();
    for round in 0..20 {
        flood(&mut net, 100, round * 100);
        numbers.extend([net.send(0, 1), net.send(1, 0)]);
        net.run_for(millis(20));
    }
    net.run_for(secs(1));
    assert_eq!(net.delivered(&numbers), numbers.len());
}

/// An init that returns the cookie which it was asked for, if it was: what a host sends that really receives at `from`.
/// Answers the handshake, and the response.
fn begin(net: &mut Network, from: SocketAddr, rng: &mut ChaCha8Rng) -> (Initiation, Option<Vec<u8>>) {
    let (responder, network_key) = (net.nodes[1].settings.identity().public_key(), SecretBytes::ZERO);
    let settings =
        InitiatorSettings { responder, network_key: &network_key, suites: SuiteSet::CHACHA20_POLY1305 };
    let (mut state, init) = Initiation::start(&settings, ReceiverIndex::random(rng), rng);
    let (now, device) = (net.now, &mut net.nodes[1].device);
    device.handle_control(init.as_bytes(), Endpoint::to(from), now);
    let mut answer = device.poll_transmit().expect("a response or a cookie").datagram;
    if let Some(Message::CookieReply(reply)) = Message::parse(&answer) {
        let init = state.read_cookie_reply(reply).expect("genuine");
        device.handle_control(init.as_bytes(), Endpoint::to(from), now);
        let Some(response) = device.poll_transmit() else { return (state, None) };
        answer = response.datagram;
    }
    (state, Some(answer))
}

#[test]
fn half_open_table_is_bounded_and_in_a_full_one_the_oldest_gives_way() {
    let mut net = Network::client_and_gateway();
    net.capturing = false;
    net.nodes[0].asleep = true;
    net.run_for(secs(6)); // Its own init is forgotten by then.
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    // A botnet: every address is genuine and answers the demand for a cookie.
    for n in 0..MAX_HALF_OPEN as u32 + 100 {
        let from = SocketAddr::from((Ipv4Addr::from(0xcb00_0000 + n), 7));
        assert!(begin(&mut net, from, &mut rng).1.is_some());
    }
    assert_eq!(net.nodes[1].drops(DropReason::Full), 100);
    assert_eq!(net.nodes[1].drops(DropReason::RateLimited), 0);
    net.nodes[0].asleep = false;
    net.restart(0);
    let connected = |net: &Network| net.nodes[0].events.iter().any(|(_, event)| is_established(event));
    let took = net.run_while(secs(5), |net| !connected(net));
    assert!(took <= millis(120), "two round trips and a half: {took:?}");
}

#[test]
fn addresses_that_finish_no_handshake_come_after_those_that_do() {
    let mut net = Network::client_and_gateway();
    net.nodes[0].asleep = true;
    let mut rng = ChaCha8Rng::seed_from_u64(8);
    flood(&mut net, 1500, 0);
    net.run_for(millis(1));
    net.nodes[0].asleep = false;
    for _ in 0..6 {
        net.restart(0);
        net.run_for(millis(300)); // The client connects.
    }
    // Attackers take what is left for doubted addresses.
    let limited = net.nodes[1].drops(DropReason::RateLimited);
    for n in 0..200 {
        let from = SocketAddr::from((Ipv4Addr::from(0xcc00_0000 + n % 20), 7));
        begin(&mut net, from, &mut rng);
    }
    assert!(net.nodes[1].drops(DropReason::RateLimited) > limited, "more than is left for them");
    let stranger = SocketAddr::from((Ipv4Addr::from(0xcd00_0000), 7));
    let client = SocketAddr::new(net.nodes[0].address.ip(), 7);
    assert!(begin(&mut net, client, &mut rng).1.is_some(), "its handshakes came to an end");
    let (state, response) = begin(&mut net, stranger, &mut rng);
    // A finish by nobody that the gateway knows is worse than none.
    let (response, identity) = (response.expect("nothing is known of it"), NodeSettings::new(77).identity());
    let Some(Message::Response(response)) = Message::parse(&response) else { panic!("a response") };
    let completed = state.read_response(response, &identity, &SecretBytes::ZERO, ParametersBytes::default());
    let finish = completed.expect("genuine").finish;
    let now = net.now;
    net.nodes[1].device.handle_control(finish.as_bytes(), Endpoint::to(stranger), now);
    assert_eq!(net.nodes[1].drops(DropReason::UnknownPeer), 1);
    assert!(begin(&mut net, stranger, &mut rng).1.is_none());
}

fn is_established(event: &vpn_core::tunnel::Event) -> bool {
    matches!(event, vpn_core::tunnel::Event::SessionEstablished { .. })
}
