//! Layer 0: the small types that everything else is made of.

mod atomic_time;
mod drops;
mod endpoint;
mod index;
mod key_text;
mod secret;
mod text;
mod time;

pub use atomic_time::{AtomicTime, Epoch, WakeTime};
pub use drops::{DropCounters, DropReason};
pub use endpoint::Endpoint;
pub use index::{PeerId, ReceiverIndex};
pub use key_text::{KeyTextError, decode_key, encode_key};
pub use secret::SecretBytes;
pub use text::{TextError, decode_text};
pub use time::since_unix_epoch;

/// What [`atomic_time`] is made of.
mod atomic {
    pub(super) use core::sync::atomic::{AtomicU64, Ordering, fence};
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

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
        assert!(!cell.clear_if(epoch, now), "it is another one by now");
        assert!(cell.clear_if(epoch, now + Duration::from_secs(2)));
        assert_eq!(cell.get(epoch), None);
        cell.set(epoch, now);
        cell.clear();
        assert_eq!(cell.get(epoch), None);
    }
}
