//! Packets for nobody, and for peers that nobody can reach: their senders are told, within bounds.

use super::{
    forwarding::{GATEWAY, star_of},
    network::{Network, Wire, secs},
    node::{NodeSettings, Peering},
};
use std::net::Ipv4Addr;
use vpn_core::{base::DropReason, device::Forwarding, tunnel::Event};

/// A client, and a second one.
const CLIENT: usize = 1;
const SECOND: usize = 2;
/// The address of a client that the gateway knows and that was never there.
const ABSENT: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 99);
/// An address of the tunnel's network that nobody has.
const NOBODY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 77);
/// ICMP type and code.
const HOST_UNREACHABLE: (u8, u8) = (3, 1);

/// A gateway (0) with three clients, and one that was never there.
fn star(forwarding: Forwarding) -> Network {
    let gateway = NodeSettings { forwarding, ..NodeSettings::new(10) };
    let mut net = star_of(gateway, [11, 12, 13].map(NodeSettings::new));
    let absent = Peering {
        public_key: NodeSettings::new(99).key(vpn_core::handshake::Protocol::Hybrid),
        endpoints: Vec::new(),
        allowed_ips: vec![format!("{ABSENT}/32")],
        ..net.peering(CLIENT)
    };
    net.nodes[GATEWAY].set_peer(absent, net.now);
    net
}

fn send(net: &mut Network, from: usize, destination: Ipv4Addr, count: usize) {
    let source = net.nodes[from].inner;
    net.send_batch(from, source, destination, 64, count);
    net.run_for(secs(1));
}

/// What a node was told of packets to `destination`: type and code of each ICMP message.
fn told(net: &Network, node: usize, destination: Ipv4Addr) -> Vec<(u8, u8)> {
    let own = net.nodes[node].inner.octets();
    let packets = net.nodes[node].received.iter().map(|(_, packet)| packet);
    packets
        .filter(|packet| packet[9] == 1 && packet[12..16] == destination.octets() && packet[16..20] == own)
        .inspect(|packet| {
            assert_eq!((&packet[40..44], &packet[44..48]), (&own[..], &destination.octets()[..]));
        })
        .map(|packet| (packet[20], packet[21]))
        .collect()
}

#[test]
fn the_sender_of_a_packet_to_a_peer_that_was_never_there_is_told() {
    let mut net = star(Forwarding::BetweenPeers);
    for sender in [GATEWAY, CLIENT] {
        send(&mut net, sender, ABSENT, 1);
        assert_eq!(told(&net, sender, ABSENT), [HOST_UNREACHABLE], "node {sender}");
    }
    assert_eq!(net.nodes[GATEWAY].drops(DropReason::NoEndpoint), 2);
}

#[test]
fn the_sender_of_a_packet_to_an_address_of_the_tunnel_that_nobody_has_is_told() {
    let mut net = star(Forwarding::BetweenPeers);
    for sender in [GATEWAY, CLIENT] {
        send(&mut net, sender, NOBODY, 1);
        assert_eq!(told(&net, sender, NOBODY), [HOST_UNREACHABLE], "node {sender}");
    }
    assert_eq!(net.nodes[GATEWAY].drops(DropReason::NoRoute), 2);
    let to_nobody = |packet: &[u8]| packet[16..20] == NOBODY.octets();
    assert!(!net.nodes[GATEWAY].received.iter().any(|(_, packet)| to_nobody(packet)), "not routed back");
}

#[test]
fn nobody_is_told_of_packets_that_are_for_all() {
    let mut net = star(Forwarding::BetweenPeers);
    for destination in [[10, 0, 0, 255], [10, 0, 0, 0], [255; 4], [224, 0, 0, 1]].map(Ipv4Addr::from) {
        send(&mut net, GATEWAY, destination, 1);
        assert_eq!(told(&net, GATEWAY, destination), [], "{destination}");
    }
    // A network's first and last address, too, if a peer has it that was never there.
    let absent =
        Peering { allowed_ips: vec!["10.0.0.0/24".to_owned()], ..net.nodes[GATEWAY].peerings[3].clone() };
    net.nodes[GATEWAY].set_peer(absent, net.now);
    let all = Ipv4Addr::new(10, 0, 0, 255);
    for sender in [GATEWAY, CLIENT] {
        send(&mut net, sender, all, 1);
        assert_eq!(told(&net, sender, all), [], "from node {sender}");
        send(&mut net, sender, NOBODY, 1);
        assert_eq!(told(&net, sender, NOBODY), [HOST_UNREACHABLE], "the peer has it now, from node {sender}");
    }
}

#[test]
fn where_clients_are_kept_apart_no_answer_tells_which_addresses_are_in_use() {
    let mut net = star(Forwarding::Denied);
    for destination in [ABSENT, NOBODY, net.nodes[SECOND].inner] {
        send(&mut net, CLIENT, destination, 1);
        assert_eq!(told(&net, CLIENT, destination), [], "{destination}");
    }
    assert_eq!(net.nodes[GATEWAY].drops(DropReason::ForwardingDenied), 3);
}

#[test]
fn senders_are_told_when_a_peer_that_does_not_answer_is_given_up() {
    let mut net = star(Forwarding::BetweenPeers);
    let (gone, inner) = (net.nodes[SECOND].address, net.nodes[SECOND].inner);
    net.rule(move |wire: &Wire| wire.to != gone && wire.from != gone);
    net.run_for(secs(400)); // Its session expires.
    for sender in [GATEWAY, CLIENT] {
        send(&mut net, sender, inner, 1);
        assert_eq!(told(&net, sender, inner), [], "it is asked first");
    }
    net.run_for(secs(100));
    for sender in [GATEWAY, CLIENT] {
        assert_eq!(told(&net, sender, inner), [HOST_UNREACHABLE], "node {sender}");
    }
    assert_eq!(net.nodes[GATEWAY].count(|event| matches!(event, Event::GaveUp { .. })), 1);
    net.run_for(secs(200));
    assert_eq!(
        net.nodes[GATEWAY].count(|event| matches!(event, Event::GaveUp { .. })),
        1,
        "no answer asks again"
    );
}

#[test]
fn answers_to_a_flood_are_bounded() {
    let mut net = star(Forwarding::BetweenPeers);
    for destination in [ABSENT, NOBODY] {
        send(&mut net, CLIENT, destination, 500);
    }
    let answers = told(&net, CLIENT, ABSENT).len() + told(&net, CLIENT, NOBODY).len();
    assert!((64..=64 + 110).contains(&answers), "{answers} within a second");
}
