//! The downlink: UDP to TUN, and to other peers.

use super::{
    Shared,
    outlet::{Outcome, Outlet, Packets},
};
use crate::{
    base::{DropReason, Endpoint, PeerId},
    device::{IcmpAnswers, Inbound, Refused, Routes},
    local_tun::TunWriter,
    tunnel::PeerPlane,
    udp::RecvBatch,
    wire::{hybrid::Features, icmp::IcmpError, payload::InnerPacket},
};
use std::{io, ops::Range, sync::Arc, time::Instant};

/// Size of the receive arena: four full runs, small enough for the cache.
const ARENA_SIZE: usize = 256 << 10;

/// The downlink of one queue.
#[derive(Debug)]
pub(super) struct Downlink<'a> {
    shared: &'a Shared,
    batch: RecvBatch,
    delivery: Delivery<'a>,
}

impl<'a> Downlink<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self { shared, batch: RecvBatch::new(ARENA_SIZE), delivery: Delivery::new(shared) }
    }

    /// Receives what waits, at the most one batch, and brings it to where it belongs.
    pub(super) fn step(&mut self) -> io::Result<()> {
        let report = self.shared.udp.recv(&mut self.batch)?;
        self.shared.plane.drops().count_many(DropReason::Malformed, report.truncated as u64);
        let now = Instant::now();
        let (received, arena) = self.batch.parts_mut();
        for run in received {
            self.delivery.open(arena, run.range.clone(), run.stride, run.from, now);
        }
        self.delivery.deliver(arena, now);
        Ok(())
    }
}

/// Opens datagrams and brings what is in them to where it belongs; one for each thread that does so.
#[derive(Debug)]
pub(super) struct Delivery<'a> {
    shared: &'a Shared,
    inbound: Inbound,
    writer: TunWriter,
    onward: Onward<'a>,
}

/// The way on to other peers, and back to those whose packets go no further.
#[derive(Debug)]
struct Onward<'a> {
    outlet: Outlet<'a>,
    answers: IcmpAnswers,
    /// Room for the last packet that was refused.
    refused: Vec<u8>,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            inbound: Inbound::default(),
            writer: TunWriter::new(),
            onward: Onward {
                outlet: Outlet::new(&shared.plane, &shared.mailbox, &shared.udp),
                answers: IcmpAnswers::default(),
                refused: Vec::new(),
            },
        }
    }

    /// Opens a run of datagrams in place. [`Delivery::deliver`] follows.
    pub(super) fn open(
        &mut self,
        arena: &mut [u8],
        run: Range<usize>,
        stride: usize,
        from: Endpoint,
        now: Instant,
    ) {
        self.shared.plane.open(arena, run, stride, from, now, &mut self.inbound);
    }

    /// Writes, forwards and hands over what was opened in `arena`.
    pub(super) fn deliver(&mut self, arena: &mut [u8], now: Instant) {
        let drops = self.shared.plane.drops();
        let written = self.writer.write_packets(&self.shared.tun, arena, &self.inbound.local);
        drops.count_many(DropReason::Refused, written.dropped as u64);
        let routes = self.shared.plane.routes();
        for (peer, packets) in self.inbound.forwarded() {
            self.onward.send(peer, &Opened { arena, packets, routes: &routes }, now);
        }
        for Refused { packet, error, from } in &self.inbound.refused {
            self.onward.tell(from, &arena[packet.range.clone()], *error, &routes, now);
        }
        self.onward.flush(now);
        self.leave_for_control(arena);
        self.inbound.clear();
    }

    fn leave_for_control(&self, arena: &[u8]) {
        let Inbound { control, attention, path_messages, .. } = &self.inbound;
        if control.is_empty() && attention.is_empty() && path_messages.is_empty() {
            return;
        }
        let refused = self.shared.mailbox.leave(|letters| {
            for peer in attention {
                letters.attention(*peer);
            }
            for (peer, message) in path_messages {
                letters.path_message(*peer, *message);
            }
            for message in control {
                letters.handshake(&arena[message.datagram.clone()], message.from, message.standing);
            }
        });
        self.shared.plane.drops().count_many(DropReason::Full, refused);
    }
}

impl Onward<'_> {
    /// Sends packets on to another peer. If nobody knows where that one is, their senders are told.
    fn send(&mut self, peer: &Arc<PeerPlane>, opened: &Opened<'_>, now: Instant) {
        if self.outlet.send(peer, opened, now) == Outcome::Taken {
            return;
        }
        let mut packet = core::mem::take(&mut self.refused);
        for index in 0..opened.count() {
            packet.resize(opened.len(index), 0);
            opened.write(index, &mut packet, Features::NONE);
            if let Some(from) = opened.routes.told_sender(&packet) {
                self.tell(from, &packet, IcmpError::Unreachable, opened.routes, now);
            }
        }
        self.refused = packet;
    }

    /// Tells the peer `from` that its packet goes no further.
    fn tell(
        &mut self,
        from: &Arc<PeerPlane>,
        packet: &[u8],
        error: IcmpError,
        routes: &Routes,
        now: Instant,
    ) {
        let Self { outlet, answers, .. } = self;
        let Some(answer) = answers.to(packet, error, now) else { return };
        let packets = [InnerPacket::as_is(0..answer.len())];
        // A peer that has gone meanwhile is not told.
        let _outcome = outlet.send(from, &Opened { arena: answer, packets: &packets, routes }, now);
    }

    fn flush(&mut self, now: Instant) {
        self.outlet.flush(now);
        // Nobody waits for a packet that is passed on: what finds no room is lost, as in any router. Perhaps it was only the
        // first peer's packets that the kernel would not take.
        if self.outlet.is_blocked() {
            self.outlet.give_up_first();
            self.outlet.flush(now);
            self.outlet.give_up();
        }
    }
}

/// Packets that came from a peer, for another one.
struct Opened<'a> {
    arena: &'a [u8],
    packets: &'a [InnerPacket],
    routes: &'a Routes,
}

impl Packets for Opened<'_> {
    fn count(&self) -> usize {
        self.packets.len()
    }

    fn len(&self, index: usize) -> usize {
        self.packets[index].range.len()
    }

    fn write(&self, index: usize, out: &mut [u8], accepted: Features) {
        let InnerPacket { range, checksum } = &self.packets[index];
        out.copy_from_slice(&self.arena[range.clone()]);
        checksum.pass_on(out, accepted);
    }

    fn longest(&self) -> usize {
        self.packets.iter().map(|packet| packet.range.len()).max().unwrap_or_default()
    }

    fn from(&self, index: usize) -> Option<PeerId> {
        let sender = self.routes.sender(&self.arena[self.packets[index].range.clone()]);
        sender.map(|peer| peer.id())
    }
}
