//! Hours of bad weather.

use super::{
    network::{Network, millis, secs},
    node::{NodeSettings, Peering},
};
use rand_core::Rng as _;
use vpn_core::device::Forwarding;

const GATEWAY: usize = 0;
const NODES: usize = 5;

/// A gateway with four clients; two clients keep their NAT mapping alive, one has a preshared key.
fn star() -> Network {
    let mut net = Network::new();
    net.capturing = false;
    net.add(NodeSettings { forwarding: Forwarding::BetweenPeers, ..NodeSettings::new(10) });
    for client in 1..NODES {
        net.add(NodeSettings::new(10 + client as u8));
        let preshared_key = [u8::from(client == 3); 32];
        let towards_client = Peering { endpoints: Vec::new(), preshared_key, ..net.peering(client) };
        net.nodes[GATEWAY].set_peer(towards_client, net.now);
        let towards_gateway = Peering {
            preshared_key,
            stay_connected: true,
            persistent_keepalive: (client > 2).then(|| secs(25)),
            allowed_ips: vec!["10.0.0.0/8".to_owned()],
            ..net.peering(GATEWAY)
        };
        net.nodes[client].set_peer(towards_gateway, net.now);
    }
    net
}

#[test]
fn five_nodes_in_bad_weather_for_three_hours_never_err_and_always_recover() {
    let mut net = star();
    for quarter in 0..12 {
        net.weather.loss = net.rng.next_u32() % 31;
        net.weather.duplication = net.rng.next_u32() % 20;
        net.weather.jitter = millis(u64::from(net.rng.next_u32() % 400));
        for _ in 0..1800 {
            let from = net.rng.next_u32() as usize % NODES;
            let to = net.rng.next_u32() as usize % NODES;
            if from != to {
                let batch = 1 + net.rng.next_u32() as usize % 4;
                net.send_many(from, to, batch);
            }
            net.run_for(millis(500));
        }
        if quarter % 3 == 2 {
            let victim = net.rng.next_u32() as usize % NODES;
            net.restart(victim);
        }
        all_pairs_recover(&mut net, quarter);
    }
}

/// In good weather everybody reaches everybody again.
fn all_pairs_recover(net: &mut Network, quarter: u32) {
    net.weather.loss = 0;
    for client in 1..NODES {
        net.send(client, GATEWAY);
    }
    net.run_for(secs(60));
    for client in 1..NODES {
        net.send(client, GATEWAY);
    }
    net.run_for(secs(20));
    for from in 0..NODES {
        for to in (0..NODES).filter(|to| *to != from) {
            let number = net.send(from, to);
            net.run_for(secs(1));
            assert!(net.is_delivered(number), "quarter {quarter}: {from} does not reach {to}");
        }
    }
}

#[test]
fn two_sites_that_both_initiate_in_bad_weather_always_recover() {
    let mut net = Network::two_sites();
    net.capturing = false;
    for round in 0..60_usize {
        net.weather.loss = net.rng.next_u32() % 31;
        net.weather.duplication = 10;
        net.weather.jitter = millis(u64::from(net.rng.next_u32() % 300));
        for _ in 0..240 {
            net.send(0, 1);
            net.send(1, 0);
            net.run_for(millis(500));
        }
        net.weather.loss = 0;
        let pause = secs(u64::from(net.rng.next_u32() % 300));
        net.run_for(pause);
        net.send(0, 1);
        net.run_for(secs(20));
        let both = [net.send(0, 1), net.send(1, 0)];
        net.run_for(secs(2));
        assert_eq!(net.delivered(&both), 2, "round {round}");
    }
}

#[test]
fn crossing_handshakes_on_a_reordering_path_lose_nothing_for_three_lifetimes() {
    for round in 0..60_usize {
        let mut net = Network::two_sites();
        for _ in 0..round {
            net.rng.next_u64();
        }
        net.capturing = false;
        net.weather.jitter = millis(60);
        let first = round % 2;
        let mut numbers = vec![net.send(first, 1 - first)];
        let pause = millis(u64::from(net.rng.next_u32() % 120));
        net.run_for(pause);
        while net.elapsed() < secs(400) {
            numbers.extend([net.send(0, 1), net.send(1, 0)]);
            net.run_for(millis(487));
        }
        net.run_for(secs(2));
        let late = numbers.len() - net.delivered(&numbers);
        assert_eq!(late, 0, "round {round}: {:?} {:?}", net.nodes[0].all_drops(), net.nodes[1].all_drops());
    }
}
