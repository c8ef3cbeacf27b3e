//! The keypairs of one peer: previous, current, next (protocol.md 8.1).

use super::IndexLease;
use crate::{
    base::ReceiverIndex,
    handshake::Role,
    session::{Keypair, REJECT_AFTER_TIME, REKEY_TIMEOUT},
    symmetric::Hash,
};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

/// Sessions kept for receiving after newer ones. Crossing handshakes leave two of one age, and so does the rekey of both,
/// which cross again: while one end has done that, the other still sends on the older of the first two.
const MAX_PREVIOUS: usize = 3;

/// A completed handshake's keypair and what control knows of it.
#[derive(Debug)]
pub struct Session {
    pub(super) keypair: Arc<Keypair>,
    /// Frees the index, and thereby the keypair, when the session is dropped.
    pub(super) lease: IndexLease,
    /// When the handshake's first message was sent or received.
    pub(super) begun: Instant,
    /// When the session became usable in both directions.
    pub(super) completed: Instant,
    /// How long this host was suspended since: time that the clock behind `Instant` does not count.
    pub(super) slept: Duration,
    /// As responder: hash of the finish that made it, to recognise its repetitions.
    pub(super) finish_hash: Option<Hash>,
}

impl Session {
    /// Whether it neither seals nor opens any more.
    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.keypair.is_expired(now + self.slept)
    }

    fn expires_at(&self) -> Instant {
        let left = REJECT_AFTER_TIME.saturating_sub(self.slept);
        self.keypair.created() + left
    }
}

/// Sessions by their place. All of them open what arrives; `current` (or `next`, see
/// [`Slots::sending`]) seals.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Newest first.
    pub(super) previous: VecDeque<Session>,
    pub(super) current: Option<Session>,
    /// Made, not yet confirmed by something that arrived on it: as initiator of a hybrid handshake, as responder of a
    /// WireGuard one.
    pub(super) next: Option<Session>,
}

impl Slots {
    /// Installs a session that both ends have. `we_are_lower` compares the public keys, where that decides between
    /// crossing handshakes; otherwise the newest session serves.
    pub(super) fn install(&mut self, session: Session, we_are_lower: Option<bool>) {
        if we_are_lower.is_none()
            && let Some(unconfirmed) = self.next.take()
        {
            self.previous.push_front(unconfirmed); // WireGuard's initiator has overtaken what it had answered.
        }
        match self.current.take() {
            Some(current) if we_are_lower.is_some_and(|lower| keeps_sending(&current, &session, lower)) => {
                self.current = Some(current);
                self.previous.push_front(session);
            }
            older => {
                if let Some(older) = older {
                    self.previous.push_front(older);
                }
                self.current = Some(session);
            }
        }
        self.previous.truncate(MAX_PREVIOUS);
    }

    /// Seals no longer with a session that we initiated and that is not confirmed. It still opens: the peer may have had the
    /// finish, and sends on it already. (What a WireGuard peer has initiated is the peer's to confirm, from whatever path.)
    pub(super) fn retire_unconfirmed(&mut self) {
        if let Some(session) = self.next.take_if(|session| session.keypair.role() == Role::Initiator) {
            self.previous.push_front(session);
            self.previous.truncate(MAX_PREVIOUS);
        }
    }

    /// The keypair to send with: the current one; or, when there is none, the unconfirmed one of a handshake that we
    /// initiated. What a WireGuard responder holds is not to be used before the initiator has used it.
    pub(super) fn sending(&self, now: Instant) -> Option<&Session> {
        let usable = |session: &&Session| !session.is_expired(now);
        let initiated = |session: &&Session| session.keypair.role() == Role::Initiator;
        let next = || self.next.as_ref().filter(initiated).filter(usable);
        self.current.as_ref().filter(usable).or_else(next)
    }

    pub(super) fn find(&self, index: ReceiverIndex) -> Option<&Session> {
        self.all().find(|session| session.lease.index() == index)
    }

    /// Whether `keypair` is that of a session here.
    pub(super) fn holds(&self, keypair: &Arc<Keypair>) -> bool {
        self.all().any(|session| Arc::ptr_eq(&session.keypair, keypair))
    }

    /// Drops what has expired; tells whether anything was.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let before = self.all().count();
        self.previous.retain(|session| !session.is_expired(now));
        for slot in [&mut self.current, &mut self.next] {
            slot.take_if(|session| session.is_expired(now));
        }
        self.all().count() < before
    }

    /// When the next one expires.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        self.all().map(Session::expires_at).min()
    }

    /// This host was suspended for `slept`.
    pub(super) fn grow_older(&mut self, slept: Duration) {
        let Self { previous, current, next } = self;
        for session in previous.iter_mut().chain(current).chain(next) {
            session.slept += slept;
        }
    }

    fn all(&self) -> impl Iterator<Item = &Session> {
        self.previous.iter().chain(&self.current).chain(&self.next)
    }

    /// Whether a session that no newer one has replaced wants to be. After crossing handshakes that may be one that
    /// only the peer sends on: reordering can make the ends disagree on which is the current one.
    pub(super) fn wants_rekey(&self) -> bool {
        // Of an unconfirmed one nobody knows whether it ever serves.
        let confirmed = self.all().filter(|session| session.keypair.is_confirmed());
        let newest = confirmed.map(|session| session.keypair.created()).max();
        self.all().any(|session| {
            let replaced = newest > Some(session.keypair.created() + REKEY_TIMEOUT);
            session.keypair.wants_rekey() && !replaced
        })
    }
}

/// Simultaneous initiation (protocol.md 6.8): of two handshakes that overlapped, both ends send on the one that the
/// lower public key initiated. Handshakes that did not overlap are a restart or a rekey: there the newer one serves.
fn keeps_sending(current: &Session, new: &Session, we_are_lower: bool) -> bool {
    let crossed = current.keypair.role() != new.keypair.role()
        && new.begun < current.completed
        && new.completed.saturating_duration_since(current.completed) <= REKEY_TIMEOUT;
    let lower_initiated_current = (current.keypair.role() == Role::Initiator) == we_are_lower;
    crossed && lower_initiated_current
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::SecretBytes,
        handshake::{Agreement, Protocol},
        session::REKEY_AFTER_TIME,
        symmetric::Suite,
        tunnel::{IndexUse, SessionTable},
        wire::hybrid::ParametersBytes,
    };
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};
    /// Times are milliseconds after `base`.
    fn session(role: Role, base: Instant, begun: u64, completed: u64) -> Session {
        let table = Arc::new(SessionTable::default());
        let lease = table.lease(IndexUse::HalfOpen, &mut ChaCha8Rng::seed_from_u64(begun));
        let completed = base + Duration::from_millis(completed);
        let agreement = Agreement {
            protocol: Protocol::Hybrid,
            role,
            local_index: lease.index(),
            remote_index: ReceiverIndex::new(1),
            sending: SecretBytes::new([1; 32]),
            receiving: SecretBytes::new([2; 32]),
            suite: Suite::ChaCha20Poly1305,
            parameters: ParametersBytes::default(),
        };
        let keypair = Arc::new(Keypair::new(&agreement, REKEY_AFTER_TIME, completed));
        let begun = base + Duration::from_millis(begun);
        Session { keypair, lease, begun, completed, slept: Duration::ZERO, finish_hash: None }
    }

    #[test]
    fn older_session_serves_only_after_handshakes_that_crossed_and_only_the_lower_keys_one() {
        use Role::{Initiator, Responder};
        let base = Instant::now();
        for (own, other, we_are_lower) in [(Initiator, Responder, true), (Responder, Initiator, false)] {
            for (why, role, begun, completed, lower, keeps) in [
                ("crossed", other, 50, 150, we_are_lower, true),
                ("the other key is lower", other, 50, 150, !we_are_lower, false),
                ("the same role", own, 50, 150, we_are_lower, false),
                ("overlapped by a moment", other, 99, 150, we_are_lower, true),
                ("begun after the first was completed: a restart", other, 100, 150, we_are_lower, false),
                ("5 s apart", other, 50, 5100, we_are_lower, true),
                ("more than 5 s apart", other, 50, 5101, we_are_lower, false),
            ] {
                let mut slots = Slots::default();
                slots.install(session(own, base, 0, 100), Some(we_are_lower));
                slots.install(session(role, base, begun, completed), Some(lower));
                let serves_since = slots.current.as_ref().expect("installed").begun;
                assert_eq!(serves_since == base, keeps, "{why}");
                assert_eq!(slots.previous.len(), 1, "both open what arrives");
            }
        }
    }

    #[test]
    fn unconfirmed_session_seals_only_when_there_is_no_current_one_that_is_valid() {
        let base = Instant::now();
        let slots = Slots {
            current: Some(session(Role::Responder, base, 0, 0)),
            next: Some(session(Role::Initiator, base, 1000, 1000)),
            ..Slots::default()
        };
        let begun_at = |now| slots.sending(now).map(|session| session.begun - base);
        assert_eq!(begun_at(base + Duration::from_secs(2)), Some(Duration::ZERO));
        assert_eq!(begun_at(base + REJECT_AFTER_TIME), Some(Duration::from_secs(1)));
        assert_eq!(begun_at(base + REJECT_AFTER_TIME + Duration::from_secs(1)), None);
    }
}
