//! A side loses its memory.

use super::network::{Network, millis, secs};
use vpn_core::tunnel::Event;

/// Both sides send ten packets a second; answers how long after now both directions carry again.
fn recovery(net: &mut Network) -> core::time::Duration {
    let start = net.now;
    loop {
        let numbers = [net.send(0, 1), net.send(1, 0)];
        net.run_for(millis(100));
        if net.delivered(&numbers) == 2 {
            return net.now - start;
        }
        assert!(net.now < start + secs(60), "no recovery");
    }
}

#[test]
fn restarted_client_is_back_at_once() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(30));
    net.restart(0);
    assert!(recovery(&mut net) <= millis(300));
}

#[test]
fn restarted_gateway_is_noticed_after_fifteen_seconds_of_silence() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(30));
    recovery(&mut net);
    net.restart(1);
    let took = recovery(&mut net);
    assert!(took >= secs(14) && took <= secs(16), "{took:?}");
    assert_eq!(net.nodes[0].count(|event| matches!(event, Event::PeerDead { .. })), 1);
}

#[test]
fn gateway_that_is_lost_during_a_rekey_is_back_within_sixteen_seconds_too() {
    for at in [119_900, 120_010, 120_050] {
        let mut net = Network::client_and_gateway();
        while net.elapsed() < millis(at) {
            net.send(0, 1);
            net.run_for(millis(at % 100 + 50));
        }
        let start = net.now;
        net.cut();
        net.restart(1);
        while net.now < start + secs(14) {
            net.send(0, 1);
            net.run_for(millis(100));
        }
        net.clear_rules();
        recovery(&mut net);
        assert!(net.now - start <= secs(16), "at {at} ms: {:?}", net.now - start);
    }
}

#[test]
fn restarted_gateway_without_traffic_is_noticed_after_the_first_packet() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(20));
    net.restart(1);
    net.run_for(secs(60));
    net.capture.clear();
    let took = recovery(&mut net);
    assert!(took <= secs(16), "{took:?}");
}

#[test]
fn restarted_site_connects_as_soon_as_it_has_something_to_send() {
    for node in [0, 1] {
        let mut net = Network::two_sites();
        recovery(&mut net);
        net.run_for(secs(30));
        net.restart(node);
        assert!(recovery(&mut net) <= millis(300));
    }
}

#[test]
fn restart_right_after_the_first_session_is_no_black_hole() {
    // Within the time in which the tie-break of simultaneous initiation looks at roles and keys.
    for node in [0, 1] {
        for pause in [0, 20, 45, 65, 100, 1000, 2500, 4900] {
            let mut net = Network::two_sites();
            net.send(0, 1);
            net.run_for(millis(pause));
            net.restart(node);
            net.run_for(millis(10));
            let took = recovery(&mut net);
            assert!(took <= secs(6), "node {node} restarted after {pause} ms: {took:?}");
            net.run_for(secs(1));
            assert!(recovery(&mut net) <= millis(200));
        }
    }
}

#[test]
fn both_sides_restarting_again_and_again_always_meet() {
    let mut net = Network::two_sites();
    for round in 0..40 {
        net.restart(round % 2);
        net.run_for(millis(u64::from(round as u32) * 37 % 700));
        let took = recovery(&mut net);
        assert!(took <= secs(22), "round {round}: {took:?}");
    }
}
