//! The path to a peer in its life: which packets it is sent, and how that is found out (protocol.md 7.5).

use super::{Context, Tunnel, doubt::ShortestProbes};
use crate::{
    base::Endpoint,
    handshake::Protocol,
    session::Keypair,
    tunnel::{
        Event,
        path_mtu::{Ended, PathMtu},
    },
    wire::{
        hybrid::Features,
        path::{PATH_MESSAGE_SIZE, PathMessage},
        transport::{HEADER_SIZE, OVERHEAD},
    },
};
use std::{sync::Arc, time::Instant};

impl Tunnel {
    /// The route to the peer's endpoint takes inner packets of `mtu` bytes; `None` where nobody knows.
    pub fn set_route_mtu(&mut self, mtu: Option<u16>, cx: &mut Context<'_>) {
        self.path.set_route(mtu);
        self.follow_path(cx);
    }

    /// The interface's MTU, or who decides about it, is another one: what was found says nothing any more, and the peer has to
    /// hear of it, which takes a handshake (protocol.md 4.1.5).
    pub fn handle_mtu_change(&mut self, cx: &mut Context<'_>) {
        self.path.forget();
        self.follow_path(cx);
        let has_announced = self.slots.current.as_ref().map(|session| session.keypair.protocol());
        if has_announced == Some(Protocol::Hybrid) {
            self.last_init = None;
            self.want_handshake(cx);
        }
    }

    /// A probe of the peer's, which is answered, or its answer to one of ours.
    pub fn handle_path_message(&mut self, message: PathMessage, cx: &mut Context<'_>) {
        match message {
            PathMessage::Probe { id, size } => {
                let Some(keypair) = self.slots.sending(cx.now).map(|session| Arc::clone(&session.keypair))
                else {
                    return;
                };
                let answer = PathMessage::Answer { id, size };
                self.send_path_message(&keypair, self.plane.endpoint(), answer, true, cx);
            }
            PathMessage::Answer { id, size } => {
                // One that comes from elsewhere is of no search over the path of now.
                if !self.path.is_about(self.plane.endpoint().map(|endpoint| endpoint.remote)) {
                    return;
                }
                self.shortest_probes.note_answer(id, size);
                if self.path.handle_answer(id, size, cx.now) {
                    self.follow_path(cx);
                }
            }
        }
    }

    /// Looks whether the path is another one, publishes what may be sent over it, and probes it if that is due.
    pub(super) fn follow_path(&mut self, cx: &mut Context<'_>) {
        // Read once: the packet path moves it, and nothing found at one address may be said of another.
        let endpoint = self.plane.endpoint();
        let remote = endpoint.map(|endpoint| endpoint.remote);
        if !self.path.is_about(remote) {
            self.shortest_probes = ShortestProbes::default();
            self.path.begin(remote, cx.now);
        }
        self.probe_path(endpoint, cx);
        let (peer, interface) = (self.plane.id(), cx.interface_mtu());
        let mtu = self.path.limit(cx.mtu_policy, interface);
        self.lost_beyond = self.path.loses_beyond(cx.mtu_policy, interface);
        self.plane.set_accepted(self.path.accepted());
        if self.plane.set_mtu(mtu) && self.slots.current.is_some() {
            cx.events.push_back(Event::PathMtuChanged { peer, mtu });
        }
        let can_be_asked = self.probed_over().is_some();
        self.plane.set_surely_passes(if can_be_asked {
            PathMtu::surely_passes(cx.mtu_policy)
        } else {
            u16::MAX
        });
        let ended = self.path.take_ended();
        if ended.is_some() {
            self.plane.marks.long.clear();
            self.shortest_probes.note_end();
        }
        let must_be_cut_here = self.path.must_be_cut_here(cx.mtu_policy, interface);
        self.plane.set_cut_here(must_be_cut_here);
        if ended == Some(Ended::Found)
            && must_be_cut_here
            && let Some(endpoint) = endpoint
        {
            cx.events.push_back(Event::PathLosesDatagrams { peer, endpoint });
        }
    }

    /// When [`Tunnel::follow_path`] is due, if there is a session to probe over.
    pub(super) fn path_timeout(&self) -> Option<Instant> {
        let can_be_asked = self.probed_over().is_some() && !self.is_silent();
        can_be_asked.then(|| self.path.next_timeout(self.long_since())).flatten()
    }

    /// Since when packets are sent that a narrower path would lose.
    fn long_since(&self) -> Option<Instant> {
        self.plane.marks.long.get(self.plane.epoch())
    }

    /// A keepalive that is answered: the shortest probe (protocol.md 8.3.3). Its silence counts as that of traffic does.
    pub(super) fn ask(&mut self, keypair: &Keypair, cx: &mut Context<'_>) {
        let probe = PathMessage::Probe { id: cx.rng.next_u32(), size: PATH_MESSAGE_SIZE as u16 };
        self.send_path_message(keypair, self.plane.endpoint(), probe, true, cx);
        self.plane.marks.unanswered.set_if_unset(self.plane.epoch(), cx.now);
        self.asked = Some(cx.now);
    }

    /// The session to probe over: both ends have it, and the peer answers.
    pub(super) fn probed_over(&self) -> Option<&Arc<Keypair>> {
        let keypair = &self.slots.current.as_ref()?.keypair;
        keypair.accepted().contains(Features::PATH_PROBES).then_some(keypair)
    }

    fn probe_path(&mut self, endpoint: Option<Endpoint>, cx: &mut Context<'_>) {
        // A silent peer is asked with inits, at one endpoint after the other; a finding over the dead session would be none.
        let is_live = self.is_live(cx.now);
        let Some(keypair) = self.probed_over().filter(|_| is_live).map(Arc::clone) else { return };
        let interface = cx.interface_mtu();
        let long = self.long_since();
        let probes = self.path.poll(cx.mtu_policy, interface, long, || cx.rng.next_u32(), cx.now);
        let search = self.path.search().filter(|_| !probes.is_empty());
        if let Some(id) = search.filter(|id| self.shortest_probes.note_round(*id)) {
            let shortest = PathMessage::Probe { id, size: PATH_MESSAGE_SIZE as u16 };
            self.send_path_message(&keypair, endpoint, shortest, true, cx);
        }
        for probe in probes {
            let message = PathMessage::Probe { id: probe.id, size: probe.size };
            self.send_path_message(&keypair, endpoint, message, probe.may_be_cut, cx);
        }
    }

    /// By itself neither asks for an answer in the sense of the timers: what is lost here was perhaps too long, and no sign of
    /// a dead peer.
    fn send_path_message(
        &self,
        keypair: &Keypair,
        endpoint: Option<Endpoint>,
        message: PathMessage,
        may_be_cut: bool,
        cx: &mut Context<'_>,
    ) {
        let reserved = keypair.reserve(1, cx.now).ok().and_then(|mut counters| counters.next());
        let (Some(counter), Some(endpoint)) = (reserved, endpoint) else { return };
        let payload = message.payload();
        let mut frame = vec![0; payload.len() + OVERHEAD];
        frame[HEADER_SIZE..HEADER_SIZE + payload.len()].copy_from_slice(&payload);
        keypair.seal(counter, &mut frame);
        self.plane.count_sent(frame.len());
        cx.send_path_message(endpoint, frame, may_be_cut);
    }
}
