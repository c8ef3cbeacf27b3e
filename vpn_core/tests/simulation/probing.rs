//! Being told that the network changed, sleeping, and endpoints that do not answer.

use super::{
    network::{Kind, Network, millis, secs},
    node::Peering,
};
use std::{net::SocketAddr, time::Duration};
use vpn_core::{
    base::{DropReason, Endpoint},
    handshake::Protocol,
    tunnel::{Event, PeerState, Transmit},
};

fn dead(host: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, 113, host], 1))
}

fn is_established(event: &Event) -> bool {
    matches!(event, Event::SessionEstablished { .. })
}

fn change_network(net: &mut Network) {
    let now = net.now;
    net.nodes[0].device.handle_network_change(now);
}

/// Runs until the client has a newer session, or fails after `limit`.
fn time_to_new_session(net: &mut Network, limit: Duration) -> Duration {
    let before = net.nodes[0].count(is_established);
    net.run_while(limit, |net| net.nodes[0].count(is_established) == before)
}

/// A client that is given `endpoints` for its gateway, and was just started.
fn client_with_endpoints(endpoints: Vec<SocketAddr>) -> Network {
    let mut net = Network::client_and_gateway();
    let peering = Peering { endpoints, stay_connected: true, ..net.peering(1) };
    net.nodes[0].peerings.clear();
    net.nodes[0].set_peer(peering, net.now);
    net.capture.clear();
    net.restart(0);
    net
}

fn state(net: &Network) -> PeerState {
    net.nodes[0].status_of(net.key(1), net.now).state
}

#[test]
fn lost_answers_to_a_probe_cost_a_second_or_two_and_not_five() {
    for (count, limit) in [(0, millis(100)), (1, millis(450)), (2, millis(1100)), (3, millis(2300))] {
        for kind in [Kind::Init, Kind::Response] {
            let mut net = Network::client_and_gateway();
            net.run_for(secs(10));
            net.lose_first(kind, count);
            change_network(&mut net);
            let took = time_to_new_session(&mut net, secs(10));
            assert!(took <= limit, "{count} of {kind:?} lost: {took:?}");
        }
    }
}

#[test]
fn a_change_of_network_loses_nothing_that_the_peer_sends_on_the_session_it_has_just_made() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(10));
    change_network(&mut net);
    net.run_while(secs(1), |net| net.captured(Kind::Finish).len() < 2);
    // The gateway has the finish, and its confirmation is half way: what it sends from here on arrives behind the event.
    net.run_for(millis(21));
    let sent = net.send_many(1, 0, 8);
    change_network(&mut net);
    net.run_for(millis(100));
    assert_eq!(net.delivered(&sent), sent.len());
    assert_eq!(net.nodes[0].drops(DropReason::UnknownIndex), 0);
}

#[test]
fn a_probe_over_a_slow_path_is_one_handshake_whose_first_answer_is_taken() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(10));
    net.weather.delay = millis(800);
    net.capture.clear();
    change_network(&mut net);
    let took = time_to_new_session(&mut net, secs(10));
    assert_eq!(took, 4 * millis(800), "two round trips");
    net.run_for(secs(10));
    let mut inits: Vec<_> = net.captured(Kind::Init).into_iter().map(|wire| wire.datagram).collect();
    assert!(inits.len() > 1, "it was repeated");
    inits.dedup();
    assert_eq!(inits.len(), 1, "byte for byte");
    assert_eq!(net.nodes[0].status_of(net.key(1), net.now).handshakes, 2);
}

#[test]
fn wireguard_probes_are_renewed_because_a_timestamp_serves_once() {
    let mut net = Network::two_sites_speaking(Protocol::Wireguard);
    let client = Peering { stay_connected: true, ..net.peering(1) };
    net.nodes[0].set_peer(client, net.now);
    net.run_for(secs(10));
    net.capture.clear();
    net.lose_first(Kind::Response, 1);
    change_network(&mut net);
    let took = time_to_new_session(&mut net, secs(10));
    assert!((millis(1000)..millis(1400)).contains(&took), "{took:?}");
    let inits = net.captured(Kind::Init);
    assert_eq!(inits.len(), 2);
    assert_ne!(inits[0].datagram, inits[1].datagram);
}

#[test]
fn changes_in_quick_succession_repeat_the_init_that_is_under_way() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(10));
    net.cut();
    net.capture.clear();
    for _ in 0..8 {
        change_network(&mut net);
        net.run_for(millis(500));
    }
    let mut inits: Vec<_> = net.captured(Kind::Init).into_iter().map(|wire| wire.datagram).collect();
    assert!((8..=24).contains(&inits.len()), "{}", inits.len());
    inits.dedup();
    assert_eq!(inits.len(), 1);
    // However often they come, none lives longer than five seconds.
    net.run_for(millis(1500));
    change_network(&mut net);
    let last = net.captured(Kind::Init).last().expect("sent").datagram.clone();
    net.run_for(millis(1));
    assert_ne!(net.captured(Kind::Init).last().expect("sent").datagram, inits[0]);
    assert_ne!(last, inits[0]);
}

#[test]
fn a_change_of_network_ends_the_long_pauses_of_a_client_that_had_backed_off() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.cut();
    net.send(0, 1);
    net.run_for(secs(600));
    let pause = |net: &Network| {
        let inits = net.captured(Kind::Init);
        inits[inits.len() - 1].at - inits[inits.len() - 2].at
    };
    assert!(pause(&net) >= secs(29));
    net.capture.clear();
    change_network(&mut net);
    net.run_for(millis(4900));
    assert_eq!(net.sent(0, Kind::Init), 5, "one, and four times again");
    net.run_for(secs(16));
    assert!(pause(&net) <= secs(6), "at full pace again");
    net.clear_rules();
    change_network(&mut net);
    assert!(time_to_new_session(&mut net, secs(10)) <= millis(100));
}

#[test]
fn probe_without_an_answer_makes_the_peer_silent_after_five_seconds_without_traffic() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(10));
    net.cut();
    change_network(&mut net);
    net.run_for(millis(4900));
    assert_eq!(state(&net), PeerState::Up, "not known yet");
    net.run_for(secs(2));
    assert_eq!(state(&net), PeerState::Connecting);
    assert_eq!(net.nodes[0].count(|event| matches!(event, Event::PeerDead { .. })), 1);
    net.clear_rules();
    time_to_new_session(&mut net, secs(6));
    assert_eq!(state(&net), PeerState::Up);
}

#[test]
fn idle_client_does_not_report_a_dead_gateway_as_up_for_long() {
    for (keepalive, limit) in [(Some(secs(25)), secs(160)), (None, secs(181))] {
        let mut net = Network::client_and_gateway();
        let peering = Peering { persistent_keepalive: keepalive, stay_connected: true, ..net.peering(1) };
        net.nodes[0].set_peer(peering, net.now);
        net.run_for(secs(1));
        net.cut();
        let took = net.run_while(secs(200), |net| state(net) == PeerState::Up);
        assert!(took <= limit, "{keepalive:?}: {took:?}");
    }
}

#[test]
fn one_lost_init_of_a_rekey_is_no_silence() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(121));
    net.lose_first(Kind::Init, 1);
    net.send(0, 1);
    net.run_for(secs(20));
    assert_eq!(net.nodes[0].count(|event| matches!(event, Event::PeerDead { .. })), 0);
    assert_eq!(net.nodes[0].status_of(net.key(1), net.now).handshakes, 2);
}

#[test]
fn gateway_whose_address_changes_shows_it_to_its_clients_without_a_handshake() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.capture.clear();
    let elsewhere = SocketAddr::from(([203, 0, 113, 9], 51820));
    net.nodes[1].address = elsewhere;
    net.nodes[1].local = elsewhere.ip();
    let now = net.now;
    net.nodes[1].device.handle_network_change(now);
    net.run_for(millis(100));
    assert_eq!(net.capture.iter().map(|wire| wire.kind).collect::<Vec<_>>(), [Kind::Empty]);
    assert_eq!(net.nodes[0].status_of(net.key(1), net.now).endpoint, Some(elsewhere));
}

// ---- several endpoints ----

#[test]
fn client_with_dead_endpoints_first_is_connected_within_a_second() {
    let good = Network::client_and_gateway().nodes[1].address;
    let mut net = client_with_endpoints(vec![dead(1), dead(2), good]);
    let took = time_to_new_session(&mut net, secs(10));
    assert!(took <= millis(1100), "{took:?}");
    let mut inits: Vec<_> = net.captured(Kind::Init).into_iter().map(|wire| wire.datagram).collect();
    inits.dedup();
    assert_eq!(inits.len(), 1, "the same init to each");
}

#[test]
fn endpoint_that_the_system_has_no_route_to_costs_nothing() {
    let good = Network::client_and_gateway().nodes[1].address;
    let mut net = client_with_endpoints(vec![dead(1), dead(2), good]);
    // What the engine says of each datagram that cannot be sent.
    for host in [1, 2] {
        let wire = net.captured(Kind::Init).last().expect("sent").clone();
        assert_eq!(wire.to, dead(host));
        let (transmit, now) = (
            Transmit {
                endpoint: Endpoint::to(wire.to),
                datagram: wire.datagram,
                may_be_cut: true,
                is_about_path: false,
            },
            net.now,
        );
        net.nodes[0].device.handle_unsent(&transmit, now);
        net.flush(0);
    }
    assert_eq!(time_to_new_session(&mut net, secs(10)), 4 * millis(20));
}

#[test]
fn endpoints_none_of_which_can_be_sent_to_are_each_tried_once_at_a_time() {
    let mut net = client_with_endpoints(vec![dead(1), dead(2), dead(3)]);
    let mut tried = 0;
    while let Some(wire) = net.captured(Kind::Init).get(tried).cloned() {
        tried += 1;
        let (transmit, now) = (
            Transmit {
                endpoint: Endpoint::to(wire.to),
                datagram: wire.datagram,
                may_be_cut: true,
                is_about_path: false,
            },
            net.now,
        );
        net.nodes[0].device.handle_unsent(&transmit, now);
        net.flush(0);
    }
    assert_eq!(tried, 3);
}

#[test]
fn gateway_that_moves_to_its_other_endpoint_is_found_within_sixteen_seconds() {
    let other = SocketAddr::from(([192, 0, 2, 99], 51820));
    let good = Network::client_and_gateway().nodes[1].address;
    let mut net = client_with_endpoints(vec![good, other]);
    net.run_for(secs(30));
    net.nodes[1].address = other;
    net.nodes[1].local = other.ip();
    let start = net.now;
    loop {
        let numbers = [net.send(0, 1)];
        net.run_for(millis(100));
        if net.delivered(&numbers) == 1 {
            break;
        }
        assert!(net.now < start + secs(16), "not found");
    }
}

// ---- sleep ----

/// The client and its gateway; then the client alone sleeps for `slept`, and its `Instant` does not move.
fn sleep(net: &mut Network, slept: Duration) {
    let now = net.now;
    net.nodes[0].device.handle_sleep(slept, now);
    net.flush(0);
}

#[test]
fn keys_that_are_too_old_after_a_sleep_are_erased_at_once() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(100));
    net.send(1, 0);
    net.run_for(millis(100));
    let old = net.captured(Kind::Data).last().expect("sent").clone();
    net.cut();
    sleep(&mut net, secs(90));
    assert_eq!(state(&net), PeerState::Connecting);
    net.inject(old.from, 0, old.datagram);
    net.run_for(millis(100));
    assert_eq!(net.nodes[0].drops(DropReason::UnknownIndex), 1, "the keypair is forgotten");
    net.capture.clear();
    net.send(0, 1);
    assert_eq!(net.sent(0, Kind::Data), 0);
    net.clear_rules();
    time_to_new_session(&mut net, secs(6));
}

#[test]
fn keys_that_are_young_enough_after_a_sleep_serve_until_their_true_age_ends_it() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(50));
    net.cut();
    sleep(&mut net, secs(60));
    net.run_for(secs(2));
    assert_eq!(state(&net), PeerState::Up);
    // Two seconds have passed since; the rest of the 180 is what is left.
    net.run_until(net.base + secs(119));
    net.capture.clear();
    net.send(0, 1);
    assert_eq!(net.sent(0, Kind::Data), 1);
    net.run_until(net.base + secs(121));
    net.capture.clear();
    net.send(0, 1);
    assert_eq!(net.sent(0, Kind::Data), 0, "180 s old, of which 60 asleep");
}

#[test]
fn client_that_wakes_up_is_connected_within_two_round_trips() {
    for slept in [2, 30, 300, 86_400] {
        let mut net = Network::client_and_gateway();
        net.run_for(secs(30));
        net.nodes[0].asleep = true;
        net.run_for(secs(200)); // The gateway forgets.
        net.nodes[0].asleep = false;
        sleep(&mut net, secs(slept));
        assert!(time_to_new_session(&mut net, secs(6)) <= millis(100), "{slept} s");
        let both = [net.send(0, 1), net.send(1, 0)];
        net.run_for(millis(100));
        assert_eq!(net.delivered(&both), 2);
    }
}

// ---- an endpoint that was learned, and the configured ones ----

/// A client that has learned at home another endpoint than those configured, which leads nowhere on the network that it changes
/// to. The gateway is reached at the last of `configured`.
fn client_away_from_home(protocol: Protocol, configured: &[SocketAddr]) -> Network {
    let mut net = Network::two_sites_speaking(protocol);
    let public = net.nodes[1].address;
    let endpoints = configured.iter().copied().chain([public]).collect();
    let client = Peering { endpoints, stay_connected: true, ..net.peering(1) };
    net.nodes[0].set_peer(client, net.now);
    let gateway = Peering { endpoints: Vec::new(), ..net.peering(0) };
    net.nodes[1].set_peer(gateway, net.now);
    net.restart(1);
    net.restart(0);
    net.run_for(secs(10));
    let home = SocketAddr::from(([192, 168, 7, 1], 51820));
    net.nodes[1].address = home;
    net.send(1, 0);
    net.run_for(secs(1));
    assert_eq!(net.nodes[0].status_of(net.key(1), net.now).endpoint, Some(home));
    net.nodes[1].address = public;
    net.capture.clear();
    net
}

#[test]
fn the_configured_endpoint_is_asked_beside_a_learned_one_that_leads_nowhere() {
    for protocol in [Protocol::Hybrid, Protocol::Wireguard] {
        let mut net = client_away_from_home(protocol, &[]);
        change_network(&mut net);
        let took = time_to_new_session(&mut net, secs(10));
        assert!(took <= 4 * millis(20), "{protocol:?}: {took:?}");
        let both = [net.send(0, 1), net.send(1, 0)];
        net.run_for(millis(100));
        assert_eq!(net.delivered(&both), 2);
        assert_eq!(net.nodes[0].status_of(net.key(1), net.now).endpoint, Some(net.nodes[1].address));
    }
}

#[test]
fn the_last_of_several_configured_endpoints_is_asked_within_seconds_of_a_change() {
    for (protocol, limit) in [(Protocol::Hybrid, millis(1100)), (Protocol::Wireguard, millis(3900))] {
        let mut net = client_away_from_home(protocol, &[dead(1), dead(2)]);
        change_network(&mut net);
        let took = time_to_new_session(&mut net, secs(10));
        assert!(took <= limit, "{protocol:?}: {took:?}");
    }
}

#[test]
fn data_goes_on_to_the_endpoint_in_use_until_an_answer_decides() {
    for protocol in [Protocol::Hybrid, Protocol::Wireguard] {
        let mut net = client_away_from_home(protocol, &[]);
        let (home, public) = (net.nodes[0].status_of(net.key(1), net.now).endpoint, net.nodes[1].address);
        net.rule(|wire| wire.kind != Kind::Init);
        change_network(&mut net);
        net.send(0, 1);
        assert_eq!(Some(net.captured(Kind::Data)[0].to), home);
        net.run_for(millis(200));
        net.clear_rules();
        // Nothing has changed for the gateway, which is at home: its answer comes from there.
        net.nodes[1].address = home.expect("learned");
        let took = time_to_new_session(&mut net, secs(10));
        assert!(took <= millis(1400), "{protocol:?}: {took:?}");
        assert_eq!(net.nodes[0].status_of(net.key(1), net.now).endpoint, home);
        assert!(net.captured(Kind::Init).iter().any(|wire| wire.to == public));
    }
}

#[test]
fn what_is_asked_after_a_change_is_bounded_and_no_byte_of_it_is_new_but_for_wireguard() {
    for (protocol, inits, kinds) in [(Protocol::Hybrid, 10, 1), (Protocol::Wireguard, 6, 3)] {
        let mut net = client_away_from_home(protocol, &[dead(1)]);
        net.cut();
        change_network(&mut net);
        net.run_for(millis(4900));
        let sent = net.captured(Kind::Init);
        assert_eq!(sent.len(), inits, "{protocol:?}");
        let mut distinct: Vec<_> = sent.iter().map(|wire| wire.datagram.clone()).collect();
        distinct.dedup();
        assert_eq!(distinct.len(), kinds, "{protocol:?}");
        // Then the peer is silent, and its endpoints have their turns one by one.
        net.run_for(millis(600));
        net.capture.clear();
        net.run_for(secs(10));
        let at_once = |pair: &[super::network::Wire]| pair[0].at == pair[1].at;
        assert!(!net.captured(Kind::Init).windows(2).any(at_once));
    }
}

#[test]
fn an_endpoint_that_cannot_be_sent_to_after_a_change_gives_its_turn_to_the_next() {
    for protocol in [Protocol::Hybrid, Protocol::Wireguard] {
        let mut net = client_away_from_home(protocol, &[dead(1)]);
        change_network(&mut net);
        net.flush(0);
        let wire = net.captured(Kind::Init).into_iter().find(|wire| wire.to == dead(1)).expect("asked");
        let transmit = Transmit {
            endpoint: Endpoint::to(wire.to),
            datagram: wire.datagram,
            may_be_cut: true,
            is_about_path: false,
        };
        let now = net.now;
        net.nodes[0].device.handle_unsent(&transmit, now);
        net.flush(0);
        assert!(time_to_new_session(&mut net, secs(10)) <= 4 * millis(20), "{protocol:?}");
    }
}
