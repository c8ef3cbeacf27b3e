//! A peer that does not answer.

use super::network::{Kind, Network, millis, secs};
use vpn_core::{
    base::DropReason,
    tunnel::{Event, PeerState},
};

#[test]
fn client_backs_off_to_thirty_seconds_and_reconnects_when_the_path_returns() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.cut();
    net.send(0, 1);
    net.capture.clear();
    net.run_for(secs(600));
    // The first, which is urgent, is repeated.
    let mut inits = net.captured(Kind::Init);
    inits.dedup_by(|init, before| init.datagram == before.datagram);
    let at: Vec<_> = inits.iter().map(|wire| wire.at).collect();
    let pauses: Vec<_> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(pauses.iter().all(|pause| *pause >= secs(5) && *pause <= millis(30_400)), "{pauses:?}");
    assert!(*pauses.last().expect("several") >= secs(29), "{pauses:?}");
    assert!(pauses[..12].iter().all(|pause| *pause <= secs(6)), "at full pace at first: {pauses:?}");
    assert_eq!(net.nodes[0].count(|event| matches!(event, Event::GaveUp { .. })), 0);
    let key = net.key(1);
    assert_eq!(net.nodes[0].status_of(key, net.now).state, PeerState::Connecting);
    net.clear_rules();
    let back = net.run_while(secs(31), |net| net.nodes[0].status_of(key, net.now).state != PeerState::Up);
    assert!(back <= millis(30_500));
    net.run_for(secs(1));
    assert_eq!(net.nodes[0].status_of(key, net.now).unanswered, None);
}

#[test]
fn site_gives_up_after_ninety_seconds_drops_what_waited_and_tries_again_for_the_next_packet() {
    let mut net = Network::two_sites();
    net.cut();
    for _ in 0..10 {
        net.send(0, 1);
    }
    net.run_for(secs(89));
    assert_eq!(net.nodes[0].count(|event| matches!(event, Event::GaveUp { .. })), 0);
    net.run_for(secs(8));
    assert_eq!(net.nodes[0].count(|event| matches!(event, Event::GaveUp { .. })), 1);
    assert_eq!(net.nodes[0].drops(DropReason::Staging), 10);
    assert_eq!(net.nodes[0].poll_timeout(), None);
    net.capture.clear();
    net.run_for(secs(600));
    assert!(net.capture.is_empty());
    net.clear_rules();
    let number = net.send(0, 1);
    net.run_for(millis(100));
    assert!(net.is_delivered(number));
}

#[test]
fn dead_peer_is_reported_once_for_one_outage() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.cut();
    for _ in 0..100 {
        net.send(0, 1);
        net.run_for(secs(1));
    }
    assert_eq!(net.nodes[0].count(|event| matches!(event, Event::PeerDead { .. })), 1);
    let key = net.key(1);
    assert_eq!(net.nodes[0].status_of(key, net.now).state, PeerState::Connecting);
}

#[test]
fn short_outage_is_over_when_the_path_is_back() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.cut();
    for _ in 0..10 {
        net.send(0, 1);
        net.run_for(secs(1));
    }
    net.clear_rules();
    let both = [net.send(0, 1), net.send(1, 0)];
    net.run_for(secs(1));
    assert_eq!(net.delivered(&both), 2, "the session is still good");
    let events = net.nodes[0].count(|event| matches!(event, Event::PeerDead { .. }));
    assert_eq!(events, 0);
}

#[test]
fn no_init_to_an_unresponsive_peer_is_replaced_unheard_of_while_traffic_goes_on() {
    // Names are looked up again by the count of inits that had no answer.
    for seed in 0..20 {
        let mut net = Network::seeded(seed).with_client_and_gateway();
        net.run_for(secs(1));
        net.cut();
        for _ in 0..85 {
            net.send(0, 1);
            net.run_for(millis(700));
        }
        let inits = net.nodes[0].events.iter().filter_map(|(_, event)| match event {
            Event::HandshakeUnanswered { unanswered, .. } => Some(unanswered.inits),
            _ => None,
        });
        let inits: Vec<u32> = inits.collect();
        assert!(inits.len() >= 8, "{inits:?}");
        assert!(inits.windows(2).all(|pair| pair[1] == pair[0] + 1), "seed {seed}: {inits:?}");
    }
}
