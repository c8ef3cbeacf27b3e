//! Splits a frame read from the TUN device into the final packets that its peer's kernel would have received.

use super::vnet::{
    FLAG_DATA_VALID, FLAG_NEEDS_CSUM, FrameFormat, GSO_ECN, GSO_NONE, GSO_TCP_V4, GSO_TCP_V6, GSO_UDP_L4,
    VnetHeader,
};
use crate::wire::{
    checksum::ones_complement_sum,
    hybrid::Features,
    ip::{IPV4_HEADER_SIZE, IPV6_HEADER_SIZE, IpHeader},
    layout::{
        IpVersion, L4, Layout, LayoutError, PROTOCOL_UDP, TCP_CWR, TCP_FIN, TCP_PSH, get_u16, get_u32,
        put_u16, put_u32,
    },
    payload::leave_out,
};
use zerocopy::FromBytes;

/// Why a frame cannot be turned into packets. The kernel (or whoever wrote to the device) erred; the frame is
/// dropped and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Shorter than its own headers state.
    #[error("the frame is shorter than its headers state")]
    Truncated,
    /// Neither an IPv4 nor an IPv6 packet that fits the frame.
    #[error("the frame holds no IP packet")]
    NotIp,
    /// A fragment with partial checksum or several segments.
    #[error("a fragment cannot be segmented")]
    Fragment,
    /// A kind of super-packet that was not asked for.
    #[error("unknown segmentation type {0}")]
    UnknownGsoType(u8),
    /// The packet is not what the segmentation type says.
    #[error("segmentation type and packet do not match (protocol {0})")]
    UnexpectedProtocol(u8),
    /// A super-packet that does not say how long its segments are.
    #[error("segment size is zero")]
    ZeroSegmentSize,
    /// The place of the partial checksum lies outside the packet or inside the IP header.
    #[error("the partial checksum lies outside the packet's payload")]
    ChecksumOutside,
}

impl From<LayoutError> for FrameError {
    fn from(error: LayoutError) -> Self {
        match error {
            LayoutError::Truncated => Self::Truncated,
            LayoutError::NotIp => Self::NotIp,
            LayoutError::Fragment => Self::Fragment,
            LayoutError::OtherProtocol(protocol) => Self::UnexpectedProtocol(protocol),
        }
    }
}

/// One frame from the TUN device: a packet, or several of one flow that share their headers.
#[derive(Debug)]
pub struct SuperPacket<'a> {
    packet: &'a mut [u8],
    header: IpHeader,
    plan: Plan,
}

#[derive(Clone, Copy, Debug)]
enum Plan {
    Single(Sum),
    Segments(Segmentation),
}

/// What the kernel says of the checksum of a single packet.
#[derive(Clone, Copy, Debug)]
enum Sum {
    /// Nothing: it may be wrong, and stays as it is.
    Unknown,
    /// It was found right.
    Verified,
    /// It is left to the device.
    Partial(PartialChecksum),
}

impl<'a> SuperPacket<'a> {
    /// Checks `frame`, as read from a device with `format`, against its actual headers.
    ///
    /// # Errors
    /// [`FrameError`] when the frame contradicts itself; nothing in it has been changed.
    pub fn parse(frame: &'a mut [u8], format: FrameFormat) -> Result<Self, FrameError> {
        let (vnet, bytes) = match format {
            FrameFormat::Plain => (VnetHeader::default(), frame),
            FrameFormat::VnetHeader => {
                let (header, rest) =
                    frame.split_at_mut_checked(format.header_size()).ok_or(FrameError::Truncated)?;
                (VnetHeader::read_from_bytes(header).map_err(|_| FrameError::Truncated)?, rest)
            }
        };
        let header = IpHeader::parse(bytes).ok_or(FrameError::NotIp)?;
        let packet = &mut bytes[..header.total_len];
        let plan = match vnet.gso_type & !GSO_ECN {
            GSO_NONE => Plan::Single(Sum::parse(packet, &vnet)?),
            gso_type => Plan::Segments(Segmentation::parse(packet, gso_type, &vnet)?),
        };
        Ok(Self { packet, header, plan })
    }

    /// The IP header of the frame: addresses and hop limit are those of every segment, the length is the sum.
    pub fn header(&self) -> &IpHeader {
        &self.header
    }

    /// The packet as the kernel gave it. Of its bytes only those of the IP header are those of every segment, but for length,
    /// identification and checksum.
    pub fn as_given(&self) -> &[u8] {
        self.packet
    }

    /// Number of final packets, at least 1.
    pub fn segments(&self) -> usize {
        match &self.plan {
            Plan::Single(_) => 1,
            Plan::Segments(segmentation) => segmentation.count(),
        }
    }

    /// Length of final packet `index` in bytes; all but the last are equally long. 0 beyond the last.
    pub fn segment_len(&self, index: usize) -> usize {
        match &self.plan {
            Plan::Single(_) if index == 0 => self.packet.len(),
            Plan::Single(_) => 0,
            Plan::Segments(segmentation) => {
                segmentation.segment(index).map_or(0, |(segment, _)| segment.total_len)
            }
        }
    }

    /// Writes final packet `index` to the start of `out`, as the payload for a receiver that accepts `accepted`, and returns
    /// its length in bytes. All checksums are there, except that a TCP or UDP checksum known to be good is left out where
    /// that is accepted (protocol.md 7.4.5). `None` when there is no such packet or `out` is shorter than
    /// [`Self::segment_len`].
    pub fn write_segment(&self, index: usize, out: &mut [u8], accepted: Features) -> Option<usize> {
        let may_leave_out = accepted.contains(Features::CHECKSUM_LEFT_OUT);
        match &self.plan {
            Plan::Single(_) if index != 0 => None,
            Plan::Single(sum) => {
                let out = out.get_mut(..self.packet.len())?;
                out.copy_from_slice(self.packet);
                let field = if may_leave_out { sum.field_to_leave_out(out) } else { None };
                match field {
                    Some(field) => leave_out(out, field),
                    None => sum.complete(out),
                }
                Some(out.len())
            }
            Plan::Segments(segmentation) => segmentation.write(self.packet, index, out, may_leave_out),
        }
    }
}

impl Sum {
    fn parse(packet: &[u8], vnet: &VnetHeader) -> Result<Self, FrameError> {
        if vnet.flags & FLAG_NEEDS_CSUM != 0 {
            Ok(Self::Partial(PartialChecksum::parse(packet, vnet)?))
        } else if vnet.flags & FLAG_DATA_VALID != 0 {
            Ok(Self::Verified)
        } else {
            Ok(Self::Unknown)
        }
    }

    /// Where the checksum lies, if the receiver would compute the very one that [`Sum::complete`] yields.
    fn field_to_leave_out(&self, packet: &[u8]) -> Option<usize> {
        let partial = match self {
            Self::Unknown => return None,
            Self::Verified => None,
            Self::Partial(checksum) => Some(checksum),
        };
        let layout = Layout::parse(packet).ok()?;
        let field = layout.checksum_field();
        let is_of_this = |checksum: &PartialChecksum| {
            checksum.start == layout.l4_start
                && checksum.field == field
                && get_u16(packet, field) == layout.pseudo_header_sum(packet)
        };
        let leaves = layout.is_plain() && layout.has_checksum(packet) && partial.is_none_or(is_of_this);
        leaves.then_some(field)
    }

    fn complete(&self, packet: &mut [u8]) {
        match self {
            Self::Unknown | Self::Verified => {}
            Self::Partial(checksum) => checksum.complete(packet),
        }
    }
}

/// A checksum that the kernel left to the device: the field holds the pseudo-header sum.
#[derive(Clone, Copy, Debug)]
struct PartialChecksum {
    /// Where the summed bytes begin; they end with the packet.
    start: usize,
    /// Where the sum is stored.
    field: usize,
    zero_means_none: bool,
}

impl PartialChecksum {
    fn parse(packet: &[u8], vnet: &VnetHeader) -> Result<Self, FrameError> {
        let start = usize::from(vnet.csum_start.get());
        let field = start + usize::from(vnet.csum_offset.get());
        let ip_header_len = match packet[0] >> 4 {
            4 => usize::from(packet[0] & 0x0f) * 4,
            _ => IPV6_HEADER_SIZE,
        };
        if start < ip_header_len.max(IPV4_HEADER_SIZE) || field + 2 > packet.len() {
            return Err(FrameError::ChecksumOutside);
        }
        let udp_offset = L4::Udp.checksum_offset() == field - start;
        let next_header = if packet[0] >> 4 == 4 { packet[9] } else { packet[6] };
        Ok(Self { start, field, zero_means_none: udp_offset && next_header == PROTOCOL_UDP })
    }

    fn complete(&self, packet: &mut [u8]) {
        let sum = !ones_complement_sum(&packet[self.start..], 0);
        put_u16(packet, self.field, if sum == 0 && self.zero_means_none { 0xffff } else { sum });
    }
}

/// How to cut a super-packet.
#[derive(Clone, Copy, Debug)]
struct Segmentation {
    layout: Layout,
    /// Payload bytes of every segment but the last; not zero.
    size: usize,
    /// Whether the receiver can compute the checksums as well as we can.
    may_leave_out: bool,
}

impl Segmentation {
    fn parse(packet: &[u8], gso_type: u8, vnet: &VnetHeader) -> Result<Self, FrameError> {
        let (l4, version) = match gso_type {
            GSO_TCP_V4 => (L4::Tcp, Some(IpVersion::V4)),
            GSO_TCP_V6 => (L4::Tcp, Some(IpVersion::V6)),
            GSO_UDP_L4 => (L4::Udp, None),
            other => return Err(FrameError::UnknownGsoType(other)),
        };
        let layout = Layout::parse(packet)?;
        if layout.l4 != l4 || version.is_some_and(|version| version != layout.version) {
            return Err(FrameError::UnexpectedProtocol(layout.l4.protocol()));
        }
        let size = usize::from(vnet.gso_size.get());
        if size == 0 {
            return Err(FrameError::ZeroSegmentSize);
        }
        let known_good = if vnet.flags & FLAG_NEEDS_CSUM != 0 {
            vnet.names_checksum_of(&layout)
        } else {
            vnet.flags & FLAG_DATA_VALID != 0
        };
        let may_leave_out = known_good && layout.is_plain() && layout.has_checksum(packet);
        Ok(Self { layout, size, may_leave_out })
    }

    fn count(&self) -> usize {
        self.layout.payload_len().div_ceil(self.size).max(1)
    }

    /// The parts of segment `index`, and where its payload begins in the super-packet.
    fn segment(&self, index: usize) -> Option<(Layout, usize)> {
        if index >= self.count() {
            return None;
        }
        let offset = index * self.size;
        let payload = self.size.min(self.layout.payload_len() - offset);
        Some((self.layout.with_payload(payload), self.layout.header_len + offset))
    }

    fn write(&self, packet: &[u8], index: usize, out: &mut [u8], may_leave_out: bool) -> Option<usize> {
        let (segment, payload_start) = self.segment(index)?;
        let out = out.get_mut(..segment.total_len)?;
        let (headers, payload) = out.split_at_mut(segment.header_len);
        headers.copy_from_slice(&packet[..segment.header_len]);
        payload.copy_from_slice(&packet[payload_start..payload_start + payload.len()]);
        segment.write_lengths(headers, index as u16);
        match segment.l4 {
            L4::Tcp => {
                let tcp = &mut headers[segment.l4_start..];
                let offset = (payload_start - segment.header_len) as u32; // below 65,536
                let sequence = get_u32(tcp, 4).wrapping_add(offset);
                put_u32(tcp, 4, sequence);
                if index > 0 {
                    tcp[13] &= !TCP_CWR;
                }
                if index + 1 < self.count() {
                    tcp[13] &= !(TCP_FIN | TCP_PSH);
                }
            }
            // No checksum in the super-packet means none in its segments (RFC 768, IPv4 only).
            L4::Udp if segment.version == IpVersion::V4 && !segment.has_checksum(headers) => {
                return Some(segment.total_len);
            }
            L4::Udp => {}
        }
        if may_leave_out && self.may_leave_out {
            leave_out(out, segment.checksum_field());
        } else {
            segment.write_checksum(out);
        }
        Some(out.len())
    }
}

#[cfg(test)]
mod tests;
