//! Asking whether a peer can be reached, when there is reason for doubt: this host's network changed, it slept, the peer
//! is silent, an endpoint cannot be sent to (protocol.md 8.5).
//!
//! What is asked with is a handshake's init: its answer proves the path in both directions, and replaces keys that the
//! peer may have lost. The same init is sent again after a quarter of a second, half a second, and so on: the first packet
//! after a change is often lost, and an answer to any of them serves, however long the path is.

use super::{Context, Tunnel};
use crate::{
    base::Endpoint,
    tunnel::{
        Event, IndexUse, InnerNetworks, NoAnswer, Unanswered,
        attempt::{Attempt, Initiation, Pace, Phase, Repetition},
        timers::{FIRST_RENEWAL, FIRST_REPEAT, init_pause, jitter},
    },
};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use zerocopy::IntoBytes as _;

impl Tunnel {
    /// The path to the peer changed (roaming of this host): probes it at once, however long the last pause between inits
    /// has become. A peer that it is not for us to connect to learns our new address from an empty packet.
    pub fn handle_network_change(&mut self, cx: &mut Context<'_>) {
        self.forget_local_address();
        self.path.doubt(); // Perhaps another one, even where the endpoint is the same.
        if !self.settings.stay_connected {
            if let (Some(session), Some(endpoint)) = (self.slots.sending(cx.now), self.plane.endpoint()) {
                let keypair = Arc::clone(&session.keypair);
                self.send_empty(&keypair, endpoint, cx);
            }
            self.follow_path(cx);
            return;
        }
        // A finish went out over the path that was.
        self.attempt.take_if(|attempt| {
            matches!(attempt.phase, Phase::AwaitConfirmation(_)) || !attempt.is_fresh(cx.now)
        });
        self.slots.retire_unconfirmed();
        self.update_sending(cx.now);
        self.begin_at = None;
        self.last_init = None;
        let under_way = self.attempt.as_ref();
        self.unanswered = under_way.map(|_| Unanswered { since: cx.now, inits: 1, cause: NoAnswer::Silence });
        self.is_doubtful = true;
        self.next_endpoint = 0; // The most preferred is asked first.
        self.probe(cx);
    }

    /// This host was suspended for `slept`, in which its own clock stood still. Sessions are older by that: those past
    /// [`crate::session::REJECT_AFTER_TIME`] are erased.
    pub fn handle_sleep(&mut self, slept: Duration, cx: &mut Context<'_>) {
        self.slots.grow_older(slept);
        if self.slots.expire(cx.now) {
            self.update_sending(cx.now);
        }
        self.handle_network_change(cx);
    }

    /// Our socket has another port now: a peer that we connect to and that is silent is asked from there. Its row of
    /// unanswered inits, and with it the pauses between them, go on.
    pub fn handle_rebind(&mut self, cx: &mut Context<'_>) {
        if self.settings.stay_connected && !self.is_live(cx.now) {
            self.probe(cx);
        }
    }

    /// The system could not send our init to `to`, for want of a route or a source address: the next endpoint has its turn
    /// at once. Each of them once, then not before the init is repeated anyway. While there is doubt the endpoint in use keeps its
    /// place, because another was asked beside it.
    pub fn handle_unsent(&mut self, to: SocketAddr, cx: &mut Context<'_>) {
        let endpoints = self.settings.endpoints.len();
        let is_tried = self.plane.endpoint().is_some_and(|endpoint| endpoint.remote == to);
        let Some(Attempt { phase: Phase::AwaitResponse { pace, .. }, .. }) = &mut self.attempt else {
            return;
        };
        if pace.unsent + 1 >= endpoints {
            return;
        }
        match pace.beside.take_if(|(beside, _)| *beside == to) {
            Some((_, init)) => {
                pace.unsent += 1;
                self.ask_beside(init, cx);
            }
            None if is_tried && pace.beside.is_none() => {
                pace.unsent += 1;
                self.try_next_endpoint(cx.inner);
                self.send_init_again(cx);
            }
            None => {}
        }
    }

    /// This host does not let our init out. What else follows is the same as for one that could not be sent.
    pub fn handle_forbidden(&mut self) {
        if let Some(row) = &mut self.unanswered {
            row.cause = NoAnswer::Forbidden;
        }
    }

    /// Whether packets to the peer arrive, as far as we know: there is a confirmed session, and no doubt about it.
    pub(super) fn is_live(&self, now: Instant) -> bool {
        self.slots.current.as_ref().is_some_and(|session| !session.is_expired(now)) && !self.is_silent()
    }

    /// Whether the peer was found silent, and nothing authentic was received since.
    pub(super) fn is_silent(&self) -> bool {
        self.silent_since.is_some_and(|since| !self.has_heard_since(since))
    }

    pub(super) fn has_heard_since(&self, since: Instant) -> bool {
        self.plane.marks.last_received.get(self.plane.epoch()).is_some_and(|heard| heard >= since)
    }

    /// The peer was asked, and is silent: said once for one silence. The search for it begins, at full pace.
    pub(super) fn note_silence(&mut self, cx: &mut Context<'_>) {
        if self.slots.current.is_some() && !self.is_silent() {
            self.silent_since = Some(cx.now);
            self.unanswered = None;
            self.forget_local_address();
            cx.events.push_back(Event::PeerDead { peer: self.plane.id() });
        }
    }

    /// Wants an answer from the peer soon: to the init under way, or to a new one.
    pub(super) fn probe(&mut self, cx: &mut Context<'_>) {
        match self.attempt.as_mut().filter(|attempt| attempt.is_fresh(cx.now)) {
            Some(Attempt { phase: Phase::AwaitResponse { state, pace, .. }, .. }) => {
                // A response to what was sent already may be on its way: it stays welcome.
                pace.repetition = Some(Repetition::after(first_repeat(state), cx.rng, cx.now));
                pace.unsent = 0;
                pace.with_cookie = None;
                self.send_init_again(cx);
            }
            Some(Attempt { phase: Phase::AwaitConfirmation(_), .. }) => {} // Its finish is repeated as often.
            None => {
                self.attempt = None;
                self.want_handshake(cx);
            }
        }
    }

    /// The pace of an init that is sent now, as the last of `row`.
    pub(super) fn pace(&self, state: &Initiation, row: Unanswered, cx: &mut Context<'_>) -> Pace {
        let elapsed = cx.now.saturating_duration_since(row.since);
        let retry_at = cx.now + init_pause(elapsed) + jitter(cx.rng);
        // Urgent are the first rounds, enough to hear of every endpoint; then it is a matter of patience.
        let is_first =
            usize::try_from(row.inits).is_ok_and(|inits| inits <= self.settings.endpoints.len().max(1));
        let is_urgent = is_first && (self.is_doubtful || !self.is_live(cx.now));
        let repetition = is_urgent.then(|| Repetition::after(first_repeat(state), cx.rng, cx.now));
        Pace { retry_at, repetition, unsent: 0, beside: None, with_cookie: None }
    }

    /// Returns true if the peer may be elsewhere by now: after a change of network, until an answer or the end of the first init. Its
    /// endpoint stays in use meanwhile, and the configured ones are asked as well (protocol.md 8.5.6).
    pub(super) fn is_in_doubt(&self) -> bool {
        self.is_doubtful && !self.is_silent() && self.unanswered.is_none_or(|row| row.inits <= 1)
    }

    /// The answer to our init is late: sends it again, to the next endpoint unless the session in use serves on this one.
    pub(super) fn repeat_init(&mut self, cx: &mut Context<'_>) {
        if !self.is_live(cx.now) && !self.is_in_doubt() {
            self.try_next_endpoint(cx.inner);
        }
        self.send_init_again(cx);
    }

    fn send_init_again(&mut self, cx: &mut Context<'_>) {
        let Some(endpoint) = self.plane.endpoint() else { return };
        let Some(Attempt { phase: Phase::AwaitResponse { state, pace, .. }, .. }) = &mut self.attempt else {
            return;
        };
        pace.beside = None;
        let message = match state {
            // The very same bytes: its responder answers them once (protocol.md 6.3.4), and each endpoint is one.
            Initiation::Hybrid(state) => Some(state.init().as_bytes().to_vec()),
            // Its timestamp must be newer than that of the last, so it is a new one.
            Initiation::Wireguard(_) => self.renew_wireguard(cx),
        };
        let Some(message) = message else { return };
        self.send_init_to(endpoint, message.clone(), cx);
        if self.is_in_doubt() {
            self.ask_beside(message, cx);
        }
    }

    /// Sends `init` to the next configured endpoint, too, if that is another one than the endpoint in use.
    pub(super) fn ask_beside(&mut self, init: Vec<u8>, cx: &mut Context<'_>) {
        let known = self.plane.endpoint().map(|endpoint| endpoint.remote);
        let Some(other) = self.take_configured(|endpoint| {
            !cx.inner.contains(endpoint.ip()) && known != Some(Endpoint::to(endpoint).remote)
        }) else {
            return;
        };
        self.send_init_to(other, init.clone(), cx);
        if let Some(Attempt { phase: Phase::AwaitResponse { pace, .. }, .. }) = &mut self.attempt {
            pace.beside = Some((other.remote, init));
        }
    }

    /// Sends `init`, or the same one with a cookie where `to` has asked for that.
    fn send_init_to(&self, to: Endpoint, init: Vec<u8>, cx: &mut Context<'_>) {
        let with_cookie = match &self.attempt {
            Some(Attempt { phase: Phase::AwaitResponse { pace, .. }, .. }) => pace.with_cookie.as_ref(),
            Some(Attempt { phase: Phase::AwaitConfirmation(_), .. }) | None => None,
        };
        let with_cookie = with_cookie.filter(|(issuer, _)| *issuer == to.remote);
        self.send_handshake(to, with_cookie.map_or(init, |(_, init)| init.as_bytes().to_vec()), cx);
    }

    /// Puts a new initiation in the place of the one under way.
    fn renew_wireguard(&mut self, cx: &mut Context<'_>) -> Option<Vec<u8>> {
        let renewed = cx.table.lease(IndexUse::Initiation(self.plane.id()), cx.rng);
        let (fresh, initiation) = self.begin_wireguard(renewed.index(), cx)?;
        if let Some(Attempt { phase: Phase::AwaitResponse { state, lease, .. }, .. }) = &mut self.attempt {
            (*state, *lease) = (fresh, renewed);
        }
        Some(initiation)
    }

    /// Sends to the next configured endpoint from now on, if there is one outside the tunnel.
    pub(super) fn try_next_endpoint(&mut self, inner: &InnerNetworks) {
        if let Some(endpoint) = self.take_configured(|endpoint| !inner.contains(endpoint.ip())) {
            self.plane.set_endpoint(Some(endpoint));
        }
    }

    /// The next configured endpoint that is wanted, counted around; the one behind it has its turn then.
    fn take_configured(&mut self, is_wanted: impl Fn(SocketAddr) -> bool) -> Option<Endpoint> {
        let endpoints = &self.settings.endpoints;
        let mut turns = (0..endpoints.len()).map(|turn| (self.next_endpoint + turn) % endpoints.len());
        let at = turns.find(|at| is_wanted(endpoints[*at]))?;
        let endpoint = Endpoint::to(endpoints[at]);
        self.next_endpoint = (at + 1) % endpoints.len();
        Some(endpoint)
    }

    /// The address that datagrams used to arrive on may be gone: lets the kernel choose again.
    fn forget_local_address(&self) {
        self.plane.forget_local_address();
    }
}

fn first_repeat(state: &Initiation) -> Duration {
    match state {
        Initiation::Hybrid(_) => FIRST_REPEAT,
        Initiation::Wireguard(_) => FIRST_RENEWAL,
    }
}
