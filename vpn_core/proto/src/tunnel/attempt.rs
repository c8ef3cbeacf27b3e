//! Our own handshake in flight.

use super::{
    IndexLease,
    timers::{FIRST_REPEAT, LAST_REPEAT, jittered},
};
use crate::{
    base::ReceiverIndex,
    handshake::{hybrid, wireguard},
    session::REKEY_TIMEOUT,
    wire::hybrid::{Finish, Init},
};
use rand_core::CryptoRng;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// A row of inits that had no answer so far; ends with a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unanswered {
    /// When the first was sent.
    pub since: Instant,
    /// How many were made; one that was sent several times is one.
    pub inits: u32,
    /// What is known of why.
    pub cause: NoAnswer,
}

/// Why inits have no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nothing is known.
    Silence,
    /// The last one was answered, but the finish was not: the peer does not accept us.
    NotAccepted,
    /// This host did not let the last one out: a rule of its firewall, or a route that prohibits.
    Forbidden,
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
    AwaitResponse { state: Initiation, lease: IndexLease, pace: Pace },
    /// Finish sent; the session is in the `next` slot until something authentic arrives on it.
    AwaitConfirmation(Confirmation),
}

/// An initiator's state.
#[derive(Debug)]
pub(super) enum Initiation {
    Hybrid(Box<hybrid::Initiation>),
    Wireguard(Box<wireguard::Initiation>),
}

/// What follows an init that stays without a response.
#[derive(Debug)]
pub(super) struct Pace {
    /// When another handshake is begun.
    pub(super) retry_at: Instant,
    /// When this one's init is sent again, where its answer is urgent.
    pub(super) repetition: Option<Repetition>,
    /// Endpoints in a row that the system could not even send it to.
    pub(super) unsent: usize,
    /// The configured endpoint that was asked last beside the one in use, and what it was sent.
    pub(super) beside: Option<(SocketAddr, Vec<u8>)>,
    /// The init with a cookie, and the endpoint whose cookie that is: what is repeated to there. The cookie is for the address
    /// that we had.
    pub(super) with_cookie: Option<(SocketAddr, Box<Init>)>,
}

/// A row of repetitions, each after a pause twice as long as the one before, up to [`LAST_REPEAT`].
#[derive(Debug)]
pub(super) struct Repetition {
    at: Instant,
    pause: Duration,
}

impl Repetition {
    pub(super) fn after(pause: Duration, rng: &mut dyn CryptoRng, now: Instant) -> Self {
        Self { at: now + jittered(pause, rng), pause }
    }

    /// The one after this; `None` when it was the last.
    fn next(&self, rng: &mut dyn CryptoRng, now: Instant) -> Option<Self> {
        let pause = self.pause * 2;
        (pause <= LAST_REPEAT).then(|| Self::after(pause, rng, now))
    }
}

/// Whether the repetition is due; then the next takes its place.
pub(super) fn take_repetition(
    repetition: &mut Option<Repetition>,
    rng: &mut dyn CryptoRng,
    now: Instant,
) -> bool {
    let Some(due) = repetition.take_if(|repetition| now >= repetition.at) else { return false };
    *repetition = due.next(rng, now);
    true
}

/// The repetition of a finish.
#[derive(Debug)]
pub(super) struct Confirmation {
    pub(super) finish: Box<Finish>,
    repetition: Option<Repetition>,
    give_up_at: Instant,
}

impl Confirmation {
    pub(super) fn new(finish: Box<Finish>, rng: &mut dyn CryptoRng, now: Instant) -> Self {
        let repetition = Some(Repetition::after(FIRST_REPEAT, rng, now));
        Self { finish, repetition, give_up_at: now + REKEY_TIMEOUT }
    }

    /// Whether the finish went unconfirmed for too long (protocol.md 6.1).
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.give_up_at
    }

    /// Whether the finish is to be sent again now.
    pub(super) fn take_repeat(&mut self, rng: &mut dyn CryptoRng, now: Instant) -> bool {
        take_repetition(&mut self.repetition, rng, now)
    }

    fn next_timeout(&self) -> Instant {
        next_of(self.repetition.as_ref(), self.give_up_at)
    }
}

impl Attempt {
    /// Whether its init may still be sent again: a handshake's secrets live as long as the first pause.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        now < self.begun + REKEY_TIMEOUT
    }

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
            Phase::AwaitResponse { pace, .. } => next_of(pace.repetition.as_ref(), pace.retry_at),
            Phase::AwaitConfirmation(confirmation) => confirmation.next_timeout(),
        }
    }
}

fn next_of(repetition: Option<&Repetition>, end: Instant) -> Instant {
    repetition.map_or(end, |repetition| repetition.at.min(end))
}
