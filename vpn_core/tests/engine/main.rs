//! The engine on real devices: two of them in a network namespace, each with an interface that leads to the other.
#![cfg(target_os = "linux")]

mod blocked;
#[path = "../netns/mod.rs"]
mod netns;
mod rebind;

use netns::Namespace;
use std::{
    collections::HashSet,
    net::{SocketAddr, UdpSocket as PlainSocket},
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};
use vpn_core::{
    asymmetric::X25519SecretKey,
    base::SecretBytes,
    device::{Device, DeviceSettings, Forwarding, PeerStatus},
    engine::{Engine, NoticeSink, Queue},
    handshake::{PeerKey, PresharedKey},
    local_tun::{Tun, TunConfig},
    tunnel::{MtuPolicy, PeerSettings},
    udp::{UdpConfig, UdpSocket},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// One end of a tunnel: its interface leads to the other end's network.
struct End {
    engine: Engine,
    /// An address that is routed into the tunnel.
    far: &'static str,
}

impl End {
    fn start(
        interface: &str,
        own: u8,
        other: u8,
        udp: UdpSocket,
        endpoint: Option<u16>,
        far: &'static str,
    ) -> Self {
        let tun = Tun::create(&TunConfig::new(interface)).expect("made");
        Namespace::ip(&format!("link set {interface} up"));
        Namespace::ip(&format!("address add 10.8.0.{own}/32 dev {interface}"));
        Namespace::ip(&format!("route add {far}/32 dev {interface}"));
        let secret = |n| X25519SecretKey::new(&SecretBytes::new([n; 32]));
        let settings = DeviceSettings {
            hybrid: None,
            wireguard: Some(secret(own)),
            unix_time: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970"),
            mtu: 1420,
            mtu_policy: MtuPolicy::UNLIMITED,
            rekey_after: Duration::from_secs(120),
            local: HashSet::new(),
            networks: Vec::new(),
            forwarding: Forwarding::Off,
        };
        let rng = rand_core::UnwrapErr(getrandom::SysRng);
        let mut device = Device::new(settings, Box::new(rng), Instant::now());
        let peer = PeerSettings {
            key: PeerKey::from(secret(other).public_key()),
            preshared_key: PresharedKey::ZERO,
            endpoints: endpoint.map(local).into_iter().collect(),
            persistent_keepalive: None,
            stay_connected: false,
        };
        device.set_peer(peer, vec!["0.0.0.0/0".parse().expect("a prefix")], Instant::now()).expect("not us");
        device.update_routes();
        let tun = tun.into_queues().remove(0);
        let sink: NoticeSink = Arc::new(|_| ());
        let engine = Engine::start(device, vec![Queue { tun, udp }], &sink);
        Self { engine: engine.expect("started"), far }
    }

    fn peer(&self) -> PeerStatus {
        let peers = self.engine.with_device(|device, now| device.peer_status(now)).expect("it runs");
        peers.into_iter().next().expect("one peer")
    }

    /// Sends packets into the tunnel until the other end has received one.
    fn reach(&self, other: &End) {
        let before = other.peer().rx_bytes;
        let sender = PlainSocket::bind("0.0.0.0:0").expect("a socket");
        let deadline = Instant::now() + PATIENCE;
        while other.peer().rx_bytes < before + 1000 {
            assert!(Instant::now() < deadline, "nothing arrives");
            sender.send_to(&[0; 1000], (self.far, 9)).expect("routed");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn socket(port: u16) -> UdpSocket {
    UdpSocket::bind(&UdpConfig::new(SocketAddr::from(([0_u16; 8], port)))).expect("bound")
}
