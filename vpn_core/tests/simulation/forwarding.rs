//! Packets between peers, and from where they should not come.

use super::{
    network::{Network, millis, secs},
    node::{NodeSettings, Peering},
};
use std::net::Ipv4Addr;
use vpn_core::{base::DropReason, device::Forwarding};

pub(super) const GATEWAY: usize = 0;

/// A gateway (0) with three clients, which send everything through it.
fn star(forwarding: Forwarding) -> Network {
    star_of(NodeSettings { forwarding, ..NodeSettings::new(10) }, [11, 12, 13].map(NodeSettings::new))
}

/// The same with settings for each.
pub(super) fn star_of(gateway: NodeSettings, clients: [NodeSettings; 3]) -> Network {
    let mut net = Network::new();
    net.add(gateway);
    for settings in clients {
        let client = net.add(settings);
        let towards_client = Peering { endpoints: Vec::new(), ..net.peering(client) };
        net.nodes[GATEWAY].set_peer(towards_client, net.now);
        let towards_gateway = Peering {
            stay_connected: true,
            allowed_ips: vec!["0.0.0.0/0".to_owned()],
            ..net.peering(GATEWAY)
        };
        net.nodes[client].set_peer(towards_gateway, net.now);
    }
    net.run_for(secs(1));
    net
}

#[test]
fn clients_reach_each_other_through_the_gateway_with_one_hop_less() {
    let mut net = star(Forwarding::BetweenPeers);
    let numbers: Vec<_> = [(1, 2), (2, 3), (3, 1)].map(|(from, to)| net.send(from, to)).to_vec();
    net.run_for(millis(40));
    assert_eq!(net.delivered(&numbers), 3);
    assert_eq!(net.nodes[2].received[0].1[8], 63, "TTL");
}

#[test]
fn batch_of_several_flows_is_split_to_the_right_peers_in_order() {
    let mut net = star(Forwarding::BetweenPeers);
    let mut to = [Vec::new(), Vec::new(), Vec::new()];
    for _ in 0..20 {
        to[0].extend(net.send_many(1, 2, 2));
        to[1].extend(net.send_many(1, 3, 1));
        to[2].extend(net.send_many(1, GATEWAY, 3));
    }
    net.run_for(secs(1));
    assert_eq!([net.order(2), net.order(3), net.order(GATEWAY)], to);
}

#[test]
fn gateway_that_denies_forwarding_drops_and_counts() {
    let mut net = star(Forwarding::Denied);
    let (denied, allowed) = (net.send(1, 2), net.send(1, GATEWAY));
    net.run_for(secs(1));
    assert_eq!((net.is_delivered(denied), net.is_delivered(allowed)), (false, true));
    assert_eq!(net.nodes[GATEWAY].drops(DropReason::ForwardingDenied), 1);
}

#[test]
fn packet_whose_ttl_ends_at_the_gateway_goes_to_its_system() {
    let mut net = star(Forwarding::BetweenPeers);
    let (source, destination) = (net.nodes[1].inner, net.nodes[2].inner);
    net.send_batch(1, source, destination, 1, 1);
    net.run_for(secs(1));
    assert_eq!((net.nodes[GATEWAY].received.len(), net.nodes[2].received.len()), (1, 0));
}

#[test]
fn packet_for_the_world_goes_to_the_gateways_system() {
    let mut net = star(Forwarding::BetweenPeers);
    let source = net.nodes[1].inner;
    net.send_batch(1, source, Ipv4Addr::new(198, 51, 100, 1), 64, 1);
    net.run_for(secs(1));
    assert_eq!(net.nodes[GATEWAY].received.len(), 1);
}

#[test]
fn spoofed_inner_source_is_dropped_also_in_the_middle_of_a_batch() {
    let mut net = star(Forwarding::BetweenPeers);
    let (own, other, world) = (net.nodes[1].inner, net.nodes[3].inner, Ipv4Addr::new(198, 51, 100, 1));
    let to = net.nodes[2].inner;
    let good = net.send_batch(1, own, to, 64, 2);
    let bad = net.send_batch(1, other, to, 64, 2);
    let bad_world = net.send_batch(1, world, to, 64, 1);
    let good_again = net.send_batch(1, own, to, 64, 2);
    net.run_for(secs(1));
    assert_eq!((net.delivered(&good), net.delivered(&good_again)), (2, 2));
    assert_eq!((net.delivered(&bad), net.delivered(&bad_world)), (0, 0));
    assert_eq!(net.nodes[GATEWAY].drops(DropReason::SourceNotAllowed), 3);
}

#[test]
fn packet_for_a_client_that_is_away_waits_at_the_gateway() {
    let mut net = star(Forwarding::BetweenPeers);
    net.run_for(secs(400)); // All sessions expire.
    let number = net.send(1, 2);
    net.run_for(secs(1));
    assert!(net.is_delivered(number), "the gateway knows where client 2 was last");
}
