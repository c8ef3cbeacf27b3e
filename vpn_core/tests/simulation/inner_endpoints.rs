//! Addresses inside the tunnel are no endpoints (protocol.md 9.3), whoever names them. That no node ever sends a datagram to
//! such an address is checked by the network in every test.

use super::{
    network::{Kind, Network, millis, secs},
    node::Peering,
};
use std::net::SocketAddr;
use vpn_core::{
    base::DropReason,
    handshake::Protocol,
    tunnel::{Event, InnerNetworks, PeerState},
};

/// Inside the tunnel of the nodes of [`connected`]: the other one's own address, one of its networks, and an IPv6 one.
fn inner_sources(node: u8) -> [SocketAddr; 4] {
    [
        format!("10.0.0.{node}:51820"),
        "10.0.0.77:4500".to_owned(),
        "[fd00::77]:51820".to_owned(),
        format!("[::ffff:10.0.0.{node}]:51820"),
    ]
    .map(|text| text.parse().expect("an address"))
}

/// A client and a gateway that have a session; each has more networks behind it than its own address.
fn connected(protocol: Protocol) -> Network {
    let mut net = Network::two_sites_speaking(protocol);
    let networks = ["10.0.0.64/26".to_owned(), "fd00::/64".to_owned()];
    for (own, other) in [(0, 1), (1, 0)] {
        let mut peering = Peering { stay_connected: own == 0, ..net.peering(other) };
        peering.allowed_ips.extend(networks.clone());
        if own == 1 {
            peering.endpoints.clear();
        }
        net.nodes[own].set_peer(peering, net.now);
    }
    net.restart(1);
    net.restart(0);
    let first = net.send(0, 1);
    net.run_for(secs(1));
    assert!(net.is_delivered(first));
    net.capture.clear();
    net
}

fn endpoint(net: &Network, node: usize) -> Option<SocketAddr> {
    net.nodes[node].status_of(net.key(1 - node), net.now).endpoint
}

fn inner_drops(net: &Network, node: usize) -> u64 {
    net.nodes[node].drops(DropReason::InnerAddress)
}

/// Takes the next message of a kind out of the network, and has it arrive from somewhere else.
fn divert(net: &mut Network, kind: Kind, to: usize, source: SocketAddr) {
    net.run_while(secs(10), |net| net.captured(kind).is_empty());
    let datagram = net.captured(kind)[0].datagram.clone();
    net.inject(source, to, datagram);
}

#[test]
fn data_from_an_inner_source_is_delivered_and_does_not_move_the_endpoint() {
    for protocol in [Protocol::Hybrid, Protocol::Wireguard] {
        for victim in [0, 1] {
            let sender = 1 - victim;
            for source in inner_sources(sender as u8 + 1) {
                let mut net = connected(protocol);
                let before = endpoint(&net, victim);
                net.lose_first(Kind::Data, 1);
                let number = net.send(sender, victim);
                divert(&mut net, Kind::Data, victim, source);
                net.run_for(secs(1));
                assert!(net.is_delivered(number), "it is authentic: {source}");
                assert_eq!(endpoint(&net, victim), before, "{source}");
                assert_eq!(inner_drops(&net, victim), 1);
                let both = [net.send(0, 1), net.send(1, 0)];
                net.run_for(secs(1));
                assert_eq!(net.delivered(&both), 2);
            }
        }
    }
}

#[test]
fn a_peer_that_speaks_from_an_inner_address_is_heard_and_answered_where_it_was() {
    let mut net = connected(Protocol::Hybrid);
    let honest = net.nodes[0].address;
    net.nodes[0].address = "10.0.0.1:51820".parse().expect("an address");
    let up = net.send_many(0, 1, 20);
    net.run_for(secs(1));
    let down = net.send_many(1, 0, 20);
    assert_eq!(net.captured(Kind::Data).iter().filter(|wire| wire.to == honest).count(), 20);
    net.nodes[0].address = honest;
    net.run_for(secs(1));
    assert_eq!((net.delivered(&up), net.delivered(&down)), (20, 20));
}

#[test]
fn a_finish_from_an_inner_source_makes_no_session_and_the_honest_one_does() {
    for source in inner_sources(1) {
        let mut net = connected(Protocol::Hybrid);
        net.restart(0);
        net.lose_first(Kind::Finish, 1);
        net.capture.clear();
        let before = net.nodes[1].status_of(net.key(0), net.now).handshakes;
        divert(&mut net, Kind::Finish, 1, source);
        net.run_for(millis(1));
        assert_eq!(inner_drops(&net, 1), 1);
        assert_eq!(net.nodes[1].status_of(net.key(0), net.now).handshakes, before);
        net.run_for(secs(1));
        assert_eq!(net.nodes[1].status_of(net.key(0), net.now).handshakes, before + 1);
        assert_eq!(endpoint(&net, 1), Some(net.nodes[0].address));
        // The same finish again, from inside: a repetition is answered to where it came from.
        let finish = net.captured(Kind::Finish)[0].datagram.clone();
        net.inject(source, 1, finish);
        net.run_for(secs(1));
        assert_eq!(inner_drops(&net, 1), 2);
    }
}

#[test]
fn an_init_from_an_inner_source_has_no_answer_and_spoils_nothing() {
    for protocol in [Protocol::Hybrid, Protocol::Wireguard] {
        for source in inner_sources(1) {
            let mut net = connected(protocol);
            net.restart(0); // Its init is on its way now: a copy of it overtakes it.
            divert(&mut net, Kind::Init, 1, source);
            net.run_for(millis(1));
            assert_eq!((net.sent(1, Kind::Response), inner_drops(&net, 1)), (0, 1));
            net.run_for(secs(1));
            assert_eq!(net.nodes[0].status_of(net.key(1), net.now).state, PeerState::Up);
            assert_eq!(endpoint(&net, 1), Some(net.nodes[0].address));
        }
    }
}

#[test]
fn a_response_from_an_inner_source_is_taken_and_answered_where_the_init_went() {
    for protocol in [Protocol::Hybrid, Protocol::Wireguard] {
        for source in inner_sources(2) {
            let mut net = connected(protocol);
            net.restart(0);
            net.lose_first(Kind::Response, 1);
            net.capture.clear();
            divert(&mut net, Kind::Response, 0, source);
            net.run_for(millis(100));
            assert_eq!(net.nodes[0].status_of(net.key(1), net.now).state, PeerState::Up);
            assert_eq!(endpoint(&net, 0), Some(net.nodes[1].address));
            assert_eq!(inner_drops(&net, 0), 1);
        }
    }
}

#[test]
fn configured_and_resolved_endpoints_inside_are_left_out() {
    let mut net = connected(Protocol::Hybrid);
    let (good, gateway) = (net.nodes[1].address, net.key(1));
    let inside: Vec<SocketAddr> = inner_sources(2).to_vec();
    let mut peering = net.nodes[0].peerings[0].clone();
    peering.endpoints.clone_from(&inside);
    net.nodes[0].set_peer(peering.clone(), net.now);
    net.restart(0);
    net.run_for(secs(100));
    assert_eq!((endpoint(&net, 0), net.sent(0, Kind::Init)), (None, 0));
    let (mut resolved, now) = (inside, net.now);
    resolved.push(good);
    net.nodes[0].device.set_endpoints(&gateway, resolved, now);
    net.run_for(millis(100));
    assert_eq!(endpoint(&net, 0), Some(good));
    assert_eq!(net.nodes[0].status_of(gateway, net.now).state, PeerState::Up);
}

#[test]
fn an_endpoint_set_by_hand_inside_the_tunnel_is_reported_and_not_taken() {
    for protocol in [Protocol::Hybrid, Protocol::Wireguard] {
        let mut net = connected(protocol);
        let (before, gateway, now) = (endpoint(&net, 0), net.key(1), net.now);
        for inside in inner_sources(2) {
            net.nodes[0].device.move_endpoint(&gateway, inside, now);
            net.flush(0);
            assert_eq!(endpoint(&net, 0), before);
            let reported = |event: &Event| matches!(event, Event::EndpointInside { endpoint, .. } if *endpoint == inside);
            assert_eq!(net.nodes[0].count(reported), 1);
        }
    }
}

#[test]
fn an_endpoint_that_comes_to_lie_inside_gives_way_to_the_next_configured_one() {
    let mut net = connected(Protocol::Hybrid);
    let (good, gateway) = (net.nodes[1].address, net.key(1));
    let learned = SocketAddr::from(([203, 0, 113, 9], 51820));
    net.nodes[1].address = learned;
    net.send(1, 0);
    net.run_for(millis(100));
    assert_eq!(endpoint(&net, 0), Some(learned));
    let mut peering = net.nodes[0].peerings[0].clone();
    peering.allowed_ips.push("203.0.113.0/24".to_owned());
    net.nodes[0].set_peer(peering.clone(), net.now);
    net.flush(0);
    assert_eq!(endpoint(&net, 0), Some(good));
    assert_eq!(net.nodes[0].count(|event| matches!(event, Event::EndpointInside { .. })), 1);
    // None is left, and one again when the routes change back.
    peering.allowed_ips.push("192.0.2.0/24".to_owned());
    net.nodes[0].set_peer(peering.clone(), net.now);
    net.flush(0);
    assert_eq!(endpoint(&net, 0), None);
    peering.allowed_ips.pop();
    net.nodes[0].set_peer(peering, net.now);
    assert_eq!(net.nodes[0].status_of(gateway, net.now).endpoint, Some(good));
}

#[test]
fn the_owner_of_a_device_says_what_its_own_datagrams_are_routed_around() {
    let mut net = connected(Protocol::Hybrid);
    let gateway = net.key(1);
    let learned = SocketAddr::from(([203, 0, 113, 9], 51820));
    let mut peering = net.nodes[0].peerings[0].clone();
    peering.allowed_ips.extend(["203.0.113.0/24".to_owned(), "0.0.0.0/0".to_owned()]);
    net.nodes[0].set_peer(peering, net.now);
    let hears_from = |net: &mut Network, address| {
        net.nodes[1].address = address;
        net.send(1, 0);
        net.run_for(millis(100));
        net.nodes[0].status_of(gateway, net.now).endpoint == Some(address)
    };
    assert!(!hears_from(&mut net, learned), "an allowed IP");
    assert!(hears_from(&mut net, SocketAddr::from(([198, 51, 100, 9], 7))), "only a default route covers it");
    let (inner, now) = (InnerNetworks::new(["10.0.0.0/24".parse().expect("a network")]), net.now);
    net.nodes[0].device.set_inner_networks(inner, now);
    assert!(hears_from(&mut net, learned), "routed around");
}
