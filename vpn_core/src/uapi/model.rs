//! What clients have asked for so far, and what a further request means for the device.

use super::{AllowedIp, PeerUpdate, SetRequest};
use crate::{
    asymmetric::{X25519PublicKey, X25519SecretKey},
    base::SecretBytes,
};
use ipnet::IpNet;
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    net::SocketAddr,
};

/// The wanted configuration: key and peers. Port and mark, which the system may refuse, are their owner's.
#[derive(Debug, Default)]
pub struct Model {
    private_key: Option<SecretBytes<32>>,
    public_key: Option<X25519PublicKey>,
    peers: HashMap<X25519PublicKey, WantedPeer>,
    /// Every allowed IP has one owner.
    owners: HashMap<IpNet, X25519PublicKey>,
}

/// One wanted peer.
#[derive(Debug)]
pub struct WantedPeer {
    /// All zeros for none.
    pub preshared_key: SecretBytes<32>,
    /// As last configured; the peer may have roamed since.
    pub endpoint: Option<SocketAddr>,
    /// In seconds, 0 for none.
    pub persistent_keepalive: u16,
    /// What is routed to it.
    pub allowed_ips: BTreeSet<IpNet>,
}

/// What a request changes: first the key, then the removals, then the updates.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The private key is another one now, or gone.
    pub key_changed: bool,
    /// These go, with their sessions; one that is also among the updates begins anew.
    pub removed: Vec<X25519PublicKey>,
    /// These are new or changed; with the endpoint, where the request names one.
    pub updated: Vec<(X25519PublicKey, Option<SocketAddr>)>,
}

impl Model {
    /// The private key, clamped as `wg genkey` does it.
    pub const fn private_key(&self) -> Option<&SecretBytes<32>> {
        self.private_key.as_ref()
    }

    /// One peer.
    pub fn peer(&self, key: &X25519PublicKey) -> Option<&WantedPeer> {
        self.peers.get(key)
    }

    /// All peers, in the order of their keys.
    pub fn peers(&self) -> Vec<(&X25519PublicKey, &WantedPeer)> {
        let mut peers: Vec<_> = self.peers.iter().collect();
        peers.sort_unstable_by_key(|(key, _)| key.0);
        peers
    }

    /// Takes a request over.
    pub fn apply(&mut self, set: SetRequest) -> Plan {
        let mut changes = Changes::default();
        let key_changed = set.private_key.is_some_and(|key| self.set_private_key(key));
        if key_changed && let Some(own) = self.public_key {
            self.remove(&own, &mut changes); // Nobody is a peer of itself.
        }
        if set.replace_peers {
            let all: Vec<_> = self.peers.keys().copied().collect();
            for key in all {
                self.remove(&key, &mut changes);
            }
        }
        for update in set.peers {
            self.update(update, &mut changes);
        }
        changes.into_plan(key_changed)
    }

    /// Returns whether it differs from the one before.
    fn set_private_key(&mut self, mut key: SecretBytes<32>) -> bool {
        let wanted = if key.ct_eq(&SecretBytes::ZERO) {
            None
        } else {
            X25519SecretKey::clamp(&mut key);
            Some(key)
        };
        let same = match (&self.private_key, &wanted) {
            (None, None) => true,
            (Some(old), Some(new)) => old.ct_eq(new),
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !same {
            self.public_key = wanted.as_ref().map(|key| X25519SecretKey::new(key).public_key());
            self.private_key = wanted;
        }
        !same
    }

    fn remove(&mut self, key: &X25519PublicKey, changes: &mut Changes) {
        let Some(peer) = self.peers.remove(key) else { return };
        for prefix in &peer.allowed_ips {
            self.owners.remove(prefix);
        }
        changes.remove(*key);
    }

    fn update(&mut self, update: PeerUpdate, changes: &mut Changes) {
        let key = update.public_key;
        if self.public_key == Some(key) {
            return;
        }
        if update.remove {
            self.remove(&key, changes);
            return;
        }
        if update.update_only && !self.peers.contains_key(&key) {
            return;
        }
        let peer = self.peers.entry(key).or_insert_with(WantedPeer::new);
        if let Some(preshared_key) = update.preshared_key {
            peer.preshared_key = preshared_key;
        }
        if let Some(seconds) = update.persistent_keepalive {
            peer.persistent_keepalive = seconds;
        }
        peer.endpoint = update.endpoint.or(peer.endpoint);
        if update.replace_allowed_ips {
            for prefix in std::mem::take(&mut peer.allowed_ips) {
                self.owners.remove(&prefix);
            }
        }
        changes.update(key, update.endpoint);
        for allowed_ip in update.allowed_ips {
            match allowed_ip {
                AllowedIp::Add(prefix) => self.give(prefix, key, changes),
                AllowedIp::Remove(prefix) => self.take(prefix, key),
            }
        }
    }

    /// Gives `prefix` to the peer with `key`, which exists; whoever had it has it no more.
    fn give(&mut self, prefix: IpNet, key: X25519PublicKey, changes: &mut Changes) {
        let before = self.owners.insert(prefix, key);
        if let Some(before) = before.filter(|before| *before != key)
            && let Some(loser) = self.peers.get_mut(&before)
        {
            loser.allowed_ips.remove(&prefix);
            changes.update(before, None);
        }
        if let Some(peer) = self.peers.get_mut(&key) {
            peer.allowed_ips.insert(prefix);
        }
    }

    /// Takes `prefix` from the peer with `key`, if it is that peer's.
    fn take(&mut self, prefix: IpNet, key: X25519PublicKey) {
        if let Some(peer) = self.peers.get_mut(&key)
            && peer.allowed_ips.remove(&prefix)
        {
            self.owners.remove(&prefix);
        }
    }
}

impl WantedPeer {
    const fn new() -> Self {
        Self {
            preshared_key: SecretBytes::ZERO,
            endpoint: None,
            persistent_keepalive: 0,
            allowed_ips: BTreeSet::new(),
        }
    }
}

/// A plan in the making: each peer at most once in each part.
#[derive(Default)]
struct Changes {
    removed: HashSet<X25519PublicKey>,
    updated: HashMap<X25519PublicKey, Option<SocketAddr>>,
}

impl Changes {
    fn remove(&mut self, key: X25519PublicKey) {
        self.updated.remove(&key);
        self.removed.insert(key);
    }

    fn update(&mut self, key: X25519PublicKey, endpoint: Option<SocketAddr>) {
        let known = self.updated.entry(key).or_default();
        *known = endpoint.or(*known);
    }

    fn into_plan(self, key_changed: bool) -> Plan {
        let mut removed: Vec<_> = self.removed.into_iter().collect();
        let mut updated: Vec<_> = self.updated.into_iter().collect();
        removed.sort_unstable_by_key(|key| key.0);
        updated.sort_unstable_by_key(|(key, _)| key.0);
        Plan { key_changed, removed, updated }
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
