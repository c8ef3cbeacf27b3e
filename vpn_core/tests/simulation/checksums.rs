//! Transport checksums that are left out between nodes that accept it. That every packet arrives as it was sent, its
//! checksum included, is checked by the network itself.

use super::{
    forwarding::{GATEWAY, star_of},
    network::{Kind, Network, millis, secs},
    node::{NodeSettings, Peering},
};
use vpn_core::{device::Forwarding, wire::hybrid::Features};

/// A gateway with clients 1 and 3 of this version, and client 2, which says that it accepts nothing new.
fn star_with_an_earlier_version() -> Network {
    let gateway = NodeSettings { forwarding: Forwarding::BetweenPeers, ..NodeSettings::new(10) };
    let [new, other, third] = [11, 12, 13].map(NodeSettings::new);
    star_of(gateway, [new, NodeSettings { features: Features::NONE, ..other }, third])
}

fn no_drops(net: &Network) -> bool {
    net.nodes.iter().all(|node| node.all_drops().is_empty())
}

#[test]
fn nodes_that_accept_it_get_packets_without_checksums_also_through_a_gateway() {
    let mut net = star_with_an_earlier_version();
    let numbers = [(1, 3), (3, 1), (1, GATEWAY), (GATEWAY, 3)].map(|(from, to)| net.send_udp(from, to));
    net.run_for(secs(1));
    assert_eq!((net.delivered(&numbers), no_drops(&net)), (4, true));
    assert_eq!([GATEWAY, 1, 3].map(|node| net.nodes[node].completed), [1, 1, 2]);
}

#[test]
fn a_node_of_an_earlier_version_gets_complete_packets() {
    let mut net = star_with_an_earlier_version();
    let numbers = [1, GATEWAY, 3].map(|from| net.send_udp(from, 2));
    net.run_for(secs(1));
    assert_eq!((net.delivered(&numbers), no_drops(&net)), (3, true));
    assert_eq!(net.nodes[2].completed, 0);
}

#[test]
fn a_wireguard_session_carries_complete_packets() {
    let mut net = Network::two_sites_speaking(vpn_core::handshake::Protocol::Wireguard);
    net.send(0, 1);
    net.run_for(secs(1));
    let numbers = [(0, 1), (1, 0)].map(|(from, to)| net.send_udp(from, to));
    net.run_for(secs(1));
    assert_eq!((net.delivered(&numbers), no_drops(&net)), (2, true));
    assert_eq!([0, 1].map(|node| net.nodes[node].completed), [0, 0]);
}

#[test]
fn a_packet_that_waits_for_a_session_is_complete() {
    let mut net = Network::two_sites();
    let number = net.send_udp(0, 1);
    net.run_for(secs(1));
    assert_eq!((net.is_delivered(number), net.nodes[1].completed), (true, 0));
}

#[test]
fn a_packet_that_came_without_checksum_and_waits_at_the_gateway_is_complete() {
    let mut net = Network::new();
    net.add(NodeSettings { forwarding: Forwarding::BetweenPeers, ..NodeSettings::new(10) });
    for seed in [11, 12] {
        let node = net.add(NodeSettings::new(seed));
        let (to_node, to_gateway) = (net.peering(node), net.peering(GATEWAY));
        let everything = vec!["0.0.0.0/0".to_owned()];
        net.nodes[GATEWAY].set_peer(to_node, net.now);
        net.nodes[node].set_peer(Peering { allowed_ips: everything, ..to_gateway }, net.now);
    }
    net.send(1, GATEWAY);
    net.run_for(secs(1));
    assert_eq!(net.sent(GATEWAY, Kind::Init), 0, "the gateway has no session with node 2");
    let number = net.send_udp(1, 2);
    net.run_for(secs(1));
    assert_eq!((net.is_delivered(number), no_drops(&net)), (true, true));
    assert_eq!((net.sent(GATEWAY, Kind::Init), net.nodes[2].completed), (1, 0));
    let next = net.send_udp(1, 2);
    net.run_for(secs(1));
    assert_eq!((net.is_delivered(next), net.nodes[2].completed), (true, 1), "now there is one");
}

#[test]
fn what_overtakes_the_finish_may_come_without_checksum() {
    let mut net = Network::two_sites();
    net.lose_first(Kind::Finish, 1);
    net.send(0, 1);
    net.run_for(millis(50));
    let early = net.send_udp(0, 1);
    net.run_for(millis(30));
    assert!(!net.is_delivered(early), "it waits for the finish");
    net.run_for(secs(1));
    assert_eq!((net.is_delivered(early), net.nodes[1].completed), (true, 1));
}

#[test]
fn each_session_has_the_features_of_its_own_handshake() {
    let mut net = Network::two_sites();
    net.send(0, 1);
    net.run_for(secs(1));
    let first = net.send_udp(0, 1);
    net.run_for(secs(1));
    assert_eq!(net.nodes[1].completed, 1);
    // It comes back as an earlier version, connects, and sends something.
    net.nodes[1].settings.features = Features::NONE;
    net.restart(1);
    net.send(1, 0);
    net.run_for(secs(6));
    let second = net.send_udp(0, 1);
    net.run_for(secs(1));
    assert_eq!(net.delivered(&[first, second]), 2);
    assert_eq!(net.nodes[1].completed, 1);
}
