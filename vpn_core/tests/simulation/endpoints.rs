//! Roaming, and peers with several endpoints.

use super::{
    network::{Kind, Network, millis, secs},
    node::Peering,
};
use std::net::SocketAddr;
use vpn_core::{base::DropReason, tunnel::PeerState};

fn elsewhere() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 77], 1234))
}

#[test]
fn client_behind_a_new_nat_mapping_is_followed_with_its_first_packet() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.nodes[0].address = elsewhere();
    let up = net.send(0, 1);
    net.run_for(millis(20));
    let down = net.send(1, 0);
    net.run_for(millis(20));
    assert_eq!(net.delivered(&[up, down]), 2);
    let client = net.key(0);
    assert_eq!(net.nodes[1].status_of(client, net.now).endpoint, Some(elsewhere()));
}

#[test]
fn client_on_another_network_is_back_within_a_round_trip_of_being_told() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    let (address, now) = (elsewhere(), net.now);
    net.nodes[0].address = address;
    net.nodes[0].local = address.ip();
    net.nodes[0].device.handle_network_change(now);
    net.run_for(millis(100));
    let both = [net.send(0, 1), net.send(1, 0)];
    net.run_for(millis(20));
    assert_eq!(net.delivered(&both), 2);
}

#[test]
fn network_change_during_the_pause_between_handshakes_connects_at_once() {
    let mut net = Network::client_and_gateway();
    net.run_for(millis(200));
    let now = net.now;
    net.nodes[0].device.handle_network_change(now);
    net.run_for(millis(200));
    // A removed peer, a dead path: whatever made it wait for the end of the five seconds.
    net.restart(1);
    net.send(0, 1);
    net.run_for(millis(2));
    let (now, inits) = (net.now, net.sent(0, Kind::Init));
    net.nodes[0].device.handle_network_change(now);
    net.run_for(millis(1));
    assert_eq!(net.sent(0, Kind::Init), inits + 1);
}

#[test]
fn client_that_is_not_told_of_its_new_network_recovers_by_itself() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.nodes[0].address = elsewhere();
    net.nodes[0].local = elsewhere().ip();
    net.send(0, 1);
    net.run_for(secs(16));
    let both = [net.send(0, 1), net.send(1, 0)];
    net.run_for(secs(1));
    assert_eq!(net.delivered(&both), 2);
}

#[test]
fn gateway_that_moves_is_followed_when_it_sends() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.nodes[1].address = elsewhere();
    let down = net.send(1, 0);
    net.run_for(millis(20));
    let up = net.send(0, 1);
    net.run_for(millis(20));
    assert_eq!(net.delivered(&[up, down]), 2);
}

#[test]
fn forged_and_replayed_packets_from_elsewhere_do_not_move_the_endpoint() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.send(0, 1);
    net.run_for(secs(1));
    let genuine = net.captured(Kind::Data)[0].datagram.clone();
    let mut forged = genuine.clone();
    forged[8] ^= 0xff;
    net.inject(elsewhere(), 1, genuine);
    net.inject(elsewhere(), 1, forged);
    net.run_for(secs(1));
    let (client, address) = (net.key(0), net.nodes[0].address);
    assert_eq!(net.nodes[1].status_of(client, net.now).endpoint, Some(address));
    assert_eq!((net.nodes[1].drops(DropReason::Replay), net.nodes[1].drops(DropReason::BadTag)), (1, 1));
}

#[test]
fn endpoints_are_tried_in_turn_until_one_answers() {
    let mut net = Network::client_and_gateway();
    let good = net.nodes[1].address;
    let dead = |host| SocketAddr::from(([203, 0, 113, host], 1));
    let peering = Peering { endpoints: vec![dead(1), dead(2), good], stay_connected: true, ..net.peering(1) };
    net.nodes[0].peerings.clear();
    net.nodes[0].set_peer(peering, net.now);
    net.restart(0);
    net.run_while(secs(25), |net| net.nodes[0].events.iter().all(|(_, event)| !is_established(event)));
    let tried: Vec<_> = net.captured(Kind::Init).iter().map(|wire| wire.to).collect();
    let position = |address| tried.iter().position(|to| *to == address);
    assert!(position(dead(1)) < position(dead(2)) && position(dead(2)) < position(good), "{tried:?}");
}

#[test]
fn client_whose_gateway_has_no_address_yet_connects_once_it_is_resolved() {
    let mut net = Network::client_and_gateway();
    let address = net.nodes[1].address;
    let peering = Peering { endpoints: Vec::new(), stay_connected: true, ..net.peering(1) };
    net.nodes[0].set_peer(peering, net.now);
    net.restart(0);
    net.run_for(secs(100));
    assert_eq!(net.sent(0, Kind::Init), 0);
    let (gateway, now) = (net.key(1), net.now);
    net.nodes[0].device.set_endpoints(&gateway, vec![address], now);
    net.run_for(secs(1));
    assert_eq!(net.nodes[0].status_of(gateway, net.now).state, PeerState::Up);
}

#[test]
fn newly_resolved_addresses_are_tried_from_the_first() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    let address = SocketAddr::from(([192, 0, 2, 99], 51820));
    net.nodes[1].address = address;
    net.nodes[1].local = address.ip();
    net.send(0, 1);
    net.run_for(secs(20));
    let (gateway, now) = (net.key(1), net.now);
    let other = SocketAddr::from(([203, 0, 113, 1], 1));
    net.nodes[0].device.set_endpoints(&gateway, vec![address, other], now);
    net.run_for(secs(12));
    let both = [net.send(0, 1), net.send(1, 0)];
    net.run_for(secs(1));
    assert_eq!(net.delivered(&both), 2);
}

fn is_established(event: &vpn_core::tunnel::Event) -> bool {
    matches!(event, vpn_core::tunnel::Event::SessionEstablished { .. })
}

#[test]
fn endpoint_that_answers_and_does_not_confirm_is_not_left() {
    let mut net = Network::client_and_gateway();
    let good = net.nodes[1].address;
    let other = SocketAddr::from(([203, 0, 113, 1], 1));
    let peering = Peering { endpoints: vec![good, other], stay_connected: true, ..net.peering(1) };
    net.nodes[0].peerings.clear();
    net.nodes[0].set_peer(peering, net.now);
    let client = net.key(0);
    assert!(net.nodes[1].device.remove_peer(&client));
    net.restart(0);
    net.capture.clear();
    net.run_for(secs(40));
    let inits = net.captured(Kind::Init);
    assert!(inits.len() > 4);
    assert!(inits.iter().all(|wire| wire.to == good), "another address would not make it accept us");
}
