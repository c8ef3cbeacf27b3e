//! The way out to UDP that a packet thread owns: seals into its send arena and sends a run at a time.

use super::mailbox::Mailbox;
use crate::{
    base::{DropReason, Endpoint, PeerId},
    device::DataPlane,
    session::{CounterRange, Keypair, Unsealed},
    tunnel::{NotReady, PeerPlane, StagedPacket},
    udp::{Cut, SendBatch, UdpSocket},
    wire::{
        hybrid::Features,
        transport::{HEADER_SIZE, OVERHEAD},
    },
};
use std::{sync::Arc, time::Instant};

/// Size of the send arena: four full runs, small enough for the cache.
const ARENA_SIZE: usize = 256 << 10;
/// Bytes that wait before no more is read: three full runs, so that a fourth fits. One at a time would wake the receiver
/// four times as often.
const FILLED: usize = 192 << 10;

/// A packet thread's way out.
#[derive(Debug)]
pub(super) struct Outlet<'a> {
    plane: &'a DataPlane,
    mailbox: &'a Mailbox,
    udp: &'a UdpSocket,
    batch: SendBatch,
    /// Frames of the current lane in `batch` that wait for their cipher.
    unsealed: Unsealed,
    /// The peer that the current run of packets goes to; looked up once a run.
    lane: Option<Lane>,
}

#[derive(Debug)]
struct Lane {
    peer: Arc<PeerPlane>,
    keypair: Arc<Keypair>,
    endpoint: Endpoint,
    cut: Cut,
    /// The longest packet that the peer is sent, beyond which nothing is padded.
    mtu: usize,
    /// Sent since the peer's marks were last updated.
    bytes: usize,
    /// Length of the longest packet among that, in bytes.
    longest: usize,
}

/// Packets to be written into frames: a super-packet's segments, or a row of packets from another peer.
pub(super) trait Packets {
    /// How many.
    fn count(&self) -> usize;
    /// Length of packet `index` in bytes.
    fn len(&self, index: usize) -> usize;
    /// Writes packet `index` into `out`, which is as long as it, as the payload for a receiver that accepts `accepted`.
    fn write(&self, index: usize, out: &mut [u8], accepted: Features);
    /// Which peer packet `index` came from; `None` for the local system. Asked only when it cannot be sent at once.
    fn from(&self, index: usize) -> Option<PeerId>;
}

/// Where [`Packets`] have gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// To the network or, for want of a session, to control.
    Taken,
    /// Nowhere: nobody knows where the peer is. Their senders are to be told.
    NoEndpoint,
}

impl<'a> Outlet<'a> {
    pub(super) fn new(plane: &'a DataPlane, mailbox: &'a Mailbox, udp: &'a UdpSocket) -> Self {
        Self {
            plane,
            mailbox,
            udp,
            batch: SendBatch::new(ARENA_SIZE),
            unsealed: Unsealed::default(),
            lane: None,
        }
    }

    /// Seals `packets` for `peer`; they leave with [`Outlet::flush`] or when the arena is full. Without a keypair they
    /// go to control, which stages them.
    pub(super) fn send(&mut self, peer: &Arc<PeerPlane>, packets: &impl Packets, now: Instant) -> Outcome {
        match self.reserve(peer, packets.count(), now) {
            Ok(counters) => self.seal(packets, counters, now),
            Err(NotReady::NoKeypair) => self.stage(peer, packets),
            Err(NotReady::NoEndpoint) => {
                self.plane.drops().count_many(DropReason::NoEndpoint, packets.count() as u64);
                return Outcome::NoEndpoint;
            }
        }
        Outcome::Taken
    }

    /// Sends what waits, as far as the socket has room for it, and updates the last peer's marks. Called at the end of
    /// each batch, so that the next one looks at keypair and endpoint anew.
    pub(super) fn flush(&mut self, now: Instant) {
        self.transmit();
        self.leave_lane(now);
    }

    /// Whether enough waits to be sent first.
    pub(super) const fn is_filled(&self) -> bool {
        self.batch.used() >= FILLED
    }

    /// Whether something is left after [`Outlet::flush`]: the socket has no room for it.
    pub(super) fn is_blocked(&self) -> bool {
        !self.batch.is_empty()
    }

    /// Datagrams that are not sent yet.
    pub(super) fn waiting(&self) -> usize {
        self.batch.datagrams()
    }

    /// Drops the first of what is left after [`Outlet::flush`]: a run to one endpoint.
    pub(super) fn give_up_first(&mut self) {
        self.plane.drops().count_many(DropReason::Refused, self.batch.skip_first() as u64);
    }

    /// Drops what is left after [`Outlet::flush`].
    pub(super) fn give_up(&mut self) {
        self.plane.drops().count_many(DropReason::Refused, self.batch.datagrams() as u64);
        self.batch.clear();
    }

    fn reserve(&mut self, peer: &Arc<PeerPlane>, n: usize, now: Instant) -> Result<CounterRange, NotReady> {
        if self.lane.as_ref().is_none_or(|lane| lane.peer.id() != peer.id()) {
            self.leave_lane(now);
            let (keypair, endpoint) = peer.outlet()?;
            let cut = if peer.follows_icmp(&keypair) { Cut::ByPath } else { Cut::ByInterface };
            let (peer, mtu) = (Arc::clone(peer), self.plane.mtu().min(peer.mtu()));
            self.lane = Some(Lane { peer, keypair, endpoint, cut, mtu, bytes: 0, longest: 0 });
        }
        let lane = self.lane.as_ref().ok_or(NotReady::NoKeypair)?;
        lane.keypair.reserve(n, now).map_err(|_expired| NotReady::NoKeypair)
    }

    fn seal(&mut self, packets: &impl Packets, counters: CounterRange, now: Instant) {
        for (index, counter) in counters.enumerate() {
            let packet_len = packets.len(index);
            let payload_len =
                self.lane.as_ref().map_or(packet_len, |lane| lane.keypair.payload_len(packet_len, lane.mtu));
            let len = payload_len + OVERHEAD;
            if self.batch.slot(len).is_none() {
                self.transmit();
            }
            let (Some(lane), Some(frame)) = (&mut self.lane, self.batch.slot(len)) else {
                self.plane.drops().count(DropReason::Refused); // The socket has no room, and so neither have we.
                continue;
            };
            let (packet, padding) = frame[HEADER_SIZE..HEADER_SIZE + payload_len].split_at_mut(packet_len);
            packets.write(index, packet, lane.keypair.accepted());
            padding.fill(0);
            lane.bytes += len;
            lane.longest = lane.longest.max(packet_len);
            let range = self.batch.commit(lane.endpoint, lane.cut, len);
            lane.keypair.seal_later(counter, self.batch.arena_mut(), range, &mut self.unsealed);
        }
        if self.lane.as_ref().is_some_and(|lane| lane.bytes >= ARENA_SIZE) {
            self.leave_lane(now); // A lane that never changes has its marks updated all the same.
        }
    }

    fn stage(&self, peer: &Arc<PeerPlane>, packets: &impl Packets) {
        let refused = self.mailbox.leave(|letters| {
            for index in 0..packets.count() {
                if !letters.has_room_to_stage() {
                    letters.refuse(packets.count() - index);
                    break;
                }
                let mut bytes = vec![0; packets.len(index)];
                // Whether the session to come accepts more is not known.
                packets.write(index, &mut bytes, Features::NONE);
                letters.stage(peer.id(), StagedPacket { bytes, from: packets.from(index) });
            }
        });
        self.plane.drops().count_many(DropReason::Staging, refused);
    }

    fn transmit(&mut self) {
        self.seal_waiting();
        if self.batch.is_empty() {
            return;
        }
        let report = self.udp.send(&mut self.batch);
        self.plane.drops().count_many(DropReason::Refused, report.dropped as u64);
    }

    /// Seals what waits, which is all of the current lane's keypair.
    fn seal_waiting(&mut self) {
        if let Some(lane) = &self.lane {
            lane.keypair.seal_all(self.batch.arena_mut(), &mut self.unsealed);
        }
    }

    fn leave_lane(&mut self, now: Instant) {
        self.seal_waiting();
        let Some(lane) = self.lane.take() else { return };
        if lane.bytes == 0 {
            return;
        }
        if lane.peer.note_sent(&lane.keypair, lane.bytes, now) | lane.peer.note_length(lane.longest, now) {
            self.mailbox.leave(|letters| letters.attention(lane.peer.id()));
        }
    }
}
