//! The network between nodes, and the order of events.

use super::{
    node::{EMPTY, Node, NodeSettings, Peering},
    packet,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};
use vpn_core::{
    handshake::{PeerKey, Protocol},
    tunnel::Transmit,
    wire::{path::PATH_MESSAGE_SIZE, payload::Checksum},
};

/// Steps at one instant after which time is said to stand still.
const MAX_STEPS_AT_ONCE: u32 = 20_000;

pub(crate) const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

pub(crate) const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// What a datagram is, from its first byte and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    Init,
    Response,
    Finish,
    CookieReply,
    Empty,
    /// The shortest probe of a path, or the answer to a probe.
    Path,
    Data,
    Other,
}

impl Kind {
    pub(crate) fn of(datagram: &[u8]) -> Self {
        match (datagram.first(), datagram.len()) {
            (Some(1 | 5), _) => Self::Init,
            (Some(2 | 6), _) => Self::Response,
            (Some(7), _) => Self::Finish,
            (Some(3 | 8), _) => Self::CookieReply,
            (Some(4), EMPTY) => Self::Empty,
            (Some(4), len) if len == EMPTY + PATH_MESSAGE_SIZE => Self::Path,
            (Some(4), _) => Self::Data,
            _ => Self::Other,
        }
    }
}

/// One datagram on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Wire {
    pub(crate) at: Instant,
    pub(crate) sender: usize,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) kind: Kind,
    pub(crate) datagram: Vec<u8>,
    /// Whether routers may cut it.
    pub(crate) may_be_cut: bool,
}

/// How the network treats everybody's datagrams.
#[derive(Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) delay: Duration,
    /// Up to this much more, which reorders.
    pub(crate) jitter: Duration,
    /// Per cent.
    pub(crate) loss: u32,
    /// Per cent.
    pub(crate) duplication: u32,
}

/// A hook: sees each datagram sent, and says whether it goes on.
pub(crate) type Rule = Box<dyn FnMut(&Wire) -> bool>;

struct Expected {
    to: Ipv4Addr,
    bytes: Vec<u8>,
    delivered: bool,
}

pub(crate) struct Network {
    pub(crate) now: Instant,
    pub(crate) base: Instant,
    pub(crate) nodes: Vec<Node>,
    /// The handshake that [`Network::peering`] configures.
    pub(crate) protocol: Protocol,
    pub(crate) weather: Weather,
    /// Everything that nodes sent, when capturing.
    pub(crate) capture: Vec<Wire>,
    pub(crate) capturing: bool,
    pub(crate) rng: ChaCha8Rng,
    seed: u64,
    rules: Vec<Rule>,
    in_flight: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    sequence: u64,
    expected: HashMap<u64, Expected>,
    next_number: u64,
    counters: HashSet<(usize, u64, [u8; 4], u64)>,
    steps: (Instant, u32),
}

impl Network {
    pub(crate) fn new() -> Self {
        let seed = std::env::var("SIM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
        Self::seeded(seed)
    }

    pub(crate) fn seeded(seed: u64) -> Self {
        let base = Instant::now();
        Self {
            now: base,
            base,
            nodes: Vec::new(),
            protocol: Protocol::Hybrid,
            weather: Weather { delay: millis(20), jitter: Duration::ZERO, loss: 0, duplication: 0 },
            capture: Vec::new(),
            capturing: true,
            rng: ChaCha8Rng::seed_from_u64(seed),
            seed,
            rules: Vec::new(),
            in_flight: BTreeMap::new(),
            sequence: 0,
            expected: HashMap::new(),
            next_number: 0,
            counters: HashSet::new(),
            steps: (base, 0),
        }
    }

    /// A client (node 0) that stays connected with a gateway (node 1) that knows no endpoint of it.
    pub(crate) fn client_and_gateway() -> Self {
        Self::new().with_client_and_gateway()
    }

    /// The same, in this network that has no nodes yet.
    pub(crate) fn with_client_and_gateway(self) -> Self {
        let mut net = self;
        let (client, gateway) = (net.add(NodeSettings::new(1)), net.add(NodeSettings::new(2)));
        let towards_client = net.peering(client);
        net.nodes[gateway].set_peer(Peering { endpoints: Vec::new(), ..towards_client }, net.now);
        let towards_gateway = net.peering(gateway);
        net.nodes[client].set_peer(Peering { stay_connected: true, ..towards_gateway }, net.now);
        net
    }

    /// Two gateways that know each other's endpoint and connect when there is something to send.
    pub(crate) fn two_sites() -> Self {
        Self::two_sites_speaking(Protocol::Hybrid)
    }

    /// The same with the handshake of `protocol`.
    pub(crate) fn two_sites_speaking(protocol: Protocol) -> Self {
        let mut net = Self::new();
        net.protocol = protocol;
        for seed in [1, 2] {
            net.add(NodeSettings::new(seed));
        }
        for (own, other) in [(0, 1), (1, 0)] {
            let peering = net.peering(other);
            net.nodes[own].set_peer(peering, net.now);
        }
        net
    }

    pub(crate) fn add(&mut self, settings: NodeSettings) -> usize {
        let address = SocketAddr::from((Ipv4Addr::new(192, 0, 2, settings.seed), 51820));
        let seed = self.rng.next_u64();
        self.nodes.push(Node::new(settings, address, seed, self.now));
        self.nodes.len() - 1
    }

    /// What others write about a node into their configuration.
    pub(crate) fn peering(&self, node: usize) -> Peering {
        Peering {
            public_key: self.key(node),
            preshared_key: [0; 32],
            endpoints: vec![self.nodes[node].address],
            persistent_keepalive: None,
            stay_connected: false,
            allowed_ips: vec![format!("{}/32", self.nodes[node].inner)],
        }
    }

    pub(crate) fn key(&self, node: usize) -> PeerKey {
        self.nodes[node].settings.key(self.protocol)
    }

    pub(crate) fn rule(&mut self, rule: impl FnMut(&Wire) -> bool + 'static) {
        self.rules.push(Box::new(rule));
    }

    pub(crate) fn clear_rules(&mut self) {
        self.rules.clear();
    }

    /// Loses the first `count` messages of one kind.
    pub(crate) fn lose_first(&mut self, kind: Kind, count: u32) {
        let mut left = count;
        self.rule(move |wire| {
            let hit = wire.kind == kind && left > 0;
            left -= u32::from(hit);
            !hit
        });
    }

    /// Loses everything.
    pub(crate) fn cut(&mut self) {
        self.rule(|_| false);
    }

    pub(crate) fn restart(&mut self, node: usize) {
        let seed = self.rng.next_u64();
        self.nodes[node].restart(seed, self.now);
        self.flush(node);
    }

    // ---- packets ----

    /// Sends one packet from node to node; answers its number.
    pub(crate) fn send(&mut self, from: usize, to: usize) -> u64 {
        self.send_many(from, to, 1)[0]
    }

    /// Sends a batch of packets.
    pub(crate) fn send_many(&mut self, from: usize, to: usize, count: usize) -> Vec<u64> {
        let (source, destination) = (self.nodes[from].inner, self.nodes[to].inner);
        self.send_batch(from, source, destination, 64, count)
    }

    pub(crate) fn send_batch(
        &mut self,
        from: usize,
        source: Ipv4Addr,
        destination: Ipv4Addr,
        ttl: u8,
        count: usize,
    ) -> Vec<u64> {
        let mut numbers = Vec::new();
        let mut packets = Vec::new();
        for _ in 0..count {
            let number =
                self.expect(destination, |number| packet::ipv4(source, destination, ttl, number, 100));
            packets.push(self.expected[&number].bytes.clone());
            numbers.push(number);
        }
        self.hand_over(from, &packets, Checksum::AsIs, destination);
        numbers
    }

    /// Sends a packet of `len` bytes, which must not be cut on its way or may be; answers its number.
    pub(crate) fn send_long(&mut self, from: usize, to: usize, may_be_cut: bool, len: usize) -> u64 {
        let (source, destination) = (self.nodes[from].inner, self.nodes[to].inner);
        let number = self.expect(destination, |number| {
            let packet = packet::ipv4(source, destination, 64, number, len);
            if may_be_cut { packet } else { packet::uncut(packet) }
        });
        let packet = self.expected[&number].bytes.clone();
        self.hand_over(from, &[packet], Checksum::AsIs, destination);
        number
    }

    /// Sends a UDP datagram whose checksum the local system has left to the node; answers its number.
    pub(crate) fn send_udp(&mut self, from: usize, to: usize) -> u64 {
        let (source, destination) = (self.nodes[from].inner, self.nodes[to].inner);
        let number = self.expect(destination, |number| packet::udp(source, destination, number));
        let mut packet = self.expected[&number].bytes.clone();
        packet::clear_udp_checksum(&mut packet);
        self.hand_over(from, &[packet], Checksum::LeftOut, destination);
        number
    }

    /// Makes a packet of a fresh number that is to arrive at `to`; answers the number.
    fn expect(&mut self, to: Ipv4Addr, make: impl FnOnce(u64) -> Vec<u8>) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        self.expected.insert(number, Expected { to, bytes: make(number), delivered: false });
        number
    }

    fn hand_over(&mut self, from: usize, packets: &[Vec<u8>], checksum: Checksum, destination: Ipv4Addr) {
        let sent = self.nodes[from].send(packets, checksum, IpAddr::V4(destination), self.now);
        self.flush(from);
        self.transmit(from, sent);
    }

    pub(crate) fn is_delivered(&self, number: u64) -> bool {
        self.expected[&number].delivered
    }

    pub(crate) fn delivered(&self, numbers: &[u64]) -> usize {
        numbers.iter().filter(|number| self.is_delivered(**number)).count()
    }

    /// The numbers of the packets that a node received, in order.
    pub(crate) fn order(&self, node: usize) -> Vec<u64> {
        self.nodes[node].received.iter().map(|(_, packet)| packet::number(packet)).collect()
    }

    /// Puts a datagram on the wire towards a node, as from `from`.
    pub(crate) fn inject(&mut self, from: SocketAddr, to: usize, datagram: Vec<u8>) {
        let to = self.nodes[to].address;
        self.enqueue(self.now, from, to, datagram);
    }

    /// The captured messages of one kind.
    pub(crate) fn captured(&self, kind: Kind) -> Vec<Wire> {
        self.capture.iter().filter(|wire| wire.kind == kind).cloned().collect()
    }

    /// How many messages of one kind a node sent while capturing.
    pub(crate) fn sent(&self, node: usize, kind: Kind) -> usize {
        self.capture.iter().filter(|wire| wire.sender == node && wire.kind == kind).count()
    }

    // ---- time ----

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.base
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    pub(crate) fn run_until(&mut self, end: Instant) {
        self.flush_all();
        while let Some(at) = self.next_event().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.step();
        }
        self.now = end;
    }

    /// Runs until `done`, or fails after `limit`; answers how long it took.
    pub(crate) fn run_while(&mut self, limit: Duration, waiting: impl Fn(&Self) -> bool) -> Duration {
        let start = self.now;
        self.flush_all();
        while waiting(self) {
            let at = self.next_event().unwrap_or(start + limit).max(self.now);
            assert!(at < start + limit, "still waiting after {limit:?}; drops: {:?}", self.drops());
            self.now = at;
            self.step();
        }
        self.now - start
    }

    /// Sends what configuration made the devices say.
    fn flush_all(&mut self) {
        for node in 0..self.nodes.len() {
            self.flush(node);
        }
    }

    fn drops(&self) -> Vec<BTreeMap<&'static str, u64>> {
        self.nodes.iter().map(Node::all_drops).collect()
    }

    fn next_event(&self) -> Option<Instant> {
        let datagram = self.in_flight.keys().next().map(|(at, _)| *at);
        let timers = self.nodes.iter().filter_map(Node::poll_timeout);
        timers.chain(datagram).min()
    }

    fn step(&mut self) {
        self.check_progress();
        for node in 0..self.nodes.len() {
            if self.nodes[node].poll_timeout().is_some_and(|at| at <= self.now) {
                self.nodes[node].device.handle_timeout(self.now);
                self.flush(node);
            }
        }
        while let Some((from, to, arena, stride)) = self.next_receive_call() {
            self.deliver(from, to, arena, stride);
        }
    }

    fn check_progress(&mut self) {
        if self.steps.0 != self.now {
            self.steps = (self.now, 0);
        }
        self.steps.1 += 1;
        let timers: Vec<_> =
            self.nodes.iter().map(|node| node.poll_timeout().map(|at| at <= self.now)).collect();
        assert!(self.steps.1 < MAX_STEPS_AT_ONCE, "time stands still at {:?}: {timers:?}", self.elapsed());
    }

    /// What one receive call with GRO delivers: datagrams of one path and, but for the last, one length.
    fn next_receive_call(&mut self) -> Option<(SocketAddr, SocketAddr, Vec<u8>, usize)> {
        let first = self.in_flight.first_entry().filter(|entry| entry.key().0 <= self.now)?;
        let (from, to, mut arena) = first.remove();
        let stride = arena.len();
        while let Some(next) = self.in_flight.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (next_from, next_to, datagram) = next.get();
            let fits = *next_from == from && *next_to == to && datagram.len() <= stride && stride > 0;
            if !fits || arena.len() % stride != 0 {
                break;
            }
            arena.extend_from_slice(&next.remove().2);
        }
        Some((from, to, arena, stride))
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, mut arena: Vec<u8>, stride: usize) {
        let Some(node) = self.nodes.iter().position(|node| node.address == to && !node.asleep) else {
            return;
        };
        let before = self.nodes[node].received.len();
        let sent = self.nodes[node].receive(&mut arena, stride, from, self.now);
        self.check_delivery(node, before);
        self.flush(node);
        self.transmit(node, sent);
    }

    /// No packet twice, altered, or at the wrong node.
    fn check_delivery(&mut self, node: usize, before: usize) {
        let Node { received, inner, .. } = &self.nodes[node];
        let is_whole = |packet: &[u8]| !packet::is_icmp(packet) && !packet::is_fragment(packet);
        for (_, packet) in received[before..].iter().filter(|(_, packet)| is_whole(packet)) {
            let number = packet::number(packet);
            let expected = self.expected.get_mut(&number).expect("only packets that were sent arrive");
            assert!(packet::is_intact(packet), "packet {number} has a wrong header checksum");
            assert_eq!(
                packet[HOP_FIELDS.end..],
                expected.bytes[HOP_FIELDS.end..],
                "packet {number} was altered"
            );
            assert!(!core::mem::replace(&mut expected.delivered, true), "packet {number} arrived twice");
            let for_us = expected.to == *inner || packet[HOP_FIELDS.start] == 1;
            assert!(for_us || !INNER_NET.contains(&expected.to), "packet {number} arrived at {inner}");
        }
    }

    /// Sends what a node's device has to say.
    pub(crate) fn flush(&mut self, node: usize) {
        let sent = self.nodes[node].drain(self.now);
        self.transmit(node, sent);
    }

    fn transmit(&mut self, sender: usize, sent: Vec<Transmit>) {
        for Transmit { endpoint, datagram, may_be_cut, .. } in sent {
            let Node { address, local, life, .. } = self.nodes[sender];
            let kind = Kind::of(&datagram);
            assert!(!is_inner(endpoint.remote.ip()), "node {sender} sends {kind:?} into its own tunnel");
            if matches!(kind, Kind::Empty | Kind::Data | Kind::Path) {
                let index = *datagram[4..].first_chunk().expect("a header");
                let counter = u64::from_le_bytes(*datagram[8..].first_chunk().expect("a header"));
                let fresh = self.counters.insert((sender, life, index, counter));
                assert!(fresh, "node {sender} used counter {counter} twice under index {index:?}");
            }
            // The kernel refuses to send from an address that this host no longer has.
            if endpoint.local.is_some_and(|ip| ip != local) {
                continue;
            }
            let wire =
                Wire { at: self.now, sender, from: address, to: endpoint.remote, kind, datagram, may_be_cut };
            let passes = self.rules.iter_mut().all(|rule| rule(&wire));
            if self.capturing {
                self.capture.push(wire.clone());
            }
            if passes {
                self.expose_to_weather(&wire);
            }
        }
    }

    fn expose_to_weather(&mut self, wire: &Wire) {
        let Weather { delay, jitter, loss, duplication } = self.weather;
        let copies = 1 + u32::from(self.rng.next_u32() % 100 < duplication);
        for _ in 0..copies {
            if self.rng.next_u32() % 100 >= loss {
                let extra = jitter.mul_f64(f64::from(self.rng.next_u32()) / f64::from(u32::MAX));
                self.enqueue(self.now + delay + extra, wire.from, wire.to, wire.datagram.clone());
            }
        }
    }

    fn enqueue(&mut self, at: Instant, from: SocketAddr, to: SocketAddr, datagram: Vec<u8>) {
        self.sequence += 1;
        self.in_flight.insert((at, self.sequence), (from, to, datagram));
    }
}

impl Drop for Network {
    #[expect(clippy::print_stderr, reason = "a failed test says how to repeat it")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("SIM_SEED={} at {:?}; drops {:?}", self.seed, self.elapsed(), self.drops());
        }
    }
}

/// The bytes of an IPv4 header up to its checksum, which a hop may change.
const HOP_FIELDS: core::ops::Range<usize> = 8..12;
fn is_inner(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => INNER_NET.contains(&address),
        IpAddr::V6(address) => address.segments()[0] == 0xfd00,
    }
}

/// The inner addresses of nodes.
const INNER_NET: core::ops::RangeInclusive<Ipv4Addr> =
    Ipv4Addr::new(10, 0, 0, 0)..=Ipv4Addr::new(10, 0, 0, 255);
