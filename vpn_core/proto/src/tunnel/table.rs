//! Receiver indices: random, unique over handshakes and sessions (protocol.md 6.7), freed when their lease is dropped.

use super::PeerPlane;
use crate::{
    base::{PeerId, ReceiverIndex},
    handshake::Protocol,
    session::Keypair,
};
use rand_core::CryptoRng;
use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

/// What an index stands for.
#[derive(Clone, Debug)]
pub enum IndexUse {
    /// A handshake that we answered.
    HalfOpen,
    /// A handshake that we began with this peer.
    Initiation(PeerId),
    /// A session: all that the packet path needs.
    Session(Arc<Keypair>, Arc<PeerPlane>),
}

impl IndexUse {
    /// The peer that a WireGuard cookie reply to this index would be by: of an initiation of ours, or of a response whose
    /// session nobody has used yet. The index of one in use can be read from every packet, and is no proof of anything.
    pub fn cookie_replier(&self) -> Option<PeerId> {
        match self {
            Self::Initiation(peer) => Some(*peer),
            Self::Session(keypair, peer) => {
                let may_come = keypair.protocol() == Protocol::Wireguard && !keypair.is_confirmed();
                may_come.then(|| peer.id())
            }
            Self::HalfOpen => None,
        }
    }
}

/// The indices in use. The packet path takes the read lock once a run of datagrams; control writes
/// a few times a handshake.
#[derive(Debug, Default)]
pub struct SessionTable(RwLock<HashMap<ReceiverIndex, IndexUse>>);

impl SessionTable {
    /// Draws a free index and takes it.
    pub fn lease(self: &Arc<Self>, meaning: IndexUse, rng: &mut dyn CryptoRng) -> IndexLease {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        loop {
            // The table is bounded far below 2^32, so a free index is found at once.
            let index = ReceiverIndex::random(rng);
            if let std::collections::hash_map::Entry::Vacant(free) = table.entry(index) {
                free.insert(meaning);
                return IndexLease { table: Arc::clone(self), index };
            }
        }
    }

    /// What `index` stands for.
    pub fn get(&self, index: ReceiverIndex) -> Option<IndexUse> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&index).cloned()
    }
}

/// An index in use; dropping it frees the index and forgets the keypair that it led to.
#[derive(Debug)]
pub struct IndexLease {
    table: Arc<SessionTable>,
    index: ReceiverIndex,
}

impl IndexLease {
    /// The index.
    pub const fn index(&self) -> ReceiverIndex {
        self.index
    }

    /// Makes the index stand for something else.
    pub fn turn_into(&self, meaning: IndexUse) {
        self.table.0.write().unwrap_or_else(PoisonError::into_inner).insert(self.index, meaning);
    }
}

impl Drop for IndexLease {
    fn drop(&mut self) {
        self.table.0.write().unwrap_or_else(PoisonError::into_inner).remove(&self.index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};

    #[test]
    fn a_dropped_lease_frees_its_index() {
        let table = Arc::new(SessionTable::default());
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let lease = table.lease(IndexUse::HalfOpen, &mut rng);
        let index = lease.index();
        assert!(matches!(table.get(index), Some(IndexUse::HalfOpen)));
        lease.turn_into(IndexUse::Initiation(PeerId(7)));
        assert!(matches!(table.get(index), Some(IndexUse::Initiation(PeerId(7)))));
        drop(lease);
        assert!(table.get(index).is_none());
    }
}
