//! Instants that several threads can share without a lock, and the wall clock as a number.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

/// The time from the Unix epoch to `wall_clock`; zero for a clock that stands before it.
pub fn since_unix_epoch(wall_clock: SystemTime) -> Duration {
    wall_clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_the_round_trip_and_the_epoch_itself_is_not_never() {
        let now = Instant::now();
        let epoch = Epoch::starting_at(now);
        let cell = AtomicTime::default();
        assert_eq!(cell.get(epoch), None);
        assert!(cell.set_if_unset(epoch, now));
        assert_eq!(cell.get(epoch), Some(now));
        assert!(!cell.set_if_unset(epoch, now + Duration::from_secs(1)));
        cell.set(epoch, now + Duration::from_secs(2));
        assert_eq!(cell.get(epoch), Some(now + Duration::from_secs(2)));
        cell.clear();
        assert_eq!(cell.get(epoch), None);
    }
}
