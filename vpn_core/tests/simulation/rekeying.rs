//! New keypairs for old.

use super::network::{Kind, Network, millis, secs};
use vpn_core::{base::DropReason, handshake::Protocol};

#[test]
fn rekey_under_continuous_traffic_loses_and_reorders_nothing() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    let (mut up, mut down) = (Vec::new(), Vec::new());
    let end = net.now + secs(600);
    while net.now < end {
        up.extend(net.send_many(0, 1, 3));
        down.push(net.send(1, 0));
        net.run_for(millis(50));
    }
    net.run_for(secs(1));
    assert_eq!(net.order(1), up);
    assert_eq!(net.order(0), down);
    let key = net.key(1);
    let handshakes = net.nodes[0].status_of(key, net.now).handshakes;
    assert!((5..=6).contains(&handshakes), "{handshakes} in 600 s");
    assert_eq!(net.sent(0, Kind::Init) as u64, handshakes);
    assert_eq!(net.sent(1, Kind::Init), 0);
    assert!(net.nodes[0].all_drops().is_empty() && net.nodes[1].all_drops().is_empty());
}

#[test]
fn ten_rekeys_of_either_handshake_drop_nothing_that_arrived_in_order() {
    for protocol in [Protocol::Hybrid, Protocol::Wireguard] {
        for delay in [millis(1), millis(100)] {
            let mut net = Network::two_sites_speaking(protocol);
            net.capturing = false;
            net.weather.delay = delay;
            let (mut up, mut down) = (Vec::new(), Vec::new());
            while net.elapsed() < secs(1300) {
                up.push(net.send(0, 1));
                down.push(net.send(1, 0));
                net.run_for(millis(170));
            }
            net.run_for(secs(2));
            assert!(net.order(1) == up && net.order(0) == down, "{protocol:?}, {delay:?}");
            let handshakes = net.nodes[0].status_of(net.key(1), net.now).handshakes;
            assert!(handshakes > 10, "{protocol:?}, {delay:?}: {handshakes}");
            for node in &net.nodes {
                assert!(node.all_drops().is_empty(), "{protocol:?}, {delay:?}: {:?}", node.all_drops());
            }
        }
    }
}

#[test]
fn rekey_happens_whichever_side_alone_is_sending() {
    for (from, to) in [(0, 1), (1, 0)] {
        let mut net = Network::client_and_gateway();
        net.run_for(secs(1));
        let mut numbers = Vec::new();
        for _ in 0..400 {
            numbers.push(net.send(from, to));
            net.run_for(secs(1));
        }
        assert_eq!(net.delivered(&numbers), numbers.len());
        assert_eq!(net.order(to), numbers);
        assert_eq!(net.sent(1, Kind::Init), 0, "the initiator rekeys");
    }
}

#[test]
fn rekey_over_a_bad_path_keeps_the_old_keypair_working() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(118));
    net.lose_first(Kind::Init, 3);
    net.lose_first(Kind::Response, 2);
    net.lose_first(Kind::Finish, 2);
    let mut numbers = Vec::new();
    for _ in 0..600 {
        numbers.extend([net.send(0, 1), net.send(1, 0)]);
        net.run_for(millis(100));
    }
    net.run_for(secs(1));
    assert_eq!(net.delivered(&numbers), numbers.len());
    let key = net.key(1);
    assert_eq!(net.nodes[0].status_of(key, net.now).handshakes, 2);
}

#[test]
fn rekey_whose_confirmations_are_all_lost_loses_no_data() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(110));
    let mut finishes = Vec::new();
    net.rule(move |wire| {
        if wire.kind == Kind::Finish && !finishes.contains(&wire.datagram) {
            finishes.push(wire.datagram.clone());
        }
        // The first rekey is never confirmed, the second at once.
        !matches!(wire.kind, Kind::Empty | Kind::Path) || finishes.len() != 1
    });
    let mut numbers = Vec::new();
    for _ in 0..3000 {
        numbers.push(net.send(0, 1));
        net.run_for(millis(10));
    }
    net.run_for(secs(1));
    assert!(net.order(1) == numbers, "{} of {}", net.delivered(&numbers), numbers.len());
    assert_eq!(net.sent(0, Kind::Init), 3);
}

#[test]
fn keys_are_gone_after_180_seconds_and_nothing_is_sent_with_them() {
    let mut net = Network::two_sites();
    net.send(0, 1);
    net.run_for(secs(1));
    net.send(0, 1);
    net.run_for(secs(1));
    let data = net.captured(Kind::Data).last().expect("sent").clone();
    net.run_until(net.base + secs(181));
    assert_eq!(net.nodes[1].device.poll_timeout(), None);
    net.inject(data.from, 1, data.datagram);
    net.run_for(secs(1));
    assert_eq!(net.nodes[1].drops(DropReason::UnknownIndex), 1, "the keypair itself is forgotten");
    net.capture.clear();
    net.cut();
    let staged = net.send(1, 0);
    assert_eq!((net.sent(1, Kind::Init), net.sent(1, Kind::Data)), (1, 0));
    net.clear_rules();
    net.run_for(secs(6));
    assert!(net.is_delivered(staged));
}

#[test]
fn traffic_resuming_just_before_or_after_expiry_is_not_lost() {
    for at in [119_900, 120_100, 164_000, 179_000, 179_970, 179_990, 180_010, 180_030, 181_000] {
        for (from, to) in [(0, 1), (1, 0)] {
            let mut net = Network::two_sites();
            net.send(0, 1);
            net.run_until(net.base + millis(at));
            let mut numbers = Vec::new();
            for _ in 0..300 {
                numbers.push(net.send(from, to));
                net.run_for(millis(100));
            }
            net.run_for(secs(1));
            // Ends count from their own completion, a path apart: up to that long one end's last packets are late.
            assert!(net.delivered(&numbers) + 1 >= numbers.len(), "at {at} from {from}");
        }
    }
}

#[test]
fn initiator_rekeys_with_the_first_packet_after_120_seconds_and_not_before() {
    let mut net = Network::client_and_gateway();
    net.run_for(millis(119_900));
    net.send(0, 1);
    net.run_for(millis(300));
    assert_eq!(net.sent(0, Kind::Init), 1);
    net.send(0, 1);
    assert_eq!(net.sent(0, Kind::Init), 2);
}

#[test]
fn packet_received_so_late_that_the_keepalive_would_be_too_late_makes_the_initiator_rekey() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(164));
    net.send(1, 0);
    net.run_for(millis(500));
    assert_eq!(net.sent(0, Kind::Init), 1, "the keepalive will do it");
    let mut net = Network::client_and_gateway();
    net.run_for(secs(172));
    net.send(1, 0);
    net.run_for(millis(500));
    assert_eq!(net.sent(0, Kind::Init), 2);
    let key = net.key(1);
    assert_eq!(net.nodes[0].status_of(key, net.now).handshakes, 2);
}

#[test]
fn data_goes_on_over_the_old_keypair_until_the_new_one_is_confirmed() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(121));
    net.rule(|wire| wire.kind != Kind::Finish);
    net.send(0, 1);
    net.run_for(secs(1));
    assert!(net.sent(0, Kind::Finish) > 1, "the gateway does not have the new keypair");
    let numbers = net.send_many(0, 1, 5);
    net.run_for(millis(50));
    assert_eq!(net.delivered(&numbers), 5);
}
