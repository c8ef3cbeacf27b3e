//! `mtu = "auto"`: the tunnel interface follows the paths to the peers, unless somebody sets its MTU by hand.

use super::running::Running;
use crate::{
    base::PeerId,
    config::{Mtu, Role},
    device,
    handshake::{PeerKey, Protocol},
    routes::RouteMtu,
    tunnel::{MtuMode, MtuPolicy},
    wire::{ip::IPV6_MIN_MTU, transport},
};
use ipnet::IpNet;
use std::{cell::Cell, cell::RefCell, collections::VecDeque, net::IpAddr};

/// The least MTU of a tunnel without IPv6, in bytes: what every host takes (RFC 791).
const FLOOR_V4: u16 = 576;

/// What a node with these settings wants of its paths. A gateway has peers behind different ones, so its interface keeps its
/// MTU and each peer has a limit of its own.
pub(super) fn policy(mtu: Mtu, role: Role, addresses: &[IpNet]) -> MtuPolicy {
    let mode = match (mtu, role) {
        (Mtu::Fixed(_), Role::Server | Role::Client) => MtuMode::Given,
        (Mtu::Auto, Role::Server) => MtuMode::Within,
        (Mtu::Auto, Role::Client) => MtuMode::Follow,
    };
    let has_ipv6 = addresses.iter().any(|address| address.addr().is_ipv6());
    MtuPolicy { mode, floor: if has_ipv6 { IPV6_MIN_MTU } else { FLOOR_V4 } }
}

/// The tunnel interface's MTU: which one it has, and by whom.
#[derive(Debug)]
pub(super) struct InterfaceMtu {
    mode: Cell<MtuMode>,
    /// In bytes.
    now: Cell<u16>,
    /// What the kernel told last.
    told: Cell<u16>,
    /// What we have set and the kernel has not told us yet.
    to_be_told: RefCell<VecDeque<u16>>,
}

impl InterfaceMtu {
    pub(super) fn new(mode: MtuMode, mtu: u16) -> Self {
        Self {
            mode: Cell::new(mode),
            now: Cell::new(mtu),
            told: Cell::new(mtu),
            to_be_told: RefCell::default(),
        }
    }

    /// In bytes.
    pub(super) fn now(&self) -> u16 {
        self.now.get()
    }

    /// The kernel says that the interface has this MTU: whether somebody else has set it.
    fn is_by_hand(&self, mtu: u16) -> bool {
        let mut ours = self.to_be_told.borrow_mut();
        let before = self.told.replace(mtu);
        if let Some(at) = ours.iter().position(|set| *set == mtu) {
            ours.drain(..=at);
            return false;
        }
        // What it told before, while it owes us the news: of a moment before we set it.
        let is_stale = mtu == before && !ours.is_empty();
        mtu != self.now.get() && !is_stale
    }
}

impl Running<'_> {
    /// Asks for the routes to all peers again: at the start, and when the network has changed.
    pub(super) fn refresh_mtu(&self) {
        let peers =
            self.engine.borrow().with_device(|device, now| device.peer_status(now)).unwrap_or_default();
        self.tell_routes(peers.iter());
        self.follow_paths();
    }

    /// Asks for the route to one peer, who may be elsewhere now.
    pub(super) fn refresh_route_mtu(&self, peer: &device::PeerStatus) {
        self.tell_routes(std::iter::once(peer));
    }

    /// A peer takes packets of another length.
    pub(super) fn handle_path_mtu(&self, peer: PeerId, mtu: u16) {
        if let Some((_, name)) = self.identify(peer).filter(|_| mtu != u16::MAX) {
            tracing::debug!(peer = name, mtu, "the path takes packets of this length");
        }
        self.follow_paths();
    }

    /// The kernel says that the interface has this MTU.
    pub(super) fn handle_link_mtu(&self, mtu: u32) {
        let mtu = u16::try_from(mtu).unwrap_or(u16::MAX);
        if !self.mtu.is_by_hand(mtu) {
            return;
        }
        if self.mtu.mode.replace(MtuMode::Given) != MtuMode::Given {
            tracing::info!(mtu, "the interface's MTU was set by somebody: it is left alone from now on");
        }
        self.mtu.now.set(mtu);
        self.system.borrow_mut().note_mtu(mtu);
        self.engine.borrow().with_device(move |device, now| device.set_mtu(mtu, MtuMode::Given, now));
    }

    fn tell_routes<'p>(&self, peers: impl Iterator<Item = &'p device::PeerStatus>) {
        if self.mtu.mode.get() == MtuMode::Given {
            return;
        }
        let system = self.system.borrow();
        let routes: Vec<(PeerKey, Option<u16>)> = peers
            .filter_map(|peer| Some((peer.key, peer.endpoint?.ip())))
            .map(|(key, endpoint)| {
                let route = system.route_mtu(endpoint);
                (key, route.map(|route| inner_mtu(believed(route, key.protocol(), endpoint), endpoint)))
            })
            .collect();
        drop(system);
        self.engine.borrow().with_device(move |device, now| {
            for (key, mtu) in routes {
                device.set_route_mtu(&key, mtu, now);
            }
        });
    }

    /// Gives the interface the MTU of the widest path. A peer behind a narrower one has a limit of its own.
    fn follow_paths(&self) {
        if self.mtu.mode.get() != MtuMode::Follow {
            return;
        }
        let peers =
            self.engine.borrow().with_device(|device, now| device.peer_status(now)).unwrap_or_default();
        let Some(wanted) = peers.iter().filter(|peer| peer.endpoint.is_some()).map(|peer| peer.mtu).max()
        else {
            return;
        };
        if wanted == self.mtu.now.get() {
            return;
        }
        self.mtu.to_be_told.borrow_mut().push_back(wanted);
        match self.system.borrow_mut().set_mtu(wanted) {
            Ok(()) => {
                tracing::info!(
                    mtu = wanted,
                    before = self.mtu.now.replace(wanted),
                    "the interface follows the path"
                );
                self.engine.borrow().plane().set_mtu(wanted.into());
            }
            Err(error) => {
                self.mtu.to_be_told.borrow_mut().pop_back();
                tracing::warn!(mtu = wanted, %error, "the interface does not take this MTU");
            }
        }
    }
}

/// What of a route is believed, in bytes. A hybrid peer is probed, which is surer than an ICMP message. For a WireGuard peer there
/// is nothing else over IPv6; over IPv4 our datagrams may be cut, so that no router has reason to send one.
fn believed(route: RouteMtu, protocol: Protocol, endpoint: IpAddr) -> u32 {
    match (protocol, endpoint.to_canonical()) {
        (Protocol::Hybrid, _) | (Protocol::Wireguard, IpAddr::V4(_)) => route.configured,
        (Protocol::Wireguard, IpAddr::V6(_)) => route.remembered.unwrap_or(route.configured),
    }
}

/// What is left for a packet in a tunnel to `endpoint` on a path that takes `outer` bytes.
fn inner_mtu(outer: u32, endpoint: IpAddr) -> u16 {
    let inner = outer.saturating_sub(transport::outer_overhead(endpoint) as u32);
    u16::try_from(inner).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_route_leaves_inside() {
        let v4: IpAddr = "192.0.2.1".parse().expect("an address");
        let v6: IpAddr = "2001:db8::1".parse().expect("an address");
        let mapped: IpAddr = "::ffff:192.0.2.1".parse().expect("an address");
        let inner = [(1500, v4), (1500, v6), (1500, mapped), (10, v4), (1 << 20, v6)]
            .map(|(outer, to)| inner_mtu(outer, to));
        assert_eq!(inner, [1440, 1420, 1440, 0, u16::MAX]);
    }

    #[test]
    fn icmp_counts_only_where_there_is_nothing_else() {
        let route = RouteMtu { configured: 1500, remembered: Some(1280) };
        let [v4, v6]: [IpAddr; 2] = ["192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().expect("an address"));
        let believed = [
            (Protocol::Hybrid, v4),
            (Protocol::Hybrid, v6),
            (Protocol::Wireguard, v4),
            (Protocol::Wireguard, v6),
        ]
        .map(|(protocol, to)| believed(route, protocol, to));
        assert_eq!(believed, [1500, 1500, 1500, 1280]);
    }

    #[test]
    fn what_we_have_set_is_not_taken_for_somebody_elses_wish() {
        let mtu = InterfaceMtu::new(MtuMode::Follow, 1420);
        assert!(!mtu.is_by_hand(1420));
        for set in [1400, 1340, 1280] {
            mtu.to_be_told.borrow_mut().push_back(set);
            mtu.now.set(set);
        }
        assert!(!mtu.is_by_hand(1420), "told of the time before");
        assert!(!mtu.is_by_hand(1400) && !mtu.is_by_hand(1280), "told late, and one not at all");
        assert!(mtu.to_be_told.borrow().is_empty());
        assert!(mtu.is_by_hand(1340) && mtu.is_by_hand(9000));
    }
}
