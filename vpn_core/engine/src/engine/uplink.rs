//! The uplink: TUN to UDP.

use super::{
    Shared,
    outlet::{Outcome, Outlet, Packets},
};
use crate::{
    base::{DropReason, PeerId},
    device::IcmpAnswers,
    local_tun::{MAX_FRAME_SIZE, SuperPacket, TunQueue},
    tunnel::PeerPlane,
    wire::{hybrid::Features, icmp::IcmpError},
};
use std::{
    io,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// Frames read before what they became is sent, at the most: bounds the delay of the first one.
const FRAMES_PER_BATCH: usize = 256;

/// How long a batch waits for a socket that sends nothing.
const BLOCKED_LIMIT: Duration = Duration::from_millis(100); // a dead interface must not hold up other peers for ever

/// The uplink of one queue.
#[derive(Debug)]
pub(super) struct Uplink<'a> {
    shared: &'a Shared,
    frame: Box<[u8]>,
    outlet: Outlet<'a>,
    refusals: Refusals,
    /// Since when nothing has left of what waits in `outlet` for room in the socket. Meanwhile nothing is read: the local system's own
    /// queue fills, and its senders slow down.
    blocked_since: Option<Instant>,
}

impl<'a> Uplink<'a> {
    pub(super) fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            frame: vec![0; MAX_FRAME_SIZE].into_boxed_slice(),
            outlet: Outlet::new(&shared.plane, &shared.mailbox, &shared.udp),
            refusals: Refusals::default(),
            blocked_since: None,
        }
    }

    /// How long the socket's room is worth waiting for; `None` when nothing waits for it.
    pub(super) fn blocked_for(&self, now: Instant) -> Option<Duration> {
        self.blocked_since.map(|since| (since + BLOCKED_LIMIT).saturating_duration_since(now))
    }

    /// Reads what waits, at the most one batch, and sends it. While it is blocked: sends what is left, or gives it up when
    /// nothing has left for long enough. `has_room`: the socket was waited for, and says that it has room.
    pub(super) fn step(&mut self, has_room: bool) -> io::Result<()> {
        let now = Instant::now();
        if self.blocked_since.is_none() {
            self.read(now)?;
        }
        let waiting = self.outlet.waiting();
        self.outlet.flush(now);
        if self.outlet.waiting() < waiting {
            self.blocked_since = Some(now); // It is slow, and not dead.
        } else if has_room {
            // The kernel has something against these datagrams, such as keys of an IPsec policy that it has yet to negotiate.
            self.outlet.give_up_first();
        } else if self.blocked_for(now).is_some_and(|left| left.is_zero()) {
            self.outlet.give_up();
        }
        self.blocked_since = self.outlet.is_blocked().then(|| self.blocked_since.unwrap_or(now));
        Ok(())
    }

    /// Seals what waits in the TUN queue. Everything that is there before anything is sent, as far as a batch reaches: runs
    /// grow with the load.
    fn read(&mut self, now: Instant) -> io::Result<()> {
        let Self { shared, frame, outlet, refusals, .. } = self;
        let routes = shared.plane.routes();
        let mut last: Option<(IpAddr, Arc<PeerPlane>)> = None;
        for _ in 0..FRAMES_PER_BATCH {
            if outlet.is_filled() {
                break;
            }
            let Some(len) = shared.tun.read(frame)? else { break };
            let Ok(packets) = SuperPacket::parse(&mut frame[..len], shared.tun.format()) else {
                shared.plane.drops().count(DropReason::BadPayload);
                continue;
            };
            let destination = packets.header().destination;
            if last.as_ref().is_none_or(|(known, _)| *known != destination) {
                last = routes.allowed_ips.lookup(destination).map(|peer| (destination, Arc::clone(peer)));
            }
            match &last {
                Some((_, peer)) if peer.is_sealed_already(packets.as_given()) => {
                    shared.plane.drops().count_many(DropReason::InnerAddress, packets.segments() as u64);
                    continue;
                }
                Some((_, peer))
                    if packets.segment_len(0) > peer.mtu()
                        && let Some(mtu) = peer.refuses(packets.as_given(), packets.segment_len(0)) =>
                {
                    shared.plane.drops().count_many(DropReason::TooBig, packets.segments() as u64);
                    refusals.tell(&shared.tun, &packets, IcmpError::TooBig { mtu }, now);
                    continue;
                }
                Some((_, peer)) if outlet.send(peer, &packets, now) == Outcome::Taken => continue,
                Some(_) => {} // Counted as `no_endpoint`.
                None => shared.plane.drops().count_many(DropReason::NoRoute, packets.segments() as u64),
            }
            if !routes.is_broadcast(destination) {
                refusals.tell(&shared.tun, &packets, IcmpError::Unreachable, now);
            }
        }
        Ok(())
    }
}

/// Tells the local system of packets that are not sent.
#[derive(Debug, Default)]
struct Refusals {
    answers: IcmpAnswers,
    /// Room for the last packet that was refused.
    first: Vec<u8>,
}

impl Refusals {
    /// Answers the first segment, which stands for all: each but the last is as long, and all are for one destination.
    fn tell(&mut self, tun: &TunQueue, packets: &SuperPacket<'_>, error: IcmpError, now: Instant) {
        let Self { answers, first } = self;
        first.resize(packets.segment_len(0), 0);
        if packets.write_segment(0, first, Features::NONE).is_some()
            && let Some(answer) = answers.to(first, error, now)
            && let Err(error) = tun.write(answer)
        {
            tracing::debug!(%error, "the local system does not take an ICMP message");
        }
    }
}

impl Packets for SuperPacket<'_> {
    fn count(&self) -> usize {
        self.segments()
    }

    fn len(&self, index: usize) -> usize {
        self.segment_len(index)
    }

    fn write(&self, index: usize, out: &mut [u8], accepted: Features) {
        // `out` is as long as the segment, and the index is in range: the answer is always its length.
        let _len = self.write_segment(index, out, accepted);
    }

    fn longest(&self) -> usize {
        self.segment_len(0)
    }

    fn from(&self, _index: usize) -> Option<PeerId> {
        None
    }
}
