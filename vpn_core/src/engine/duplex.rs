//! Both directions of a queue on one thread.

use super::{Shared, downlink::Downlink, uplink::Uplink};
use crate::udp::Wake;
use std::{io, time::Duration};

/// Serves the queue until the interrupt is raised.
pub(super) fn run(shared: &Shared) -> io::Result<()> {
    let (mut uplink, mut downlink) = (Uplink::new(shared), Downlink::new(shared));
    let mut more = false;
    loop {
        let patience = more.then_some(Duration::ZERO);
        let (wake, udp) = shared.interrupt.wait_either(&*shared.udp, &*shared.tun, patience)?;
        if wake == Wake::Interrupted {
            return Ok(());
        }
        if udp {
            downlink.step()?;
        }
        // Also after the downlink: the local system may have answered at once.
        more = uplink.step()?;
    }
}
