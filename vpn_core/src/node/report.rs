//! From the device's view of itself to what users see: status and log lines.

use super::reason::reason;
use crate::{
    base::{DropCounters, DropReason},
    config::{Config, PeerConfig, Role},
    control::{self, InterfaceStatus, OffloadStatus, PeerStatus, Status},
    device,
    engine::OffloadSet,
    handshake::{PeerKey, Protocol},
    network::{Obstacle, endpoint_text},
    tunnel::{NoAnswer, PeerState, Unanswered},
};
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::{Instant, SystemTime},
};

/// The status of a node: every configured peer, admitted or not, in the order of the configuration.
pub(super) fn status(
    config: &Config,
    role: Role,
    (listen_port, mtu): (u16, u16),
    offloads: OffloadSet,
    peers: Vec<device::PeerStatus>,
    obstacle: impl Fn(IpAddr) -> Option<Obstacle>,
    drops: &DropCounters,
) -> Status {
    let interface = &config.interface;
    let by_key: HashMap<_, _> = peers.into_iter().map(|peer| (peer.key, peer)).collect();
    let (now, clock) = (Instant::now(), SystemTime::now());
    Status {
        interface: InterfaceStatus {
            name: interface.name.to_string(),
            public_key: interface.identity.public_key().to_string(),
            wireguard_public_key: interface.own_key(Protocol::Wireguard).map(|key| key.to_string()),
            listen_port,
            mtu,
            addresses: interface.addresses.iter().map(ToString::to_string).collect(),
            offload: Some(offload_status(offloads)),
            kill_switch: interface.kill_switch,
            dns: Vec::new(),
            dns_backend: None,
            inbound: None,
            inbound_reason: None,
            warnings: Vec::new(),
            notes: Vec::new(),
        },
        peers: config
            .peers
            .iter()
            .map(|peer| {
                let live = by_key.get(&peer.public_key).filter(|_| peer.is_admitted(clock));
                let way = live.and_then(|live| live.endpoint).and_then(|endpoint| obstacle(endpoint.ip()));
                PeerStatus {
                    mtu: live.map(|live| live.mtu.min(mtu)),
                    reason: reason(peer, live, way, now, clock),
                    ..peer_status(peer, live, now)
                }
            })
            .collect(),
        drops: DropReason::ALL.iter().map(|reason| (reason.name().to_owned(), drops.get(*reason))).collect(),
        role: match role {
            Role::Server => "server".to_owned(),
            Role::Client => "client".to_owned(),
        },
    }
}

fn offload_status(OffloadSet { tun, gso, gro }: OffloadSet) -> OffloadStatus {
    OffloadStatus {
        tun_checksum: tun.checksum,
        tun_tcp: tun.tcp,
        tun_udp: tun.udp,
        udp_gso: gso,
        udp_gro: gro,
    }
}

fn peer_status(peer: &PeerConfig, live: Option<&device::PeerStatus>, now: Instant) -> PeerStatus {
    let state = match live.map(|live| live.state) {
        _ if !peer.enabled => control::PeerState::Disabled,
        Some(PeerState::Up) => control::PeerState::Up,
        Some(PeerState::Connecting) => control::PeerState::Connecting,
        Some(PeerState::Idle) | None => control::PeerState::Idle,
    };
    let configured = || peer.endpoints.first().map(ToString::to_string);
    PeerStatus {
        name: peer.name.to_string(),
        public_key: peer.public_key.to_string(),
        state,
        reason: None,
        endpoint: live.and_then(|live| live.endpoint).map(endpoint_text).or_else(configured),
        handshake: peer.handshake().to_owned(),
        post_quantum: peer.public_key.protocol() == Protocol::Hybrid,
        psk: peer.preshared_key.is_some(),
        suite: live.filter(|live| live.handshakes > 0).map(|live| live.suite.name().to_owned()),
        last_handshake_seconds: live
            .and_then(|live| live.last_handshake)
            .map(|at| now.saturating_duration_since(at).as_secs()),
        rekeys: live.map_or(0, |live| live.handshakes.saturating_sub(1)),
        rx_bytes: live.map_or(0, |live| live.rx_bytes),
        tx_bytes: live.map_or(0, |live| live.tx_bytes),
        mtu: None,
        allowed_ips: peer.allowed_ips.iter().map(ToString::to_string).collect(),
    }
}

/// Says that a peer does not answer, and what may be the reason. Not each time: the first three, then every tenth.
pub(super) fn log_unanswered(
    peer: &PeerConfig,
    own: Option<PeerKey>,
    endpoint: Option<SocketAddr>,
    row: Unanswered,
) {
    if row.inits > 3 && !row.inits.is_multiple_of(10) {
        return;
    }
    let (peer, theirs, protocol) = (&peer.name, peer.public_key.short(), peer.public_key.protocol());
    let endpoint = endpoint.map_or_else(|| "(unknown)".to_owned(), endpoint_text);
    let own = own.map_or_else(|| "(none)".to_owned(), |key| key.to_string());
    if row.cause == NoAnswer::Forbidden {
        tracing::warn!(
            %peer, endpoint, inits = row.inits,
            "this host does not let our datagrams out: look for a rule of its firewall (`nft list ruleset`), for a route that prohibits \
             (`ip route get`), and for another tunnel that they would take and that started after this one; trying on"
        );
    } else if protocol == Protocol::Wireguard {
        tracing::warn!(
            %peer, endpoint, inits = row.inits,
            "no answer: check that the peer runs, that its UDP port is open on the way, that `public_key` ({theirs}…) \
             is its key and {own} is among its peers, and that both sides have the same preshared key; trying on"
        );
    } else if row.cause == NoAnswer::NotAccepted {
        tracing::warn!(
            %peer, endpoint, inits = row.inits,
            "the peer answers but does not accept us: check that our public key {own} is among its peers, enabled and \
             not expired, and that both sides have the same preshared key; trying on"
        );
    } else {
        tracing::warn!(
            %peer, endpoint, inits = row.inits,
            "no answer: check that the peer runs, that its UDP port is open on the way, that `public_key` ({theirs}…) \
             is its identity, and that both sides have the same network key or none; trying on"
        );
    }
}
