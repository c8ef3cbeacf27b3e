//! What somebody who sees every datagram, but has no key, can make two devices do: nothing that lasts.

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use std::{
    collections::HashSet,
    net::SocketAddr,
    time::{Duration, Instant},
};
use vpn_core::{
    asymmetric::Identity,
    base::{DropReason, Endpoint, SecretBytes},
    device::{Device, DeviceSettings, Forwarding, Inbound},
    tunnel::{PeerSettings, PeerState, Transmit},
    wire::hybrid::{ParametersBytes, SuiteSet},
};

const CLIENT: &str = "192.0.2.2:40000";
const SERVER: &str = "198.51.100.2:51820";
const STRANGER: &str = "203.0.113.66:666";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn identity(number: u8) -> Identity {
    Identity::from_seed(&SecretBytes::new([number; 32]))
}

fn device(number: u8, forwarding: Forwarding, now: Instant) -> Device {
    let settings = DeviceSettings {
        identity: identity(number),
        network_keys: Vec::new(),
        suites: SuiteSet::CHACHA20_POLY1305,
        parameters: ParametersBytes::default(),
        local: HashSet::from([[10, 0, 0, number].into()]),
        forwarding,
    };
    Device::new(settings, Box::new(ChaCha20Rng::from_seed([number; 32])), now)
}

/// A client (1) and its server (2), and all that went from one to the other.
struct Pair {
    client: Device,
    server: Device,
    now: Instant,
    to_server: Vec<Vec<u8>>,
}

impl Pair {
    fn connected() -> Self {
        let now = Instant::now();
        let (mut client, mut server) =
            (device(1, Forwarding::Off, now), device(2, Forwarding::BetweenPeers, now));
        let peer = |number, endpoints: Vec<SocketAddr>| PeerSettings {
            public_key: identity(number).public_key(),
            preshared_key: SecretBytes::ZERO,
            stay_connected: !endpoints.is_empty(),
            endpoints,
            persistent_keepalive: None,
        };
        let prefix = |text: &str| vec![text.parse().expect("a prefix")];
        server.set_peer(peer(1, Vec::new()), prefix("10.0.0.1/32"), now).expect("not itself");
        server.set_peer(peer(3, Vec::new()), prefix("0.0.0.0/0"), now).expect("not itself");
        server.update_routes();
        client.set_peer(peer(2, vec![address(SERVER)]), prefix("10.0.0.2/32"), now).expect("not itself");
        client.update_routes();
        let mut pair = Self { client, server, now, to_server: Vec::new() };
        pair.exchange();
        assert_eq!(pair.server.peer_status(now)[0].state, PeerState::Up);
        assert_eq!(pair.client.peer_status(now)[0].state, PeerState::Up);
        pair
    }

    /// Delivers until nobody has anything to say.
    fn exchange(&mut self) {
        loop {
            let (up, down) = (drain(&mut self.client), drain(&mut self.server));
            if up.is_empty() && down.is_empty() {
                return;
            }
            for transmit in up {
                self.to_server.push(transmit.datagram.clone());
                deliver(&mut self.server, transmit.datagram, CLIENT, self.now);
            }
            for transmit in down.into_iter().filter(|transmit| transmit.endpoint.remote == address(CLIENT)) {
                deliver(&mut self.client, transmit.datagram, SERVER, self.now);
            }
        }
    }

    /// The client seals a packet for the server's own address.
    fn client_sends(&mut self) {
        self.client_sends_to([10, 0, 0, 2]);
    }

    fn client_sends_to(&mut self, destination: [u8; 4]) {
        let id = self.client.peer_status(self.now)[0].id;
        self.client.handle_outbound(id, &packet([10, 0, 0, 1], destination), self.now);
    }

    fn recorded(&self, kind: u8) -> Vec<u8> {
        self.to_server.iter().find(|datagram| datagram[0] == kind).expect("was sent").clone()
    }

    fn endpoint_at_server(&self) -> Option<SocketAddr> {
        self.server.peer_status(self.now)[0].endpoint
    }
}

fn drain(device: &mut Device) -> Vec<Transmit> {
    std::iter::from_fn(|| device.poll_transmit()).collect()
}

fn deliver(device: &mut Device, mut datagram: Vec<u8>, from: &str, now: Instant) -> Inbound {
    let mut inbound = Inbound::default();
    let len = datagram.len();
    device.plane().open(&mut datagram, 0..len, len, Endpoint::to(address(from)), now, &mut inbound);
    for (range, from) in &inbound.control {
        device.handle_control(&datagram[range.clone()], *from, now);
    }
    for peer in &inbound.attention {
        device.handle_attention(*peer, now);
    }
    inbound
}

fn packet(source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
    let mut packet = vec![0; 60];
    packet[0] = 0x45;
    packet[3] = 60;
    packet[8] = 64;
    packet[12..16].copy_from_slice(&source);
    packet[16..20].copy_from_slice(&destination);
    packet
}

#[test]
fn one_init_does_not_draw_responses_to_any_number_of_addresses() {
    let mut pair = Pair::connected();
    // A second init, recorded before the server saw it.
    pair.now += Duration::from_secs(130);
    pair.client.handle_network_change(pair.now);
    let init = drain(&mut pair.client).pop().expect("an init").datagram;
    assert_eq!(init[0], 5);
    for host in 0..200 {
        let victim = format!("203.0.113.{host}:7");
        deliver(&mut pair.server, init.clone(), &victim, pair.now);
    }
    assert_eq!(drain(&mut pair.server).len(), 1 + 8, "the response and its repetitions");
    assert_eq!(pair.server.plane().drops().get(DropReason::RateLimited), 200 - 9);
}

#[test]
fn a_finish_repeated_from_elsewhere_does_not_silence_the_keepalive() {
    let mut pair = Pair::connected();
    pair.client_sends();
    let data = drain(&mut pair.client);
    assert_eq!(deliver(&mut pair.server, data[0].datagram.clone(), CLIENT, pair.now).local.len(), 1);
    // The server owes the client an answer within KEEPALIVE_TIMEOUT. A stranger asks for the confirmation meanwhile.
    let finish = pair.recorded(7);
    for _ in 0..9 {
        pair.now += Duration::from_secs(1);
        deliver(&mut pair.server, finish.clone(), STRANGER, pair.now);
        pair.server.handle_timeout(pair.now);
        let sent = drain(&mut pair.server);
        assert!(sent.iter().all(|transmit| transmit.endpoint.remote == address(STRANGER)));
        assert_eq!(sent.len(), 1);
    }
    pair.now += Duration::from_secs(2);
    pair.server.handle_timeout(pair.now);
    let sent = drain(&mut pair.server);
    assert!(
        sent.iter().any(|transmit| transmit.endpoint.remote == address(CLIENT)),
        "the keepalive is missing"
    );
    assert_eq!(pair.endpoint_at_server(), Some(address(CLIENT)));
}

#[test]
fn a_repeated_packet_neither_moves_the_endpoint_nor_counts_as_received() {
    let mut pair = Pair::connected();
    pair.client_sends();
    let data = drain(&mut pair.client).pop().expect("a packet").datagram;
    deliver(&mut pair.server, data.clone(), CLIENT, pair.now);
    let before = pair.server.peer_status(pair.now)[0].rx_bytes;
    let inbound = deliver(&mut pair.server, data.clone(), STRANGER, pair.now);
    assert!(inbound.local.is_empty() && inbound.attention.is_empty());
    assert_eq!(pair.endpoint_at_server(), Some(address(CLIENT)));
    assert_eq!(pair.server.peer_status(pair.now)[0].rx_bytes, before);
    let mut damaged = data;
    damaged[8] ^= 0x40; // A counter far ahead, which would close the window if it were believed.
    deliver(&mut pair.server, damaged, STRANGER, pair.now);
    assert_eq!(pair.endpoint_at_server(), Some(address(CLIENT)));
    pair.client_sends();
    let next = drain(&mut pair.client).pop().expect("a packet").datagram;
    assert_eq!(deliver(&mut pair.server, next, CLIENT, pair.now).local.len(), 1);
}

#[test]
fn packets_of_one_link_are_not_passed_on_to_a_peer_with_a_default_route() {
    let mut pair = Pair::connected();
    let mut passed_on = |destination| {
        pair.client_sends_to(destination);
        let data = drain(&mut pair.client).pop().expect("a packet").datagram;
        let inbound = deliver(&mut pair.server, data, CLIENT, pair.now);
        assert_eq!(inbound.local.len() + inbound.forwarded.len(), 1);
        inbound.forwarded.len() == 1
    };
    assert!(passed_on([203, 0, 113, 2]));
    for destination in [[224, 0, 0, 251], [255, 255, 255, 255], [169, 254, 169, 254], [127, 0, 0, 1], [0; 4]]
    {
        assert!(!passed_on(destination), "{destination:?}");
    }
}

#[test]
fn a_removed_peer_is_deaf_and_dumb_at_once() {
    let mut pair = Pair::connected();
    pair.client_sends();
    let data = drain(&mut pair.client).pop().expect("a packet").datagram;
    let plane = pair.server.plane();
    let routed = plane.routes().allowed_ips.lookup([10, 0, 0, 1].into()).cloned().expect("routed");
    assert!(pair.server.remove_peer(&identity(1).public_key()));
    // Even before the routes are published anew.
    assert!(routed.outlet().is_err(), "nothing is sealed for it");
    assert!(deliver(&mut pair.server, data, CLIENT, pair.now).local.is_empty());
    assert_eq!(plane.drops().get(DropReason::UnknownIndex), 1);
    let finish = pair.recorded(7);
    deliver(&mut pair.server, finish, CLIENT, pair.now);
    assert!(drain(&mut pair.server).is_empty());
}
