//! Each message of the handshake lost, repeated, or late.

use super::network::{Kind, Network, millis, secs};
use std::net::SocketAddr;
use vpn_core::base::DropReason;

/// Connects while the first `count` messages of `kind` are lost; answers the time until data arrives.
fn connect_without(kind: Kind, count: u32) -> core::time::Duration {
    let mut net = Network::client_and_gateway();
    net.lose_first(kind, count);
    net.run_while(secs(60), |net| net.nodes[1].events.is_empty() || net.nodes[0].count(is_established) == 0);
    let took = net.elapsed();
    let both = [net.send(0, 1), net.send(1, 0)];
    net.run_for(millis(20));
    assert_eq!(net.delivered(&both), 2);
    took
}

fn is_established(event: &vpn_core::tunnel::Event) -> bool {
    matches!(event, vpn_core::tunnel::Event::SessionEstablished { .. })
}

#[test]
fn lost_inits_and_responses_are_repeated_within_a_second_or_two() {
    for kind in [Kind::Init, Kind::Response] {
        for (count, limit) in [(1, millis(500)), (2, millis(1200)), (3, millis(2600)), (4, millis(5000))] {
            let took = connect_without(kind, count);
            assert!(took <= limit, "{count} of {kind:?} lost: {took:?}");
        }
        let took = connect_without(kind, 5);
        assert!(took >= secs(5) && took <= secs(6), "then a new handshake: {took:?}");
    }
}

#[test]
fn lost_finishes_are_repeated_within_a_second_or_two() {
    for (count, limit) in [(1, millis(500)), (2, millis(1200)), (3, millis(2600))] {
        let took = connect_without(Kind::Finish, count);
        assert!(took <= limit, "{count} lost: {took:?}");
    }
    assert!(connect_without(Kind::Finish, 8) < secs(12), "then a new handshake");
}

#[test]
fn lost_confirmations_are_repeated_for_a_repeated_finish() {
    for (count, limit) in [(1, millis(500)), (2, millis(1200)), (3, millis(2600))] {
        let took = connect_without(Kind::Empty, count);
        assert!(took <= limit, "{count} lost: {took:?}");
    }
}

#[test]
fn handshake_survives_a_message_of_every_kind_lost_at_once() {
    let mut net = Network::client_and_gateway();
    for kind in [Kind::Init, Kind::Response, Kind::Finish, Kind::Empty] {
        net.lose_first(kind, 1);
    }
    net.run_while(secs(13), |net| net.nodes[0].count(is_established) == 0);
}

#[test]
fn duplicate_finish_is_confirmed_where_it_came_from_and_changes_nothing() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    let finish = net.captured(Kind::Finish)[0].datagram.clone();
    let (client, elsewhere) = (net.key(0), SocketAddr::from(([198, 51, 100, 9], 9)));
    let before = net.nodes[1].status_of(client, net.now);
    net.capture.clear();
    for _ in 0..5 {
        net.inject(elsewhere, 1, finish.clone());
        net.run_for(millis(1));
    }
    let answers: Vec<_> = net.capture.iter().map(|wire| (wire.kind, wire.to)).collect();
    assert_eq!(answers, [(Kind::Empty, elsewhere); 5]);
    let after = net.nodes[1].status_of(client, net.now);
    assert_eq!((after.endpoint, after.handshakes), (before.endpoint, before.handshakes));
    let mut forged = finish;
    *forged.last_mut().expect("not empty") ^= 1;
    net.capture.clear();
    net.inject(elsewhere, 1, forged);
    net.run_for(secs(1));
    assert!(net.capture.is_empty(), "another finish for the same index gets silence");
    assert_eq!(net.nodes[1].drops(DropReason::UnknownIndex), 1);
}

#[test]
fn confirmation_for_a_replayed_finish_does_not_stand_in_for_the_keepalive_owed_to_the_peer() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    let finish = net.captured(Kind::Finish)[0].datagram.clone();
    net.send(0, 1);
    net.run_for(secs(1));
    net.inject(SocketAddr::from(([198, 51, 100, 9], 9)), 1, finish);
    net.run_for(secs(20));
    assert_eq!(net.nodes[0].count(|event| matches!(event, vpn_core::tunnel::Event::PeerDead { .. })), 0);
}

#[test]
fn duplicate_init_gets_the_stored_response_byte_for_byte() {
    let mut net = Network::client_and_gateway();
    net.rule(|wire| wire.kind != Kind::Finish);
    net.run_for(millis(30));
    let init = net.captured(Kind::Init)[0].clone();
    for _ in 0..3 {
        net.inject(init.from, 1, init.datagram.clone());
        net.run_for(millis(10));
    }
    let responses = net.captured(Kind::Response);
    assert_eq!(responses.len(), 4);
    assert!(responses.iter().all(|response| response.datagram == responses[0].datagram));
    net.run_for(millis(100));
    assert_eq!(
        net.nodes[0].drops(DropReason::UnknownIndex),
        3,
        "one response is accepted, its copies are not"
    );
}

#[test]
fn old_init_that_arrives_late_does_not_disturb_the_session() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    let init = net.captured(Kind::Init)[0].clone();
    net.inject(init.from, 1, init.datagram);
    net.run_for(secs(10));
    let both = [net.send(0, 1), net.send(1, 0)];
    net.run_for(secs(1));
    assert_eq!(net.delivered(&both), 2);
    assert_eq!(net.nodes[0].count(is_established) + net.nodes[1].count(is_established), 2);
}

#[test]
fn everything_sent_twice_is_received_once() {
    let mut net = Network::client_and_gateway();
    net.weather.duplication = 100;
    net.run_for(secs(1));
    let numbers = net.send_many(0, 1, 50);
    net.run_for(secs(1));
    assert_eq!(net.delivered(&numbers), 50);
    assert!(net.nodes[1].drops(DropReason::Replay) >= 50);
    assert_eq!(net.nodes[0].count(is_established) + net.nodes[1].count(is_established), 2);
}
