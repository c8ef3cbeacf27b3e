//! WireGuard peers of a device in virtual time (its paper, sections 5 and 6): the same life as hybrid ones, with the
//! confirmation the other way round.

use super::{
    network::{Kind, Network, millis, secs},
    node::{MTU, NodeSettings, Peering},
};
use rand_core::Rng as _;
use vpn_core::{
    base::DropReason,
    handshake::{Protocol, Role},
    session::{REKEY_AFTER_TIME, REKEY_TIMEOUT},
    tunnel::{Event, MtuMode, PeerState},
    wire::transport::OVERHEAD,
};

/// Two nodes with each other's WireGuard key and endpoint, which connect when there is something to send.
fn two_peers() -> Network {
    Network::two_sites_speaking(Protocol::Wireguard)
}

fn established(net: &Network, node: usize, wanted: Role) -> usize {
    net.nodes[node].count(|event| matches!(event, Event::SessionEstablished { role, .. } if *role == wanted))
}

#[test]
fn one_round_trip_then_data_and_no_finish() {
    let mut net = two_peers();
    let number = net.send(0, 1);
    net.run_for(secs(1));
    assert!(net.is_delivered(number));
    let kinds: Vec<Kind> = net.capture.iter().map(|wire| wire.kind).collect();
    assert_eq!(kinds, [Kind::Init, Kind::Response, Kind::Data]);
    let sizes: Vec<usize> = net.capture.iter().map(|wire| wire.datagram.len()).collect();
    assert_eq!(sizes[..2], [148, 92]);
    assert_eq!((established(&net, 0, Role::Initiator), established(&net, 1, Role::Responder)), (1, 1));
}

#[test]
fn initiator_with_nothing_to_send_confirms_with_an_empty_packet() {
    let mut net = two_peers();
    let keeps_alive = Peering { persistent_keepalive: Some(secs(25)), ..net.peering(1) };
    net.nodes[0].set_peer(keeps_alive, net.now);
    net.run_for(secs(1));
    let kinds: Vec<Kind> = net.capture.iter().map(|wire| wire.kind).collect();
    assert_eq!(kinds, [Kind::Init, Kind::Response, Kind::Empty]);
    assert_eq!(net.nodes[1].status_of(net.key(0), net.now).state, PeerState::Up);
}

#[test]
fn responder_does_not_send_before_the_initiator_has() {
    let mut net = two_peers();
    // Whatever the initiator sends on its new session is lost.
    net.rule(|wire| wire.sender != 0 || wire.kind == Kind::Init);
    net.send(0, 1);
    net.run_for(secs(1));
    let early = net.send(1, 0);
    net.run_for(secs(2));
    assert_eq!(net.sent(1, Kind::Data), 0);
    net.clear_rules();
    net.run_for(secs(30));
    assert!(net.is_delivered(early));
}

#[test]
fn padding_makes_no_datagram_longer_than_the_path_takes() {
    let mut net = two_peers();
    let (key, now) = (net.key(1), net.now);
    net.nodes[0].device.set_mtu(MTU, MtuMode::Within, now);
    net.nodes[0].device.set_route_mtu(&key, Some(1330), now);
    for what in ["staged", "in a session"] {
        net.capture.clear();
        let number = net.send_long(0, 1, false, 1329);
        net.run_for(secs(1));
        assert!(net.is_delivered(number), "{what}");
        assert_eq!(net.captured(Kind::Data)[0].datagram.len(), 1330 + OVERHEAD, "{what}");
    }
}

#[test]
fn payloads_are_padded_to_sixteen_bytes_within_the_mtu_and_arrive_unpadded() {
    let mut net = two_peers();
    net.send(0, 1);
    net.run_for(secs(1));
    net.capture.clear();
    let number = net.send(0, 1);
    net.run_for(secs(1));
    assert!(net.is_delivered(number)); // Compared byte for byte: 100 bytes and no padding.
    assert_eq!(net.captured(Kind::Data)[0].datagram.len(), 32 + 112);
    let keypair = {
        let plane = net.nodes[0].plane.routes();
        let peer = plane.allowed_ips.lookup(net.nodes[1].inner.into()).expect("a route").clone();
        peer.outlet().expect("a session").0
    };
    let mtu = usize::from(MTU);
    for (len, padded) in
        [(0, 0), (1, 16), (16, 16), (17, 32), (1408, 1408), (1409, 1420), (1420, 1420), (1500, 1500)]
    {
        assert_eq!(keypair.payload_len(len, mtu), padded, "{len}");
    }
}

#[test]
fn initiator_rekeys_after_two_minutes_and_nothing_is_lost() {
    let mut net = two_peers();
    let mut numbers = vec![net.send(0, 1)];
    net.run_for(secs(1));
    while net.elapsed() < secs(400) {
        numbers.extend([net.send(0, 1), net.send(1, 0)]);
        net.run_for(millis(250));
    }
    net.run_for(secs(1));
    assert_eq!(net.delivered(&numbers), numbers.len());
    assert_eq!((established(&net, 0, Role::Initiator), established(&net, 1, Role::Initiator)), (4, 0));
    let inits = net.captured(Kind::Init);
    let pause = inits[1].at - inits[0].at;
    assert!((REKEY_AFTER_TIME..REKEY_AFTER_TIME + secs(2)).contains(&pause), "{pause:?}");
}

#[test]
fn handshakes_that_cross_leave_both_ends_connected() {
    for round in 0..40_u32 {
        let mut net = two_peers();
        for _ in 0..round {
            net.rng.next_u64();
        }
        net.weather.jitter = millis(60);
        let mut numbers = vec![net.send(0, 1)];
        let pause = millis(u64::from(net.rng.next_u32() % 60));
        net.run_for(pause);
        numbers.push(net.send(1, 0));
        while net.elapsed() < secs(200) {
            numbers.extend([net.send(0, 1), net.send(1, 0)]);
            net.run_for(millis(487));
        }
        net.run_for(secs(2));
        let lost = numbers.len() - net.delivered(&numbers);
        assert_eq!(lost, 0, "round {round}: {:?} {:?}", net.nodes[0].all_drops(), net.nodes[1].all_drops());
    }
}

#[test]
fn unanswered_initiations_are_repeated_and_given_up_after_ninety_seconds() {
    let mut net = two_peers();
    net.cut();
    net.send(0, 1);
    net.run_for(secs(300));
    let mut inits = net.captured(Kind::Init);
    // The first is urgent, and renewed twice.
    inits.drain(1..3);
    for pair in inits.windows(2) {
        let pause = pair[1].at - pair[0].at;
        assert!((REKEY_TIMEOUT..=REKEY_TIMEOUT + millis(334)).contains(&pause), "{pause:?}");
    }
    assert!((17..=19).contains(&inits.len()), "{}", inits.len());
    assert_eq!(net.nodes[0].count(|event| matches!(event, Event::GaveUp { .. })), 1);
}

#[test]
fn repeated_initiation_is_not_answered() {
    let mut net = two_peers();
    net.send(0, 1);
    net.run_for(secs(1));
    let init = net.captured(Kind::Init).remove(0);
    net.capture.clear();
    net.inject(init.from, 1, init.datagram.clone());
    net.run_for(secs(1));
    assert_eq!(net.capture.len(), 0);
    assert_eq!(net.nodes[1].drops(DropReason::Replay), 1);
    let still = [net.send(0, 1), net.send(1, 0)];
    net.run_for(secs(1));
    assert_eq!(net.delivered(&still), 2);
}

#[test]
fn either_end_may_restart() {
    for victim in [0, 1] {
        let mut net = two_peers();
        net.send(0, 1);
        net.run_for(secs(1));
        net.restart(victim);
        // The other end notices when what it sends stays without an answer; the one that restarted may speak first.
        net.send(1 - victim, victim);
        net.run_for(secs(25));
        let both = [net.send(0, 1), net.send(1, 0)];
        net.run_for(secs(1));
        assert_eq!(net.delivered(&both), 2, "victim {victim}");
    }
}

#[test]
fn a_peer_that_moves_is_followed() {
    let mut net = two_peers();
    net.send(0, 1);
    net.run_for(secs(1));
    let address = "198.51.100.77:4500".parse().expect("an address");
    net.nodes[0].address = address;
    net.nodes[0].local = address.ip();
    net.nodes[0].device.handle_network_change(net.now);
    net.send(0, 1);
    net.run_for(secs(1));
    let back = net.send(1, 0);
    net.run_for(secs(1));
    assert!(net.is_delivered(back));
    assert_eq!(net.nodes[1].status_of(net.key(0), net.now).endpoint, Some(address));
}

#[test]
fn wrong_preshared_key_gets_no_session() {
    let mut net = two_peers();
    let peering = Peering { preshared_key: [9; 32], ..net.peering(1) };
    net.nodes[0].set_peer(peering, net.now);
    let number = net.send(0, 1);
    net.run_for(secs(20));
    assert!(!net.is_delivered(number));
    assert!(net.nodes[0].drops(DropReason::BadHandshake) > 1);
    assert_eq!(established(&net, 0, Role::Initiator) + established(&net, 1, Role::Responder), 0);
}

#[test]
fn peers_of_one_handshake_are_strangers_to_the_other() {
    // Each end has the other's right key, but of the other kind.
    let mut net = two_peers();
    let wireguard = net.peering(1);
    net.nodes[0].set_peer(wireguard, net.now);
    net.protocol = Protocol::Hybrid;
    let hybrid = net.peering(0);
    net.nodes[1].device.remove_peer(&NodeSettings::new(1).key(Protocol::Wireguard));
    net.nodes[1].set_peer(hybrid, net.now);
    net.send(0, 1);
    net.send(1, 0);
    net.run_for(secs(60));
    assert_eq!(net.sent(1, Kind::Response), 0, "a WireGuard initiation by nobody we know gets silence");
    for node in [0, 1] {
        assert!(net.nodes[node].drops(DropReason::UnknownPeer) > 0, "node {node}");
        assert_eq!(net.nodes[node].count(|event| matches!(event, Event::SessionEstablished { .. })), 0);
    }
}

#[test]
fn two_peers_in_bad_weather_always_recover() {
    let mut net = two_peers();
    net.capturing = false;
    for round in 0..40_usize {
        net.weather.loss = net.rng.next_u32() % 31;
        net.weather.duplication = 10;
        net.weather.jitter = millis(u64::from(net.rng.next_u32() % 300));
        for _ in 0..240 {
            net.send(0, 1);
            net.send(1, 0);
            net.run_for(millis(500));
        }
        if round % 5 == 4 {
            net.restart(round % 2);
        }
        net.weather.loss = 0;
        let pause = secs(u64::from(net.rng.next_u32() % 300));
        net.run_for(pause);
        net.send(0, 1);
        net.run_for(secs(25));
        let both = [net.send(0, 1), net.send(1, 0)];
        net.run_for(secs(2));
        assert_eq!(net.delivered(&both), 2, "round {round}");
    }
}

#[test]
fn flood_is_asked_for_cookies_and_the_next_initiation_carries_one() {
    let mut net = two_peers();
    let number = net.send(0, 1);
    // Others use up what is answered without a cookie, just before ours arrives.
    net.run_for(millis(19));
    exhaust_free_work(&mut net);
    net.run_for(secs(1));
    assert_eq!(net.sent(1, Kind::CookieReply), 1);
    assert_eq!(net.captured(Kind::CookieReply)[0].datagram.len(), 64);
    assert_eq!(net.sent(0, Kind::Init), 1, "a cookie reply makes nobody send at once");
    net.run_for(millis(3980));
    while net.sent(1, Kind::Response) == 0 {
        exhaust_free_work(&mut net);
        net.run_for(millis(10));
        assert!(net.elapsed() < secs(7));
    }
    net.run_for(millis(100));
    assert!(net.is_delivered(number));
    let [first, second] = &net.captured(Kind::Init)[..] else { panic!("two initiations") };
    assert_eq!(first.datagram[132..], [0; 16]);
    assert_ne!(second.datagram[132..], [0; 16], "the second carries mac2");
    assert_eq!(net.sent(1, Kind::CookieReply), 1);
}

/// Initiations by strangers that know node 1's key, at a rate that its free work does not cover.
fn exhaust_free_work(net: &mut Network) {
    use vpn_core::{
        base::ReceiverIndex,
        handshake::wireguard::{Initiation, LocalKey, RemoteKey, Tai64n},
    };
    let key = NodeSettings::new(2).wireguard_key().public_key();
    let stranger = LocalKey::new(NodeSettings::new(77).wireguard_key());
    let mut remote = RemoteKey::new(&stranger, key);
    let timestamp = Tai64n::from_unix(secs(1));
    let (_, init) =
        Initiation::start(&stranger, &mut remote, ReceiverIndex::new(1), timestamp, &mut net.rng, net.now)
            .expect("a usable key");
    let datagram = zerocopy::IntoBytes::as_bytes(&*init).to_vec();
    for n in 0..1100_u32 {
        let from = (std::net::Ipv4Addr::from(0xcb00_7100 + n), 1);
        let endpoint = vpn_core::base::Endpoint::to(from.into());
        net.nodes[1].device.handle_control(&datagram, endpoint, net.now);
        while net.nodes[1].device.poll_transmit().is_some() {}
    }
}
