//! Packets that wait for a session.

use super::network::{Kind, Network, millis, secs};
use vpn_core::{base::DropReason, tunnel::MAX_STAGED_PACKETS};

#[test]
fn staged_packets_leave_in_order_once_connected() {
    let mut net = Network::two_sites();
    let mut numbers = Vec::new();
    for _ in 0..20 {
        numbers.extend(net.send_many(0, 1, 3));
        net.run_for(millis(1));
    }
    net.run_for(secs(1));
    assert_eq!(net.order(1), numbers);
    assert_eq!(net.sent(0, Kind::Init), 1);
}

#[test]
fn of_too_many_staged_packets_the_newest_stay() {
    let mut net = Network::two_sites();
    net.lose_first(Kind::Init, 1);
    let numbers = net.send_many(0, 1, MAX_STAGED_PACKETS + 72);
    net.run_for(secs(6));
    assert_eq!(net.order(1), numbers[72..]);
    assert_eq!(net.nodes[0].drops(DropReason::Staging), 72);
}

#[test]
fn packets_for_a_peer_without_endpoint_are_counted_not_staged() {
    let mut net = Network::client_and_gateway();
    net.cut();
    net.send(1, 0);
    assert_eq!(net.nodes[1].drops(DropReason::NoEndpoint), 1);
    assert_eq!(net.nodes[1].poll_timeout(), None);
}

#[test]
fn data_that_arrives_before_its_finish_is_held_and_delivered_in_order() {
    let mut net = Network::two_sites();
    net.lose_first(Kind::Finish, 1);
    let numbers = net.send_many(0, 1, MAX_STAGED_PACKETS);
    net.run_for(secs(1));
    assert_eq!(net.order(1), numbers);
    assert!(net.nodes[1].all_drops().is_empty());
}

#[test]
fn what_is_held_for_a_finish_that_never_comes_is_bounded_and_forgotten() {
    let mut net = Network::two_sites();
    net.rule(|wire| wire.kind != Kind::Finish);
    net.send(0, 1);
    net.run_for(millis(70));
    let early = net.captured(Kind::Data)[0].clone();
    for _ in 0..2 * MAX_STAGED_PACKETS {
        net.inject(early.from, 1, early.datagram.clone());
    }
    net.run_for(millis(1));
    let refused = net.nodes[1].drops(DropReason::Full);
    assert_eq!(refused, 1 + MAX_STAGED_PACKETS as u64);
    net.nodes[0].asleep = true;
    net.run_for(secs(6));
    assert_eq!(net.nodes[1].poll_timeout(), None);
    net.inject(early.from, 1, early.datagram);
    net.run_for(secs(1));
    assert_eq!(net.nodes[1].drops(DropReason::UnknownIndex), 1);
}
