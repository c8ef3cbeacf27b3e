//! From configured peers to the device's: who is admitted, under which addresses.

use super::names::{Captured, Names};
use crate::{
    base::SecretBytes,
    config::{EndpointName, PeerConfig},
    handshake::{PeerKey, PresharedKey},
    tunnel::PeerSettings,
};
use ipnet::IpNet;
use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
};

/// The addresses that endpoint names stand for, as far as they are known.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    known: HashMap<EndpointName, Vec<SocketAddr>>,
    /// The tunnel interface's own networks: no peer is reached at an address in them (protocol.md 9.3).
    tunnel: Vec<IpNet>,
    /// The addresses of names that were left out for that, each of which is reported once.
    left_out: HashSet<SocketAddr>,
}

impl Addresses {
    /// None yet; those within the networks of the tunnel interface's `addresses` are left out.
    pub(super) fn outside(addresses: &[IpNet]) -> Self {
        Self { tunnel: addresses.iter().map(IpNet::trunc).collect(), ..Self::default() }
    }

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
                    self.learn(name, addresses);
                }
                Err(error) => tracing::warn!(endpoint = %name, error, "the endpoint's name does not resolve"),
            }
        }
    }

    /// Takes what `fresh` knows, keeps what it does not.
    pub(super) fn merge(&mut self, fresh: Self) {
        for (name, addresses) in fresh.known {
            self.learn(name, addresses);
        }
    }

    fn learn(&mut self, name: EndpointName, mut addresses: Vec<SocketAddr>) {
        addresses.retain(|address| {
            let ip = address.ip().to_canonical();
            let is_outside = !self.tunnel.iter().any(|network| network.contains(&ip));
            if !is_outside && self.left_out.insert(*address) {
                tracing::warn!(endpoint = %name, %address, "this address lies inside the tunnel, and is left out");
            }
            is_outside
        });
        self.known.insert(name, addresses);
    }

    /// All addresses of a peer's endpoints, in order of preference.
    pub(super) fn of(&self, endpoints: &[EndpointName]) -> Vec<SocketAddr> {
        endpoints.iter().filter_map(|name| self.known.get(name)).flatten().copied().collect()
    }

    /// Every address known.
    pub(super) fn all(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.known.values().flatten().copied()
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
pub(super) fn keys(peers: &[DevicePeer]) -> HashSet<PeerKey> {
    peers.iter().map(|(settings, _)| settings.key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolved_addresses_inside_the_tunnel_are_left_out_and_said_once() {
        let own: Vec<IpNet> = ["10.66.0.2/16", "fd66::2/64"].map(|text| text.parse().unwrap()).to_vec();
        let mut addresses = Addresses::outside(&own);
        let name: EndpointName = "vpn.example.org:7".parse().unwrap();
        let found: Vec<SocketAddr> = ["10.66.9.9:7", "198.51.100.2:7", "[fd66::9]:7", "[::ffff:10.66.0.1]:7"]
            .map(|text| text.parse().unwrap())
            .to_vec();
        for _ in 0..2 {
            let fresh =
                Addresses { known: HashMap::from([(name.clone(), found.clone())]), ..Addresses::default() };
            addresses.merge(fresh);
            assert_eq!(addresses.of(std::slice::from_ref(&name)), [found[1]]);
            assert_eq!(addresses.left_out.len(), 3);
        }
    }
}
