//! The timestamps that keep an initiation from being replayed (paper, section 5.1).

use crate::wire::wireguard::TIMESTAMP_SIZE;
use core::time::Duration;

/// The TAI64 label of the Unix epoch: 2^62, and the 10 seconds that TAI was ahead of UTC in 1970.
const UNIX_EPOCH: u64 = (1 << 62) + 10;

/// Bits of the nanoseconds that are sent as 0, some 17 ms: who receives our initiations shall not learn how our clock
/// ticks. Less than [`super::MIN_INITIATION_INTERVAL`], so that initiations which are not too frequent differ.
const WHITENED: u32 = (1 << 24) - 1;

/// A moment of the initiator's wall clock, 12 bytes: seconds 8, nanoseconds 4, big-endian, so that the order of the
/// bytes is the order of time. Nobody else reads it as a time; it only has to grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tai64n([u8; TIMESTAMP_SIZE]);

impl Tai64n {
    /// The timestamp at `since_epoch` after the Unix epoch.
    pub fn from_unix(since_epoch: Duration) -> Self {
        let seconds = UNIX_EPOCH.saturating_add(since_epoch.as_secs());
        let nanoseconds = since_epoch.subsec_nanos() & !WHITENED;
        let mut bytes = [0; TIMESTAMP_SIZE];
        bytes[..8].copy_from_slice(&seconds.to_be_bytes());
        bytes[8..].copy_from_slice(&nanoseconds.to_be_bytes());
        Self(bytes)
    }

    /// A timestamp as a peer sent it.
    pub(super) const fn received(bytes: [u8; TIMESTAMP_SIZE]) -> Self {
        Self(bytes)
    }

    /// The bytes on the wire.
    pub const fn as_bytes(&self) -> &[u8; TIMESTAMP_SIZE] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unix_epoch_is_ten_seconds_past_the_tai64_label_of_1970() {
        let epoch = Tai64n::from_unix(Duration::ZERO);
        assert_eq!(epoch.0, [0x40, 0, 0, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0]);
    }

    #[test]
    fn timestamps_order_as_time_does_and_hide_the_low_24_bits_of_the_nanoseconds() {
        let at = |seconds, nanos| Tai64n::from_unix(Duration::new(seconds, nanos));
        assert!(at(0xff, 999_999_999) < at(0x100, 0));
        assert!(at(7, 0x00ff_ffff) < at(7, 0x0100_0000));
        assert_eq!(at(7, 0x0100_0000), at(7, 0x01ff_ffff));
        assert_eq!(at(7, 0x1234_5678).0[8..], [0x12, 0, 0, 0]);
    }

    #[test]
    fn initiations_that_are_not_too_frequent_have_different_timestamps() {
        let interval = super::super::MIN_INITIATION_INTERVAL;
        assert!(interval.as_nanos() > u128::from(WHITENED));
        let at = Duration::new(1_800_000_000, 0);
        assert!(Tai64n::from_unix(at) < Tai64n::from_unix(at + interval));
    }

    #[test]
    fn clock_at_the_end_of_time_does_not_panic() {
        let end = Tai64n::from_unix(Duration::MAX);
        assert!(end > Tai64n::from_unix(Duration::from_secs(u64::MAX / 4)));
    }
}
