//! How long packets may be: what the owner of a device says of interface and routes, and what peers say of paths.

use super::Device;
use crate::{
    base::PeerId,
    handshake::PeerKey,
    tunnel::{MtuMode, MtuPolicy, Tunnel},
    wire::path::PathMessage,
};
use std::time::Instant;

impl Device {
    /// A probe or an answer of a peer's.
    pub fn handle_path_message(&mut self, peer: PeerId, message: PathMessage, now: Instant) {
        self.with_tunnel(peer, now, |tunnel, cx| tunnel.handle_path_message(message, cx));
    }

    /// The route to a peer's endpoint takes inner packets of `mtu` bytes; `None` where nobody knows.
    pub fn set_route_mtu(&mut self, key: &PeerKey, mtu: Option<u16>, now: Instant) {
        if let Some(id) = self.by_key.get(key).copied() {
            self.with_tunnel(id, now, |tunnel, cx| tunnel.set_route_mtu(mtu, cx));
        }
    }

    /// The interface's MTU is another one, and `mode` says who decides from now on.
    pub fn set_mtu(&mut self, mtu: u16, mode: MtuMode, now: Instant) {
        self.plane().set_mtu(mtu.into());
        if self.mtu_policy.mode != mode || mode == MtuMode::Given {
            self.mtu_policy = MtuPolicy { mode, ..self.mtu_policy };
            if let Some(node) = &mut self.hybrid {
                node.parameters.mtu = mtu.into();
            }
            self.for_all(now, Tunnel::handle_mtu_change);
        }
    }
}
