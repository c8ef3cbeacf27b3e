//! One peer's life as control sees it: what every message, mark and timer does.

mod doubt;
mod hybrid;
mod path;
mod probe;
mod schedule;
mod wireguard;

pub(super) use doubt::ASK_AFTER;

use self::doubt::ShortestProbes;
use super::{
    Context, Event, IndexLease, IndexUse, InnerNetworks, NoAnswer, Outbound, PeerPlane, PeerSettings,
    PeerState, StagedPacket, StagingBudget, Unanswered,
    attempt::{Attempt, Phase},
    duplicate::CutSessions,
    path_mtu::PathMtu,
    slots::{Session, Slots},
    staging::Staging,
};
use crate::{
    base::{DropReason, Endpoint},
    handshake::{Agreement, PeerKey, Protocol, Role, wireguard::RemoteKey},
    session::{Keypair, REKEY_TIMEOUT},
    symmetric::{Hash, Suite},
    wire::{fragment::Fragments, icmp::IcmpError, transport::OVERHEAD},
};
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// The control side of one peer.
#[derive(Debug)]
pub struct Tunnel {
    settings: PeerSettings,
    plane: Arc<PeerPlane>,
    slots: Slots,
    staging: Staging,
    attempt: Option<Attempt>,
    /// When to send the next first init: wanted now, but not sooner than [`REKEY_TIMEOUT`] after the last.
    begin_at: Option<Instant>,
    last_init: Option<Instant>,
    unanswered: Option<Unanswered>,
    /// Whether there is doubt about the path to the peer, beside that of missing answers: until one of them comes.
    is_doubtful: bool,
    /// Which configured endpoint is tried next, counted around.
    next_endpoint: usize,
    /// An endpoint that is not used because it lies inside the tunnel; used again when it no longer does.
    inside_endpoint: Option<SocketAddr>,
    /// When the peer was found silent; over as soon as something authentic is received.
    silent_since: Option<Instant>,
    /// When a keepalive last asked for an answer.
    asked: Option<Instant>,
    last_handshake: Option<Instant>,
    handshakes: u64,
    suite: Suite,
    /// What of a WireGuard peer outlives handshakes; `None` for a hybrid peer, or while we have no WireGuard key.
    wireguard: Option<Box<RemoteKey>>,
    path: PathMtu,
    /// The longest packet that passes whole, in bytes, where longer ones are sent as well.
    lost_beyond: Option<u16>,
    shortest_probes: ShortestProbes,
    cut_sessions: CutSessions,
}

impl Tunnel {
    /// A peer without a session. [`Tunnel::start`] follows.
    pub fn new(settings: PeerSettings, plane: Arc<PeerPlane>) -> Self {
        Self {
            settings,
            plane,
            slots: Slots::default(),
            staging: Staging::default(),
            attempt: None,
            begin_at: None,
            last_init: None,
            unanswered: None,
            is_doubtful: false,
            next_endpoint: 0,
            inside_endpoint: None,
            silent_since: None,
            asked: None,
            last_handshake: None,
            handshakes: 0,
            suite: Suite::ChaCha20Poly1305,
            wireguard: None,
            path: PathMtu::default(),
            lost_beyond: None,
            shortest_probes: ShortestProbes::default(),
            cut_sessions: CutSessions::default(),
        }
    }

    /// Connects, if the peer is one to stay connected with or whose NAT mapping is to be kept alive.
    pub fn start(&mut self, cx: &mut Context<'_>) {
        self.meet_wireguard_key(cx);
        self.leave_inner_endpoint(cx.inner, cx.events);
        self.follow_path(cx);
        if self.persistent_keepalive().is_some() {
            self.plane.marks.last_traffic.set_if_unset(self.plane.epoch(), cx.now);
        }
        let keeps_alive = self.settings.stay_connected || self.persistent_keepalive().is_some();
        // A packet may wait that came when we had no key to begin with.
        if (keeps_alive || !self.staging.is_empty()) && self.slots.sending(cx.now).is_none() {
            self.want_handshake(cx);
        }
    }

    /// Stops: nothing waits, nothing is sealed or opened any more.
    pub fn stop(&mut self, staging: &mut StagingBudget) {
        self.disconnect();
        drop(self.staging.drain(staging));
    }

    /// Forgets sessions and handshakes; the next packet begins anew.
    fn disconnect(&mut self) {
        self.slots = Slots::default();
        self.plane.set_sending(None);
        self.attempt = None;
        self.begin_at = None;
        self.last_init = None;
        self.unanswered = None;
        self.is_doubtful = false;
    }

    /// The side shared with the packet path.
    pub const fn plane(&self) -> &Arc<PeerPlane> {
        &self.plane
    }

    /// What is configured.
    pub const fn settings(&self) -> &PeerSettings {
        &self.settings
    }

    /// Takes new settings for the same public key; sessions go on.
    pub fn set_settings(&mut self, settings: PeerSettings, cx: &mut Context<'_>) {
        debug_assert_eq!(settings.key, self.settings.key);
        let endpoints_changed = settings.endpoints != self.settings.endpoints;
        self.settings = settings;
        if endpoints_changed {
            self.next_endpoint = 0;
            self.try_next_endpoint(cx.inner);
        }
        self.start(cx);
    }

    /// Takes new addresses for the peer, as a name resolved again; used from the next init on, or at once where none
    /// was known.
    pub fn set_endpoints(&mut self, endpoints: Vec<SocketAddr>, cx: &mut Context<'_>) {
        if endpoints != self.settings.endpoints {
            self.settings.endpoints = endpoints;
            self.next_endpoint = 0;
        }
        if self.plane.endpoint().is_none() {
            self.start(cx);
        }
    }

    /// Sends to `endpoint` from now on, as an administrator said; the peer may move it again. One inside the tunnel is not taken as long
    /// as it is inside.
    pub fn move_endpoint(&mut self, endpoint: SocketAddr, cx: &mut Context<'_>) {
        if cx.inner.contains(endpoint.ip()) {
            self.inside_endpoint = Some(endpoint);
            cx.events.push_back(Event::EndpointInside { peer: self.plane.id(), endpoint });
        } else {
            self.inside_endpoint = None;
            self.plane.set_endpoint(Some(Endpoint::to(endpoint)));
        }
        self.start(cx);
    }

    /// Gives up an endpoint that has come to lie inside the tunnel. Where none is known, the next configured one is taken, or one that
    /// was given up and lies outside again.
    pub fn leave_inner_endpoint(&mut self, inner: &InnerNetworks, events: &mut VecDeque<Event>) {
        if let Some(endpoint) = self.plane.endpoint().filter(|known| inner.contains(known.remote.ip())) {
            self.plane.set_endpoint(None);
            self.inside_endpoint = Some(endpoint.remote);
            events.push_back(Event::EndpointInside { peer: self.plane.id(), endpoint: endpoint.remote });
        }
        if self.plane.endpoint().is_none() {
            self.try_next_endpoint(inner);
        }
        if self.plane.endpoint().is_none() {
            let outside = self.inside_endpoint.take_if(|known| !inner.contains(known.ip()));
            self.plane.set_endpoint(outside.map(Endpoint::to));
        }
    }

    /// The peer's state.
    pub fn state(&self, now: Instant) -> PeerState {
        if self.is_live(now) {
            PeerState::Up
        } else if self.attempt.is_some() || self.begin_at.is_some() {
            PeerState::Connecting
        } else {
            PeerState::Idle
        }
    }

    /// When the last handshake was completed.
    pub const fn last_handshake(&self) -> Option<Instant> {
        self.last_handshake
    }

    /// How many handshakes were completed.
    pub const fn handshakes(&self) -> u64 {
        self.handshakes
    }

    /// The suite of the last session.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// The row of inits without an answer, if there is one.
    pub const fn unanswered(&self) -> Option<Unanswered> {
        self.unanswered
    }

    // ---- messages ----

    /// A packet that the packet path could not send for want of a keypair.
    pub fn handle_outbound(&mut self, packet: StagedPacket, cx: &mut Context<'_>) {
        if self.plane.endpoint().is_none() {
            cx.drops.count(DropReason::NoEndpoint);
            cx.undelivered.push(packet, IcmpError::Unreachable);
            return;
        }
        let dropped = self.staging.push(packet, cx.staging);
        cx.drops.count_many(DropReason::Staging, dropped);
        self.flush(cx);
        if self.staging.is_empty() {
            // Sending may be what makes the keypair want its successor, and no timer would say so (protocol.md 8.2).
            self.handle_attention(cx);
        } else {
            self.want_handshake(cx);
        }
    }

    /// The packet path asked for a look at the marks.
    pub fn handle_attention(&mut self, cx: &mut Context<'_>) {
        // The packet path may have moved the endpoint by what was inside a moment ago.
        self.leave_inner_endpoint(cx.inner, cx.events);
        self.confirm(cx);
        self.follow_path(cx);
        self.report_duplicates(cx);
        if self.slots.wants_rekey() {
            self.want_handshake(cx);
        }
    }

    // ---- steps ----

    /// Sends an init now, or as soon as [`REKEY_TIMEOUT`] has passed since the last one; nothing when a handshake is
    /// under way.
    fn want_handshake(&mut self, cx: &mut Context<'_>) {
        if self.attempt.is_some() || self.begin_at.is_some() || self.plane.endpoint().is_none() {
            return;
        }
        match self.last_init.map(|at| at + REKEY_TIMEOUT) {
            Some(earliest) if cx.now < earliest => self.begin_at = Some(earliest),
            _ => self.send_init(cx),
        }
    }

    fn send_init(&mut self, cx: &mut Context<'_>) {
        let Some(endpoint) = self.plane.endpoint() else { return };
        let lease = cx.table.lease(IndexUse::Initiation(self.plane.id()), cx.rng);
        let begun = match self.settings.key {
            PeerKey::Hybrid(responder) => hybrid::begin(responder, lease.index(), cx),
            PeerKey::Wireguard(_) => self.begin_wireguard(lease.index(), cx),
        };
        // Without a key of that kind of our own there is nothing to begin with.
        let Some((state, init)) = begun else { return };
        let first = Unanswered { since: cx.now, inits: 0, cause: NoAnswer::Silence };
        let row = self.unanswered.get_or_insert(first);
        row.inits += 1;
        if row.cause == NoAnswer::Forbidden {
            row.cause = NoAnswer::Silence;
        }
        let row = *row;
        self.send_handshake(endpoint, init.clone(), cx);
        let pace = self.pace(&state, row, cx);
        self.attempt = Some(Attempt { begun: cx.now, phase: Phase::AwaitResponse { state, lease, pace } });
        self.last_init = Some(cx.now);
        self.begin_at = None;
        if self.is_in_doubt() {
            self.ask_beside(init, cx);
        }
    }

    fn send_handshake(&self, endpoint: Endpoint, message: Vec<u8>, cx: &mut Context<'_>) {
        self.plane.count_sent(message.len());
        cx.send(endpoint, message);
    }

    /// Makes the source of an accepted handshake message the peer's endpoint, unless it lies inside the tunnel (protocol.md 9.3).
    /// Returns the endpoint then in force, to which an answer goes.
    fn move_to(&self, from: Endpoint, cx: &Context<'_>) -> Option<Endpoint> {
        if cx.inner.contains(from.remote.ip()) {
            cx.drops.count(DropReason::InnerAddress);
        } else {
            self.plane.set_endpoint(Some(from));
        }
        self.plane.endpoint()
    }

    fn make_session(
        &mut self,
        agreement: &Agreement,
        lease: IndexLease,
        begun: Instant,
        finish_hash: Option<Hash>,
        cx: &Context<'_>,
    ) -> Session {
        let keypair = Arc::new(Keypair::new(agreement, cx.rekey_after, cx.now));
        if agreement.protocol == Protocol::Hybrid {
            // Before anything is sent on it: an initiator sends before the session is confirmed, and its path looked at.
            self.path.set_announced(agreement.parameters.mtu.get());
            self.plane.set_accepted(self.path.accepted());
        }
        lease.turn_into(IndexUse::Session(Arc::clone(&keypair), Arc::clone(&self.plane)));
        Session { keypair, lease, begun, completed: cx.now, slept: Duration::ZERO, finish_hash }
    }

    /// Moves the unconfirmed session to its place once something authentic arrived on it.
    fn confirm(&mut self, cx: &mut Context<'_>) {
        let Some(mut session) = self.slots.next.take_if(|session| session.keypair.is_confirmed()) else {
            // A packet that was being opened while its session ended may have put that back in use (WireGuard).
            if self.plane.sending().is_some_and(|keypair| !self.slots.holds(&keypair)) {
                self.update_sending(cx.now);
            }
            return;
        };
        session.completed = cx.now;
        self.attempt.take_if(|attempt| matches!(attempt.phase, Phase::AwaitConfirmation(_)));
        self.establish(session, cx);
        self.flush(cx);
    }

    /// Both ends have `session` now.
    fn establish(&mut self, session: Session, cx: &mut Context<'_>) {
        let role = session.keypair.role();
        if role == Role::Initiator && !self.is_doubtful {
            self.cut_sessions.note_session(cx.now);
        }
        self.suite = session.keypair.suite();
        self.slots.install(session, self.tie_break(cx));
        self.update_sending(cx.now);
        self.plane.marks.unanswered.clear();
        self.plane.marks.last_received.set(self.plane.epoch(), cx.now);
        self.begin_at = None;
        self.unanswered = None;
        self.is_doubtful = false;
        if let Some(Attempt { phase: Phase::AwaitResponse { pace, .. }, .. }) = &mut self.attempt {
            pace.repetition = None; // What is still asked has been answered otherwise.
        }
        if self.silent_since.take().is_some() {
            self.path.doubt(); // It was away, and may be back by another way.
        }
        self.last_handshake = Some(cx.now);
        self.handshakes += 1;
        cx.events.push_back(Event::SessionEstablished { peer: self.plane.id(), role });
        self.follow_path(cx);
    }

    /// Whether our key is the lower one, which decides between crossing hybrid handshakes (protocol.md 6.8).
    fn tie_break(&self, cx: &Context<'_>) -> Option<bool> {
        match self.settings.key {
            PeerKey::Hybrid(theirs) => cx.hybrid.map(|node| node.identity.public_key() < theirs),
            PeerKey::Wireguard(_) => None,
        }
    }

    fn update_sending(&self, now: Instant) {
        self.plane.set_sending(self.slots.sending(now).map(|session| Arc::clone(&session.keypair)));
    }

    /// Seals and sends what waited.
    fn flush(&mut self, cx: &mut Context<'_>) {
        while !self.staging.is_empty() {
            let Ok(outbound) = self.plane.begin_send(1, cx.now) else { return };
            let Some(packet) = self.staging.pop(cx.staging) else { return };
            self.send_staged(packet, outbound, cx);
        }
    }

    /// Sends a packet that waited. How long it may be is known only now, with the session (protocol.md 7.5.6): it is cut, or refused.
    fn send_staged(&self, packet: StagedPacket, outbound: Outbound, cx: &mut Context<'_>) {
        let (len, limit) = (packet.bytes.len(), self.plane.mtu());
        if len > limit
            && let Some(mtu) = self.plane.refuses(&packet.bytes, len)
        {
            cx.drops.count(DropReason::TooBig);
            cx.undelivered.push(packet, IcmpError::TooBig { mtu });
            return;
        }
        let mut pieces = Fragments::default();
        pieces.add(0, len, limit, |whole| whole.copy_from_slice(&packet.bytes));
        let mut outbound = Some(outbound);
        for index in 0..pieces.len() {
            let next = outbound.take().or_else(|| self.plane.begin_send(1, cx.now).ok());
            let Some(Outbound { keypair, mut counters, endpoint }) = next else { return };
            let Some(counter) = counters.next() else { return };
            let frame = cx.frame(&keypair, counter, pieces.piece(index), limit);
            // What control sends itself needs no attention: the caller looks at the timers afterwards anyway.
            self.plane.note_sent(&keypair, frame.len(), cx.now);
            cx.send(endpoint, frame);
        }
    }

    /// Sends an empty packet: keepalive and confirmation.
    fn send_empty(&self, keypair: &Keypair, to: Endpoint, cx: &mut Context<'_>) {
        self.plane.note_sent_empty(OVERHEAD, cx.now);
        cx.send_empty(keypair, to);
    }
}
