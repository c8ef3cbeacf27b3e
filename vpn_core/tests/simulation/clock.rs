//! Large gaps between one look at the clock and the next.

use super::{
    network::{Network, millis, secs},
    node::Peering,
};

fn sleep(net: &mut Network, node: usize, time: core::time::Duration) {
    net.nodes[node].asleep = true;
    net.run_for(time);
    net.nodes[node].asleep = false;
}

#[test]
fn client_that_slept_for_an_hour_connects_with_its_first_packet() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.send(0, 1);
    sleep(&mut net, 0, secs(3600));
    let number = net.send(0, 1);
    net.run_for(millis(100));
    assert!(net.is_delivered(number));
}

#[test]
fn gateway_that_slept_for_an_hour_is_back_with_the_clients_next_init() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    net.send(0, 1);
    sleep(&mut net, 1, secs(3600));
    let number = net.send(0, 1);
    net.run_for(secs(31));
    assert!(net.is_delivered(number));
}

#[test]
fn client_with_persistent_keepalive_connects_by_itself_after_sleep() {
    let mut net = Network::client_and_gateway();
    let peering = Peering { persistent_keepalive: Some(secs(25)), stay_connected: true, ..net.peering(1) };
    net.nodes[0].set_peer(peering, net.now);
    net.run_for(secs(1));
    sleep(&mut net, 0, secs(3600));
    net.run_for(secs(1));
    let number = net.send(1, 0);
    net.run_for(millis(100));
    assert!(net.is_delivered(number));
}

#[test]
fn sleep_in_the_middle_of_a_handshake_is_survived() {
    for at in [1, 21, 41, 55] {
        let mut net = Network::client_and_gateway();
        net.run_for(millis(at));
        sleep(&mut net, 0, secs(3600));
        net.run_for(secs(6));
        let both = [net.send(0, 1), net.send(1, 0)];
        net.run_for(secs(1));
        assert_eq!(net.delivered(&both), 2, "asleep after {at} ms");
    }
}

#[test]
fn a_look_at_the_clock_with_an_instant_of_the_past_is_harmless() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(10));
    let past = net.base;
    for node in &mut net.nodes {
        node.device.handle_timeout(past);
    }
    let both = [net.send(0, 1), net.send(1, 0)];
    net.run_for(secs(1));
    assert_eq!(net.delivered(&both), 2);
}
