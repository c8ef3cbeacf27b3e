//! The thread of one queue: both directions in turn.
//!
//! One thread and not two: what the local system answers to a packet at once, an echo or an acknowledgement, is read and
//! sent right behind the packet's delivery, without waking anybody (docs/adr/0011).

use super::{Shared, downlink::Downlink, uplink::Uplink};
use crate::udp::{Wake, Watch};
use std::{io, time::Instant};

/// Serves the queue until the interrupt is raised.
pub(super) fn run(shared: &Shared) -> io::Result<()> {
    let (mut uplink, mut downlink) = (Uplink::new(shared), Downlink::new(shared));
    loop {
        let patience = uplink.blocked_for(Instant::now());
        let blocked = shared.udp.blocked();
        // While the way out is blocked nothing is read that would go there.
        let uplinks = match patience {
            Some(_) => Watch::new(&blocked).for_writing(),
            None => Watch::new(&*shared.tun).for_reading(),
        };
        let mut watched = [Watch::new(&*shared.udp).for_reading(), uplinks];
        if shared.interrupt.wait(&mut watched, patience)? == Wake::Interrupted {
            return Ok(());
        }
        if watched[0].is_readable() {
            downlink.step()?;
        }
        uplink.step(watched[1].is_writable())?;
    }
}
