//! The way out to UDP that a packet thread owns: seals into its send arena and sends a run at a time.

use super::mailbox::Mailbox;
use crate::{
    base::{DropReason, Endpoint, PeerId},
    device::DataPlane,
    session::{CounterRange, Keypair, Unsealed},
    tunnel::{NotReady, PeerPlane, StagedPacket},
    udp::{Cut, SendBatch, UdpSocket},
    wire::{
        fragment::Fragments,
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
    /// Room for packets that are too long for the path to their peer.
    fragments: Fragments,
}

#[derive(Debug)]
struct Lane {
    peer: Arc<PeerPlane>,
    keypair: Arc<Keypair>,
    endpoint: Endpoint,
    cut: Cut,
    /// The longest packet that the peer is sent, beyond which nothing is padded.
    mtu: usize,
    /// Bytes that are not in the peer's marks yet.
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
    /// Length of the longest in bytes.
    fn longest(&self) -> usize;
    /// Writes packet `index` into `out`, which is as long as it, as the payload for a receiver that accepts `accepted`.
    fn write(&self, index: usize, out: &mut [u8], accepted: Features);
    /// Which peer packet `index` came from; `None` for the local system. Asked only when it cannot be sent at once.
    fn from(&self, index: usize) -> Option<PeerId>;
}

/// Packets some of which were cut.
struct InPieces<'a, P> {
    fragments: &'a Fragments,
    of: &'a P,
}

impl<P: Packets> Packets for InPieces<'_, P> {
    fn count(&self) -> usize {
        self.fragments.len()
    }

    fn len(&self, index: usize) -> usize {
        self.fragments.piece(index).len()
    }

    fn longest(&self) -> usize {
        (0..self.count()).map(|index| self.len(index)).max().unwrap_or_default()
    }

    fn write(&self, index: usize, out: &mut [u8], _accepted: Features) {
        out.copy_from_slice(self.fragments.piece(index));
    }

    fn from(&self, index: usize) -> Option<PeerId> {
        self.of.from(self.fragments.packet_of(index))
    }
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
            fragments: Fragments::default(),
        }
    }

    /// Seals `packets` for `peer`; they leave with [`Outlet::flush`] or when the arena is full. What is too long for the path and may be
    /// cut is sent in fragments. Without a keypair they go to control, which stages them.
    pub(super) fn send(&mut self, peer: &Arc<PeerPlane>, packets: &impl Packets, now: Instant) -> Outcome {
        let limit = peer.mtu();
        if packets.longest() <= limit {
            return self.send_whole(peer, packets, now);
        }
        let mut fragments = core::mem::take(&mut self.fragments);
        fragments.clear();
        for index in 0..packets.count() {
            let write = |out: &mut [u8]| packets.write(index, out, Features::NONE);
            fragments.add(index, packets.len(index), limit, write);
        }
        let outcome = self.send_whole(peer, &InPieces { fragments: &fragments, of: packets }, now);
        self.fragments = fragments;
        outcome
    }

    fn send_whole(&mut self, peer: &Arc<PeerPlane>, packets: &impl Packets, now: Instant) -> Outcome {
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

    /// Updates the last peer's marks and sends what waits, as far as the socket has room for it. Called at the end of
    /// each batch, so that the next one looks at keypair and endpoint anew.
    pub(super) fn flush(&mut self, now: Instant) {
        self.leave_lane(now);
        self.transmit(now);
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
                self.transmit(now);
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

    fn transmit(&mut self, now: Instant) {
        self.seal_waiting();
        if self.batch.is_empty() {
            return;
        }
        self.note_lane(now);
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
        self.note_lane(now);
        self.lane = None;
    }

    /// Updates the peer's marks. Before its datagrams are sent: the thread of another queue may have their answer before
    /// this one goes on, and what it notes comes after.
    fn note_lane(&mut self, now: Instant) {
        let Some(lane) = &mut self.lane else { return };
        let (bytes, longest) = (core::mem::take(&mut lane.bytes), core::mem::take(&mut lane.longest));
        if bytes == 0 {
            return;
        }
        if lane.peer.note_sent(&lane.keypair, bytes, now) | lane.peer.note_length(longest, now) {
            let peer = lane.peer.id();
            self.mailbox.leave(|letters| letters.attention(peer));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        asymmetric::X25519SecretKey,
        base::SecretBytes,
        device::{Device, DeviceSettings, Forwarding},
        handshake::PresharedKey,
        session::REKEY_AFTER_TIME,
        tunnel::{MtuMode, MtuPolicy, PeerSettings},
        udp::UdpConfig,
    };
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};
    use std::{collections::HashSet, net::SocketAddr, time::Duration};

    const SIZE: usize = 1400;

    struct Full(usize);

    impl Packets for Full {
        fn count(&self) -> usize {
            self.0
        }

        fn len(&self, _: usize) -> usize {
            SIZE
        }

        fn longest(&self) -> usize {
            SIZE
        }

        fn from(&self, _: usize) -> Option<PeerId> {
            None
        }

        /// A packet that may be cut.
        fn write(&self, _: usize, out: &mut [u8], _: Features) {
            out.fill(0x45);
            out[6..8].fill(0);
        }
    }

    fn key(seed: u8) -> X25519SecretKey {
        X25519SecretKey::new(&SecretBytes::new([seed; 32]))
    }

    fn device(seed: u8, now: Instant) -> Device {
        let settings = DeviceSettings {
            hybrid: None,
            wireguard: Some(key(seed)),
            unix_time: Duration::from_secs(1),
            mtu: 1420,
            mtu_policy: MtuPolicy::UNLIMITED,
            rekey_after: REKEY_AFTER_TIME,
            local: HashSet::new(),
            networks: Vec::new(),
            forwarding: Forwarding::Off,
        };
        Device::new(settings, Box::new(ChaCha8Rng::seed_from_u64(seed.into())), now)
    }

    /// Lets `device` know the node with `seed` at `address`, and have a session with it.
    fn connect(device: &mut Device, own: u8, seed: u8, address: SocketAddr, now: Instant) -> Arc<PeerPlane> {
        let peer = |of: u8| PeerSettings {
            key: key(of).public_key().into(),
            preshared_key: PresharedKey::ZERO,
            endpoints: vec![address],
            persistent_keepalive: None,
            stay_connected: of == seed,
        };
        let inner = [10, 0, 0, seed].into();
        let mut other = self::device(seed, now);
        other.set_peer(peer(own), Vec::new(), now).expect("not itself");
        device
            .set_peer(peer(seed), vec![ipnet::IpNet::from(core::net::IpAddr::V4(inner))], now)
            .expect("not itself");
        device.update_routes();
        let from = Endpoint::to(address);
        other.handle_control(&device.poll_transmit().expect("an initiation").datagram, from, now);
        device.handle_control(&other.poll_transmit().expect("a response").datagram, from, now);
        while device.poll_transmit().is_some() {}
        device.plane().routes().allowed_ips.lookup(inner.into()).cloned().expect("routed")
    }

    #[test]
    fn what_is_sent_is_in_the_marks_before_it_leaves() {
        let now = Instant::now();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let receiver = std::net::UdpSocket::bind(loopback).expect("a port is free");
        let address = receiver.local_addr().expect("bound");
        let mut own = device(1, now);
        let peers = [2, 3].map(|seed| connect(&mut own, 1, seed, address, now));
        let (plane, mailbox) = (own.plane(), Mailbox::default());
        let udp = UdpSocket::bind(&UdpConfig::new(loopback)).expect("a port is free");
        let mut outlet = Outlet::new(&plane, &mailbox, &udp);
        // Three quarters of the arena each, so that it is sent while the second peer's packets are sealed.
        let packets = Full(ARENA_SIZE / SIZE * 3 / 4);
        let before = peers[1].tx_bytes();
        for peer in &peers {
            outlet.send(peer, &packets, now);
        }
        assert!(outlet.waiting() < packets.0, "some of the second peer's have left");
        assert!(peers[1].tx_bytes() > before + 10 * SIZE as u64);
        outlet.flush(now);
        let noted = peers.map(|peer| peer.tx_bytes()).iter().sum::<u64>() - 2 * before;
        assert_eq!(
            noted,
            2 * (packets.0 * (SIZE.next_multiple_of(16) + OVERHEAD)) as u64,
            "and all of it once"
        );
    }

    #[test]
    fn packets_that_are_too_long_for_the_path_and_may_be_cut_leave_in_fragments() {
        const LIMIT: u16 = 1000;
        let now = Instant::now();
        let loopback = SocketAddr::from(([127, 0, 0, 1], 0));
        let receiver = std::net::UdpSocket::bind(loopback).expect("a port is free");
        receiver.set_read_timeout(Some(Duration::from_secs(10))).expect("a time");
        let mut own = device(1, now);
        let peer = connect(&mut own, 1, 2, receiver.local_addr().expect("bound"), now);
        own.set_mtu(1420, MtuMode::Within, now);
        own.set_route_mtu(&key(2).public_key().into(), Some(LIMIT), now);
        let (plane, mailbox) = (own.plane(), Mailbox::default());
        let udp = UdpSocket::bind(&UdpConfig::new(loopback)).expect("a port is free");
        let mut outlet = Outlet::new(&plane, &mailbox, &udp);
        outlet.send(&peer, &Full(3), now);
        assert_eq!(outlet.waiting(), 6, "two fragments each");
        outlet.flush(now);
        for _ in 0..6 {
            let len = receiver.recv(&mut [0; 2000]).expect("a datagram");
            assert!(len <= usize::from(LIMIT) + OVERHEAD, "{len} bytes");
        }
    }
}
