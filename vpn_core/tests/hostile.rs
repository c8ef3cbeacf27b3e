//! What somebody who sees every datagram, but has no key, can make two devices do: nothing that lasts. And what a peer
//! that keeps to no rule of its own can.

use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use std::{
    collections::HashSet,
    net::SocketAddr,
    time::{Duration, Instant},
};
use vpn_core::{
    asymmetric::Identity,
    base::{DropReason, Endpoint, ReceiverIndex, SecretBytes},
    device::{Device, DeviceSettings, Forwarding, Inbound},
    handshake::hybrid::{
        Initiation, InitiatorSettings, LocalNode, MAX_FINISH_FAILURES, MAX_RESPONSE_FAILURES,
    },
    session::{REJECT_AFTER_TIME, REKEY_AFTER_TIME, REKEY_TIMEOUT},
    symmetric::{hash, keyed_hash},
    tunnel::{MAX_STAGED_PACKETS, MtuPolicy, PeerSettings, PeerState, StagedPacket, Transmit},
    wire::hybrid::{Features, Message, ParametersBytes, SuiteSet},
};
use zerocopy::IntoBytes as _;

const CLIENT: &str = "192.0.2.2:40000";
const SERVER: &str = "198.51.100.2:51820";
/// Where the server might have moved to.
const SERVER_ELSEWHERE: &str = "198.51.100.3:51820";
const STRANGER: &str = "203.0.113.66:666";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn identity(number: u8) -> Identity {
    Identity::from_seed(&SecretBytes::new([number; 32]))
}

fn device(number: u8, forwarding: Forwarding, now: Instant) -> Device {
    device_with(number, forwarding, Features::SUPPORTED, now)
}

fn device_with(number: u8, forwarding: Forwarding, features: Features, now: Instant) -> Device {
    let settings = DeviceSettings {
        hybrid: Some(LocalNode {
            identity: identity(number),
            network_keys: Vec::new(),
            suites: SuiteSet::CHACHA20_POLY1305,
            parameters: ParametersBytes { features, ..ParametersBytes::default() },
        }),
        wireguard: None,
        unix_time: Duration::ZERO,
        mtu: 1420,
        mtu_policy: MtuPolicy::UNLIMITED,
        rekey_after: REKEY_AFTER_TIME,
        local: HashSet::from([[10, 0, 0, number].into()]),
        networks: Vec::new(),
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
        Self::connected_to(Features::SUPPORTED)
    }

    /// With a server that has announced `features`.
    fn connected_to(features: Features) -> Self {
        let now = Instant::now();
        let (mut client, mut server) =
            (device(1, Forwarding::Off, now), device_with(2, Forwarding::BetweenPeers, features, now));
        server.set_peer(peer(1, Vec::new()), prefix("10.0.0.1/32"), now).expect("not itself");
        server.set_peer(peer(3, Vec::new()), prefix("0.0.0.0/0"), now).expect("not itself");
        server.update_routes();
        add_server(&mut client, now);
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
        let packet = StagedPacket::local(packet([10, 0, 0, 1], destination));
        self.client.handle_outbound(id, packet, self.now);
    }

    /// What the server hands to its system of a payload that the client seals.
    fn opened_of(&mut self, payload: &[u8], from: &str) -> Vec<Vec<u8>> {
        let id = self.client.peer_status(self.now)[0].id;
        self.client.handle_outbound(id, StagedPacket::local(payload.to_vec()), self.now);
        let mut sealed = drain(&mut self.client).pop().expect("a packet").datagram;
        let inbound = open(&self.server, &mut sealed, from, self.now);
        assert_eq!(inbound.forwarded().count(), 0);
        inbound.local.iter().map(|packet| sealed[packet.range.clone()].to_vec()).collect()
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
    let inbound = open(device, &mut datagram, from, now);
    for message in &inbound.control {
        device.handle_control(&datagram[message.datagram.clone()], message.from, now);
    }
    for peer in &inbound.attention {
        device.handle_attention(*peer, now);
    }
    inbound
}

fn open(device: &Device, datagram: &mut [u8], from: &str, now: Instant) -> Inbound {
    let mut inbound = Inbound::default();
    let len = datagram.len();
    device.plane().open(datagram, 0..len, len, Endpoint::to(address(from)), now, &mut inbound);
    inbound
}

fn peer(number: u8, endpoints: Vec<SocketAddr>) -> PeerSettings {
    PeerSettings {
        key: identity(number).public_key().into(),
        preshared_key: SecretBytes::ZERO,
        stay_connected: !endpoints.is_empty(),
        endpoints,
        persistent_keepalive: None,
    }
}

fn prefix(text: &str) -> Vec<ipnet::IpNet> {
    vec![text.parse().expect("a prefix")]
}

fn add_server(client: &mut Device, now: Instant) {
    client.set_peer(peer(2, vec![address(SERVER)]), prefix("10.0.0.2/32"), now).expect("not itself");
    client.update_routes();
}

/// A handshake with the server, made by hand; the same number gives the same one again.
fn initiation(number: u32) -> (Initiation, Vec<u8>) {
    let network_key = SecretBytes::ZERO;
    let responder = identity(2).public_key();
    let settings =
        InitiatorSettings { responder, network_key: &network_key, suites: SuiteSet::CHACHA20_POLY1305 };
    let mut rng = ChaCha20Rng::seed_from_u64(number.into());
    let (state, init) = Initiation::start(&settings, ReceiverIndex::new(number), &mut rng);
    (state, init.as_bytes().to_vec())
}

/// The server's answer to an init.
fn response_to(server: &mut Device, init: Vec<u8>, now: Instant) -> Vec<u8> {
    deliver(server, init, STRANGER, now);
    drain(server).pop().expect("a response").datagram
}

/// The finish of a handshake made by hand, in the name of `claimed`.
fn finish(number: u32, response: &[u8], claimed: u8, preshared_key: [u8; 32]) -> Vec<u8> {
    let Some(Message::Response(response)) = Message::parse(response) else { panic!("not a response") };
    let preshared_key = SecretBytes::new(preshared_key);
    let (state, _) = initiation(number);
    let completed =
        state.read_response(response, &identity(claimed), &preshared_key, ParametersBytes::default());
    completed.expect("a genuine response").finish.as_bytes().to_vec()
}

/// A response to `init` that fails behind its mac, as whoever saw the init can make it.
fn forged_response(genuine: &[u8], init: &[u8]) -> Vec<u8> {
    let mut forged = genuine.to_vec();
    forged[1140] ^= 1;
    let mac = keyed_hash(&SecretBytes::new(hash(init)), &forged[..1220]);
    forged[1220..].copy_from_slice(&mac[..8]);
    forged
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
        let passed_on = inbound.forwarded().map(|(_, packets)| packets.len()).sum::<usize>();
        assert_eq!(inbound.local.len() + passed_on, 1);
        passed_on == 1
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
    assert!(pair.server.remove_peer(&identity(1).public_key().into()));
    // Even before the routes are published anew.
    assert!(routed.outlet().is_err(), "nothing is sealed for it");
    assert!(deliver(&mut pair.server, data, CLIENT, pair.now).local.is_empty());
    assert_eq!(plane.drops().get(DropReason::UnknownIndex), 1);
    let finish = pair.recorded(7);
    deliver(&mut pair.server, finish, CLIENT, pair.now);
    assert!(drain(&mut pair.server).is_empty());
}

#[test]
fn sixteen_finishes_that_fail_end_a_half_open_handshake_and_fifteen_do_not() {
    let mut pair = Pair::connected();
    let server = &mut pair.server;
    for failures in [u32::from(MAX_FINISH_FAILURES) - 1, MAX_FINISH_FAILURES.into()] {
        let response = response_to(server, initiation(failures).1, pair.now);
        let bad = [finish(failures, &response, 1, [9; 32]), finish(failures, &response, 9, [0; 32])];
        for finish in bad.iter().cycle().take(failures as usize) {
            deliver(server, finish.clone(), STRANGER, pair.now);
        }
        assert!(drain(server).is_empty(), "failures are silent");
        deliver(server, finish(failures, &response, 1, [0; 32]), CLIENT, pair.now);
        let accepted = failures < MAX_FINISH_FAILURES.into();
        assert_eq!(drain(server).len(), usize::from(accepted), "after {failures} failures");
    }
    assert_eq!(server.plane().drops().get(DropReason::UnknownIndex), 1);
}

#[test]
fn any_number_of_damaged_finishes_leaves_a_half_open_handshake_alone() {
    let mut pair = Pair::connected();
    let response = response_to(&mut pair.server, initiation(7).1, pair.now);
    let genuine = finish(7, &response, 1, [0; 32]);
    for at in [2, 3, 8, 119].repeat(20) {
        let mut damaged = genuine.clone();
        damaged[at] ^= 1;
        deliver(&mut pair.server, damaged, STRANGER, pair.now);
    }
    assert!(drain(&mut pair.server).is_empty());
    deliver(&mut pair.server, genuine, CLIENT, pair.now);
    assert_eq!(drain(&mut pair.server).len(), 1, "the confirmation");
}

#[test]
fn data_held_for_all_unfinished_handshakes_together_is_bounded() {
    const SIZE: usize = 8192; // 128 of these are all that is held
    let mut pair = Pair::connected();
    let mut hold = |number, now| {
        let response = response_to(&mut pair.server, initiation(number).1, now);
        let mut early = vec![0; SIZE];
        early[0] = 4;
        early[4..8].copy_from_slice(&response[4..8]);
        for _ in 0..MAX_STAGED_PACKETS {
            deliver(&mut pair.server, early.clone(), STRANGER, now);
        }
        pair.server.plane().drops().get(DropReason::Full)
    };
    assert_eq!(hold(1, pair.now), 0);
    assert_eq!(hold(2, pair.now), MAX_STAGED_PACKETS as u64, "the first one took all the room");
    pair.now += Duration::from_secs(6);
    assert_eq!(hold(3, pair.now), MAX_STAGED_PACKETS as u64, "what is forgotten takes no room");
}

#[test]
fn a_session_past_its_time_opens_nothing_even_if_no_timer_has_run() {
    let mut pair = Pair::connected();
    pair.client_sends();
    pair.client_sends();
    let data = drain(&mut pair.client);
    let just_before = pair.now + REJECT_AFTER_TIME.saturating_sub(Duration::from_millis(1));
    let end = pair.now + REJECT_AFTER_TIME;
    assert_eq!(deliver(&mut pair.server, data[0].datagram.clone(), CLIENT, just_before).local.len(), 1);
    let inbound = deliver(&mut pair.server, data[1].datagram.clone(), STRANGER, end);
    assert!(inbound.local.is_empty() && inbound.attention.is_empty());
    assert_eq!(pair.server.plane().drops().get(DropReason::Expired), 1);
    assert_eq!(pair.endpoint_at_server(), Some(address(CLIENT)));
}

#[test]
fn a_packet_is_delivered_without_the_protocol_byte_before_and_the_padding_behind_it() {
    let mut pair = Pair::connected();
    let plain = packet([10, 0, 0, 1], [10, 0, 0, 2]);
    let explicit = [&[4], plain.as_slice()].concat();
    let padded = [plain.as_slice(), &[0; 13]].concat();
    let both = [explicit.as_slice(), &[0xff; 3]].concat();
    for payload in [&plain, &explicit, &padded, &both] {
        assert_eq!(pair.opened_of(payload, CLIENT), std::slice::from_ref(&plain));
    }
}

#[test]
fn reserved_payloads_are_dropped_and_the_message_is_authentic_all_the_same() {
    let mut pair = Pair::connected();
    let reserved = [0, 1, 3, 5, 6, 17, 0x3f, 0x44, 0x50, 0x5f, 0x70, 64, 68, 128, 255];
    for first in reserved {
        let mut payload = packet([10, 0, 0, 1], [10, 0, 0, 2]);
        payload[0] = first;
        assert!(pair.opened_of(&payload, SERVER_ELSEWHERE).is_empty(), "{first:#x}");
    }
    assert!(pair.opened_of(&[4], CLIENT).is_empty(), "nothing behind the protocol byte");
    assert!(pair.opened_of(&[4, 4], STRANGER).is_empty(), "a second protocol byte");
    assert_eq!(pair.server.plane().drops().get(DropReason::BadPayload), reserved.len() as u64 + 2);
    assert_eq!(pair.endpoint_at_server(), Some(address(STRANGER)), "the client was there");
}

/// TCP over IPv4 or UDP over IPv6 without checksum, from the client to the server.
fn payloads_without_checksum() -> [Vec<u8>; 2] {
    let mut v4 = packet([10, 0, 0, 1], [10, 0, 0, 2]);
    v4.resize(20 + 20 + 3, 0);
    v4[0] = 0x75;
    v4[3] = v4.len() as u8;
    v4[9] = 6;
    v4[20 + 12] = 5 << 4;
    let mut v6 = vec![0; 40 + 8 + 3];
    v6[0] = 0x50;
    v6[5] = 8 + 3;
    v6[6] = 17;
    v6[40 + 5] = 8 + 3;
    [v4, v6]
}

#[test]
fn packets_without_checksum_are_taken_from_a_peer_that_was_told_so_and_from_no_other() {
    let [payload, _] = payloads_without_checksum();
    let mut restored = payload.clone();
    restored[0] = 0x45;
    assert_eq!(Pair::connected().opened_of(&payload, CLIENT), [restored]);
    let mut earlier = Pair::connected_to(Features::NONE);
    assert!(earlier.opened_of(&payload, CLIENT).is_empty());
    assert_eq!(earlier.server.plane().drops().get(DropReason::BadPayload), 1);
}

#[test]
fn packets_that_cannot_have_left_out_a_checksum_are_dropped() {
    let mut pair = Pair::connected();
    let [v4, v6] = payloads_without_checksum();
    let changes = [
        ("a fragment", &v4, 6, 0x20),
        ("a later fragment", &v4, 7, 1),
        ("another protocol", &v4, 9, 1),
        ("an IPv4 header that is too short", &v4, 0, 0x74),
        ("a TCP header that is too short", &v4, 32, 4 << 4),
        ("a TCP header beyond the packet", &v4, 32, 6 << 4),
        ("an IPv4 packet beyond the payload", &v4, 3, 44),
        ("an IPv6 fragment", &v6, 6, 44),
        ("another protocol over IPv6", &v6, 6, 58),
        ("a UDP length that is not the packet's", &v6, 45, 10),
        ("an IPv6 packet beyond the payload", &v6, 5, 12),
    ];
    for (number, (what, payload, at, value)) in (1..).zip(changes) {
        let mut payload = payload.clone();
        payload[at] = value;
        assert!(pair.opened_of(&payload, CLIENT).is_empty(), "{what}");
        assert_eq!(pair.server.plane().drops().get(DropReason::BadPayload), number, "{what}");
    }
    // Sound packets, but for what stands between the headers.
    let mut options = v4.clone();
    options.splice(20..20, [1, 1, 1, 0]);
    options[0] = 0x76;
    options[3] += 4;
    assert!(pair.opened_of(&options, CLIENT).is_empty(), "IPv4 options");
    let mut extension = v6.clone();
    extension.splice(40..40, [17, 0, 1, 4, 0, 0, 0, 0]);
    extension[6] = 60;
    extension[5] += 8;
    assert!(pair.opened_of(&extension, CLIENT).is_empty(), "an IPv6 extension header");
    let explicit = [&[4], v4.as_slice()].concat();
    assert!(pair.opened_of(&explicit, CLIENT).is_empty(), "only plain packets follow the protocol byte");
    let explicit = [&[4], v6.as_slice()].concat();
    assert!(pair.opened_of(&explicit, CLIENT).is_empty(), "nor over IPv6");
    assert_eq!(pair.opened_of(&v4, CLIENT).len(), 1, "unchanged it is taken");
}

#[test]
fn a_stored_response_goes_to_where_the_repeated_init_came_from() {
    let now = Instant::now();
    let (mut client, mut server) = (device(1, Forwarding::Off, now), device(2, Forwarding::Off, now));
    add_server(&mut client, now);
    let init = drain(&mut client).pop().expect("an init").datagram;
    let responses = [CLIENT, STRANGER, CLIENT].map(|from| {
        deliver(&mut server, init.clone(), from, now);
        let response = drain(&mut server).pop().expect("a response");
        assert_eq!(response.endpoint.remote, address(from));
        response.datagram
    });
    assert!(responses.iter().all(|response| *response == responses[0]), "byte for byte");
}

#[test]
fn a_packet_of_a_peer_for_itself_is_not_sent_back_to_it() {
    let mut pair = Pair::connected();
    let to_itself = packet([10, 0, 0, 1], [10, 0, 0, 1]);
    assert_eq!(pair.opened_of(&to_itself, CLIENT), [to_itself]);
}

#[test]
fn forged_responses_do_not_draw_inits_faster_than_usual() {
    let now = Instant::now();
    let (mut client, mut server) = (device(1, Forwarding::Off, now), device(2, Forwarding::Off, now));
    add_server(&mut client, now);
    let init = drain(&mut client).pop().expect("an init").datagram;
    let genuine = response_to(&mut server, init.clone(), now);
    let forged = forged_response(&genuine, &init);
    for _ in 0..MAX_RESPONSE_FAILURES {
        deliver(&mut client, forged.clone(), STRANGER, now);
    }
    deliver(&mut client, genuine, SERVER, now);
    assert_eq!(client.plane().drops().get(DropReason::UnknownIndex), 1, "the handshake was given up");
    assert!(drain(&mut client).is_empty());
    let again = client.poll_timeout().expect("it begins anew");
    assert_eq!(again, now + REKEY_TIMEOUT);
    client.handle_timeout(again);
    let next = drain(&mut client).pop().expect("an init").datagram;
    assert_eq!(next[0], 5);
    assert_ne!(next[8..40], init[8..40], "with keys of its own");
}

#[test]
fn the_endpoint_follows_an_accepted_response_and_no_refused_one() {
    let now = Instant::now();
    let (mut client, mut server) = (device(1, Forwarding::Off, now), device(2, Forwarding::Off, now));
    add_server(&mut client, now);
    let init = drain(&mut client).pop().expect("an init").datagram;
    let genuine = response_to(&mut server, init.clone(), now);
    deliver(&mut client, forged_response(&genuine, &init), STRANGER, now);
    assert_eq!(client.peer_status(now)[0].endpoint, Some(address(SERVER)));
    deliver(&mut client, genuine, SERVER_ELSEWHERE, now);
    assert_eq!(client.peer_status(now)[0].endpoint, Some(address(SERVER_ELSEWHERE)));
    assert_eq!(drain(&mut client)[0].endpoint.remote, address(SERVER_ELSEWHERE));
}
