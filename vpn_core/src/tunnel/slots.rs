//! The keypairs of one peer: previous, current, next (protocol.md 8.1).

use super::IndexLease;
use crate::{
    base::ReceiverIndex,
    handshake::Role,
    session::{Keypair, REJECT_AFTER_TIME, REKEY_TIMEOUT},
    symmetric::Hash,
};
use std::{sync::Arc, time::Instant};

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
    /// As responder: hash of the finish that made it, to recognise its repetitions.
    pub(super) finish_hash: Option<Hash>,
}

/// Sessions by their place. All of them open what arrives; `current` (or `next`, see
/// [`Slots::sending`]) seals.
#[derive(Debug, Default)]
pub(super) struct Slots {
    pub(super) previous: Option<Session>,
    pub(super) current: Option<Session>,
    /// As initiator: made, not yet confirmed.
    pub(super) next: Option<Session>,
}

impl Slots {
    /// Installs a session that both ends have. `we_are_lower` compares the public keys.
    pub(super) fn install(&mut self, session: Session, we_are_lower: bool) {
        match self.current.take() {
            Some(current) if keeps_sending(&current, &session, we_are_lower) => {
                self.current = Some(current);
                self.previous = Some(session);
            }
            older => {
                self.previous = older.or_else(|| self.previous.take());
                self.current = Some(session);
            }
        }
    }

    /// The keypair to send with: the current one; or, when there is none, the unconfirmed one.
    pub(super) fn sending(&self, now: Instant) -> Option<&Session> {
        let usable = |session: &&Session| !session.keypair.is_expired(now);
        self.current.as_ref().filter(usable).or_else(|| self.next.as_ref().filter(usable))
    }

    pub(super) fn find(&self, index: ReceiverIndex) -> Option<&Session> {
        self.all().find(|session| session.lease.index() == index)
    }

    /// Drops what has expired; tells whether anything was.
    pub(super) fn expire(&mut self, now: Instant) -> bool {
        let mut any = false;
        for slot in [&mut self.previous, &mut self.current, &mut self.next] {
            any |= slot.take_if(|session| session.keypair.is_expired(now)).is_some();
        }
        any
    }

    /// When the next one expires.
    pub(super) fn expires_at(&self) -> Option<Instant> {
        self.all().map(|session| session.keypair.created() + REJECT_AFTER_TIME).min()
    }

    fn all(&self) -> impl Iterator<Item = &Session> {
        [&self.previous, &self.current, &self.next].into_iter().flatten()
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
