//! Finds runs of packets that one super-packet can stand for: the inverse of segmentation.
//!
//! `split(coalesce(packets)) == packets`, byte for byte (but for the IPv4 identification of packets with DF set,
//! which has no meaning: RFC 6864 4.1). A run grows only at its end and only while it is the newest item of its
//! flow, so packets of a flow are written in the order in which they arrived. Wrong checksums stay visible: a
//! packet whose sums are wrong is never merged, because the kernel would replace them by right ones. A packet whose
//! checksum was left out has no wrong one: it joins a run unsummed, also one of packets that were verified, since the
//! kernel computes for each the checksum that it would have had.

use super::{
    flows::{FlowKey, Hosts, OpenFlows},
    vnet::{GSO_TCP_V4, GSO_TCP_V6, GSO_UDP_L4, VnetHeader},
};
use crate::wire::{
    ip::IpHeader,
    layout::{IpVersion, L4, Layout, TCP_ACK, TCP_ECE, TCP_PSH, get_u16, get_u32, put_u16},
    payload::{Checksum, InnerPacket},
};

/// Packets in one super-packet.
pub(super) const MAX_RUN: usize = 128; // bounds the iovec; 45 packets of 1452 bytes fill a super-packet

/// Datagrams in one super-packet of UDP: Linux before 6.9 calls more invalid (UDP_MAX_SEGMENTS).
const MAX_UDP_RUN: usize = 64;

/// A super-packet's length field has 16 bits.
const MAX_SUPER_PACKET: usize = 65_535;

/// Marks the end of an item's chain of packets.
const NO_PACKET: u32 = u32::MAX;

const IPV4_DF: u16 = 0x4000;

/// What one write to the device carries: a packet, or a run of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    /// Index of the first packet; the others follow in [`Coalescer::packets_of`].
    first: u32,
    last: u32,
    /// Packets in the run.
    pub(super) count: usize,
    /// Of the first packet; `None` for one that cannot be part of a run.
    layout: Option<Layout>,
    /// Payload bytes of the whole run.
    payload: usize,
    /// The first packet's checksums were found right; checked when a second packet is to join it.
    verified: bool,
    /// The last packet carries PSH.
    push: bool,
}

/// Whether the device takes super-packets of a protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mergeable {
    pub(super) tcp: bool,
    pub(super) udp: bool,
}

/// The items of a batch. Its memory is reused from batch to batch.
#[derive(Debug)]
pub(super) struct Coalescer {
    items: Vec<Item>,
    /// For each packet of the batch the next one in its item.
    next: Vec<u32>,
    flows: OpenFlows,
}

const fn max_run(l4: L4) -> usize {
    match l4 {
        L4::Tcp => MAX_RUN,
        L4::Udp => MAX_UDP_RUN,
    }
}

/// How a packet relates to runs.
enum Class {
    /// May begin or extend a run.
    Candidate(Layout, FlowKey),
    /// Ends the run of its flow.
    Alone(FlowKey),
    /// Belongs to an unknown flow between two hosts (fragments, options): ends all runs between them.
    Opaque(Hosts),
    /// Not IP: nothing is known.
    Unknown,
}

impl Coalescer {
    /// With memory for batches of `packets` packets; a larger batch grows it once.
    pub(super) fn with_capacity(packets: usize) -> Self {
        Self {
            items: Vec::with_capacity(packets),
            next: Vec::with_capacity(packets),
            flows: OpenFlows::new(),
        }
    }

    /// Groups `packets`, which lie in `arena`, in the order of arrival.
    pub(super) fn group(&mut self, arena: &[u8], packets: &[InnerPacket], mergeable: Mergeable) {
        self.items.clear();
        self.next.clear();
        self.next.resize(packets.len(), NO_PACKET);
        self.flows.clear();
        for (index, InnerPacket { range, checksum }) in packets.iter().enumerate() {
            let packet = arena.get(range.clone()).unwrap_or_default();
            match classify(packet, *checksum, mergeable) {
                Class::Candidate(layout, key) => {
                    self.add_candidate(arena, packets, index as u32, layout, key);
                }
                Class::Alone(key) => {
                    self.flows.close(&key);
                    self.begin(index as u32, None, false);
                }
                Class::Opaque(hosts) => {
                    self.flows.close_hosts(&hosts);
                    self.begin(index as u32, None, false);
                }
                Class::Unknown => self.begin(index as u32, None, false),
            }
        }
    }

    /// Number of writes that the batch needs.
    pub(super) fn items(&self) -> usize {
        self.items.len()
    }

    pub(super) fn item(&self, index: usize) -> Item {
        self.items[index]
    }

    /// The packets of an item in order, as indices into the batch.
    pub(super) fn packets_of(&self, item: &Item) -> impl Iterator<Item = usize> + '_ {
        let mut at = item.first;
        std::iter::from_fn(move || {
            let index = usize::try_from(at).ok().filter(|_| at != NO_PACKET)?;
            at = self.next[index];
            Some(index)
        })
    }

    fn begin(&mut self, index: u32, layout: Option<Layout>, push: bool) {
        let payload = layout.map_or(0, |layout| layout.payload_len());
        self.items.push(Item { first: index, last: index, count: 1, layout, payload, verified: false, push });
    }

    fn add_candidate(
        &mut self,
        arena: &[u8],
        packets: &[InnerPacket],
        index: u32,
        layout: Layout,
        key: FlowKey,
    ) {
        let InnerPacket { range, checksum } = &packets[index as usize];
        let packet = &arena[range.clone()];
        let push = layout.l4 == L4::Tcp && packet[layout.l4_start + 13] & TCP_PSH != 0;
        if let Some(open) = self.flows.get(&key) {
            let item = &mut self.items[open];
            let leader = &packets[item.first as usize];
            let first = (&arena[leader.range.clone()], leader.checksum);
            if item.takes(first, (packet, *checksum), &layout) {
                self.next[item.last as usize] = index;
                item.last = index;
                item.count += 1;
                item.payload += layout.payload_len();
                item.push = push;
                let shorter = item.layout.is_some_and(|leader| layout.payload_len() < leader.payload_len());
                if push || shorter {
                    self.flows.close(&key);
                }
                return;
            }
        }
        // Whatever this flow had open ends here, or later packets would overtake this one.
        if push {
            self.flows.close(&key);
        } else {
            self.flows.open(key, self.items.len());
        }
        self.begin(index, Some(layout), push);
    }
}

impl Item {
    /// Whether `packet` continues the run that `first` leads.
    fn takes(
        &mut self,
        (first, first_checksum): (&[u8], Checksum),
        (packet, checksum): (&[u8], Checksum),
        layout: &Layout,
    ) -> bool {
        let Some(leader) = self.layout else { return false };
        let continues = leader.header_len == layout.header_len
            && layout.payload_len() <= leader.payload_len()
            && self.count < max_run(leader.l4)
            && leader.header_len + self.payload + layout.payload_len() <= MAX_SUPER_PACKET
            && self.ip_continues(&leader, first, packet)
            && self.l4_continues(&leader, first, packet);
        // The sums last: they cost as much as everything else together.
        if !continues {
            return false;
        }
        if !self.verified {
            self.verified = sums_are_right(&leader, first, first_checksum);
        }
        self.verified && sums_are_right(layout, packet, checksum)
    }

    fn ip_continues(&self, leader: &Layout, first: &[u8], packet: &[u8]) -> bool {
        match leader.version {
            IpVersion::V4 => {
                // Segmentation numbers the segments upwards; RFC 6864: without DF the number matters.
                let numbered = get_u16(packet, 6) & IPV4_DF != 0
                    || get_u16(packet, 4) == get_u16(first, 4).wrapping_add(self.count as u16);
                // Version, header length, TOS; flags, TTL, protocol.
                numbered && first[..2] == packet[..2] && first[6..10] == packet[6..10]
            }
            // Traffic class, flow label; next header, hop limit.
            IpVersion::V6 => first[..4] == packet[..4] && first[6..8] == packet[6..8],
        }
    }

    fn l4_continues(&self, leader: &Layout, first: &[u8], packet: &[u8]) -> bool {
        match leader.l4 {
            L4::Udp => true,
            L4::Tcp => {
                let (first, packet) =
                    (&first[leader.l4_start..leader.header_len], &packet[leader.l4_start..leader.header_len]);
                get_u32(packet, 4) == get_u32(first, 4).wrapping_add(self.payload as u32)
                    && first[8..13] == packet[8..13] // acknowledgement, header length
                    && (first[13] ^ packet[13]) & !TCP_PSH == 0
                    && first[14..16] == packet[14..16] // window
                    && first[18..] == packet[18..] // urgent pointer, options (timestamps)
            }
        }
    }

    /// Turns the headers of the first packet into those of the whole run and returns what to write before them.
    /// For a single packet nothing changes.
    pub(super) fn write_headers(&self, first: &mut [u8]) -> VnetHeader {
        let (Some(leader), true) = (self.layout, self.count > 1) else { return VnetHeader::default() };
        let whole = leader.with_payload(self.payload);
        whole.write_lengths(first, 0);
        if self.push {
            first[leader.l4_start + 13] |= TCP_PSH;
        }
        let partial = whole.pseudo_header_sum(first);
        put_u16(first, leader.checksum_field(), partial);
        VnetHeader {
            gso_type: match (leader.l4, leader.version) {
                (L4::Tcp, IpVersion::V4) => GSO_TCP_V4,
                (L4::Tcp, IpVersion::V6) => GSO_TCP_V6,
                (L4::Udp, IpVersion::V4 | IpVersion::V6) => GSO_UDP_L4,
            },
            hdr_len: (leader.header_len as u16).into(),
            gso_size: (leader.payload_len() as u16).into(),
            ..VnetHeader::partial(&leader)
        }
    }

    /// Length of the headers of a run: the payload of every packet begins there.
    pub(super) fn header_len(&self) -> usize {
        self.layout.map_or(0, |layout| layout.header_len)
    }

    /// Whether this is a run of TCP; of UDP otherwise. `None` for a single packet.
    pub(super) fn run_is_tcp(&self) -> Option<bool> {
        self.layout.filter(|_| self.count > 1).map(|layout| layout.l4 == L4::Tcp)
    }
}

/// Whether the kernel may compute the checksums of this packet anew without hiding that they were wrong.
fn sums_are_right(layout: &Layout, packet: &[u8], checksum: Checksum) -> bool {
    layout.header_checksum_is_right(packet)
        && match checksum {
            Checksum::AsIs => layout.checksum_is_right(packet),
            Checksum::LeftOut => true,
        }
}

fn classify(packet: &[u8], checksum: Checksum, mergeable: Mergeable) -> Class {
    let Some(hosts) = Hosts::of(packet) else { return Class::Unknown };
    if IpHeader::parse(packet).is_none_or(|header| header.total_len != packet.len()) {
        return Class::Opaque(hosts);
    }
    let Ok(layout) = Layout::parse(packet) else { return Class::Opaque(hosts) };
    let key = FlowKey::of(packet, &layout);
    let candidate = match layout.l4 {
        L4::Tcp => {
            let flags = packet[layout.l4_start + 13];
            mergeable.tcp && flags & TCP_ACK != 0 && flags & !(TCP_ACK | TCP_PSH | TCP_ECE) == 0
        }
        // A packet that never had a checksum would gain one.
        L4::Udp => mergeable.udp && (checksum == Checksum::LeftOut || layout.has_checksum(packet)),
    };
    if candidate && layout.is_plain() && layout.payload_len() > 0 {
        Class::Candidate(layout, key)
    } else {
        Class::Alone(key)
    }
}
