//! The packet path without I/O: routing, sealing and opening of batches. Shared by all threads; nothing here takes a
//! lock, allocates or counts a reference per packet on its usual way.

use super::gate::{Gate, Standing};
use crate::{
    base::{DropCounters, DropReason, Endpoint, PeerId, ReceiverIndex},
    handshake::Protocol,
    routing::AllowedIps,
    session::{Keypair, Unopened},
    tunnel::{Content, IndexUse, InnerNetworks, PeerPlane, SessionTable},
    wire::{
        HandshakeMessage,
        hybrid::Features,
        icmp::IcmpError,
        ip::{IpHeader, decrement_hop_limit},
        path::PathMessage,
        payload::{Checksum, InnerPacket, check_left_out, take_mark},
        transport::{OVERHEAD, TransportHeader},
    },
};
use arc_swap::ArcSwap;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use ipnet::IpNet;
use std::{collections::HashSet, net::IpAddr, ops::Range, sync::Arc, time::Instant};

/// What a node does with a packet of one peer that is addressed to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarding {
    /// Hands every packet to the local system: a client.
    Off,
    /// Sends it on to the other peer without leaving the engine: a gateway.
    BetweenPeers,
    /// Drops it: a gateway whose clients must not see each other.
    Denied,
}

/// What the packet path knows of addresses: an immutable snapshot, replaced by control as a whole.
#[derive(Debug)]
pub struct Routes {
    /// From inner address to peer.
    pub allowed_ips: AllowedIps<Arc<PeerPlane>>,
    /// The addresses of this node's own tunnel interface.
    pub local: HashSet<IpAddr>,
    /// The networks of these addresses: in the tunnel, whoever has one of their addresses.
    pub networks: Vec<IpNet>,
    /// What to do with packets between peers.
    pub forwarding: Forwarding,
}

impl Routes {
    /// Whether `ip` is the first or last address of a network of the tunnel interface: means all in it (RFC 1812, 5.3.5).
    pub fn is_broadcast(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| match (network, ip) {
            (IpNet::V4(network), IpAddr::V4(ip)) => {
                network.prefix_len() < 31 && (network.broadcast() == ip || network.network() == ip)
            }
            (IpNet::V6(_), _) | (_, IpAddr::V6(_)) => false,
        })
    }

    /// Whether `ip` is to be a peer's: no way leads there but through the tunnel.
    fn is_inside(&self, ip: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&ip)) && !self.is_broadcast(ip)
    }

    /// Who has sent a packet that was accepted from a peer: its source address belongs to one (protocol.md 9.2).
    pub fn sender(&self, packet: &[u8]) -> Option<&Arc<PeerPlane>> {
        self.allowed_ips.lookup(IpHeader::parse(packet)?.source)
    }

    /// The same, if it is to be told that nobody takes the packet: one for all in a network is not answered.
    pub fn told_sender(&self, packet: &[u8]) -> Option<&Arc<PeerPlane>> {
        let header = IpHeader::parse(packet).filter(|header| !self.is_broadcast(header.destination))?;
        self.allowed_ips.lookup(header.source)
    }
}

/// The packet path of one device.
#[derive(Debug)]
pub struct DataPlane {
    table: Arc<SessionTable>,
    routes: ArcSwap<Routes>,
    gate: ArcSwap<Gate>,
    /// Where no peer is reached; looked up only when an endpoint would move.
    inner: ArcSwap<InnerNetworks>,
    drops: Arc<DropCounters>,
    mtu: AtomicUsize,
    /// What we have announced to hybrid peers.
    announced: Features,
}

/// Packets in a row that are to be sent on to another peer.
#[derive(Debug)]
struct Forwarded {
    peer: Arc<PeerPlane>,
    /// Which of [`Inbound::passing`] they are.
    packets: Range<usize>,
}

/// A packet from one peer to another, or to nobody, that goes no further: its sender is to be told.
#[derive(Clone, Debug)]
pub struct Refused {
    /// Where it lies in the arena.
    pub packet: InnerPacket,
    /// Why.
    pub error: IcmpError,
    /// Whom it came from.
    pub from: Arc<PeerPlane>,
}

/// A datagram that is control's to deal with.
#[derive(Clone, Debug)]
pub struct ForControl {
    /// Where it lies in the arena.
    pub datagram: Range<usize>,
    /// Who sent it.
    pub from: Endpoint,
    /// What its sender has shown.
    pub standing: Standing,
}

/// What a batch of datagrams turned out to be; reused from batch to batch. Ranges point into the arena that the
/// datagrams lie in; packets are decrypted in place and in the order of arrival.
#[derive(Debug, Default)]
pub struct Inbound {
    /// IP packets for the local system.
    pub local: Vec<InnerPacket>,
    /// IP packets for other peers, their hop limits already lowered, and whose they are.
    passing: Vec<InnerPacket>,
    forwarded: Vec<Forwarded>,
    /// Datagrams for control: handshake messages, and data that came before its handshake was finished.
    pub control: Vec<ForControl>,
    /// Peers that want control's attention.
    pub attention: Vec<PeerId>,
    /// Packets that are not sent on: the path to their peer does not take them, or they are nobody's.
    pub refused: Vec<Refused>,
    /// Probes of paths and answers to them, and whose they are: for control.
    pub path_messages: Vec<(PeerId, PathMessage)>,
    /// Scratch: the datagrams of one run, before and after they are opened.
    unopened: Unopened,
    opened: Vec<(u64, Range<usize>)>,
}

impl Inbound {
    /// IP packets for other peers, in rows for the same one; their hop limits are already lowered.
    pub fn forwarded(&self) -> impl Iterator<Item = (&Arc<PeerPlane>, &[InnerPacket])> {
        self.forwarded.iter().map(|row| (&row.peer, &self.passing[row.packets.clone()]))
    }

    fn forward(&mut self, packet: InnerPacket, next_hop: &Arc<PeerPlane>) {
        let at = self.passing.len();
        self.passing.push(packet);
        match self.forwarded.last_mut() {
            Some(row) if row.peer.id() == next_hop.id() => row.packets.end = at + 1,
            Some(_) | None => {
                self.forwarded.push(Forwarded { peer: Arc::clone(next_hop), packets: at..at + 1 });
            }
        }
    }

    fn refuse(&mut self, arena: &mut [u8], packet: InnerPacket, error: IcmpError, from: &Arc<PeerPlane>) {
        let InnerPacket { range, checksum } = packet;
        checksum.complete(&mut arena[range.clone()]); // Its sender is shown what it sent.
        self.refused.push(Refused { packet: InnerPacket::as_is(range), error, from: Arc::clone(from) });
    }

    /// Forgets the batch, keeps the memory.
    pub fn clear(&mut self) {
        self.local.clear();
        self.passing.clear();
        self.forwarded.clear();
        self.control.clear();
        self.attention.clear();
        self.refused.clear();
        self.path_messages.clear();
    }
}

impl DataPlane {
    pub(super) fn new(
        table: Arc<SessionTable>,
        routes: Routes,
        gate: Gate,
        drops: Arc<DropCounters>,
        mtu: u16,
        announced: Features,
    ) -> Self {
        Self {
            table,
            routes: ArcSwap::from_pointee(routes),
            gate: ArcSwap::from_pointee(gate),
            inner: ArcSwap::default(),
            drops,
            mtu: AtomicUsize::new(mtu.into()),
            announced,
        }
    }

    pub(super) fn set_gate(&self, gate: Gate) {
        self.gate.store(Arc::new(gate));
    }

    /// MTU of the tunnel interface in bytes: padding does not go beyond it.
    pub fn mtu(&self) -> usize {
        self.mtu.load(Relaxed)
    }

    /// Follows the tunnel interface's MTU, which somebody may change.
    pub fn set_mtu(&self, mtu: u32) {
        self.mtu.store(mtu as usize, Relaxed);
    }

    pub(super) fn set_routes(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
    }

    pub(super) fn set_inner(&self, inner: Arc<InnerNetworks>) {
        self.inner.store(inner);
    }

    /// Whether a peer may be at `address`; counted where not (protocol.md 9.3).
    fn may_be_endpoint(&self, address: IpAddr) -> bool {
        let is_outside = !self.inner.load().contains(address);
        if !is_outside {
            self.drops.count(DropReason::InnerAddress);
        }
        is_outside
    }

    /// The drop counters.
    pub fn drops(&self) -> &DropCounters {
        &self.drops
    }

    /// The routes in force; take them once a batch.
    pub fn routes(&self) -> arc_swap::Guard<Arc<Routes>> {
        self.routes.load()
    }

    /// Opens the datagrams that lie one after another, `stride` bytes apart, in `run` of `arena` (the last may be
    /// shorter), as one receive call with GRO delivers them. Results are added to `inbound`.
    pub fn open(
        &self,
        arena: &mut [u8],
        run: Range<usize>,
        stride: usize,
        from: Endpoint,
        now: Instant,
        inbound: &mut Inbound,
    ) {
        let routes = self.routes.load();
        let mut datagrams = Datagrams { at: run.start, end: run.end, stride: stride.max(1) };
        let mut pending = datagrams.next();
        while let Some(datagram) = pending.take() {
            let Some(index) = transport_index(&arena[datagram.clone()]) else {
                match self.check_handshake(&arena[datagram.clone()], from) {
                    Ok(standing) => inbound.control.push(ForControl { datagram, from, standing }),
                    Err(reason) => self.drops.count(reason),
                }
                pending = datagrams.next();
                continue;
            };
            let (keypair, peer) = match self.table.get(index) {
                Some(IndexUse::Session(keypair, peer)) => (keypair, peer),
                Some(IndexUse::HalfOpen) => {
                    inbound.control.push(ForControl { datagram, from, standing: Standing::Early });
                    pending = datagrams.next();
                    continue;
                }
                Some(IndexUse::Initiation(_)) | None => {
                    self.drops.count(DropReason::UnknownIndex);
                    pending = datagrams.next();
                    continue;
                }
            };
            // All that follow under the same index are one run: opened together, then accepted in order.
            let mut next = Some(datagram);
            while let Some(datagram) = next {
                if let Err(reason) = inbound.unopened.push(arena, datagram) {
                    self.drops.count(reason);
                }
                pending = datagrams.next();
                next = pending.take_if(|datagram| transport_index(&arena[datagram.clone()]) == Some(index));
            }
            let Inbound { unopened, opened, .. } = &mut *inbound;
            let take = |counter, payload| opened.push((counter, payload));
            keypair.open_all(arena, unopened, now, take, |reason| self.drops.count(reason));
            self.accept(arena, &routes, &keypair, &peer, from, now, inbound);
        }
    }

    /// Whether a datagram that is no transport message is one for control.
    fn check_handshake(&self, datagram: &[u8], from: Endpoint) -> Result<Standing, DropReason> {
        let message = HandshakeMessage::parse(datagram).ok_or(DropReason::Malformed)?;
        self.gate.load().check(message, from, &self.table)
    }

    /// Accepts the opened packets of one run: replay, then bookkeeping, then each packet's own checks.
    #[expect(clippy::too_many_arguments, reason = "one step of `open`, cut out for reading")]
    fn accept(
        &self,
        arena: &mut [u8],
        routes: &Routes,
        keypair: &Arc<Keypair>,
        peer: &Arc<PeerPlane>,
        from: Endpoint,
        now: Instant,
        inbound: &mut Inbound,
    ) {
        let before = inbound.opened.len();
        let mut replay = keypair.replay();
        inbound.opened.retain(|(counter, _)| replay.accept(*counter));
        drop(replay);
        self.drops.count_many(DropReason::Replay, (before - inbound.opened.len()) as u64);
        if inbound.opened.is_empty() {
            return;
        }
        let bytes: usize = inbound.opened.iter().map(|(_, payload)| payload.len() + OVERHEAD).sum();
        let contents = inbound.opened.iter().map(|(_, payload)| content(&arena[payload.clone()]));
        let content = contents.max().unwrap_or(Content::Answers);
        let may_move_to = |address| self.may_be_endpoint(address);
        if peer.note_received(keypair, from, bytes, content, may_move_to, now) {
            inbound.attention.push(peer.id());
        }
        let mut opened = core::mem::take(&mut inbound.opened);
        let mut checked = None;
        for (_, payload) in opened.drain(..) {
            if payload.is_empty() {
                continue; // A keepalive.
            }
            let packet = self.unwrapped(arena, payload.clone(), keypair.protocol());
            let Err(reason) = deliver(arena, routes, peer, packet, &mut checked, inbound) else { continue };
            match self.path_message(&arena[payload], keypair.protocol()) {
                Some(message) => inbound.path_messages.push((peer.id(), message)),
                None => self.drops.count(reason),
            }
        }
        inbound.opened = opened;
    }

    /// protocol.md 7.4: a hybrid session carries whole IP packets, perhaps behind an explicit protocol byte or, as far as we
    /// have announced that, without their checksum; all else is reserved. A WireGuard session carries IP packets only.
    fn unwrapped(&self, arena: &mut [u8], payload: Range<usize>, protocol: Protocol) -> InnerPacket {
        const EXPLICIT_IP: u8 = 4;
        let first = &mut arena[payload.start];
        match protocol {
            Protocol::Hybrid if *first == EXPLICIT_IP => InnerPacket::as_is(payload.start + 1..payload.end),
            Protocol::Hybrid if self.announced.contains(Features::CHECKSUM_LEFT_OUT) => {
                InnerPacket { checksum: take_mark(first), range: payload }
            }
            Protocol::Hybrid | Protocol::Wireguard => InnerPacket::as_is(payload),
        }
    }

    /// What a payload that is no IP packet says of the path (protocol.md 7.5).
    fn path_message(&self, payload: &[u8], protocol: Protocol) -> Option<PathMessage> {
        let announced = protocol == Protocol::Hybrid && self.announced.contains(Features::PATH_PROBES);
        announced.then(|| PathMessage::parse(payload)).flatten()
    }
}

/// Neither a keepalive nor a message about the path wants an answer from the local system.
fn content(payload: &[u8]) -> Content {
    match payload.first() {
        Some(first) if PathMessage::begins_as_probe(*first) => Content::Probes,
        Some(first) if !PathMessage::begins_with(*first) => Content::Payloads,
        Some(_) | None => Content::Answers,
    }
}

/// The last source and destination that were looked up: packets of one flow come in rows.
struct Checked {
    source: IpAddr,
    destination: IpAddr,
    next_hop: NextHop,
}

/// Where the packets of a flow go.
enum NextHop {
    Local,
    Peer(Arc<PeerPlane>),
    /// The address would be a peer's, and no peer has it.
    Nobody,
}

/// Checks one decrypted payload and puts it where it belongs.
fn deliver(
    arena: &mut [u8],
    routes: &Routes,
    peer: &Arc<PeerPlane>,
    mut packet: InnerPacket,
    checked: &mut Option<Checked>,
    inbound: &mut Inbound,
) -> Result<(), DropReason> {
    let header = IpHeader::parse(&arena[packet.range.clone()]).ok_or(DropReason::BadPayload)?;
    packet.range.end = packet.range.start + header.total_len;
    if packet.checksum == Checksum::LeftOut && !check_left_out(&mut arena[packet.range.clone()]) {
        return Err(DropReason::BadPayload);
    }
    let same_flow = checked
        .as_ref()
        .is_some_and(|last| last.source == header.source && last.destination == header.destination);
    if !same_flow {
        *checked = Some(check(routes, peer, &header)?);
    }
    match checked.as_ref().map_or(&NextHop::Local, |checked| &checked.next_hop) {
        // The local system answers for a hop limit that ends here.
        NextHop::Peer(_) | NextHop::Nobody if header.hop_limit <= 1 => inbound.local.push(packet),
        NextHop::Peer(next_hop) => {
            if header.total_len > next_hop.mtu()
                && let Some(mtu) = next_hop.refuses(&arena[packet.range.clone()], header.total_len)
            {
                inbound.refuse(arena, packet, IcmpError::TooBig { mtu }, peer);
                return Err(DropReason::TooBig);
            }
            decrement_hop_limit(&mut arena[packet.range.clone()]);
            inbound.forward(packet, next_hop);
        }
        NextHop::Nobody => {
            inbound.refuse(arena, packet, IcmpError::Unreachable, peer);
            return Err(DropReason::NoRoute);
        }
        NextHop::Local => inbound.local.push(packet),
    }
    Ok(())
}

/// Cryptokey routing of one flow (protocol.md 9).
fn check(routes: &Routes, peer: &Arc<PeerPlane>, header: &IpHeader) -> Result<Checked, DropReason> {
    let owner = routes.allowed_ips.lookup(header.source);
    if owner.is_none_or(|owner| owner.id() != peer.id()) {
        return Err(DropReason::SourceNotAllowed);
    }
    let stays_here = routes.forwarding == Forwarding::Off
        || routes.local.contains(&header.destination)
        || is_of_one_link(header.source)
        || is_of_one_link(header.destination);
    let next_hop = if stays_here {
        NextHop::Local
    } else {
        match routes.allowed_ips.lookup(header.destination) {
            Some(target) if target.id() == peer.id() => NextHop::Local,
            Some(target) => NextHop::Peer(Arc::clone(target)),
            None if routes.is_inside(header.destination) => NextHop::Nobody,
            None => NextHop::Local,
        }
    };
    // An answer for nobody's address and silence for a peer's would tell which addresses are in use.
    if routes.forwarding == Forwarding::Denied && !matches!(next_hop, NextHop::Local) {
        return Err(DropReason::ForwardingDenied);
    }
    Ok(Checked { source: header.source, destination: header.destination, next_hop })
}

/// Whether the address means something on one link or host only, so that no router may pass it on; a peer with a default
/// route would be sent it otherwise. What the local system makes of it is the local system's business.
fn is_of_one_link(ip: IpAddr) -> bool {
    ip.is_multicast()
        || ip.is_unspecified()
        || ip.is_loopback()
        || match ip {
            IpAddr::V4(ip) => ip.is_broadcast() || ip.is_link_local(),
            IpAddr::V6(ip) => ip.is_unicast_link_local(),
        }
}

fn transport_index(datagram: &[u8]) -> Option<ReceiverIndex> {
    TransportHeader::parse(datagram).map(|header| header.receiver)
}

/// The datagrams of one receive call.
struct Datagrams {
    at: usize,
    end: usize,
    stride: usize,
}

impl Iterator for Datagrams {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        if self.at >= self.end {
            return None;
        }
        let start = self.at;
        self.at = (start + self.stride).min(self.end);
        Some(start..self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Epoch;

    #[test]
    fn packets_for_one_peer_are_rows_as_long_as_no_other_peers_come_between() {
        let epoch = Epoch::starting_at(Instant::now());
        let peers: Vec<_> = (0..2).map(|id| Arc::new(PeerPlane::new(PeerId(id), epoch))).collect();
        let mut inbound = Inbound::default();
        for round in 0..2 {
            for (at, peer) in [0, 0, 1, 0, 0, 0].into_iter().enumerate() {
                inbound.forward(InnerPacket::as_is(round * 10 + at..round * 10 + at + 1), &peers[peer]);
            }
            let rows: Vec<_> = inbound
                .forwarded()
                .map(|(peer, packets)| {
                    (peer.id().0, packets.iter().map(|packet| packet.range.start % 10).collect())
                })
                .collect();
            assert_eq!(rows, [(0, vec![0, 1]), (1, vec![2]), (0, vec![3, 4, 5])]);
            inbound.clear();
            assert_eq!(inbound.forwarded().count(), 0);
        }
    }
}
