//! What somebody without a key, and a peer that keeps to no rule, can make a device do that serves WireGuard peers.

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use std::{
    collections::HashSet,
    net::SocketAddr,
    time::{Duration, Instant},
};
use vpn_core::{
    asymmetric::{Identity, X25519SecretKey},
    base::{DropReason, Endpoint, ReceiverIndex, SecretBytes},
    device::{Device, DeviceSettings, Forwarding, Inbound, Standing},
    handshake::{
        hybrid::LocalNode,
        wireguard::{Initiation, LocalKey, RemoteKey, Tai64n},
    },
    session::REKEY_AFTER_TIME,
    symmetric::{blake2s, blake2s_mac},
    tunnel::{MtuPolicy, PeerSettings, PeerState, StagedPacket, Transmit},
    wire::{
        hybrid::{ParametersBytes, SuiteSet},
        transport::OVERHEAD,
        wireguard::CookieReply,
    },
};
use zerocopy::{FromBytes as _, IntoBytes as _};

const CLIENT: &str = "192.0.2.2:40000";
const SERVER: &str = "198.51.100.2:51820";
const STRANGER: &str = "203.0.113.66:666";

/// Sizes of initiation, response and cookie reply, by type.
const SIZES: [(u8, usize); 3] = [(1, 148), (2, 92), (3, 64)];

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn key(number: u8) -> X25519SecretKey {
    X25519SecretKey::new(&SecretBytes::new([number; 32]))
}

fn device(number: u8, wireguard: bool, hybrid: bool, now: Instant) -> Device {
    Device::new(settings(number, wireguard, hybrid), Box::new(ChaCha20Rng::from_seed([number; 32])), now)
}

fn settings(number: u8, wireguard: bool, hybrid: bool) -> DeviceSettings {
    DeviceSettings {
        hybrid: hybrid.then(|| LocalNode {
            identity: Identity::from_seed(&SecretBytes::new([number + 100; 32])),
            network_keys: Vec::new(),
            suites: SuiteSet::CHACHA20_POLY1305,
            parameters: ParametersBytes::default(),
        }),
        wireguard: wireguard.then(|| key(number)),
        unix_time: Duration::from_secs(1_800_000_000),
        mtu: 1420,
        mtu_policy: MtuPolicy::UNLIMITED,
        rekey_after: REKEY_AFTER_TIME,
        local: HashSet::from([[10, 0, 0, number].into()]),
        networks: Vec::new(),
        forwarding: Forwarding::Off,
    }
}

/// A device that serves WireGuard peers only, with its clock at `unix_time`.
fn device_at(number: u8, unix_time: Duration, now: Instant) -> Device {
    let settings = DeviceSettings { unix_time, ..settings(number, true, false) };
    Device::new(settings, Box::new(ChaCha20Rng::from_seed([number; 32])), now)
}

fn add_peer(device: &mut Device, number: u8, endpoints: Vec<SocketAddr>, now: Instant) {
    let settings = PeerSettings {
        key: key(number).public_key().into(),
        preshared_key: SecretBytes::ZERO,
        endpoints,
        persistent_keepalive: None,
        stay_connected: false,
    };
    let allowed = vec![format!("10.0.0.{number}/32").parse().expect("a prefix")];
    device.set_peer(settings, allowed, now).expect("not itself");
    device.update_routes();
}

fn packet(source: u8, destination: u8) -> Vec<u8> {
    let mut packet = vec![0; 40];
    packet[0] = 0x45;
    packet[3] = 40;
    packet[8] = 64;
    packet[12..16].copy_from_slice(&[10, 0, 0, source]);
    packet[16..20].copy_from_slice(&[10, 0, 0, destination]);
    packet
}

fn drain(device: &mut Device) -> Vec<Transmit> {
    std::iter::from_fn(|| device.poll_transmit()).collect()
}

/// As the engine does: through the packet path, and to control what it leaves for it.
fn deliver(device: &mut Device, mut datagram: Vec<u8>, from: &str, now: Instant) -> (Inbound, Vec<u8>) {
    let mut inbound = Inbound::default();
    let len = datagram.len();
    device.plane().open(&mut datagram, 0..len, len.max(1), Endpoint::to(address(from)), now, &mut inbound);
    for message in &inbound.control {
        device.handle_control(&datagram[message.datagram.clone()], message.from, now);
    }
    for peer in &inbound.attention {
        device.handle_attention(*peer, now);
    }
    (inbound, datagram)
}

struct Pair {
    client: Device,
    server: Device,
    now: Instant,
    /// Everything that the client sent.
    to_server: Vec<Vec<u8>>,
}

impl Pair {
    fn new() -> Self {
        let now = Instant::now();
        let (mut client, mut server) = (device(1, true, false, now), device(2, true, true, now));
        add_peer(&mut client, 2, vec![address(SERVER)], now);
        add_peer(&mut server, 1, Vec::new(), now);
        Self { client, server, now, to_server: Vec::new() }
    }

    fn connected() -> Self {
        let mut pair = Self::new();
        pair.client_sends();
        pair.run();
        assert_eq!(pair.server.peer_status(pair.now)[0].state, PeerState::Up);
        pair
    }

    fn client_sends(&mut self) {
        let id = self.client.peer_status(self.now)[0].id;
        self.client.handle_outbound(id, StagedPacket::local(packet(1, 2)), self.now);
    }

    /// Carries datagrams until nobody has more to say; answers what the server's system received.
    fn run(&mut self) -> usize {
        let mut received = 0;
        loop {
            let (up, down) = (drain(&mut self.client), drain(&mut self.server));
            if up.is_empty() && down.is_empty() {
                return received;
            }
            for Transmit { datagram, .. } in up {
                self.to_server.push(datagram.clone());
                received += deliver(&mut self.server, datagram, CLIENT, self.now).0.local.len();
            }
            for Transmit { datagram, .. } in down {
                deliver(&mut self.client, datagram, SERVER, self.now);
            }
        }
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.server.plane().drops().get(reason)
    }
}

/// An initiation to the server by a client with the key `number`.
fn initiation(number: u8, seconds: u64, now: Instant) -> Vec<u8> {
    let local = LocalKey::new(key(number));
    let mut remote = RemoteKey::new(&local, key(2).public_key());
    let timestamp = Tai64n::from_unix(Duration::from_secs(seconds));
    let mut rng = ChaCha20Rng::seed_from_u64(seconds);
    let (_, init) = Initiation::start(&local, &mut remote, ReceiverIndex::new(7), timestamp, &mut rng, now)
        .expect("a key");
    init.as_bytes().to_vec()
}

/// A response to `initiation` by somebody who knows no more than the initiator's public key: mac1 is right.
fn forged_response(initiation: &[u8], rng: &mut ChaCha20Rng) -> Vec<u8> {
    let mut datagram = vec![0; 60];
    rng.fill_bytes(&mut datagram);
    datagram[..4].copy_from_slice(&[2, 0, 0, 0]);
    datagram[8..12].copy_from_slice(&initiation[4..8]);
    let mac1_key = SecretBytes::new(blake2s(&[b"mac1----", &key(1).public_key().0]));
    datagram.extend(blake2s_mac(&mac1_key, &datagram));
    datagram.extend([0; 16]);
    datagram
}

#[test]
fn every_type_and_every_length_of_noise_gets_silence_and_a_counter() {
    let mut pair = Pair::connected();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let mut sent = 0;
    for kind in 0..=9_u8 {
        for len in 0..1600 {
            let mut datagram = vec![0; len];
            rng.fill_bytes(&mut datagram);
            let kind_bytes = [kind, 0, 0, 0];
            let header = kind_bytes.len().min(len);
            datagram[..header].copy_from_slice(&kind_bytes[..header]);
            let (inbound, _) = deliver(&mut pair.server, datagram, STRANGER, pair.now);
            assert!(inbound.local.is_empty() && inbound.control.is_empty(), "type {kind}, {len} bytes");
            // An empty datagram is no datagram to the packet path: nothing is there to be counted.
            sent += u64::from(len > 0);
        }
    }
    assert!(drain(&mut pair.server).is_empty());
    let counted: u64 = DropReason::ALL.iter().map(|reason| pair.drops(*reason)).sum();
    assert_eq!(counted, sent);
    pair.client_sends();
    assert_eq!(pair.run(), 1, "the session is as it was");
}

#[test]
fn genuine_messages_of_a_wrong_length_or_with_reserved_bytes_set_are_malformed() {
    let mut pair = Pair::new();
    let genuine = initiation(1, 5, pair.now);
    let mut variants = vec![genuine[..147].to_vec(), [&genuine[..], &[0]].concat()];
    for reserved in 1..4 {
        let mut variant = genuine.clone();
        variant[reserved] = 1;
        variants.push(variant);
    }
    let expected = variants.len() as u64;
    for variant in variants {
        deliver(&mut pair.server, variant, CLIENT, pair.now);
    }
    assert_eq!((pair.drops(DropReason::Malformed), drain(&mut pair.server).len()), (expected, 0));
    deliver(&mut pair.server, genuine, CLIENT, pair.now);
    assert_eq!(drain(&mut pair.server).len(), 1, "the genuine one is answered");
}

#[test]
fn forgeries_end_on_the_packet_path_and_never_reach_control() {
    let mut pair = Pair::connected();
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    for (kind, size) in SIZES {
        for _ in 0..500 {
            let mut datagram = vec![0; size];
            rng.fill_bytes(&mut datagram);
            datagram[..4].copy_from_slice(&[kind, 0, 0, 0]);
            let (inbound, _) = deliver(&mut pair.server, datagram, STRANGER, pair.now);
            assert!(inbound.control.is_empty());
        }
    }
    assert_eq!((pair.drops(DropReason::BadMac), pair.drops(DropReason::UnknownIndex)), (1000, 500));
}

#[test]
fn devices_that_serve_one_handshake_are_silent_to_the_other() {
    let now = Instant::now();
    let mut without = device(2, false, true, now);
    deliver(&mut without, initiation(1, 5, now), CLIENT, now);
    assert_eq!(without.plane().drops().get(DropReason::Malformed), 1);
    let mut only = device(2, true, false, now);
    for (kind, size) in [(5, 1232), (6, 1228), (7, 144), (8, 64)] {
        let mut datagram = vec![0; size];
        datagram[..2].copy_from_slice(&[kind, 1]);
        deliver(&mut only, datagram, CLIENT, now);
    }
    assert_eq!(only.plane().drops().get(DropReason::Malformed), 4);
    assert!(drain(&mut without).is_empty() && drain(&mut only).is_empty());
}

#[test]
fn unknown_initiator_costs_work_and_gets_silence() {
    let mut pair = Pair::new();
    deliver(&mut pair.server, initiation(77, 5, pair.now), STRANGER, pair.now);
    assert_eq!((pair.drops(DropReason::UnknownPeer), drain(&mut pair.server).len()), (1, 0));
}

#[test]
fn replayed_and_older_initiations_neither_answer_nor_move_the_endpoint() {
    let mut pair = Pair::connected();
    let recorded = pair.to_server[0].clone();
    for old in [recorded, initiation(1, 5, pair.now)] {
        deliver(&mut pair.server, old, STRANGER, pair.now);
    }
    assert_eq!((pair.drops(DropReason::Replay), drain(&mut pair.server).len()), (2, 0));
    assert_eq!(pair.server.peer_status(pair.now)[0].endpoint, Some(address(CLIENT)));
}

#[test]
fn replay_to_a_device_that_forgot_the_peer_draws_an_answer_but_no_session() {
    let mut pair = Pair::connected();
    let recorded = pair.to_server.clone();
    assert!(pair.server.remove_peer(&key(1).public_key().into()));
    add_peer(&mut pair.server, 1, Vec::new(), pair.now);
    for old in recorded {
        deliver(&mut pair.server, old, STRANGER, pair.now);
    }
    assert_eq!(drain(&mut pair.server).len(), 1, "a response");
    let status = &pair.server.peer_status(pair.now)[0];
    assert_eq!((status.endpoint, status.handshakes), (Some(address(STRANGER)), 0));
    assert_ne!(status.state, PeerState::Up);
    pair.now += Duration::from_secs(16);
    pair.client_sends();
    pair.client.handle_timeout(pair.now);
    pair.run();
    pair.now += Duration::from_secs(16);
    pair.client.handle_timeout(pair.now);
    pair.run();
    let status = &pair.server.peer_status(pair.now)[0];
    assert_eq!((status.endpoint, status.state), (Some(address(CLIENT)), PeerState::Up), "the peer itself");
}

#[test]
fn one_peers_initiations_are_limited_and_leave_one_session_that_waits() {
    let mut pair = Pair::new();
    let mut indices = Vec::new();
    for n in 0..100 {
        pair.now += Duration::from_millis(10);
        deliver(&mut pair.server, initiation(1, 2_000_000_000 + n, pair.now), CLIENT, pair.now);
        indices.extend(drain(&mut pair.server).iter().map(|sent| sent.datagram[4..8].to_vec()));
    }
    assert_eq!(indices.len(), 50, "one in 20 ms");
    assert_eq!(pair.drops(DropReason::RateLimited), 50);
    let mut probe = |index: &[u8]| {
        let datagram = [&[4, 0, 0, 0], index, &[0; OVERHEAD - 8]].concat();
        deliver(&mut pair.server, datagram, CLIENT, pair.now);
    };
    for index in &indices {
        probe(index);
    }
    assert_eq!((pair.drops(DropReason::UnknownIndex), pair.drops(DropReason::BadTag)), (49, 1));
}

#[test]
fn reply_to_the_first_packet_of_a_new_session_goes_out_on_it() {
    let mut pair = Pair::connected();
    let used = |pair: &Pair| {
        let plane = pair.server.plane();
        let peer = plane.routes().allowed_ips.lookup([10, 0, 0, 1].into()).expect("a peer").clone();
        peer.outlet().expect("a session").0.local_index()
    };
    let before = used(&pair);
    // The client restarts: it has forgotten the session, and its clock has gone on.
    pair.now += Duration::from_secs(9);
    pair.client = device_at(1, Duration::from_secs(1_800_000_009), pair.now);
    add_peer(&mut pair.client, 2, vec![address(SERVER)], pair.now);
    pair.client_sends();
    let init = drain(&mut pair.client).remove(0).datagram;
    deliver(&mut pair.server, init, CLIENT, pair.now);
    let response = drain(&mut pair.server).remove(0).datagram;
    assert_eq!(used(&pair), before, "not before the client has used it");
    deliver(&mut pair.client, response, SERVER, pair.now);
    let mut first = drain(&mut pair.client).remove(0).datagram;
    let (len, from) = (first.len(), Endpoint::to(address(CLIENT)));
    // The packet path alone: control has not looked yet.
    pair.server.plane().open(&mut first, 0..len, len, from, pair.now, &mut Inbound::default());
    assert_ne!(used(&pair), before);
}

#[test]
fn a_session_carries_ip_packets_only() {
    let mut pair = Pair::connected();
    let explicit = [&[4], &packet(1, 2)[..]].concat();
    for payload in [vec![1; 40], vec![6; 40], vec![64; 40], vec![0x75; 40], vec![128; 40], explicit] {
        let id = pair.client.peer_status(pair.now)[0].id;
        pair.client.handle_outbound(id, StagedPacket::local(payload), pair.now);
        assert_eq!(pair.run(), 0);
    }
    assert_eq!(pair.drops(DropReason::BadPayload), 6);
    pair.client_sends();
    assert_eq!(pair.run(), 1);
}

#[test]
fn new_static_key_ends_the_sessions_of_the_old_one() {
    let mut pair = Pair::connected();
    pair.server.set_wireguard_key(Some(key(3)), pair.now);
    assert_eq!(pair.server.peer_status(pair.now)[0].state, PeerState::Idle);
    pair.client_sends();
    assert_eq!(pair.run(), 0, "nothing opens what the old session seals");
    pair.server.set_wireguard_key(None, pair.now);
    deliver(&mut pair.server, initiation(1, 2_000_000_000, pair.now), CLIENT, pair.now);
    assert!(drain(&mut pair.server).is_empty(), "without a key there is no answer");
    pair.server.set_wireguard_key(Some(key(2)), pair.now);
    // What was recorded under the first key is still recognised under it.
    deliver(&mut pair.server, pair.to_server[0].clone(), STRANGER, pair.now);
    assert_eq!(pair.drops(DropReason::Replay), 1);
    pair.now += Duration::from_secs(1);
    deliver(&mut pair.server, initiation(1, 2_000_000_001, pair.now), CLIENT, pair.now);
    assert_eq!(drain(&mut pair.server).len(), 1);
}

#[test]
fn initiations_with_a_cookie_wait_apart_from_those_of_strangers() {
    let mut pair = Pair::new();
    let standing = |pair: &mut Pair, datagram: Vec<u8>, from| {
        let (inbound, _) = deliver(&mut pair.server, datagram, from, pair.now);
        inbound.control[0].standing
    };
    let datagram = initiation(77, 5, pair.now);
    assert_eq!(standing(&mut pair, datagram.clone(), STRANGER), Standing::Stranger);
    // Under load the server hands out a cookie, which the next initiation carries.
    pair.server.note_backlog(1000, 0, pair.now);
    let (local, mut drained) = (LocalKey::new(key(77)), drain(&mut pair.server));
    let mut remote = RemoteKey::new(&local, key(2).public_key());
    let next = |remote: &mut RemoteKey, now| {
        let timestamp = Tai64n::from_unix(Duration::from_secs(6));
        let mut rng = ChaCha20Rng::seed_from_u64(6);
        let begun = Initiation::start(&local, remote, ReceiverIndex::new(8), timestamp, &mut rng, now);
        begun.expect("a key").1.as_bytes().to_vec()
    };
    let without = next(&mut remote, pair.now);
    assert_eq!(standing(&mut pair, without, STRANGER), Standing::Stranger);
    drained.extend(drain(&mut pair.server));
    let reply = CookieReply::ref_from_bytes(&drained[0].datagram).expect("a cookie reply");
    remote.read_cookie_reply(reply, pair.now).expect("for us");
    let with = next(&mut remote, pair.now);
    assert_eq!(standing(&mut pair, with.clone(), STRANGER), Standing::Reachable);
    assert_eq!(
        standing(&mut pair, with.clone(), CLIENT),
        Standing::Stranger,
        "of another address it is worth nothing"
    );
    let mut forged = with;
    forged[140] ^= 1;
    assert_eq!(standing(&mut pair, forged, STRANGER), Standing::Stranger);
}

#[test]
fn forged_responses_cost_little_and_the_genuine_one_gets_through_with_a_cookie() {
    let mut pair = Pair::new();
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    pair.client_sends();
    for round in 1..=2 {
        let initiation = drain(&mut pair.client).remove(0).datagram;
        for _ in 0..100 {
            deliver(&mut pair.client, forged_response(&initiation, &mut rng), STRANGER, pair.now);
        }
        let drops = |reason| pair.client.plane().drops().get(reason);
        assert_eq!(drops(DropReason::BadHandshake), round * 16, "work for no more than these");
        let asked = drain(&mut pair.client);
        assert_eq!(asked.len(), 84, "the others are asked for a cookie");
        assert!(
            asked.iter().all(|sent| sent.datagram.len() == 64 && sent.endpoint.remote == address(STRANGER))
        );
        deliver(&mut pair.server, initiation, CLIENT, pair.now);
        pair.run();
        let state = pair.client.peer_status(pair.now)[0].state;
        assert_eq!(state, if round == 1 { PeerState::Connecting } else { PeerState::Up }, "round {round}");
        pair.now += Duration::from_secs(6);
        pair.client.handle_timeout(pair.now);
    }
}

#[test]
fn cookie_replies_for_a_session_in_use_never_reach_control() {
    let mut pair = Pair::connected();
    let data = pair.to_server.last().expect("data").clone();
    assert_eq!(data[0], 4);
    let mut reply = vec![0; 64];
    reply[0] = 3;
    reply[4..8].copy_from_slice(&data[4..8]);
    let (inbound, _) = deliver(&mut pair.server, reply, STRANGER, pair.now);
    assert!(inbound.control.is_empty());
    assert_eq!(pair.drops(DropReason::UnknownIndex), 1);
}

#[test]
fn a_wall_clock_that_is_set_right_after_the_start_ends_the_lockout_and_one_set_back_makes_none() {
    let mut pair = Pair::new();
    let (before, after) = (2_000_000_000, 2_000_000_100);
    deliver(&mut pair.server, initiation(1, before, pair.now), CLIENT, pair.now);
    drain(&mut pair.server);
    pair.client_sends();
    pair.run();
    assert_eq!(pair.drops(DropReason::Replay), 1, "the client's clock stands years before");
    for unix_time in [after, 5] {
        pair.client.note_unix_time(Duration::from_secs(unix_time), pair.now);
    }
    pair.now += Duration::from_secs(6);
    pair.client.handle_timeout(pair.now);
    pair.run();
    assert_eq!(pair.server.peer_status(pair.now)[0].state, PeerState::Up);
}
