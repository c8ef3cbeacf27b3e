//! From configured peers to the device's: who is admitted, under which addresses.

use super::names::{Captured, Names};
use crate::{
    base::SecretBytes,
    config::{EndpointName, PeerConfig},
    handshake::{PeerKey, PresharedKey},
    tunnel::PeerSettings,
};
use ipnet::IpNet;
use std::{collections::HashMap, net::SocketAddr};

/// The addresses that endpoint names stand for, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Addresses(HashMap<EndpointName, Vec<SocketAddr>>);

impl Addresses {
    /// Resolves `names` at once; what does not resolve keeps the addresses that it had.
    pub(super) async fn resolve(
        &mut self,
        names: impl IntoIterator<Item = EndpointName>,
        by: &Names,
        captured: &Captured,
    ) {
        let answers = names.into_iter().map(|name| async move {
            let found = by.resolve(&name, captured).await;
            (name, found)
        });
        for (name, found) in futures_util::future::join_all(answers).await {
            match found {
                Ok(addresses) => {
                    self.0.insert(name, addresses);
                }
                Err(error) => tracing::warn!(endpoint = %name, error, "the endpoint's name does not resolve"),
            }
        }
    }

    /// Takes what `fresh` knows, keeps what it does not.
    pub(super) fn merge(&mut self, fresh: Self) {
        self.0.extend(fresh.0);
    }

    /// All addresses of a peer's endpoints, in order of preference.
    pub(super) fn of(&self, endpoints: &[EndpointName]) -> Vec<SocketAddr> {
        endpoints.iter().filter_map(|name| self.0.get(name)).flatten().copied().collect()
    }

    /// Every address known.
    pub(super) fn all(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.0.values().flatten().copied()
    }
}

/// A peer as the device takes it.
pub(super) type DevicePeer = (PeerSettings, Vec<IpNet>);

/// What the device needs of `peer`. A peer with an endpoint is one to stay connected with: a client's gateway, or the
/// other end of a site link.
pub(super) fn device_peer(peer: &PeerConfig, addresses: &Addresses) -> DevicePeer {
    let settings = PeerSettings {
        key: peer.public_key,
        preshared_key: peer.preshared_key.as_ref().map_or(PresharedKey::ZERO, SecretBytes::duplicate),
        endpoints: addresses.of(&peer.endpoints),
        persistent_keepalive: peer.persistent_keepalive,
        stay_connected: !peer.endpoints.is_empty(),
    };
    (settings, peer.allowed_ips.clone())
}

/// The public keys of `peers`.
pub(super) fn keys(peers: &[DevicePeer]) -> std::collections::HashSet<PeerKey> {
    peers.iter().map(|(settings, _)| settings.key).collect()
}
