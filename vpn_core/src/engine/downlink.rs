//! The downlink: UDP to TUN, and to other peers.

use super::{
    Shared,
    outlet::{Outlet, Packets},
};
use crate::{
    base::{DropReason, Endpoint},
    device::{Inbound, TooBigAnswers},
    local_tun::TunWriter,
    udp::RecvBatch,
    wire::{hybrid::Features, payload::InnerPacket},
};
use std::{io, ops::Range, time::Instant};

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
    outlet: Outlet<'a>,
    answers: TooBigAnswers,
}

impl<'a> Delivery<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            inbound: Inbound::default(),
            writer: TunWriter::new(),
            outlet: Outlet::new(&shared.plane, &shared.mailbox, &shared.udp),
            answers: TooBigAnswers::default(),
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
        for (peer, packets) in self.inbound.forwarded() {
            self.outlet.send(peer, &Opened { arena, packets }, now);
        }
        for refused in &self.inbound.too_big {
            if let Some(answer) = self.answers.to(&arena[refused.packet.range.clone()], refused.mtu, now) {
                let packets = [InnerPacket::as_is(0..answer.len())];
                self.outlet.send(&refused.from, &Opened { arena: answer, packets: &packets }, now);
            }
        }
        self.outlet.flush(now);
        // Nobody waits for a packet that is passed on: what finds no room is lost, as in any router. Perhaps it was only the
        // first peer's packets that the kernel would not take.
        if self.outlet.is_blocked() {
            self.outlet.give_up_first();
            self.outlet.flush(now);
            self.outlet.give_up();
        }
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

/// Packets that came from a peer, for another one.
struct Opened<'a> {
    arena: &'a [u8],
    packets: &'a [InnerPacket],
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
}
