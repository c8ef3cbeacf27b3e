//! The gateway: an engine with a TUN device, which knows every client.

use crate::ip;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, HashSet},
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket as PlainSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime},
};
use vpn_core::{
    asymmetric::{Identity, PublicKey},
    base::{DropReason, SecretBytes, since_unix_epoch},
    device::{Device, DeviceSettings, Forwarding},
    engine::{Engine, Notice, NoticeSink, Queue, supported_suites},
    handshake::{PeerKey, PresharedKey, hybrid::LocalNode},
    local_tun::{Tun, TunConfig},
    session::REKEY_AFTER_TIME,
    tunnel::{Event, MtuPolicy, PeerSettings},
    udp::{UdpConfig, UdpSocket},
    wire::hybrid::{Features, ParametersBytes},
};

/// As many as the inner network has addresses for.
pub(crate) const MAX_CLIENTS: u32 = 1 << 20;
/// MTU of every tunnel, in bytes.
pub(crate) const MTU: u16 = 1420;
/// The gateway's address in the tunnel.
pub(crate) const INNER: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
/// Where the clients' packets go: a port that somebody has and never reads, so that nothing is answered.
pub(crate) const SINK_PORT: u16 = 9;
const INTERFACE: &str = "sessions0";

/// What a node of this program is.
pub(crate) fn settings(seed: u32, inner: Ipv4Addr) -> DeviceSettings {
    DeviceSettings {
        hybrid: Some(LocalNode {
            identity: identity(seed),
            network_keys: Vec::new(),
            suites: supported_suites(),
            parameters: ParametersBytes {
                features: Features::SUPPORTED,
                mtu: MTU.into(),
                ..ParametersBytes::default()
            },
        }),
        wireguard: None,
        unix_time: since_unix_epoch(SystemTime::now()),
        mtu: MTU,
        mtu_policy: MtuPolicy::UNLIMITED,
        rekey_after: REKEY_AFTER_TIME,
        local: HashSet::from([IpAddr::V4(inner)]),
        networks: Vec::new(),
        forwarding: Forwarding::Off,
    }
}

/// Client `number` has seed `number` + 1, the gateway 0.
fn identity(seed: u32) -> Identity {
    let mut bytes = [0x5e; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    Identity::from_seed(&SecretBytes::new(bytes))
}

/// The address of client `number` in the tunnel.
pub(crate) fn inner_address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(INNER) + 1 + number)
}

/// A running gateway.
pub(crate) struct Gateway {
    engine: Engine,
    peers_dead: Arc<AtomicU64>,
    _sink: PlainSocket,
}

impl Gateway {
    pub(crate) fn start(clients: u32) -> Self {
        let tun = Tun::create(&TunConfig::new(INTERFACE)).expect("root may make TUN devices");
        ip(&format!("address add {INNER}/10 dev {INTERFACE}"));
        ip(&format!("link set {INTERFACE} up mtu {MTU}"));
        let now = Instant::now();
        let mut device =
            Device::new(settings(0, INNER), Box::new(rand_core::UnwrapErr(getrandom::SysRng)), now);
        for number in 0..clients {
            let peer = PeerSettings {
                key: PeerKey::Hybrid(identity(number + 1).public_key()),
                preshared_key: PresharedKey::ZERO,
                endpoints: Vec::new(),
                persistent_keepalive: None,
                stay_connected: false,
            };
            device.set_peer(peer, vec![IpAddr::V4(inner_address(number)).into()], now).expect("a client");
        }
        device.update_routes();
        let udp =
            UdpSocket::bind(&UdpConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)))).expect("a port is free");
        let peers_dead = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&peers_dead);
        let notices: NoticeSink = Arc::new(move |notice| match notice {
            Notice::Event(Event::PeerDead { .. }) => {
                count.fetch_add(1, Ordering::Relaxed);
            }
            Notice::Event(_) => {}
            Notice::Failed { thread, error } => panic!("the gateway's {thread} thread: {error}"),
        });
        let engine = Engine::start(device, Queue::pairs(tun, vec![udp]), &notices).expect("threads are left");
        let sink = PlainSocket::bind((INNER, SINK_PORT)).expect("the interface has the address");
        Self { engine, peers_dead, _sink: sink }
    }

    pub(crate) fn endpoint(&self) -> SocketAddr {
        self.engine.local_addr()
    }

    pub(crate) fn peers_dead(&self) -> u64 {
        self.peers_dead.load(Ordering::Relaxed)
    }

    /// All drops that are not zero.
    pub(crate) fn drops(&self) -> Map<String, Value> {
        let drops = self.engine.plane().drops();
        let counts = DropReason::ALL.iter().map(|reason| (reason.name().to_owned(), drops.get(*reason)));
        counts.filter(|(_, count)| *count > 0).map(|(name, count)| (name, count.into())).collect()
    }
}

/// What the gateway's threads have spent, by name.
pub(crate) fn cpu_seconds() -> BTreeMap<String, f64> {
    /// What the kernel counts in.
    const TICK: f64 = 0.01;
    let mut spent = BTreeMap::new();
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let Ok(stat) = fs::read_to_string(task.path().join("stat")) else { continue };
        // "number (name) state ...": the time as a user and that in the kernel are fields 14 and 15.
        let name_and_rest = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") "));
        let Some((name, rest)) = name_and_rest else { continue };
        let ticks: f64 = rest.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        if ["control", "packet"].contains(&name) {
            *spent.entry(name.to_owned()).or_default() += TICK * ticks;
        }
    }
    spent
}

/// Who the gateway is.
pub(crate) fn public_key() -> PublicKey {
    identity(0).public_key()
}
