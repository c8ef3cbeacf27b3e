//! One device and what the engine does around it, with queues in place of a TUN device and a socket.

use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng as _;
use std::{
    collections::{BTreeMap, HashSet},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};
use vpn_core::{
    asymmetric::{Identity, X25519SecretKey},
    base::{DropReason, Endpoint, PeerId, SecretBytes},
    device::{DataPlane, Device, DeviceSettings, Forwarding, IcmpAnswers, Inbound, PeerStatus, Refused},
    handshake::{PeerKey, Protocol, hybrid::LocalNode},
    session::REKEY_AFTER_TIME,
    symmetric::TAG_SIZE,
    tunnel::{Event, MtuPolicy, NotReady, PeerPlane, PeerSettings, StagedPacket, Transmit},
    wire::{
        hybrid::{Features, ParametersBytes, SuiteSet},
        icmp::IcmpError,
        payload::{Checksum, InnerPacket},
        transport::{HEADER_SIZE, OVERHEAD},
    },
};

/// MTU of every tunnel, in bytes.
pub(crate) const MTU: u16 = 1420;
/// What every node's clock shows at first, in seconds since the Unix epoch.
const UNIX_TIME: u64 = 1_800_000_000;

/// What survives a restart: configuration.
#[derive(Clone)]
pub(crate) struct NodeSettings {
    pub(crate) seed: u8,
    pub(crate) network_keys: Vec<[u8; 32]>,
    pub(crate) suites: SuiteSet,
    pub(crate) forwarding: Forwarding,
    /// What it says that it accepts.
    pub(crate) features: Features,
    /// Who decides how long packets may be.
    pub(crate) mtu_policy: MtuPolicy,
    /// The MTU that it announces, in bytes.
    pub(crate) announced: u16,
}

impl NodeSettings {
    pub(crate) fn new(seed: u8) -> Self {
        Self {
            seed,
            network_keys: Vec::new(),
            suites: SuiteSet::CHACHA20_POLY1305,
            forwarding: Forwarding::Off,
            features: Features::SUPPORTED,
            mtu_policy: MtuPolicy::UNLIMITED,
            announced: MTU,
        }
    }

    pub(crate) fn identity(&self) -> Identity {
        Identity::from_seed(&SecretBytes::new([self.seed; 32]))
    }

    pub(crate) fn wireguard_key(&self) -> X25519SecretKey {
        X25519SecretKey::new(&SecretBytes::new([self.seed | 0x80; 32]))
    }

    /// The key that peers of `protocol` know this node by.
    pub(crate) fn key(&self, protocol: Protocol) -> PeerKey {
        match protocol {
            Protocol::Hybrid => self.identity().public_key().into(),
            Protocol::Wireguard => self.wireguard_key().public_key().into(),
        }
    }
}

/// One peer in a node's configuration.
#[derive(Clone)]
pub(crate) struct Peering {
    pub(crate) public_key: PeerKey,
    pub(crate) preshared_key: [u8; 32],
    pub(crate) endpoints: Vec<SocketAddr>,
    pub(crate) persistent_keepalive: Option<Duration>,
    pub(crate) stay_connected: bool,
    pub(crate) allowed_ips: Vec<String>,
}

pub(crate) struct Node {
    pub(crate) settings: NodeSettings,
    pub(crate) peerings: Vec<Peering>,
    pub(crate) device: Device,
    /// When its clock was set.
    born: Instant,
    pub(crate) plane: Arc<DataPlane>,
    /// The address of this host.
    pub(crate) local: IpAddr,
    /// The address that others see: another one behind a NAT.
    pub(crate) address: SocketAddr,
    pub(crate) inner: Ipv4Addr,
    /// Packets handed to the local system, which has completed their checksums.
    pub(crate) received: Vec<(Instant, Vec<u8>)>,
    /// How many of them came without.
    pub(crate) completed: usize,
    pub(crate) events: Vec<(Instant, Event)>,
    /// Counts restarts.
    pub(crate) life: u64,
    /// Asleep: neither polled nor reached.
    pub(crate) asleep: bool,
    inbound: Inbound,
    answers: IcmpAnswers,
}

impl Node {
    pub(crate) fn new(settings: NodeSettings, address: SocketAddr, seed: u64, now: Instant) -> Self {
        let inner = Ipv4Addr::new(10, 0, 0, settings.seed);
        let device = Self::device(&settings, inner, seed, now, now);
        Self {
            born: now,
            plane: device.plane(),
            device,
            settings,
            peerings: Vec::new(),
            local: address.ip(),
            address,
            inner,
            received: Vec::new(),
            completed: 0,
            events: Vec::new(),
            life: 0,
            asleep: false,
            inbound: Inbound::default(),
            answers: IcmpAnswers::default(),
        }
    }

    fn device(settings: &NodeSettings, inner: Ipv4Addr, seed: u64, born: Instant, now: Instant) -> Device {
        let settings = DeviceSettings {
            hybrid: Some(LocalNode {
                identity: settings.identity(),
                network_keys: settings.network_keys.iter().copied().map(SecretBytes::new).collect(),
                suites: settings.suites,
                parameters: ParametersBytes {
                    features: settings.features,
                    mtu: settings.announced.into(),
                    ..ParametersBytes::default()
                },
            }),
            wireguard: Some(settings.wireguard_key()),
            unix_time: Duration::from_secs(UNIX_TIME) + now.saturating_duration_since(born),
            mtu: MTU,
            mtu_policy: settings.mtu_policy,
            rekey_after: REKEY_AFTER_TIME,
            local: HashSet::from([IpAddr::V4(inner)]),
            networks: vec!["10.0.0.0/24".parse().expect("a network")],
            forwarding: settings.forwarding,
        };
        Device::new(settings, Box::new(ChaCha8Rng::seed_from_u64(seed)), now)
    }

    /// Loses everything but configuration.
    pub(crate) fn restart(&mut self, seed: u64, now: Instant) {
        self.device = Self::device(&self.settings, self.inner, seed, self.born, now);
        self.plane = self.device.plane();
        self.life += 1;
        for peering in self.peerings.clone() {
            self.configure(&peering, now);
        }
    }

    /// Adds or changes a peer.
    pub(crate) fn set_peer(&mut self, peering: Peering, now: Instant) -> Option<PeerId> {
        self.peerings.retain(|known| known.public_key != peering.public_key);
        let id = self.configure(&peering, now);
        self.peerings.push(peering);
        id
    }

    fn configure(&mut self, peering: &Peering, now: Instant) -> Option<PeerId> {
        let settings = PeerSettings {
            key: peering.public_key,
            preshared_key: SecretBytes::new(peering.preshared_key),
            endpoints: peering.endpoints.clone(),
            persistent_keepalive: peering.persistent_keepalive,
            stay_connected: peering.stay_connected,
        };
        let allowed = peering.allowed_ips.iter().map(|net| net.parse().expect("a prefix")).collect();
        let id = self.device.set_peer(settings, allowed, now);
        self.device.update_routes();
        id
    }

    /// What the uplink does with packets from the TUN device that go to one peer; `checksum` says whether their sums are left
    /// to it.
    pub(crate) fn send(
        &mut self,
        packets: &[Vec<u8>],
        checksum: Checksum,
        destination: IpAddr,
        now: Instant,
    ) -> Vec<Transmit> {
        let peer = self.plane.routes().allowed_ips.lookup(destination).cloned();
        let Some(peer) = peer else {
            self.plane.drops().count_many(DropReason::NoRoute, packets.len() as u64);
            for packet in packets {
                self.tell_system(packet, now);
            }
            return Vec::new();
        };
        self.send_to(&peer, packets, checksum, None, now)
    }

    /// Tells the local system that its packet goes no further, as the uplink does.
    fn tell_system(&mut self, packet: &[u8], now: Instant) {
        let destination = Ipv4Addr::from(*packet[16..].first_chunk().expect("an IPv4 packet"));
        if self.plane.routes().is_broadcast(destination.into()) {
            return;
        }
        if let Some(answer) = self.answers.to(packet, IcmpError::Unreachable, now) {
            self.received.push((now, answer.to_vec()));
        }
    }

    /// Tells a peer that its packet goes no further.
    fn tell_peer(
        &mut self,
        peer: &PeerPlane,
        packet: &[u8],
        error: IcmpError,
        now: Instant,
    ) -> Vec<Transmit> {
        let Some(answer) = self.answers.to(packet, error, now) else { return Vec::new() };
        let answer = answer.to_vec();
        self.send_to(peer, &[answer], Checksum::AsIs, None, now)
    }

    fn send_to(
        &mut self,
        peer: &PeerPlane,
        packets: &[Vec<u8>],
        checksum: Checksum,
        from: Option<PeerId>,
        now: Instant,
    ) -> Vec<Transmit> {
        let mut outbound = match peer.begin_send(packets.len(), now) {
            Ok(outbound) => outbound,
            Err(NotReady::NoKeypair) => {
                for packet in packets {
                    let mut bytes = packet.clone();
                    checksum.complete(&mut bytes);
                    self.device.handle_outbound(peer.id(), StagedPacket { bytes, from }, now);
                }
                return Vec::new();
            }
            Err(NotReady::NoEndpoint) => {
                self.plane.drops().count_many(DropReason::NoEndpoint, packets.len() as u64);
                if from.is_none() {
                    for packet in packets {
                        self.tell_system(packet, now);
                    }
                    return Vec::new();
                }
                let routes = self.plane.routes();
                let told = |packet: &Vec<u8>| routes.told_sender(packet).map(Arc::clone);
                let refused: Vec<_> = packets.iter().map(|packet| (told(packet), packet)).collect();
                drop(routes);
                let mut sent = Vec::new();
                for (sender, packet) in refused {
                    let mut packet = packet.clone();
                    checksum.complete(&mut packet);
                    if let Some(sender) = sender {
                        sent.extend(self.tell_peer(&sender, &packet, IcmpError::Unreachable, now));
                    }
                }
                return sent;
            }
        };
        let mut sent = Vec::with_capacity(packets.len());
        let mut bytes = 0;
        let longest = packets.iter().map(Vec::len).max().unwrap_or(0);
        for packet in packets {
            let mut frame =
                vec![0; outbound.keypair.payload_len(packet.len(), peer.mtu().min(MTU.into())) + OVERHEAD];
            let payload = &mut frame[HEADER_SIZE..HEADER_SIZE + packet.len()];
            payload.copy_from_slice(packet);
            checksum.pass_on(payload, outbound.keypair.accepted());
            let counter = outbound.counters.next().expect("one reserved for each packet");
            outbound.keypair.seal(counter, &mut frame);
            bytes += frame.len();
            sent.push(Transmit {
                endpoint: outbound.endpoint,
                datagram: frame,
                may_be_cut: true,
                is_about_path: false,
            });
        }
        if peer.note_sent(&outbound.keypair, bytes, now) | peer.note_length(longest, now) {
            self.device.handle_attention(peer.id(), now);
        }
        sent
    }

    /// What the downlink does with one receive call.
    pub(crate) fn receive(
        &mut self,
        arena: &mut [u8],
        stride: usize,
        from: SocketAddr,
        now: Instant,
    ) -> Vec<Transmit> {
        let from = Endpoint { remote: from, local: Some(self.local) };
        let mut inbound = core::mem::take(&mut self.inbound);
        inbound.clear();
        let len = arena.len();
        self.plane.open(arena, 0..len, stride, from, now, &mut inbound);
        for message in &inbound.control {
            self.device.handle_control(&arena[message.datagram.clone()], message.from, now);
        }
        for (peer, message) in &inbound.path_messages {
            self.device.handle_path_message(*peer, *message, now);
        }
        let mut sent = self.dispatch(arena, &inbound, now);
        while let Some((mut datagram, from)) = self.device.poll_early() {
            inbound.clear();
            let len = datagram.len();
            self.plane.open(&mut datagram, 0..len, len, from, now, &mut inbound);
            sent.extend(self.dispatch(&datagram, &inbound, now));
        }
        self.inbound = inbound;
        sent
    }

    /// Delivers and forwards what was opened.
    fn dispatch(&mut self, arena: &[u8], inbound: &Inbound, now: Instant) -> Vec<Transmit> {
        for peer in &inbound.attention {
            self.device.handle_attention(*peer, now);
        }
        for InnerPacket { range, checksum } in &inbound.local {
            let mut packet = arena[range.clone()].to_vec();
            checksum.complete(&mut packet);
            self.completed += usize::from(*checksum == Checksum::LeftOut);
            self.received.push((now, packet));
        }
        let mut sent = Vec::new();
        for Refused { packet, error, from } in &inbound.refused {
            sent.extend(self.tell_peer(from, &arena[packet.range.clone()], *error, now));
        }
        for (peer, packets) in inbound.forwarded() {
            for InnerPacket { range, checksum } in packets {
                let packet = arena[range.clone()].to_vec();
                let from = self.plane.routes().sender(&packet).map(|peer| peer.id());
                sent.extend(self.send_to(peer, &[packet], *checksum, from, now));
            }
        }
        sent
    }

    /// What the device wants to send.
    pub(crate) fn drain(&mut self, now: Instant) -> Vec<Transmit> {
        while let Some((StagedPacket { bytes, from }, error)) = self.device.poll_undelivered() {
            match (from, self.answers.to(&bytes, error, now)) {
                (_, None) => {}
                (None, Some(answer)) => self.received.push((now, answer.to_vec())),
                (Some(peer), Some(answer)) => {
                    self.device.handle_outbound(peer, StagedPacket::local(answer.to_vec()), now);
                }
            }
        }
        while let Some(event) = self.device.poll_event() {
            self.events.push((now, event));
        }
        core::iter::from_fn(|| self.device.poll_transmit()).collect()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.asleep { None } else { self.device.poll_timeout() }
    }

    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.plane.drops().get(reason)
    }

    /// All drops that are not zero, for messages.
    pub(crate) fn all_drops(&self) -> BTreeMap<&'static str, u64> {
        let counts = DropReason::ALL.iter().map(|reason| (reason.name(), self.drops(*reason)));
        counts.filter(|(_, count)| *count > 0).collect()
    }

    pub(crate) fn status_of(&self, public_key: PeerKey, now: Instant) -> PeerStatus {
        let all = self.device.peer_status(now);
        all.into_iter().find(|status| status.key == public_key).expect("a configured peer")
    }

    pub(crate) fn count(&self, matches: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|(_, event)| matches(event)).count()
    }
}

/// A transport message without payload.
pub(crate) const EMPTY: usize = HEADER_SIZE + TAG_SIZE;
