//! Pauses and limits of one peer's life (protocol.md 8); those of a keypair are in [`crate::session`].

use crate::session::{KEEPALIVE_TIMEOUT, REKEY_TIMEOUT};
use rand_core::CryptoRng;
use std::time::Duration;

/// How long an answer to a payload may be missing before a new handshake starts: [`KEEPALIVE_TIMEOUT`], after which
/// a living peer sends at least an empty packet, and one round.
pub const DEAD_PEER_TIME: Duration = KEEPALIVE_TIMEOUT.saturating_add(REKEY_TIMEOUT);
/// How long handshakes are tried at full pace; then a peer that must stay connected backs off and another gives up.
pub const REKEY_ATTEMPT_TIME: Duration = Duration::from_secs(90);
/// The longest pause between inits of a peer that must stay connected.
pub const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// The first pause before a handshake message is repeated; each further one is twice as long.
pub(super) const FIRST_REPEAT: Duration = Duration::from_millis(250);
/// The same for what cannot be repeated and is made anew: an answer to the earlier one is lost by that, so it gets longer.
pub(super) const FIRST_RENEWAL: Duration = Duration::from_secs(1);
/// The longest such pause: what comes after it is the next round's.
pub(super) const LAST_REPEAT: Duration = Duration::from_secs(2);

/// Up to a third of a second, so that peers which lost the same gateway do not return in step.
pub(super) fn jitter(rng: &mut dyn CryptoRng) -> Duration {
    Duration::from_millis(u64::from(rng.next_u32() % 334))
}

/// A pause and up to a quarter of it.
pub(super) fn jittered(pause: Duration, rng: &mut dyn CryptoRng) -> Duration {
    pause + pause.mul_f64(f64::from(rng.next_u32()) / f64::from(u32::MAX) / 4.0)
}

/// The pause after the init that was sent `elapsed` after the first: even at first, then growing to
/// [`MAX_BACKOFF`].
pub(super) fn init_pause(elapsed: Duration) -> Duration {
    if elapsed < REKEY_ATTEMPT_TIME {
        REKEY_TIMEOUT
    } else {
        (REKEY_TIMEOUT + (elapsed.saturating_sub(REKEY_ATTEMPT_TIME)) / 4).min(MAX_BACKOFF)
    }
}
