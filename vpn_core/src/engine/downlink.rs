//! The downlink thread: UDP to TUN, and to other peers.

use super::{
    Shared,
    outlet::{Outlet, Packets},
};
use crate::{
    base::DropReason,
    device::Inbound,
    local_tun::TunWriter,
    udp::{RecvBatch, Wake},
};
use std::{io, time::Instant};

/// Size of the receive arena: four full runs, small enough for the cache.
const ARENA_SIZE: usize = 256 << 10;

/// Receives until the interrupt is raised.
pub(super) fn run(shared: &Shared) -> io::Result<()> {
    let mut batch = RecvBatch::new(ARENA_SIZE);
    let mut inbound = Inbound::default();
    let mut writer = TunWriter::new();
    let mut outlet = Outlet::new(&shared.plane, &shared.mailbox, &shared.udp);
    while shared.interrupt.wait_readable(&*shared.udp, None)? != Wake::Interrupted {
        let report = shared.udp.recv(&mut batch)?;
        shared.plane.drops().count_many(DropReason::Malformed, report.truncated as u64);
        let now = Instant::now();
        inbound.clear();
        let (received, arena) = batch.parts_mut();
        for run in received {
            shared.plane.open(arena, run.range.clone(), run.stride, run.from, now, &mut inbound);
        }
        let written = writer.write_packets(&shared.tun, arena, &inbound.local);
        shared.plane.drops().count_many(DropReason::Refused, written.dropped as u64);
        for forwarded in &inbound.forwarded {
            outlet.send(&forwarded.peer, &Plain(&arena[forwarded.packet.clone()]), now);
        }
        outlet.flush(now);
        leave_for_control(shared, &inbound, arena);
    }
    Ok(())
}

fn leave_for_control(shared: &Shared, inbound: &Inbound, arena: &[u8]) {
    if inbound.control.is_empty() && inbound.attention.is_empty() {
        return;
    }
    let refused = shared.mailbox.leave(|letters| {
        for peer in &inbound.attention {
            letters.attention(*peer);
        }
        for (datagram, from) in &inbound.control {
            letters.handshake(&arena[datagram.clone()], *from);
        }
    });
    shared.plane.drops().count_many(DropReason::Full, refused);
}

/// One packet as it is.
struct Plain<'a>(&'a [u8]);

impl Packets for Plain<'_> {
    fn count(&self) -> usize {
        1
    }

    fn len(&self, _index: usize) -> usize {
        self.0.len()
    }

    fn write(&self, _index: usize, out: &mut [u8]) {
        out.copy_from_slice(self.0);
    }
}
