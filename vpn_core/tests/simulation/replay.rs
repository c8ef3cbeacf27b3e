//! Datagrams that come again, late, cut or changed.

use super::network::{Kind, Network, Wire, millis, secs};
use vpn_core::base::DropReason;

#[test]
fn replayed_datagrams_of_every_kind_change_nothing() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.send_many(0, 1, 5);
    net.send_many(1, 0, 5);
    net.run_for(secs(30));
    let all: Vec<Wire> = net.capture.clone();
    let sessions = net.nodes[0].events.len() + net.nodes[1].events.len();
    let received = net.nodes[0].received.len() + net.nodes[1].received.len();
    for _ in 0..3 {
        for wire in &all {
            let to = usize::from(wire.sender == 0);
            net.inject(wire.from, to, wire.datagram.clone());
            net.run_for(millis(1));
        }
    }
    net.run_for(secs(10));
    assert_eq!(net.nodes[0].events.len() + net.nodes[1].events.len(), sessions);
    assert_eq!(net.nodes[0].received.len() + net.nodes[1].received.len(), received);
    assert_eq!(net.nodes[1].drops(DropReason::Replay), 3 * 6, "five packets and a keepalive");
    // The first init after its half-open time is new work; its copies are the same handshake.
    assert_eq!(net.sent(1, Kind::Response), 1 + 3);
    let both = [net.send(0, 1), net.send(1, 0)];
    net.run_for(secs(1));
    assert_eq!(net.delivered(&both), 2);
}

/// Everything that a connection is made of, one of each kind, with who it was for.
fn specimens() -> Vec<Wire> {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.send(0, 1);
    net.run_for(secs(1));
    let mut kinds = Vec::new();
    net.capture.retain(|wire| {
        !kinds.contains(&wire.kind) && {
            kinds.push(wire.kind);
            true
        }
    });
    net.capture.clone()
}

#[test]
fn truncated_and_extended_datagrams_get_silence() {
    for wire in specimens() {
        let mut net = Network::client_and_gateway();
        net.run_for(secs(1));
        net.capture.clear();
        let to = usize::from(wire.sender == 0);
        let lengths = (0..wire.datagram.len()).step_by(if wire.datagram.len() > 200 { 7 } else { 1 });
        for len in lengths {
            net.inject(wire.from, to, wire.datagram[..len].to_vec());
            net.run_for(millis(1));
        }
        let mut longer = wire.datagram.clone();
        longer.push(0);
        net.inject(wire.from, to, longer);
        net.run_for(secs(1));
        assert!(net.capture.is_empty(), "{:?} was answered", wire.kind);
        let both = [net.send(0, 1), net.send(1, 0)];
        net.run_for(secs(1));
        assert_eq!(net.delivered(&both), 2);
    }
}

#[test]
fn every_byte_of_every_message_is_authenticated() {
    for kind in [Kind::Init, Kind::Response, Kind::Finish, Kind::Empty, Kind::Data] {
        let len = specimens().into_iter().find(|wire| wire.kind == kind).expect("one of each").datagram.len();
        let positions = (0..len).filter(|at| *at < 48 || at + 48 >= len || at % 97 == 0);
        for at in positions {
            damaged_message_is_dropped(kind, at);
        }
    }
}

/// The first message of `kind` arrives with one bit of byte `at` flipped, before the genuine one; it is dropped, and
/// the genuine one still does its work.
fn damaged_message_is_dropped(kind: Kind, at: usize) {
    let mut net = Network::client_and_gateway();
    let first = net.send(0, 1);
    net.run_while(secs(1), |net| net.captured(kind).is_empty());
    let wire = net.captured(kind)[0].clone();
    let (to, mut damaged) = (usize::from(wire.sender == 0), wire.datagram);
    damaged[at] ^= 1 << (at % 8);
    let before: u64 = net.nodes[to].all_drops().values().sum();
    net.inject(wire.from, to, damaged);
    net.run_for(millis(19));
    assert_eq!(net.captured(kind).iter().filter(|other| other.sender != wire.sender).count(), 0);
    net.run_for(millis(200));
    let after: u64 = net.nodes[to].all_drops().values().sum();
    assert_eq!(after, before + 1, "{kind:?} with byte {at} changed: {:?}", net.nodes[to].all_drops());
    assert!(net.is_delivered(first), "{kind:?} with byte {at} changed stopped the handshake");
}

#[test]
fn packets_up_to_the_window_late_arrive_and_older_ones_do_not() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    // Counter n is packet n from here on: the client has sent none yet.
    net.cut();
    let held = net.send_many(0, 1, 4);
    let late = net.captured(Kind::Data);
    net.clear_rules();
    net.capturing = false;
    let numbers = net.send_many(0, 1, 8192);
    net.run_for(secs(1));
    assert_eq!(net.delivered(&numbers), 8192);
    // The newest counter is 8195, so 4 is the oldest in the window.
    for wire in &late {
        net.inject(wire.from, 1, wire.datagram.clone());
    }
    net.run_for(secs(1));
    assert_eq!(net.delivered(&held), 0);
    assert_eq!(net.nodes[1].drops(DropReason::Replay), 4);
}

#[test]
fn packet_8191_behind_the_newest_is_taken() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.cut();
    let held = net.send_many(0, 1, 2);
    let late = net.captured(Kind::Data);
    net.clear_rules();
    net.send_many(0, 1, 8191);
    net.run_for(secs(1));
    for wire in &late {
        net.inject(wire.from, 1, wire.datagram.clone());
    }
    net.run_for(secs(1));
    assert_eq!((net.is_delivered(held[0]), net.is_delivered(held[1])), (false, true));
}

#[test]
fn heavy_reordering_loses_nothing() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.weather.jitter = millis(500);
    let mut numbers = Vec::new();
    for _ in 0..500 {
        numbers.push(net.send(0, 1));
        net.run_for(millis(3));
    }
    net.run_for(secs(2));
    assert_eq!(net.delivered(&numbers), 500);
    assert_ne!(net.order(1), numbers);
}
