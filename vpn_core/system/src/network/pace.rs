//! How soon something follows a change, and how often. Pure.

use std::time::{Duration, Instant};

/// How long the system must have been quiet: one change comes as a handful of messages, and half of it is no use.
const QUIET: Duration = Duration::from_millis(100);
/// How long a storm of messages can put off what follows from it.
const LONGEST: Duration = Duration::from_millis(500);

/// What may follow at once, of the thing that is limited: moving from one network to another is two or three changes.
const BURST: u32 = 4;
/// How often it may follow in the long run: the pause between handshakes (protocol.md 8.5).
const INTERVAL: Duration = Duration::from_secs(5);

/// Joins events that come together: due a little after the last, but not for ever later than the first.
#[derive(Debug, Default)]
pub struct Pace {
    first_and_last: Option<(Instant, Instant)>,
}

impl Pace {
    /// Something happened.
    pub fn note(&mut self, now: Instant) {
        let first = self.first_and_last.map_or(now, |(first, _)| first);
        self.first_and_last = Some((first, now));
    }

    /// When it is time to look.
    pub fn due_at(&self) -> Option<Instant> {
        self.first_and_last.map(|(first, last)| (first + LONGEST).min(last + QUIET))
    }

    /// Whether it is time; then the next event begins anew.
    pub fn take(&mut self, now: Instant) -> bool {
        let due = self.due_at().is_some_and(|at| at <= now);
        if due {
            self.first_and_last = None;
        }
        due
    }
}

/// A bound on what follows from changes: a flapping link must not make a flood of handshakes.
#[derive(Debug, Default)]
pub struct Allowance {
    /// When the next one would come if all came at the even pace.
    even: Option<Instant>,
}

impl Allowance {
    /// Takes one, if there is one.
    ///
    /// # Errors
    /// When there will be one.
    pub fn take(&mut self, now: Instant) -> Result<(), Instant> {
        let even = self.even.map_or(now, |even| even.max(now));
        let ahead = INTERVAL * (BURST - 1);
        if even > now + ahead {
            return Err(even.checked_sub(ahead).unwrap_or(even));
        }
        self.even = Some(even + INTERVAL);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn one_look_follows_a_handful_of_messages_shortly_after_the_last() {
        let start = Instant::now();
        let mut pace = Pace::default();
        assert_eq!(pace.due_at(), None);
        for at in [0, 20, 90, 150] {
            pace.note(start + millis(at));
        }
        assert!(!pace.take(start + millis(249)));
        assert!(pace.take(start + millis(250)));
        assert_eq!(pace.due_at(), None);
    }

    #[test]
    fn a_storm_puts_looks_off_by_half_a_second_and_no_more() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let looks = (0..10_000).filter(|at| {
            let now = start + millis(*at);
            pace.note(now);
            pace.take(now)
        });
        assert_eq!(looks.collect::<Vec<_>>()[..3], [500, 1001, 1502]);
    }

    #[test]
    fn a_flapping_link_is_followed_four_times_at_once_and_then_every_five_seconds() {
        let start = Instant::now();
        let mut allowance = Allowance::default();
        let taken = (0..60_000).step_by(100).filter(|at| allowance.take(start + millis(*at)).is_ok());
        let taken: Vec<_> = taken.collect();
        assert_eq!(taken[..6], [0, 100, 200, 300, 5000, 10_000]);
        assert_eq!(taken.len(), 4 + 11);
    }

    #[test]
    fn it_says_when_it_allows_the_next_and_quiet_gives_everything_back() {
        let start = Instant::now();
        let mut allowance = Allowance::default();
        while allowance.take(start).is_ok() {}
        assert_eq!(allowance.take(start), Err(start + INTERVAL));
        let later = start + INTERVAL * BURST;
        assert_eq!((0..10).filter(|_| allowance.take(later).is_ok()).count(), BURST as usize);
    }
}
