//! Instants that several threads can share without a lock, and the wake-up that must not be lost between two of them.
//!
//! `tests/wake_up.rs` compiles this file a second time, with a model checker's atomics for [`super::atomic`].

use super::atomic::{
    AtomicU64,
    Ordering::{Relaxed, SeqCst},
    fence,
};
use std::time::{Duration, Instant};

/// The instant from which an [`AtomicTime`] counts. One per device; made from the caller's `now`.
#[derive(Clone, Copy, Debug)]
pub struct Epoch(Instant);

impl Epoch {
    /// An epoch that lies one nanosecond before `now`, so that no later instant is stored as "never".
    pub fn starting_at(now: Instant) -> Self {
        Self(now.checked_sub(Duration::from_nanos(1)).unwrap_or(now))
    }

    fn encode(self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.0).as_nanos()).unwrap_or(u64::MAX).max(1)
    }

    fn decode(self, nanos: u64) -> Option<Instant> {
        (nanos != 0).then(|| self.0 + Duration::from_nanos(nanos))
    }
}

/// An optional instant in one atomic word (nanoseconds since an [`Epoch`]; 0 means never).
///
/// Ordering is relaxed throughout: these are timer marks, read and re-read by a poll, and guard no other memory.
#[derive(Debug, Default)]
pub struct AtomicTime(AtomicU64);

impl AtomicTime {
    /// Reads the instant.
    pub fn get(&self, epoch: Epoch) -> Option<Instant> {
        epoch.decode(self.0.load(Relaxed))
    }

    /// Stores `at`.
    pub fn set(&self, epoch: Epoch, at: Instant) {
        self.0.store(epoch.encode(at), Relaxed);
    }

    /// Stores `at` unless an instant is already stored; tells whether it did.
    pub fn set_if_unset(&self, epoch: Epoch, at: Instant) -> bool {
        self.0.load(Relaxed) == 0 && self.0.compare_exchange(0, epoch.encode(at), Relaxed, Relaxed).is_ok()
    }

    /// Forgets the instant.
    pub fn clear(&self) {
        // Read first: most calls find nothing to clear, and a store would take the cache line from other threads.
        if self.0.load(Relaxed) != 0 {
            self.0.store(0, Relaxed);
        }
    }

    /// Forgets the instant if it is still `at`; tells whether it was. Another thread may have stored a newer one.
    pub fn clear_if(&self, epoch: Epoch, at: Instant) -> bool {
        self.0.compare_exchange(epoch.encode(at), 0, Relaxed, Relaxed).is_ok()
    }
}

/// When control wakes up for a peer anyway, so that the packet path need not ask for it.
///
/// Control reads the timers' marks and stores when it wakes up; the packet path stores a mark and reads when control wakes
/// up. Were either store still on its way when the other side reads, nobody would serve the new timer. So each side stores
/// first, then reads, and a fence between the two lets at least one of them see the other's store.
#[derive(Debug, Default)]
pub struct WakeTime(AtomicTime);

impl WakeTime {
    /// Control's side: publishes the earliest of its timers, as `earliest` reads them from their marks, and returns it. Reads
    /// them again after that: a timer that started meanwhile did not see the new time.
    pub fn publish(&self, epoch: Epoch, earliest: impl Fn() -> Option<Instant>) -> Option<Instant> {
        let mut at = earliest();
        loop {
            match at {
                Some(at) => self.0.set(epoch, at),
                None => self.0.clear(),
            }
            fence(SeqCst);
            match (earliest(), at) {
                (Some(earlier), Some(published)) if earlier < published => at = Some(earlier),
                (Some(first), None) => at = Some(first),
                (_, published) => return published, // Perhaps too early by now, which costs a look.
            }
        }
    }

    /// The packet path's side: starts the timer of `mark` unless it runs; `true` asks for control's attention, because the
    /// timer ends after `pause` and control wakes up later.
    pub fn start_timer(&self, mark: &AtomicTime, pause: Duration, epoch: Epoch, now: Instant) -> bool {
        if !mark.set_if_unset(epoch, now) {
            return false; // The usual case, without a fence.
        }
        fence(SeqCst);
        self.0.get(epoch).is_none_or(|at| at > now + pause)
    }
}
