//! The wall clock as a number.

use std::time::{Duration, SystemTime};

/// The time from the Unix epoch to `wall_clock`; zero for a clock that stands before it.
pub fn since_unix_epoch(wall_clock: SystemTime) -> Duration {
    wall_clock.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}
