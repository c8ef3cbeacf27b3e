//! A first connection, from one side and from both.

use super::{
    network::{Kind, Network, millis, secs},
    node::Node,
};
use std::collections::BTreeMap;
use vpn_core::{
    handshake::Role,
    symmetric::Suite,
    tunnel::{Event, PeerState},
    wire::hybrid::SuiteSet,
};

#[test]
fn client_connects_within_one_round_trip_and_data_follows_the_finish() {
    let mut net = Network::client_and_gateway();
    let first = net.send(0, 1);
    let took = net.run_while(secs(1), |net| !net.is_delivered(first));
    assert_eq!(took, millis(60), "init, response, finish and data: three times 20 ms");
    net.run_for(secs(1));
    let (client, gateway) = (net.key(0), net.key(1));
    assert_eq!(net.nodes[0].status_of(gateway, net.now).state, PeerState::Up);
    assert_eq!(net.nodes[1].status_of(client, net.now).state, PeerState::Up);
    let back = net.send(1, 0);
    net.run_for(millis(20));
    assert!(net.is_delivered(back));
    for (node, expected) in [(0, Role::Initiator), (1, Role::Responder)] {
        let established = net.nodes[node]
            .count(|event| matches!(event, Event::SessionEstablished { role, .. } if *role == expected));
        assert_eq!(established, 1);
        assert!(net.nodes[node].all_drops().is_empty());
    }
    assert_eq!(net.sent(0, Kind::Init), 1);
    assert_eq!(net.sent(0, Kind::Finish), 1);
}

#[test]
fn initiator_is_up_only_once_something_authentic_arrives() {
    let mut net = Network::client_and_gateway();
    net.rule(|wire| wire.kind != Kind::Empty);
    net.run_for(millis(200));
    let (client, gateway) = (net.key(0), net.key(1));
    assert_eq!(net.nodes[1].status_of(client, net.now).state, PeerState::Up);
    assert_eq!(net.nodes[0].status_of(gateway, net.now).state, PeerState::Connecting);
    net.send(1, 0);
    net.run_for(millis(20));
    assert_eq!(net.nodes[0].status_of(gateway, net.now).state, PeerState::Up);
}

#[test]
fn both_sides_with_aes_choose_aes_and_one_without_makes_it_chacha() {
    for (suites, expected) in [
        (SuiteSet::WITH_AES_256_GCM, Suite::Aes256Gcm),
        (SuiteSet::CHACHA20_POLY1305, Suite::ChaCha20Poly1305),
    ] {
        let mut net = Network::client_and_gateway();
        net.nodes[0].settings.suites = SuiteSet::WITH_AES_256_GCM;
        net.nodes[1].settings.suites = suites;
        net.restart(1);
        net.restart(0);
        net.run_for(secs(1));
        let packets = net.send_many(0, 1, 10);
        net.run_for(secs(1));
        assert_eq!(net.delivered(&packets), 10);
        let key = net.key(1);
        assert_eq!(net.nodes[0].status_of(key, net.now).suite, expected);
    }
}

#[test]
fn simultaneous_initiation_loses_no_packet_from_the_first_on() {
    for offset in [0, 1, 10, 19, 20, 25, 39, 41, 59] {
        for first in [0, 1] {
            let mut net = Network::two_sites();
            let mut numbers = vec![net.send(first, 1 - first)];
            net.run_for(millis(offset));
            numbers.push(net.send(1 - first, first));
            for _ in 0..100 {
                net.run_for(millis(7));
                numbers.extend([net.send(0, 1), net.send(1, 0)]);
            }
            net.run_for(secs(1));
            assert_eq!(net.delivered(&numbers), numbers.len(), "second {offset} ms after the first");
            let drops: Vec<_> = net.nodes.iter().map(Node::all_drops).collect();
            assert!(drops.iter().all(BTreeMap::is_empty), "second {offset} ms after the first: {drops:?}");
        }
    }
}

#[test]
fn crossing_handshakes_leave_both_ends_on_the_same_session() {
    for offset in [0, 5, 10, 15] {
        let mut net = Network::two_sites();
        net.send(0, 1);
        net.run_for(millis(offset));
        net.send(1, 0);
        net.run_for(secs(2));
        assert_eq!((net.sent(0, Kind::Finish), net.sent(1, Kind::Finish)), (1, 1), "both initiated");
        // Whoever has the lower key initiated the session in use, so it alone rekeys.
        let lower = usize::from(net.key(1).as_bytes() < net.key(0).as_bytes());
        net.run_for(secs(119));
        net.capture.clear();
        let mut numbers = Vec::new();
        for _ in 0..50 {
            numbers.extend([net.send(0, 1), net.send(1, 0)]);
            net.run_for(millis(500));
        }
        assert_eq!(net.delivered(&numbers), numbers.len());
        assert_eq!(
            (net.sent(lower, Kind::Init), net.sent(1 - lower, Kind::Init)),
            (1, 0),
            "offset {offset} ms"
        );
    }
}

#[test]
fn session_that_the_peer_made_meanwhile_ends_the_own_attempts() {
    let mut net = Network::two_sites();
    net.rule(|wire| wire.kind != Kind::Init || wire.sender == 1);
    net.send(0, 1);
    net.run_for(secs(1));
    let inits = net.sent(0, Kind::Init);
    net.send(1, 0);
    net.run_for(secs(20));
    assert_eq!((net.sent(0, Kind::Init), net.sent(1, Kind::Init)), (inits, 1));
}
