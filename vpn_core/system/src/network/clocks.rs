//! Whether this host slept: `Instant` stands still then, and with it every timer of ours.

use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime};

use crate::base::since_unix_epoch;

/// A clock that stands still while the host is suspended: what `Instant` reads.
#[cfg(not(target_vendor = "apple"))]
const AWAKE: ClockId = ClockId::CLOCK_MONOTONIC;
/// The same that goes on.
#[cfg(not(target_vendor = "apple"))]
const CONTINUOUS: ClockId = ClockId::CLOCK_BOOTTIME;
/// As above; nix has no name for it.
#[cfg(target_vendor = "apple")]
const AWAKE: ClockId = ClockId::from_raw(libc::CLOCK_UPTIME_RAW);
/// As above: there, `CLOCK_MONOTONIC` goes on.
#[cfg(target_vendor = "apple")]
const CONTINUOUS: ClockId = ClockId::CLOCK_MONOTONIC;

/// Differences between clocks that are none: they are read one after the other, and rated differently.
const TOLERANCE: Duration = Duration::from_secs(1);
/// How far the wall clock must be set forward to be a sign of sleep: a daemon that keeps it right steps it by less.
const WALL_STEP: Duration = Duration::from_secs(10);

/// What the clocks showed at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Clocks {
    /// Read before and after `continuous`: whatever happens between two readings, the true value lies in between.
    awake: (Duration, Duration),
    continuous: Duration,
    wall: Duration,
}

/// What happened to the time between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jump {
    /// The host was suspended for so long.
    Slept(Duration),
    /// The wall clock was set forward: by somebody, or because a machine was stopped that did not know of it. Not known to
    /// be time that has passed.
    WallClock,
}

impl Clocks {
    /// Reads them. `None` where the system lacks one.
    pub fn read() -> Option<Self> {
        let read = |clock| clock_gettime(clock).ok().map(Duration::from);
        let (before, continuous, after) = (read(AWAKE)?, read(CONTINUOUS)?, read(AWAKE)?);
        Some(Self { awake: (before, after), continuous, wall: since_unix_epoch(SystemTime::now()) })
    }

    /// What happened from `before` to now.
    pub fn jump_since(&self, before: &Self) -> Option<Jump> {
        // The longest that it can have been, so that a pause between two readings is no sleep.
        let awake = self.awake.1.saturating_sub(before.awake.0);
        let continuous = self.continuous.saturating_sub(before.continuous);
        let slept = continuous.saturating_sub(awake);
        if slept >= TOLERANCE {
            return Some(Jump::Slept(slept));
        }
        let wall = self.wall.saturating_sub(before.wall);
        (wall.saturating_sub(continuous) >= WALL_STEP).then_some(Jump::WallClock)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(awake: u64, continuous: u64, wall: u64) -> Clocks {
        let millis = Duration::from_millis;
        Clocks {
            awake: (millis(awake), millis(awake)),
            continuous: millis(continuous),
            wall: millis(1_800_000_000_000 + wall),
        }
    }

    #[test]
    fn suspension_is_the_time_by_which_the_clocks_differ() {
        let before = clocks(5000, 7000, 0);
        assert_eq!(clocks(6000, 8000, 1000).jump_since(&before), None, "a second passed");
        let slept = Some(Jump::Slept(Duration::from_secs(3600)));
        assert_eq!(clocks(6000, 3_608_000, 3_601_000).jump_since(&before), slept);
        assert_eq!(clocks(6000, 3_608_000, 0).jump_since(&before), slept, "whatever the wall clock says");
        assert_eq!(clocks(6000, 8900, 1900).jump_since(&before), None, "less than a second is no sleep");
    }

    #[test]
    fn a_wall_clock_set_forward_is_no_time_that_passed_and_one_set_back_is_nothing() {
        let before = clocks(5000, 7000, 100_000);
        assert_eq!(clocks(6000, 8000, 200_000).jump_since(&before), Some(Jump::WallClock));
        assert_eq!(clocks(6000, 8000, 105_000).jump_since(&before), None, "a daemon's step");
        assert_eq!(clocks(6000, 8000, 0).jump_since(&before), None);
    }

    #[test]
    fn a_process_that_was_not_scheduled_for_a_while_did_not_sleep() {
        let before = clocks(0, 0, 0);
        assert_eq!(clocks(600_000, 600_000, 600_000).jump_since(&before), None);
    }

    #[test]
    fn a_thread_that_waited_for_the_cpu_between_two_clocks_did_not_sleep() {
        let before = clocks(5000, 7000, 0);
        let mut late = clocks(6000, 11_000, 4000);
        late.awake.1 = Duration::from_secs(9);
        assert_eq!(late.jump_since(&before), None, "after the first reading");
        let mut late = clocks(5000, 7000, 0);
        late.awake.1 = Duration::from_secs(8);
        assert_eq!(clocks(9000, 11_000, 4000).jump_since(&late), None, "after the second");
    }

    #[test]
    fn the_clocks_of_this_host_can_be_read() {
        let (before, after) = (Clocks::read().expect("every Linux"), Clocks::read().expect("every Linux"));
        assert_eq!(after.jump_since(&before), None);
    }
}
