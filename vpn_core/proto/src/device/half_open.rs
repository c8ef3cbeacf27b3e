//! Handshakes that we answered and that wait for their finish: a bounded table with a short life.

use crate::{
    base::{DropReason, Endpoint, ReceiverIndex},
    handshake::hybrid::HalfOpen,
    symmetric::Hash,
    tunnel::{IndexLease, MAX_STAGED_PACKETS},
    wire::hybrid::Response,
};
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

/// Half-open handshakes at the most: about 8 MB. A newer one pushes out the oldest: a finish is one round trip away, and
/// even at the rate that one core can answer the oldest has waited for half a second.
pub const MAX_HALF_OPEN: usize = 4096;
/// How long a half-open handshake waits for its finish.
const HALF_OPEN_TIME: Duration = Duration::from_secs(5);
/// The same while many wait: a finish is one round trip away, and whoever holds places without one holds them shorter.
const BUSY_HALF_OPEN_TIME: Duration = Duration::from_secs(2);
/// Half-open handshakes that are many: an eighth of the table.
pub(super) const BUSY_HALF_OPEN: usize = MAX_HALF_OPEN / 8;

/// How often a response is repeated: for the four repetitions of an init that is urgent, and for copies that the network
/// or somebody on the path made. Without a bound one init would draw responses to any number of forged addresses, past
/// admission control.
const MAX_REPEATS: u8 = 8;

/// Ages at the most, 24 bytes each: completed handshakes leave theirs behind, so that thousands of clients that return
/// together are not held up by each other's.
const MAX_AGES: usize = 8 * MAX_HALF_OPEN;

/// Early packets held for one handshake: what an initiator sends right behind its finish is what it had staged.
const MAX_EARLY_PACKETS: usize = MAX_STAGED_PACKETS;
/// Bytes of early packets held for all handshakes together; anybody who can begin a handshake can fill it.
const MAX_EARLY_BYTES: usize = 1 << 20;

/// A transport message that came before the finish that makes its keypair, and from where.
pub type EarlyPacket = (Vec<u8>, Endpoint);

/// A half-open handshake.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) state: HalfOpen,
    pub(super) lease: IndexLease,
    pub(super) begun: Instant,
    /// Where its init came from.
    pub(super) source: IpAddr,
    /// Repeated, as stored, for the same init (protocol.md 6.3).
    response: Box<Response>,
    /// How often it was repeated.
    repeats: u8,
    init_hash: Hash,
    /// Opened once the finish has made a keypair.
    pub(super) early: Vec<EarlyPacket>,
}

/// The table.
#[derive(Debug, Default)]
pub(super) struct HalfOpenTable {
    entries: HashMap<ReceiverIndex, Entry>,
    by_init: HashMap<Hash, ReceiverIndex>,
    /// When they began, in order of age; entries that were removed early leave their index behind until its time comes.
    ages: VecDeque<(Instant, ReceiverIndex)>,
    early_bytes: usize,
}

impl HalfOpenTable {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds a handshake, answered to `source`; tells how many older ones had to give way.
    pub(super) fn insert(
        &mut self,
        state: HalfOpen,
        lease: IndexLease,
        response: Box<Response>,
        init_hash: Hash,
        source: IpAddr,
        now: Instant,
    ) -> u64 {
        let pushed_out = self.make_room();
        let index = lease.index();
        self.by_init.insert(init_hash, index);
        self.ages.push_back((now, index));
        self.entries.insert(
            index,
            Entry { state, lease, begun: now, source, response, repeats: 0, init_hash, early: Vec::new() },
        );
        pushed_out
    }

    /// Makes room for one, at the cost of the oldest; tells how many that were.
    fn make_room(&mut self) -> u64 {
        let before = self.entries.len();
        while self.entries.len() >= MAX_HALF_OPEN || self.ages.len() >= MAX_AGES {
            let Some((begun, index)) = self.ages.pop_front() else { break };
            self.remove_aged(index, begun);
        }
        (before - self.entries.len()) as u64
    }

    /// Holds a transport message for the keypair that `index` may become; `false` when there is no room.
    pub(super) fn hold(&mut self, index: ReceiverIndex, datagram: &[u8], from: Endpoint) -> bool {
        let Some(entry) = self.entries.get_mut(&index) else { return false };
        let fits =
            entry.early.len() < MAX_EARLY_PACKETS && self.early_bytes + datagram.len() <= MAX_EARLY_BYTES;
        if fits {
            self.early_bytes += datagram.len();
            entry.early.push((datagram.to_vec(), from));
        }
        fits
    }

    /// The stored response to an init seen before; `None` for a new one.
    ///
    /// # Errors
    /// [`DropReason::RateLimited`] when it was repeated often enough.
    pub(super) fn repeat_response(&mut self, init_hash: &Hash) -> Result<Option<&Response>, DropReason> {
        let entry = self.by_init.get(init_hash).and_then(|index| self.entries.get_mut(index));
        let Some(entry) = entry else { return Ok(None) };
        if entry.repeats >= MAX_REPEATS {
            return Err(DropReason::RateLimited);
        }
        entry.repeats += 1;
        Ok(Some(&entry.response))
    }

    pub(super) fn get_mut(&mut self, index: ReceiverIndex) -> Option<&mut Entry> {
        self.entries.get_mut(&index)
    }

    pub(super) fn remove(&mut self, index: ReceiverIndex) -> Option<Entry> {
        let entry = self.entries.remove(&index)?;
        self.by_init.remove(&entry.init_hash);
        self.early_bytes -= entry.early.iter().map(|(datagram, _)| datagram.len()).sum::<usize>();
        Some(entry)
    }

    pub(super) fn expire(&mut self, now: Instant) {
        while let Some((begun, index)) = self.ages.front().copied()
            && begun + self.life() <= now
        {
            self.ages.pop_front();
            self.remove_aged(index, begun);
        }
    }

    /// Removes the entry of this age, and no other: an index freed early may have been drawn again.
    fn remove_aged(&mut self, index: ReceiverIndex, begun: Instant) {
        if self.entries.get(&index).is_some_and(|entry| entry.begun == begun) {
            self.remove(index);
        }
    }

    pub(super) fn expires_at(&self) -> Option<Instant> {
        self.ages.front().map(|(begun, _)| *begun + self.life())
    }

    fn life(&self) -> Duration {
        if self.entries.len() >= BUSY_HALF_OPEN { BUSY_HALF_OPEN_TIME } else { HALF_OPEN_TIME }
    }
}
