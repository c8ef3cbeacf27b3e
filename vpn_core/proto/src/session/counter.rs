//! Send counters: each is a nonce, so each is handed out once and used once.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One transport nonce. Not `Clone`: sealing consumes it, so using it twice does not compile.
///
/// ```compile_fail
/// # fn seal(_: vpn_core::session::SendCounter) {}
/// # fn twice(counter: vpn_core::session::SendCounter) {
/// seal(counter);
/// seal(counter);
/// # }
/// ```
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SendCounter(u64);

impl SendCounter {
    /// The number that goes on the wire; the counter is used up.
    pub const fn spend(self) -> u64 {
        self.0
    }
}

/// Consecutive counters reserved for one batch; those not used are skipped, never handed out again.
#[derive(Debug)]
pub struct CounterRange {
    next: u64,
    end: u64,
}

impl Iterator for CounterRange {
    type Item = SendCounter;

    fn next(&mut self) -> Option<SendCounter> {
        (self.next < self.end).then(|| {
            self.next += 1;
            SendCounter(self.next - 1)
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.end - self.next) as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for CounterRange {}

/// The source of a keypair's counters.
#[derive(Debug, Default)]
pub(super) struct CounterSource(AtomicU64);

impl CounterSource {
    /// Reserves `n` counters below `limit`; `None` when they would reach it.
    pub(super) fn reserve(&self, n: usize, limit: u64) -> Option<CounterRange> {
        // fetch_update, not fetch_add: a refused reservation must not move the counter towards wrapping around.
        let advance = |next: u64| next.checked_add(n as u64).filter(|end| *end <= limit);
        let next = self.0.fetch_update(Relaxed, Relaxed, advance).ok()?;
        Some(CounterRange { next, end: next + n as u64 })
    }

    /// How many counters were handed out.
    pub(super) fn used(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn threads_never_share_a_counter() {
        let source = CounterSource::default();
        let all: Vec<u64> = std::thread::scope(|scope| {
            let workers: Vec<_> = (1..5)
                .map(|n| {
                    let source = &source;
                    scope.spawn(move || {
                        (0..500)
                            .flat_map(|_| source.reserve(n, u64::MAX).expect("far from the limit"))
                            .map(SendCounter::spend)
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().expect("no panic")).collect()
        });
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(source.used(), all.len() as u64);
    }

    #[test]
    fn counters_stop_at_the_limit() {
        let source = CounterSource::default();
        assert_eq!(source.reserve(9, 10).expect("9 of 10").len(), 9);
        assert!(source.reserve(2, 10).is_none());
        assert_eq!(source.reserve(1, 10).expect("the last").next().map(SendCounter::spend), Some(9));
        assert!(source.reserve(1, 10).is_none());
    }
}
