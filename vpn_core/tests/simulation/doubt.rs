//! Peers that count as up though traffic may not pass: what is said of that, when, and when nothing is.

use super::{
    network::{Kind, Network, Wire, millis, secs},
    node::{NodeSettings, Peering},
};
use std::{net::SocketAddr, time::Duration};
use vpn_core::{
    handshake::Protocol,
    tunnel::{Doubt, Event, MtuMode, MtuPolicy, PeerState},
    wire::transport::OVERHEAD,
};

const CLIENT: usize = 0;
const GATEWAY: usize = 1;
/// A second machine with the client's key.
const COPY: usize = 2;

fn doubts(net: &Network, node: usize, peer: usize) -> Vec<Doubt> {
    net.nodes[node].status_of(net.key(peer), net.now).doubts
}

fn state(net: &Network, node: usize, peer: usize) -> PeerState {
    net.nodes[node].status_of(net.key(peer), net.now).state
}

fn is_duplicate(event: &Event) -> bool {
    matches!(event, Event::KeyInTwoPlaces { .. } | Event::SessionsCutShort { .. })
}

/// A client that stays connected and its gateway, with the handshake of `protocol`.
fn connected(protocol: Protocol) -> Network {
    let mut net = Network::two_sites_speaking(protocol);
    let peering = Peering { stay_connected: true, ..net.peering(GATEWAY) };
    net.nodes[CLIENT].set_peer(peering, net.now);
    net.run_for(secs(1));
    net.capture.clear();
    net
}

// ---- nothing comes back ----

#[test]
fn nothing_back_is_reported_after_six_seconds_at_either_end_and_over_with_an_answer() {
    for (node, peer) in [(CLIENT, GATEWAY), (GATEWAY, CLIENT)] {
        let mut net = connected(Protocol::Hybrid);
        net.cut();
        let since = net.now;
        net.send(node, peer);
        net.run_for(millis(5990));
        assert_eq!(doubts(&net, node, peer), []);
        net.run_for(millis(20));
        assert_eq!(doubts(&net, node, peer), [Doubt::NothingBack { since }]);
        assert_eq!(state(&net, node, peer), PeerState::Up);
        assert!(net.sent(node, Kind::Path) <= 3, "one probe in 1.5 s");
        net.clear_rules();
        net.run_for(millis(1550));
        assert_eq!(doubts(&net, node, peer), [], "the next probe was answered");
        net.run_for(secs(60));
        assert_eq!(net.nodes[node].count(|event| matches!(event, Event::PeerDead { .. })), 0);
    }
}

#[test]
fn probes_in_doubt_are_few_and_end_when_the_peer_is_silent() {
    let mut net = connected(Protocol::Hybrid);
    net.cut();
    net.send(CLIENT, GATEWAY);
    net.run_for(secs(300));
    assert_eq!(net.sent(CLIENT, Kind::Path), 8, "from 3 s to 13.5 s");
    assert_eq!(state(&net, CLIENT, GATEWAY), PeerState::Connecting);
    assert_eq!(doubts(&net, CLIENT, GATEWAY), [], "the state says it");
}

#[test]
fn traffic_in_one_direction_is_no_doubt() {
    for (protocol, seconds) in [(Protocol::Hybrid, 100), (Protocol::Wireguard, 100)] {
        let mut net = connected(protocol);
        net.weather.delay = millis(150);
        for at in 0..seconds * 10 {
            net.send(CLIENT, GATEWAY);
            net.run_for(millis(100));
            assert_eq!(doubts(&net, CLIENT, GATEWAY), [], "{protocol:?} after {at} tenths");
            assert_eq!(doubts(&net, GATEWAY, CLIENT), [], "{protocol:?} after {at} tenths");
        }
        let probes = net.sent(CLIENT, Kind::Path);
        assert!(probes <= seconds / 3 + 1, "{probes} probes in {seconds} s");
    }
}

#[test]
fn packets_that_are_lost_in_one_direction_are_noticed_though_the_peer_asks_from_the_other() {
    let mut net = connected(Protocol::Hybrid);
    let ping = |net: &mut Network| {
        let number = net.send(CLIENT, GATEWAY);
        net.run_for(millis(50));
        if net.is_delivered(number) {
            net.send(GATEWAY, CLIENT);
        }
        net.run_for(millis(450));
    };
    for _ in 0..10 {
        ping(&mut net);
    }
    net.rule(|wire| wire.sender != CLIENT);
    let since = net.now;
    while net.now < since + millis(6400) {
        ping(&mut net);
    }
    assert_eq!(doubts(&net, CLIENT, GATEWAY), [Doubt::NothingBack { since }]);
    assert!(net.sent(GATEWAY, Kind::Path) > 0, "the gateway has had no answer to its last one");
    while net.now < since + secs(40) {
        ping(&mut net);
        if net.now > since + secs(16) {
            assert_eq!(state(&net, CLIENT, GATEWAY), PeerState::Connecting, "after {:?}", net.now - since);
        }
    }
}

#[test]
fn one_lost_answer_is_no_doubt() {
    let mut net = connected(Protocol::Hybrid);
    net.lose_first(Kind::Path, 1);
    for _ in 0..120 {
        net.send(CLIENT, GATEWAY);
        net.run_for(millis(100));
        assert_eq!(doubts(&net, CLIENT, GATEWAY), []);
    }
}

#[test]
fn a_peer_that_cannot_be_asked_is_given_the_time_of_a_keepalive() {
    let mut net = connected(Protocol::Wireguard);
    net.cut();
    let since = net.now;
    net.send(CLIENT, GATEWAY);
    net.run_for(millis(11_990));
    assert_eq!(doubts(&net, CLIENT, GATEWAY), []);
    net.run_for(millis(20));
    assert_eq!(doubts(&net, CLIENT, GATEWAY), [Doubt::NothingBack { since }]);
    assert_eq!(net.sent(CLIENT, Kind::Path), 0);
}

// ---- one key on two machines ----

/// The same with a second machine that has the client's key; each has `traffic` with the gateway every second, and it answers.
fn with_a_copy(protocol: Protocol) -> Network {
    let mut net = connected(protocol);
    let copy = net.add(NodeSettings::new(1));
    assert_eq!(copy, COPY);
    let address = SocketAddr::from(([198, 51, 100, 3], 51820));
    net.nodes[COPY].address = address;
    net.nodes[COPY].local = address.ip();
    let peering = Peering { stay_connected: true, ..net.peering(GATEWAY) };
    net.nodes[COPY].set_peer(peering, net.now);
    net
}

/// For so many seconds both machines send a packet every second, half a second apart, and the gateway answers each.
fn both_send(net: &mut Network, seconds: u32) {
    for _ in 0..seconds {
        for node in [CLIENT, COPY] {
            net.send(node, GATEWAY);
            net.run_for(millis(50));
            net.send(GATEWAY, CLIENT);
            net.run_for(millis(450));
        }
    }
}

#[test]
fn one_key_on_two_machines_is_reported_at_both_ends_once() {
    for protocol in [Protocol::Hybrid, Protocol::Wireguard] {
        let mut net = with_a_copy(protocol);
        both_send(&mut net, 15);
        let [Doubt::KeyInTwoPlaces { places }] = doubts(&net, GATEWAY, CLIENT)[..] else {
            panic!("{protocol:?}: {:?}", doubts(&net, GATEWAY, CLIENT));
        };
        let mut expected = [net.nodes[COPY].address, net.nodes[CLIENT].address];
        expected.sort();
        assert_eq!(
            {
                let mut places = places;
                places.sort();
                places
            },
            expected
        );
        both_send(&mut net, 85);
        for node in [CLIENT, COPY] {
            assert!(doubts(&net, node, GATEWAY).contains(&Doubt::SessionsCutShort), "{protocol:?} at {node}");
        }
        both_send(&mut net, 200);
        for node in [CLIENT, GATEWAY, COPY] {
            assert_eq!(net.nodes[node].count(is_duplicate), 1, "{protocol:?} at {node}");
        }
        net.nodes[COPY].asleep = true;
        for _ in 0..135 {
            net.send(CLIENT, GATEWAY);
            net.run_for(millis(50));
            net.send(GATEWAY, CLIENT);
            net.run_for(millis(950));
        }
        assert_eq!(
            doubts(&net, GATEWAY, CLIENT),
            [],
            "{protocol:?}: over a while after the second one is off"
        );
        assert_eq!(doubts(&net, CLIENT, GATEWAY), [], "{protocol:?}");
    }
}

#[test]
fn two_machines_with_keepalives_only_are_noticed_by_the_gateway() {
    let mut net = with_a_copy(Protocol::Hybrid);
    for node in [CLIENT, COPY] {
        let keepalive = Some(secs(25));
        let peering =
            Peering { persistent_keepalive: keepalive, stay_connected: true, ..net.peering(GATEWAY) };
        net.nodes[node].set_peer(peering, net.now);
    }
    net.run_for(secs(300));
    assert!(net.nodes[GATEWAY].count(is_duplicate) >= 1);
}

#[test]
fn one_machine_that_roams_between_two_networks_is_no_second_one() {
    for (is_told, pause) in [(true, secs(7)), (true, secs(23)), (false, secs(7)), (false, secs(1))] {
        let mut net = connected(Protocol::Hybrid);
        let home = net.nodes[CLIENT].address;
        let mobile = SocketAddr::from(([198, 51, 100, 3], 40_000));
        let end = net.now + secs(300);
        let mut is_home = true;
        while net.now < end {
            is_home = !is_home;
            let (address, now) = (if is_home { home } else { mobile }, net.now);
            net.nodes[CLIENT].address = address;
            if is_told {
                net.nodes[CLIENT].local = address.ip();
                net.nodes[CLIENT].device.handle_network_change(now);
            }
            exchange(&mut net, pause);
            assert_eq!(doubts(&net, GATEWAY, CLIENT), []);
            assert!(!doubts(&net, CLIENT, GATEWAY).contains(&Doubt::SessionsCutShort));
        }
        assert_eq!(net.nodes[GATEWAY].count(is_duplicate) + net.nodes[CLIENT].count(is_duplicate), 0);
    }
}

/// For that long the client has a packet for the gateway every half a second, and it answers.
fn exchange(net: &mut Network, time: Duration) {
    let end = net.now + time;
    while net.now < end {
        net.send(CLIENT, GATEWAY);
        net.run_for(millis(50));
        net.send(GATEWAY, CLIENT);
        net.run_for(millis(450));
    }
}

#[test]
fn a_gateway_that_is_restarted_twice_is_no_second_client() {
    let mut net = connected(Protocol::Hybrid);
    for _ in 0..2 {
        net.restart(GATEWAY);
        for _ in 0..60 {
            net.send(CLIENT, GATEWAY);
            net.run_for(millis(500));
        }
    }
    assert_eq!(net.nodes[CLIENT].count(|event| matches!(event, Event::PeerDead { .. })), 2);
    assert!(!doubts(&net, CLIENT, GATEWAY).contains(&Doubt::SessionsCutShort));
    assert_eq!(net.nodes[CLIENT].count(is_duplicate), 0);
}

// ---- only short packets pass ----

/// A client that follows its path, which loses packets in the tunnel that are longer than `limit`, but no handshake.
fn over_a_path_of(limit: usize) -> Network {
    let mut net = Network::new();
    for (seed, mode) in [(1, MtuMode::Follow), (2, MtuMode::Within)] {
        let mtu_policy = MtuPolicy { mode, floor: 1280 };
        net.add(NodeSettings { mtu_policy, ..NodeSettings::new(seed) });
    }
    let towards_client = net.peering(CLIENT);
    net.nodes[GATEWAY].set_peer(towards_client, net.now);
    let towards_gateway = Peering { stay_connected: true, ..net.peering(GATEWAY) };
    net.nodes[CLIENT].set_peer(towards_gateway, net.now);
    net.rule(move |wire: &Wire| wire.kind != Kind::Data || wire.datagram.len() <= limit + OVERHEAD);
    net
}

#[test]
fn a_path_that_takes_less_than_must_pass_is_reported_and_one_that_senders_adapt_to_is_not() {
    let short_only = |net: &Network| {
        [(CLIENT, GATEWAY), (GATEWAY, CLIENT)].map(|(node, peer)| match doubts(net, node, peer)[..] {
            [] => None,
            [Doubt::ShortOnly { up_to }] => Some(up_to),
            ref others => panic!("{others:?}"),
        })
    };
    let mut adapted = over_a_path_of(1340);
    adapted.run_for(secs(20));
    assert_eq!(short_only(&adapted), [None, None]);

    let mut narrow = over_a_path_of(1240);
    narrow.run_for(secs(20));
    for found in short_only(&narrow) {
        let bytes = found.flatten().expect("a size");
        assert!((1236..=1240).contains(&bytes), "{bytes}");
    }

    let mut tiny = over_a_path_of(500);
    tiny.run_for(secs(20));
    assert_eq!(short_only(&tiny), [Some(None), Some(None)], "nothing that was tried passes");
    tiny.clear_rules();
    tiny.run_for(secs(70));
    assert_eq!(short_only(&tiny), [None, None], "the next search finds that all passes");

    let mut lossy = over_a_path_of(1420);
    lossy.weather.loss = 20;
    for _ in 0..300 {
        lossy.run_for(secs(1));
        assert_eq!(short_only(&lossy), [None, None]);
    }
}

#[test]
fn a_path_that_takes_nothing_at_all_is_not_said_to_take_short_packets() {
    let mut net = over_a_path_of(1420);
    net.run_for(secs(30));
    net.cut();
    let now = net.now;
    net.nodes[GATEWAY].device.handle_network_change(now); // It begins to search, and does not call.
    net.run_for(secs(9));
    net.clear_rules();
    net.send(CLIENT, GATEWAY);
    net.run_for(secs(20));
    assert_eq!(doubts(&net, GATEWAY, CLIENT), []);
}
