//! Whom a node does not talk to, and what they get to hear: nothing.

use super::{
    network::{Kind, Network, secs},
    node::{NodeSettings, Peering},
};
use vpn_core::{asymmetric::PublicKey, base::DropReason, handshake::Protocol};

/// A client (0) and a gateway (1), configured by the caller before they start.
fn pair(configure: impl FnOnce(&mut NodeSettings, &mut NodeSettings)) -> Network {
    let (mut client, mut gateway) = (NodeSettings::new(1), NodeSettings::new(2));
    configure(&mut client, &mut gateway);
    let mut net = Network::new();
    net.add(client);
    net.add(gateway);
    net
}

fn meet(net: &mut Network, towards_gateway: Peering, towards_client: Peering) {
    net.nodes[1].set_peer(Peering { endpoints: Vec::new(), ..towards_client }, net.now);
    net.nodes[0].set_peer(Peering { stay_connected: true, ..towards_gateway }, net.now);
    net.run_for(secs(30));
}

fn established(net: &Network) -> usize {
    let established = |event: &_| matches!(event, vpn_core::tunnel::Event::SessionEstablished { .. });
    net.nodes.iter().map(|node| node.count(established)).sum()
}

fn sent_by_gateway(net: &Network) -> usize {
    net.capture.iter().filter(|wire| wire.sender == 1).count()
}

#[test]
fn init_for_another_identity_gets_silence() {
    let mut net = pair(|_, _| {});
    let wrong = NodeSettings::new(99).key(Protocol::Hybrid);
    let (towards_gateway, towards_client) = (Peering { public_key: wrong, ..net.peering(1) }, net.peering(0));
    meet(&mut net, towards_gateway, towards_client);
    assert_eq!((sent_by_gateway(&net), established(&net)), (0, 0));
    assert_eq!(net.nodes[1].drops(DropReason::BadMac), net.sent(0, Kind::Init) as u64);
}

#[test]
fn init_under_another_network_key_gets_silence() {
    for (client_keys, gateway_keys) in
        [(vec![[7; 32]], vec![[8; 32]]), (vec![], vec![[8; 32]]), (vec![[7; 32]], vec![])]
    {
        let mut net = pair(|client, gateway| {
            client.network_keys.clone_from(&client_keys);
            gateway.network_keys.clone_from(&gateway_keys);
        });
        let (towards_gateway, towards_client) = (net.peering(1), net.peering(0));
        meet(&mut net, towards_gateway, towards_client);
        assert_eq!((sent_by_gateway(&net), established(&net)), (0, 0));
        assert!(net.nodes[1].drops(DropReason::BadMac) > 3);
    }
}

#[test]
fn two_network_keys_are_accepted_while_one_is_rotated() {
    for client_keys in [vec![[7; 32]], vec![[8; 32]], vec![[7; 32], [8; 32]]] {
        let mut net = pair(|client, gateway| {
            client.network_keys.clone_from(&client_keys);
            gateway.network_keys = vec![[8; 32], [7; 32]];
        });
        let (towards_gateway, towards_client) = (net.peering(1), net.peering(0));
        meet(&mut net, towards_gateway, towards_client);
        assert_eq!(established(&net), 2);
    }
}

#[test]
fn finish_under_another_preshared_key_gets_silence() {
    for (ours, theirs) in [([1; 32], [2; 32]), ([1; 32], [0; 32]), ([0; 32], [2; 32])] {
        let mut net = pair(|_, _| {});
        let towards_gateway = Peering { preshared_key: ours, ..net.peering(1) };
        let towards_client = Peering { preshared_key: theirs, ..net.peering(0) };
        meet(&mut net, towards_gateway, towards_client);
        assert_eq!(established(&net), 0);
        assert_eq!(sent_by_gateway(&net), net.sent(1, Kind::Response), "responses, but no confirmation");
        assert!(net.nodes[1].drops(DropReason::BadHandshake) > 3);
        assert_eq!(net.nodes[1].drops(DropReason::UnknownPeer), 0);
    }
}

#[test]
fn same_preshared_key_on_both_sides_connects() {
    let mut net = pair(|_, _| {});
    let towards_gateway = Peering { preshared_key: [3; 32], ..net.peering(1) };
    let towards_client = Peering { preshared_key: [3; 32], ..net.peering(0) };
    meet(&mut net, towards_gateway, towards_client);
    assert_eq!(established(&net), 2);
}

#[test]
fn finish_of_an_unknown_client_gets_silence() {
    let mut net = pair(|_, _| {});
    let towards_gateway = net.peering(1);
    let somebody = Peering { public_key: NodeSettings::new(50).key(net.protocol), ..net.peering(0) };
    meet(&mut net, towards_gateway, somebody);
    assert_eq!(established(&net), 0);
    assert_eq!(sent_by_gateway(&net), net.sent(1, Kind::Response));
    assert!(net.nodes[1].drops(DropReason::UnknownPeer) > 3);
    assert_eq!(net.nodes[1].drops(DropReason::BadHandshake), 0);
}

#[test]
fn unknown_client_backs_off_to_one_handshake_in_thirty_seconds() {
    let mut net = pair(|_, _| {});
    let towards_gateway = net.peering(1);
    let somebody = Peering { public_key: NodeSettings::new(50).key(net.protocol), ..net.peering(0) };
    meet(&mut net, towards_gateway, somebody);
    net.run_for(secs(570));
    net.capture.clear();
    net.run_for(secs(600));
    let inits = net.sent(0, Kind::Init);
    assert!((18..=21).contains(&inits), "{inits} inits in ten minutes");
}

#[test]
fn removed_peer_is_cut_off_at_once() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    let client = net.key(0);
    assert!(net.nodes[1].device.remove_peer(&client));
    assert!(!net.nodes[1].device.remove_peer(&client));
    net.nodes[1].device.update_routes();
    net.capture.clear();
    let up = net.send(0, 1);
    let down = net.send(1, 0);
    net.run_for(secs(14));
    assert_eq!(net.delivered(&[up, down]), 0);
    assert_eq!(sent_by_gateway(&net), 0);
    let asked = net.sent(0, Kind::Path) as u64; // Its packet has no answer.
    assert_eq!(net.nodes[1].drops(DropReason::UnknownIndex), 1 + asked);
    assert_eq!(net.nodes[1].drops(DropReason::NoRoute), 1);
    net.run_for(secs(60));
    assert_eq!(sent_by_gateway(&net), net.sent(1, Kind::Response));
    assert!(net.nodes[1].drops(DropReason::UnknownPeer) >= 1);
}

#[test]
fn peer_removed_between_response_and_finish_is_not_let_in() {
    let mut net = Network::client_and_gateway();
    net.run_for(super::network::millis(30));
    let client = net.key(0);
    net.nodes[1].device.remove_peer(&client);
    net.run_for(secs(1));
    assert_eq!(established(&net), 0);
    assert!(net.nodes[1].drops(DropReason::UnknownPeer) >= 1);
}

#[test]
fn removed_peer_added_again_connects_again() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    let (client, peering) = (net.key(0), net.nodes[1].peerings[0].clone());
    net.nodes[1].device.remove_peer(&client);
    net.run_for(secs(10));
    net.nodes[1].set_peer(peering, net.now);
    net.send(0, 1);
    net.run_for(secs(16));
    let both = [net.send(0, 1), net.send(1, 0)];
    net.run_for(secs(1));
    assert_eq!(net.delivered(&both), 2);
}

#[test]
fn own_identity_and_keys_of_small_order_are_refused_as_peers() {
    let mut net = pair(|_, _| {});
    let own = net.peering(0);
    assert!(net.nodes[0].set_peer(own, net.now).is_none());
    let mut one = [0; 32];
    one[0] = 1;
    for bytes in [[0; 32], one, [0xff; 32]] {
        let peering = Peering { public_key: PublicKey(bytes).into(), ..net.peering(1) };
        assert!(net.nodes[0].set_peer(peering, net.now).is_none());
    }
}

#[test]
fn two_nodes_with_the_same_identity_do_not_connect() {
    // A stolen key file: the thief calls the owner. Neither has itself as a peer, but either may answer inits.
    let mut net = pair(|client, gateway| client.seed = gateway.seed);
    let (towards_gateway, towards_client) = (net.peering(1), net.peering(0));
    meet(&mut net, towards_gateway, towards_client);
    assert_eq!((net.capture.len(), established(&net)), (0, 0));
}
