//! Keypairs that mirror each other, and two devices with a session between them.

use super::packets::{PACKET, Packets};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use std::{
    collections::HashSet,
    net::SocketAddr,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};
use vpn_core::{
    asymmetric::Identity,
    base::{Endpoint, ReceiverIndex, SecretBytes},
    device::{DataPlane, Device, DeviceSettings, Forwarding, Inbound},
    handshake::{Agreement, Protocol, Role, hybrid::LocalNode},
    session::{Keypair, REKEY_AFTER_TIME},
    symmetric::Suite,
    tunnel::{MtuPolicy, PeerSettings},
    wire::{
        hybrid::{ParametersBytes, SuiteSet},
        transport::{HEADER_SIZE, OVERHEAD},
    },
};

/// Frames of equal length, one after another, as UDP segmentation offload takes and delivers them.
#[derive(Clone)]
pub(super) struct Frames {
    pub(super) bytes: Vec<u8>,
    pub(super) stride: usize,
}

impl Frames {
    /// With the packets in their places and room around them.
    pub(super) fn around(packets: &Packets) -> Self {
        let stride = PACKET + OVERHEAD;
        let mut frames = Self { bytes: vec![0; packets.ranges.len() * stride], stride };
        for (frame, packet) in frames.bytes.chunks_exact_mut(stride).zip(packets.each()) {
            frame[HEADER_SIZE..HEADER_SIZE + PACKET].copy_from_slice(packet);
        }
        frames
    }

    pub(super) fn ranges(&self) -> impl ExactSizeIterator<Item = Range<usize>> + use<> {
        let stride = self.stride;
        (0..self.bytes.len() / stride).map(move |index| index * stride..(index + 1) * stride)
    }

    fn seal(mut self, keypair: &Keypair, now: Instant) -> Self {
        let counters = keypair.reserve(self.ranges().len(), now).expect("a fresh keypair");
        for (range, counter) in self.ranges().zip(counters) {
            keypair.seal(counter, &mut self.bytes[range]);
        }
        self
    }
}

/// Both ends of one session.
pub(super) struct Keypairs {
    pub(super) sender: Keypair,
    pub(super) receiver: Keypair,
    pub(super) now: Instant,
}

impl Keypairs {
    pub(super) fn new(suite: Suite) -> Self {
        let now = Instant::now();
        let end = |role, sending: u8, receiving: u8| {
            let agreement = Agreement {
                protocol: Protocol::Hybrid,
                role,
                local_index: ReceiverIndex::new(1),
                remote_index: ReceiverIndex::new(1),
                sending: SecretBytes::new([sending; 32]),
                receiving: SecretBytes::new([receiving; 32]),
                suite,
                parameters: ParametersBytes::default(),
            };
            Keypair::new(&agreement, REKEY_AFTER_TIME, now)
        };
        Self { sender: end(Role::Initiator, 1, 2), receiver: end(Role::Responder, 2, 1), now }
    }

    pub(super) fn sealed(&self, packets: &Packets) -> Frames {
        Frames::around(packets).seal(&self.sender, self.now)
    }
}

/// A client (10.0.0.1) with a session to its gateway (10.0.0.2).
pub(super) struct Devices {
    client: Device,
    gateway: Device,
    pub(super) now: Instant,
}

impl Devices {
    const CLIENT: u8 = 1;
    const GATEWAY: u8 = 2;

    pub(super) fn connected(suite: Suite) -> Self {
        let now = Instant::now();
        let mut devices = Self {
            client: device(Self::CLIENT, suite, now),
            gateway: device(Self::GATEWAY, suite, now),
            now,
        };
        introduce(&mut devices.gateway, Self::CLIENT, Vec::new(), now);
        introduce(&mut devices.client, Self::GATEWAY, vec![outside(Self::GATEWAY)], now);
        while exchange(&mut devices.client, &mut devices.gateway, Self::CLIENT, now)
            | exchange(&mut devices.gateway, &mut devices.client, Self::GATEWAY, now)
        {}
        assert_eq!(devices.gateway.peer_status(now)[0].suite, suite, "the session is up, with this suite");
        devices
    }

    pub(super) fn receiving_plane(&self) -> Arc<DataPlane> {
        self.gateway.plane()
    }

    /// Where the client's datagrams come from.
    pub(super) fn sender() -> Endpoint {
        Endpoint::to(outside(Self::CLIENT))
    }

    /// Sealed by the client, with counters that were never used.
    pub(super) fn sealed(&self, packets: &Packets) -> Frames {
        let plane = self.client.plane();
        let routes = plane.routes();
        let gateway = routes.allowed_ips.lookup([10, 0, 0, Self::GATEWAY].into()).expect("its peer");
        let (keypair, _) = gateway.outlet().expect("a session");
        Frames::around(packets).seal(&keypair, self.now)
    }
}

fn identity(number: u8) -> Identity {
    Identity::from_seed(&SecretBytes::new([number; 32]))
}

fn outside(number: u8) -> SocketAddr {
    ([192, 0, 2, number], 51820).into()
}

fn device(number: u8, suite: Suite, now: Instant) -> Device {
    let settings = DeviceSettings {
        hybrid: Some(LocalNode {
            identity: identity(number),
            network_keys: Vec::new(),
            suites: match suite {
                Suite::ChaCha20Poly1305 => SuiteSet::CHACHA20_POLY1305,
                Suite::Aes256Gcm => SuiteSet::WITH_AES_256_GCM,
            },
            parameters: ParametersBytes::default(),
        }),
        wireguard: None,
        unix_time: Duration::ZERO,
        mtu: PACKET as u16,
        mtu_policy: MtuPolicy::UNLIMITED,
        rekey_after: REKEY_AFTER_TIME,
        local: HashSet::from([[10, 0, 0, number].into()]),
        networks: Vec::new(),
        forwarding: Forwarding::Off,
    };
    Device::new(settings, Box::new(ChaCha20Rng::from_seed([number; 32])), now)
}

fn introduce(device: &mut Device, number: u8, endpoints: Vec<SocketAddr>, now: Instant) {
    let settings = PeerSettings {
        key: identity(number).public_key().into(),
        preshared_key: SecretBytes::ZERO,
        stay_connected: !endpoints.is_empty(),
        endpoints,
        persistent_keepalive: None,
    };
    let allowed = format!("10.0.0.{number}/32").parse().expect("a prefix");
    device.set_peer(settings, vec![allowed], now).expect("not itself");
    device.update_routes();
}

/// Brings what `from` has to say to `to`; whether there was anything.
fn exchange(from: &mut Device, to: &mut Device, number: u8, now: Instant) -> bool {
    let mut said = false;
    while let Some(transmit) = from.poll_transmit() {
        said = true;
        let mut datagram = transmit.datagram;
        let len = datagram.len();
        let mut inbound = Inbound::default();
        to.plane().open(&mut datagram, 0..len, len, Endpoint::to(outside(number)), now, &mut inbound);
        for message in &inbound.control {
            to.handle_control(&datagram[message.datagram.clone()], message.from, now);
        }
        for peer in &inbound.attention {
            to.handle_attention(*peer, now);
        }
    }
    said
}
