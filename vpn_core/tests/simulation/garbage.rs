//! Bytes that nobody sent: they make nothing panic and change no session.

use super::network::{Network, Wire, millis, secs};
use proptest::prelude::*;
use std::net::SocketAddr;

fn specimens() -> Vec<Wire> {
    let mut net = Network::client_and_gateway();
    net.send_many(0, 1, 3);
    net.run_for(secs(1));
    net.send_many(1, 0, 3);
    net.run_for(secs(12));
    net.capture.clone()
}

#[test]
fn mutated_messages_change_no_established_session() {
    let mut net = Network::client_and_gateway();
    net.run_for(secs(1));
    let mut specimens = specimens();
    specimens.extend(net.capture.clone());
    net.capturing = false;
    let (client, gateway) = (net.key(0), net.key(1));
    for round in 0..3000_u32 {
        let pick = net.rng.next_u32() as usize % specimens.len();
        let mut bytes = specimens[pick].datagram.clone();
        for _ in 0..=net.rng.next_u32() % 4 {
            let (at, with) = (net.rng.next_u32() as usize % bytes.len(), net.rng.next_u32() as u8);
            bytes[at] ^= with;
        }
        if net.rng.next_u32().is_multiple_of(8) {
            let len = net.rng.next_u32() as usize % (bytes.len() + 40);
            bytes.resize(len, 0xa5);
        }
        if bytes == specimens[pick].datagram {
            continue;
        }
        let from = SocketAddr::from(([198, 51, 100, round as u8], 9));
        net.inject(from, (round % 2) as usize, bytes);
        net.run_for(millis(1));
    }
    assert_eq!(net.nodes[0].status_of(gateway, net.now).handshakes, 1);
    assert_eq!(net.nodes[1].status_of(client, net.now).handshakes, 1);
    let both = [net.send(0, 1), net.send(1, 0)];
    net.run_for(secs(1));
    assert_eq!(net.delivered(&both), 2);
    assert_eq!(net.nodes[1].status_of(client, net.now).endpoint, Some(net.nodes[0].address));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_bytes_in_runs_of_any_stride_are_survived(
        mut arena in proptest::collection::vec(any::<u8>(), 0..3000),
        stride in 0_usize..1600,
        kind in 0_u8..12,
    ) {
        let mut net = Network::client_and_gateway();
        net.run_for(millis(200));
        for at in (0..arena.len()).step_by(stride.max(1)) {
            let end = (at + 4).min(arena.len());
            arena[at..end].copy_from_slice(&[kind, u8::from(kind > 4), 0, u8::from(kind == 5)][..end - at]);
        }
        let from = SocketAddr::from(([198, 51, 100, 1], 9));
        let control = arena.clone();
        let now = net.now;
        for node in 0..2 {
            net.nodes[node].receive(&mut arena.clone(), stride, from, now);
            net.nodes[node].device.handle_control(&control, from.into_endpoint(), now);
        }
        let both = [net.send(0, 1), net.send(1, 0)];
        net.run_for(secs(1));
        prop_assert_eq!(net.delivered(&both), 2);
    }
}

trait IntoEndpoint {
    fn into_endpoint(self) -> vpn_core::base::Endpoint;
}

impl IntoEndpoint for SocketAddr {
    fn into_endpoint(self) -> vpn_core::base::Endpoint {
        vpn_core::base::Endpoint::to(self)
    }
}
