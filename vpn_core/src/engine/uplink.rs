//! The uplink thread: TUN to UDP.

use super::{
    Shared,
    outlet::{Outlet, Packets},
};
use crate::{
    base::DropReason,
    local_tun::{MAX_FRAME_SIZE, SuperPacket},
    tunnel::PeerPlane,
    udp::Wake,
};
use std::{
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// Reads what the local system sends until the interrupt is raised.
pub(super) fn run(shared: &Shared) -> io::Result<()> {
    let mut frame = vec![0; MAX_FRAME_SIZE];
    let mut outlet = Outlet::new(&shared.plane, &shared.mailbox, &shared.udp);
    loop {
        // Everything that waits before anything is sent: runs grow with the load.
        let now = Instant::now();
        let routes = shared.plane.routes();
        let mut last: Option<(IpAddr, Arc<PeerPlane>)> = None;
        let mut budget = FRAMES_PER_BATCH;
        while budget > 0
            && let Some(len) = shared.tun.read(&mut frame)?
        {
            budget -= 1;
            let Ok(packets) = SuperPacket::parse(&mut frame[..len], shared.tun.format()) else {
                shared.plane.drops().count(DropReason::BadPayload);
                continue;
            };
            let destination = packets.header().destination;
            if last.as_ref().is_none_or(|(known, _)| *known != destination) {
                last = routes.allowed_ips.lookup(destination).map(|peer| (destination, Arc::clone(peer)));
            }
            match &last {
                Some((_, peer)) => outlet.send(peer, &packets, now),
                None => shared.plane.drops().count(DropReason::NoRoute),
            }
        }
        outlet.flush(now);
        drop(routes);
        // With the budget used up there is more to read: only the interrupt is looked at.
        let patience = (budget == 0).then_some(Duration::ZERO);
        if shared.interrupt.wait_readable(&*shared.tun, patience)? == Wake::Interrupted {
            return Ok(());
        }
    }
}

/// Frames read before what they became is sent, at the most: bounds the delay of the first one.
const FRAMES_PER_BATCH: usize = 256;

impl Packets for SuperPacket<'_> {
    fn count(&self) -> usize {
        self.segments()
    }

    fn len(&self, index: usize) -> usize {
        self.segment_len(index)
    }

    fn write(&self, index: usize, out: &mut [u8]) {
        // `out` is as long as the segment, and the index is in range: the answer is always its length.
        let _len = self.write_segment(index, out);
    }
}
