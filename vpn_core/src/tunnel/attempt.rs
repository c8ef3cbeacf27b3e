//! Our own handshake in flight.

use super::{
    IndexLease,
    timers::{FINISH_REPEAT, jittered},
};
use crate::{
    base::ReceiverIndex,
    handshake::{hybrid, wireguard},
    session::REKEY_TIMEOUT,
    wire::hybrid::Finish,
};
use rand_core::CryptoRng;
use std::time::{Duration, Instant};

/// A row of inits that had no answer so far; ends with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// When the first was sent.
    pub since: Instant,
    /// How many were sent.
    pub inits: u32,
    /// Whether the last one was answered, but the finish was not: the peer does not accept us.
    pub refused: bool,
}

/// The current handshake of such a row.
#[derive(Debug)]
pub(super) struct Attempt {
    /// When its init was sent.
    pub(super) begun: Instant,
    pub(super) phase: Phase,
}

#[derive(Debug)]
pub(super) enum Phase {
    /// Init sent.
    AwaitResponse { state: Initiation, lease: IndexLease, retry_at: Instant },
    /// Finish sent; the session is in the `next` slot until something authentic arrives on it.
    AwaitConfirmation(Confirmation),
}

/// An initiator's state.
#[derive(Debug)]
pub(super) enum Initiation {
    Hybrid(Box<hybrid::Initiation>),
    Wireguard(Box<wireguard::Initiation>),
}

/// The repetition of a finish.
#[derive(Debug)]
pub(super) struct Confirmation {
    pub(super) finish: Box<Finish>,
    repeat_at: Instant,
    pause: Duration,
    give_up_at: Instant,
}

impl Confirmation {
    pub(super) fn new(finish: Box<Finish>, rng: &mut dyn CryptoRng, now: Instant) -> Self {
        Self {
            finish,
            repeat_at: now + jittered(FINISH_REPEAT, rng),
            pause: FINISH_REPEAT,
            give_up_at: now + REKEY_TIMEOUT,
        }
    }

    /// Whether the finish went unconfirmed for too long (protocol.md 6.1).
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.give_up_at
    }

    /// Whether the finish is to be sent again now.
    pub(super) fn take_repeat(&mut self, rng: &mut dyn CryptoRng, now: Instant) -> bool {
        if now < self.repeat_at {
            return false;
        }
        self.pause *= 2;
        self.repeat_at = now + jittered(self.pause, rng);
        true
    }

    pub(super) fn next_timeout(&self) -> Instant {
        self.repeat_at.min(self.give_up_at)
    }
}

impl Attempt {
    /// Whether a hybrid response to `index` is waited for.
    pub(super) fn awaits_hybrid(&self, index: ReceiverIndex) -> bool {
        matches!(&self.phase, Phase::AwaitResponse { state: Initiation::Hybrid(_), lease, .. } if lease.index() == index)
    }

    /// Whether a WireGuard response to `index` is waited for.
    pub(super) fn awaits_wireguard(&self, index: ReceiverIndex) -> bool {
        matches!(&self.phase, Phase::AwaitResponse { state: Initiation::Wireguard(_), lease, .. } if lease.index() == index)
    }

    /// Whether responses to this WireGuard initiation are being forged.
    pub(super) fn is_doubtful(&self) -> bool {
        matches!(&self.phase, Phase::AwaitResponse { state: Initiation::Wireguard(state), .. } if state.is_doubtful())
    }

    pub(super) fn next_timeout(&self) -> Instant {
        match &self.phase {
            Phase::AwaitResponse { retry_at, .. } => *retry_at,
            Phase::AwaitConfirmation(confirmation) => confirmation.next_timeout(),
        }
    }
}
