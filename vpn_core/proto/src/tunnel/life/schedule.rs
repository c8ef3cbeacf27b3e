//! What time does to a peer (protocol.md 8): when to look at it next, and what is then due.

use super::{Context, Tunnel};
use crate::{
    base::DropReason,
    session::KEEPALIVE_TIMEOUT,
    tunnel::{
        Event, NoAnswer, Unanswered,
        attempt::{Attempt, Phase, take_repetition},
        timers::{DEAD_PEER_TIME, REKEY_ATTEMPT_TIME, init_pause},
    },
    wire::icmp::IcmpError,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use zerocopy::IntoBytes as _;

/// Inits in a row without an answer that make a silent peer: one may be lost.
const INITS_OF_SILENCE: u32 = 2;

impl Tunnel {
    /// The earliest of the timers. Computed from marks that the packet path moves, so it may turn out to be early; it is
    /// never late.
    fn poll_timeout(&self) -> Option<Instant> {
        let marks = &self.plane.marks;
        let epoch = self.plane.epoch();
        let persistent = self.persistent_keepalive();
        let next = [
            self.slots.expires_at(),
            self.attempt.as_ref().map(Attempt::next_timeout),
            self.begin_at,
            self.path_timeout(),
            self.doubt_timeout(),
            marks.unanswered.get(epoch).map(|at| at + DEAD_PEER_TIME),
            marks.unacknowledged.get(epoch).map(|at| at + KEEPALIVE_TIMEOUT),
            persistent.and_then(|interval| marks.last_traffic.get(epoch).map(|at| at + interval)),
        ];
        next.into_iter().flatten().min()
    }

    /// When [`Tunnel::handle_timeout`] wants to be called, and tells the packet path, which asks for attention when a timer
    /// that it starts ends sooner.
    pub fn publish_timeout(&self) -> Option<Instant> {
        self.plane.marks.wake.publish(self.plane.epoch(), || self.poll_timeout())
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, cx: &mut Context<'_>) {
        if self.slots.expire(cx.now) {
            self.update_sending(cx.now);
            self.start(cx); // One to stay connected with is connected again.
        }
        self.handle_attention(cx);
        self.continue_attempt(cx);
        if self.begin_at.is_some_and(|at| cx.now >= at) {
            self.begin_at = None;
            self.send_init(cx);
        }
        self.notice_silence(cx);
        self.keep_alive(cx);
        self.ask_in_doubt(cx);
    }

    fn continue_attempt(&mut self, cx: &mut Context<'_>) {
        let Some(attempt) = &mut self.attempt else { return };
        if cx.now < attempt.next_timeout() {
            return;
        }
        match &mut attempt.phase {
            Phase::AwaitResponse { pace, .. } if cx.now < pace.retry_at => {
                if take_repetition(&mut pace.repetition, cx.rng, cx.now) {
                    pace.unsent = 0;
                    self.repeat_init(cx);
                }
            }
            Phase::AwaitResponse { .. } => self.give_attempt_up(cx),
            Phase::AwaitConfirmation(confirmation) if confirmation.is_over(cx.now) => {
                self.slots.next = None;
                self.update_sending(cx.now);
                self.give_attempt_up(cx);
            }
            Phase::AwaitConfirmation(confirmation) => {
                if confirmation.take_repeat(cx.rng, cx.now)
                    && let Some(endpoint) = self.plane.endpoint()
                {
                    cx.send(endpoint, confirmation.finish.as_bytes().to_vec());
                }
            }
        }
    }

    /// The attempt came to nothing: another init, unless the peer made a session with us meanwhile, or patience ends.
    fn give_attempt_up(&mut self, cx: &mut Context<'_>) {
        let Some(attempt) = self.attempt.take() else { return };
        if self.slots.current.as_ref().is_some_and(|session| session.completed >= attempt.begun) {
            return;
        }
        let refused = matches!(attempt.phase, Phase::AwaitConfirmation(_));
        let first = Unanswered { since: attempt.begun, inits: 0, cause: NoAnswer::Silence };
        let row = self.unanswered.get_or_insert(first);
        if refused {
            row.cause = NoAnswer::NotAccepted;
        } else if row.cause == NoAnswer::NotAccepted {
            row.cause = NoAnswer::Silence;
        }
        let unanswered = *row;
        let peer = self.plane.id();
        if !self.settings.stay_connected && cx.now >= unanswered.since + REKEY_ATTEMPT_TIME {
            self.unanswered = None;
            let dropped = self.staging.drain(cx.staging);
            cx.drops.count_many(DropReason::Staging, dropped.len() as u64);
            for packet in dropped {
                cx.undelivered.push(packet, IcmpError::Unreachable);
            }
            cx.events.push_back(Event::GaveUp { peer });
            return;
        }
        cx.events.push_back(Event::HandshakeUnanswered { peer, unanswered });
        let is_asked = self.is_doubtful || unanswered.inits >= INITS_OF_SILENCE;
        if is_asked && !self.has_heard_since(unanswered.since) {
            self.note_silence(cx);
        }
        if !refused && !self.is_live(cx.now) {
            self.try_next_endpoint(cx.inner);
        }
        // A peer that answers inits but never confirms (it does not know us) gets no more of them than a silent one.
        let earliest = attempt.begun + init_pause(attempt.begun.saturating_duration_since(unanswered.since));
        if cx.now < earliest {
            self.begin_at = Some(earliest);
        } else {
            self.send_init(cx);
        }
    }

    /// The interval of persistent keepalives; zero means none.
    pub(super) fn persistent_keepalive(&self) -> Option<Duration> {
        self.settings.persistent_keepalive.filter(|interval| !interval.is_zero())
    }

    fn notice_silence(&mut self, cx: &mut Context<'_>) {
        let marks = &self.plane.marks;
        let epoch = self.plane.epoch();
        let due = marks.unanswered.get(epoch).filter(|at| cx.now >= *at + DEAD_PEER_TIME);
        // Not if an answer came at this moment and something else was sent after it.
        if !due.is_some_and(|at| marks.unanswered.clear_if(epoch, at)) {
            return;
        }
        if self.slots.current.is_none() {
            return; // The handshake under way has timers of its own.
        }
        let is_asked = self.attempt.is_some() || self.begin_at.is_some();
        if is_asked && self.is_silent() {
            return; // So has that which its silence began. A new one in its place would be an init that nobody hears of.
        }
        self.cut_sessions.note_silence(cx.now);
        self.note_silence(cx);
        self.probe(cx);
    }

    fn keep_alive(&mut self, cx: &mut Context<'_>) {
        let marks = &self.plane.marks;
        let epoch = self.plane.epoch();
        let due = |mark: Option<Instant>, pause| mark.is_some_and(|at| cx.now >= at + pause);
        let passive = due(marks.unacknowledged.get(epoch), KEEPALIVE_TIMEOUT);
        let interval = self.persistent_keepalive();
        let persistent = interval.is_some_and(|interval| due(marks.last_traffic.get(epoch), interval));
        if !passive && !persistent {
            return;
        }
        // Whatever comes of it, the next one is a whole pause away.
        marks.unacknowledged.clear();
        marks.last_traffic.set(epoch, cx.now);
        match (self.slots.sending(cx.now), self.plane.endpoint()) {
            (Some(session), Some(endpoint)) => {
                let keypair = Arc::clone(&session.keypair);
                if persistent && self.probed_over().is_some() {
                    self.ask(&keypair, cx);
                } else {
                    self.send_empty(&keypair, endpoint, cx);
                }
                if keypair.take_rekey_on_send(cx.now) {
                    self.want_handshake(cx);
                }
            }
            (None, Some(_)) if persistent => self.want_handshake(cx),
            (None, Some(_)) | (_, None) => {}
        }
    }
}
