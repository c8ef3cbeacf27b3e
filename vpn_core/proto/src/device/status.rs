//! A peer as its owner sees it from outside.

use crate::{
    base::PeerId,
    handshake::{PeerKey, PresharedKey},
    symmetric::Suite,
    tunnel::{Doubt, PeerState, Tunnel, Unanswered},
};
use ipnet::IpNet;
use std::{net::SocketAddr, time::Instant};

/// A peer as status output shows it.
#[derive(Clone, Debug)]
pub struct PeerStatus {
    /// Its number.
    pub id: PeerId,
    /// Who it is.
    pub key: PeerKey,
    /// Its state.
    pub state: PeerState,
    /// What speaks against traffic passing as it should, most telling first.
    pub doubts: Vec<Doubt>,
    /// Its address, where known.
    pub endpoint: Option<SocketAddr>,
    /// The suite of its last session.
    pub suite: Suite,
    /// When its last handshake was completed.
    pub last_handshake: Option<Instant>,
    /// How many handshakes were completed.
    pub handshakes: u64,
    /// Inits without an answer, if a row of them goes on.
    pub unanswered: Option<Unanswered>,
    /// Bytes received from it.
    pub rx_bytes: u64,
    /// Bytes sent to it.
    pub tx_bytes: u64,
    /// The longest packet that it is sent, in bytes; 65535 where nothing limits it.
    pub mtu: u16,
    /// Whether a preshared key is mixed into its handshakes.
    pub has_preshared_key: bool,
    /// Its allowed IPs.
    pub allowed_ips: Vec<IpNet>,
}

impl PeerStatus {
    /// Of the peer behind `tunnel`.
    pub(super) fn of(tunnel: &Tunnel, allowed_ips: &[IpNet], now: Instant) -> Self {
        let plane = tunnel.plane();
        let settings = tunnel.settings();
        Self {
            id: plane.id(),
            key: settings.key,
            state: tunnel.state(now),
            doubts: tunnel.doubts(now),
            endpoint: plane.endpoint().map(|endpoint| endpoint.remote),
            suite: tunnel.suite(),
            last_handshake: tunnel.last_handshake(),
            handshakes: tunnel.handshakes(),
            unanswered: tunnel.unanswered(),
            rx_bytes: plane.rx_bytes(),
            tx_bytes: plane.tx_bytes(),
            mtu: u16::try_from(plane.mtu()).unwrap_or(u16::MAX),
            has_preshared_key: !settings.preshared_key.ct_eq(&PresharedKey::ZERO),
            allowed_ips: allowed_ips.to_vec(),
        }
    }
}
