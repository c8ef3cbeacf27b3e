//! Silence, and what interrupts it.

use super::{
    network::{Kind, Network, millis, secs},
    node::Peering,
};
use vpn_core::{
    handshake::Protocol,
    tunnel::{Event, PeerState},
};

#[test]
fn receiver_with_nothing_to_send_answers_once_after_ten_seconds() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.capture.clear();
    net.send(0, 1);
    net.run_for(millis(10_010));
    assert_eq!(net.sent(1, Kind::Empty), 0);
    net.run_for(secs(60));
    assert_eq!(net.sent(1, Kind::Empty), 1);
    assert_eq!(net.sent(0, Kind::Empty), 0, "an empty packet needs no answer");
    assert_eq!(net.nodes[0].count(|event| matches!(event, Event::PeerDead { .. })), 0);
}

#[test]
fn idle_tunnel_exchanges_nothing_after_its_session_expired() {
    let mut net = Network::two_sites();
    net.send(0, 1);
    net.run_for(secs(200));
    net.capture.clear();
    net.run_for(secs(24 * 3600));
    assert!(net.capture.is_empty(), "{:?}", net.capture[0].kind);
    assert!(net.nodes.iter().all(|node| node.poll_timeout().is_none()), "and asks for no timer");
    let key = net.key(1);
    assert_eq!(net.nodes[0].status_of(key, net.now).state, PeerState::Idle);
}

#[test]
fn persistent_keepalive_goes_on_for_an_hour_and_is_quiet_otherwise() {
    let mut net = Network::client_and_gateway();
    let peering = Peering { persistent_keepalive: Some(secs(25)), stay_connected: true, ..net.peering(1) };
    net.nodes[0].set_peer(peering, net.now);
    net.run_for(secs(1));
    net.capture.clear();
    let key = net.key(1);
    for _ in 0..3600 {
        net.run_for(secs(1));
        assert_eq!(net.nodes[0].status_of(key, net.now).state, PeerState::Up, "at {:?}", net.elapsed());
    }
    let keepalives = net.sent(0, Kind::Path);
    assert!((120..=145).contains(&keepalives), "{keepalives} keepalives in an hour, every 25 s");
    assert_eq!(net.sent(1, Kind::Path), keepalives, "each is answered");
    let inits = net.sent(0, Kind::Init);
    assert!((23..=30).contains(&inits), "{inits} handshakes in an hour, one in 120 s to 150 s");
    assert_eq!(net.sent(1, Kind::Empty), inits, "confirmations only");
    assert_eq!(net.capture.len(), keepalives * 2 + inits * 4);
}

/// A client with nothing to send but keepalives, every 25 s.
fn idle_client() -> Network {
    let mut net = Network::client_and_gateway();
    let peering = Peering { persistent_keepalive: Some(secs(25)), stay_connected: true, ..net.peering(1) };
    net.nodes[0].set_peer(peering, net.now);
    net.run_for(secs(1));
    net
}

#[test]
fn an_idle_client_with_persistent_keepalive_finds_a_restarted_gateway_again() {
    for after in 0..25 {
        let mut net = idle_client();
        net.run_for(secs(after));
        net.restart(1);
        // The next keepalive, the silence after it, and a round trip.
        net.run_for(secs(25 + 15 + 1));
        assert_eq!(net.nodes[0].count(|event| matches!(event, Event::PeerDead { .. })), 1, "{after}");
        let number = net.send(1, 0);
        net.run_for(millis(100));
        assert!(net.is_delivered(number), "the gateway knows where its client is, {after}");
    }
}

#[test]
fn two_lost_keepalives_in_a_row_are_no_silence() {
    let mut net = idle_client();
    net.lose_first(Kind::Path, 2);
    net.run_for(secs(60));
    assert!(net.sent(1, Kind::Path) > 0, "the third was answered");
    assert_eq!(net.nodes[0].count(|event| matches!(event, Event::PeerDead { .. })), 0);
}

#[test]
fn keepalives_to_a_wireguard_peer_are_empty() {
    let mut net = Network::two_sites_speaking(Protocol::Wireguard);
    let peering = Peering { persistent_keepalive: Some(secs(25)), stay_connected: true, ..net.peering(1) };
    net.nodes[0].set_peer(peering, net.now);
    net.run_for(secs(100));
    assert_eq!(net.sent(0, Kind::Path) + net.sent(1, Kind::Path), 0);
    assert!(net.sent(0, Kind::Empty) >= 3);
}

#[test]
fn gateway_reaches_an_idle_client_with_persistent_keepalive_at_any_time() {
    let mut net = Network::client_and_gateway();
    let peering = Peering { persistent_keepalive: Some(secs(25)), stay_connected: true, ..net.peering(1) };
    net.nodes[0].set_peer(peering, net.now);
    net.run_for(secs(1));
    for _ in 0..150 {
        let number = net.send(1, 0);
        net.run_for(secs(1));
        assert!(net.is_delivered(number), "at {:?}", net.elapsed());
        net.run_for(secs(72));
    }
}

#[test]
fn persistent_keepalive_of_zero_is_none() {
    let mut net = Network::two_sites();
    let peering = Peering { persistent_keepalive: Some(secs(0)), ..net.peering(1) };
    net.nodes[0].set_peer(peering, net.now);
    net.run_for(secs(1000));
    assert!(net.capture.is_empty());
}

#[test]
fn receiver_that_answered_in_time_sends_no_keepalive_beside() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.capture.clear();
    net.send(0, 1);
    net.run_for(secs(5));
    net.send(1, 0);
    net.run_for(secs(60));
    assert_eq!((net.sent(0, Kind::Empty), net.sent(1, Kind::Empty)), (1, 0));
}

#[test]
fn what_is_received_postpones_the_persistent_keepalive() {
    let mut net = Network::client_and_gateway();
    let peering = Peering { persistent_keepalive: Some(secs(25)), stay_connected: true, ..net.peering(1) };
    net.nodes[0].set_peer(peering, net.now);
    net.run_for(secs(1));
    net.capture.clear();
    net.send(0, 1);
    net.run_for(secs(34));
    assert_eq!((net.sent(0, Kind::Empty), net.sent(1, Kind::Empty)), (0, 1), "the answer came after 10 s");
    assert_eq!(net.sent(0, Kind::Path), 1, "it was asked for after 3 s");
    net.run_for(secs(2));
    assert_eq!(net.sent(0, Kind::Path), 2);
}

#[test]
fn idle_client_is_connected_again_as_soon_as_its_session_expired() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(182));
    let key = net.key(1);
    let status = net.nodes[0].status_of(key, net.now);
    assert_eq!((status.state, status.handshakes), (PeerState::Up, 2));
    let number = net.send(1, 0);
    net.run_for(millis(30));
    assert!(net.is_delivered(number), "the gateway reaches it without a handshake");
}
