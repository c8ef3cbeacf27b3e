//! Splits a frame read from the TUN device into the final packets that its peer's kernel would have received.

use super::{
    headers::{
        IpVersion, L4, Layout, PROTOCOL_UDP, TCP_CWR, TCP_FIN, TCP_PSH, get_u16, get_u32, parse_ip, put_u16,
        put_u32,
    },
    vnet::{FLAG_NEEDS_CSUM, FrameFormat, GSO_ECN, GSO_NONE, GSO_TCP_V4, GSO_TCP_V6, GSO_UDP_L4, VnetHeader},
};
use crate::wire::{
    checksum::ones_complement_sum,
    ip::{IPV4_HEADER_SIZE, IPV6_HEADER_SIZE, IpHeader},
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

/// One frame from the TUN device: a packet, or several of one flow that share their headers.
#[derive(Debug)]
pub struct SuperPacket<'a> {
    packet: &'a mut [u8],
    header: IpHeader,
    plan: Plan,
}

#[derive(Clone, Copy, Debug)]
enum Plan {
    Single(Option<PartialChecksum>),
    Segments(Segmentation),
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
        let (packet, header) = parse_ip(bytes)?;
        let plan = match vnet.gso_type & !GSO_ECN {
            GSO_NONE if vnet.flags & FLAG_NEEDS_CSUM == 0 => Plan::Single(None),
            GSO_NONE => Plan::Single(Some(PartialChecksum::parse(packet, &vnet)?)),
            gso_type => Plan::Segments(Segmentation::parse(packet, gso_type, vnet.gso_size.get())?),
        };
        Ok(Self { packet, header, plan })
    }

    /// The IP header of the frame: addresses and hop limit are those of every segment, the length is the sum.
    pub fn header(&self) -> &IpHeader {
        &self.header
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

    /// Writes final packet `index` to the start of `out`, with all its checksums, and returns its length in bytes.
    /// `None` when there is no such packet or `out` is shorter than [`Self::segment_len`].
    pub fn write_segment(&self, index: usize, out: &mut [u8]) -> Option<usize> {
        match &self.plan {
            Plan::Single(_) if index != 0 => None,
            Plan::Single(checksum) => {
                let out = out.get_mut(..self.packet.len())?;
                out.copy_from_slice(self.packet);
                if let Some(checksum) = checksum {
                    checksum.complete(out);
                }
                Some(out.len())
            }
            Plan::Segments(segmentation) => segmentation.write(self.packet, index, out),
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
}

impl Segmentation {
    fn parse(packet: &[u8], gso_type: u8, gso_size: u16) -> Result<Self, FrameError> {
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
        if gso_size == 0 {
            return Err(FrameError::ZeroSegmentSize);
        }
        Ok(Self { layout, size: usize::from(gso_size) })
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

    fn write(&self, packet: &[u8], index: usize, out: &mut [u8]) -> Option<usize> {
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
            L4::Udp if get_u16(headers, segment.l4_start + 6) == 0 && segment.version == IpVersion::V4 => {
                return Some(segment.total_len);
            }
            L4::Udp => {}
        }
        segment.write_checksum(out);
        Some(out.len())
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::test_packets::{Spec, frame, is_sound, split},
        *,
    };
    use proptest::prelude::*;

    const FIN_PSH_ACK_CWR: u8 = 0x01 | 0x08 | 0x10 | 0x80;

    fn gso(gso_type: u8, size: u16) -> VnetHeader {
        VnetHeader { flags: FLAG_NEEDS_CSUM, gso_type, gso_size: size.into(), ..VnetHeader::default() }
    }

    #[test]
    fn tcp_flags_of_one_end_stay_at_that_end() {
        let spec = Spec { flags: FIN_PSH_ACK_CWR, ..Spec::tcp(250) };
        let packets = split(frame(&gso(GSO_TCP_V4 | GSO_ECN, 100), &spec.build()));
        let flags: Vec<u8> = packets.iter().map(|packet| packet[33]).collect();
        assert_eq!(flags, [0x90, 0x10, 0x19]);
        let ids: Vec<u8> = packets.iter().map(|packet| packet[5]).collect();
        assert_eq!(ids, [7, 8, 9]);
        assert!(packets.iter().all(|packet| is_sound(packet)));
    }

    #[test]
    fn a_partial_checksum_is_completed() {
        for spec in [
            Spec::tcp(99),
            Spec::udp(98),
            Spec { v6: true, ..Spec::udp(97) },
            // Only UDP has another form for zero, which would mean "none".
            Spec::tcp(98).with_a_checksum_of_zero(),
            Spec::udp(98).with_a_checksum_of_zero(),
            Spec { v6: true, ..Spec::udp(98) }.with_a_checksum_of_zero(),
        ] {
            let whole = spec.build();
            let layout = Layout::parse(&whole).expect("sound");
            let field = layout.l4_start + layout.l4.checksum_offset();
            let mut partial = whole.clone();
            let sum = layout.pseudo_header_sum(&whole);
            partial[field..field + 2].copy_from_slice(&sum.to_be_bytes());
            let header = VnetHeader {
                flags: FLAG_NEEDS_CSUM,
                csum_start: (layout.l4_start as u16).into(),
                csum_offset: (layout.l4.checksum_offset() as u16).into(),
                ..VnetHeader::default()
            };
            assert_eq!(split(frame(&header, &partial)), std::slice::from_ref(&whole));
        }
    }

    #[test]
    fn udp_checksum_that_comes_out_as_zero_is_written_in_its_other_form() {
        for v6 in [false, true] {
            let whole = Spec { v6, ..Spec::udp(98) }.with_a_checksum_of_zero().build();
            let at = if v6 { 46 } else { 26 };
            assert_eq!(whole[at..at + 2], [0xff, 0xff]);
            assert_eq!(split(frame(&gso(GSO_UDP_L4, 98), &whole)), [whole]);
        }
    }

    #[test]
    fn udp_without_checksum_over_ipv4_has_none_in_its_segments_either() {
        let mut whole = Spec::udp(250).build();
        whole[26..28].fill(0);
        let packets = split(frame(&gso(GSO_UDP_L4, 100), &whole));
        assert_eq!(packets.len(), 3);
        assert!(packets.iter().all(|packet| packet[26..28] == [0, 0]));
        let mut whole = Spec { v6: true, ..Spec::udp(250) }.build();
        whole[46..48].fill(0);
        let packets = split(frame(&gso(GSO_UDP_L4, 100), &whole));
        assert!(packets.iter().all(|packet| is_sound(packet)), "IPv6 does not know that");
    }

    #[test]
    fn packets_without_offload_pass_untouched_with_what_follows_them_cut_off() {
        let spec = Spec { checksum_is_wrong: true, ..Spec::tcp(10) };
        let packet = spec.build();
        let mut padded = packet.clone();
        padded.extend([0; 9]);
        assert_eq!(split(frame(&VnetHeader::default(), &padded)), std::slice::from_ref(&packet));
        let plain = SuperPacket::parse(&mut padded, FrameFormat::Plain).expect("sound");
        let mut out = vec![0; plain.segment_len(0)];
        assert_eq!(plain.write_segment(0, &mut out), Some(packet.len()));
        assert_eq!(out, packet);
    }

    #[test]
    fn headers_that_contradict_the_packet_are_refused() {
        let tcp = Spec::tcp(100).build();
        let refusal = |header: &VnetHeader, packet: &[u8]| {
            SuperPacket::parse(&mut frame(header, packet), FrameFormat::VnetHeader).map(|_| ()).unwrap_err()
        };
        assert_eq!(refusal(&gso(GSO_TCP_V6, 50), &tcp), FrameError::UnexpectedProtocol(6));
        assert_eq!(refusal(&gso(GSO_UDP_L4, 50), &tcp), FrameError::UnexpectedProtocol(6));
        assert_eq!(refusal(&gso(3, 50), &tcp), FrameError::UnknownGsoType(3));
        assert_eq!(refusal(&gso(GSO_TCP_V4, 0), &tcp), FrameError::ZeroSegmentSize);
        assert_eq!(refusal(&gso(GSO_TCP_V4, 50), &tcp[..80]), FrameError::NotIp);
        let mut fragment = tcp.clone();
        fragment[6] = 0x20;
        assert_eq!(refusal(&gso(GSO_TCP_V4, 50), &fragment), FrameError::Fragment);
        let outside = VnetHeader { flags: FLAG_NEEDS_CSUM, csum_start: 151.into(), ..VnetHeader::default() };
        assert_eq!(refusal(&outside, &tcp), FrameError::ChecksumOutside);
        let inside_ip = VnetHeader { flags: FLAG_NEEDS_CSUM, csum_start: 8.into(), ..VnetHeader::default() };
        assert_eq!(refusal(&inside_ip, &tcp), FrameError::ChecksumOutside);
        assert_eq!(
            SuperPacket::parse(&mut [0; 9], FrameFormat::VnetHeader).map(|_| ()),
            Err(FrameError::Truncated)
        );
    }

    #[test]
    fn an_output_that_is_too_short_takes_nothing() {
        let mut bytes = frame(&gso(GSO_TCP_V4, 50), &Spec::tcp(100).build());
        let packet = SuperPacket::parse(&mut bytes, FrameFormat::VnetHeader).expect("sound");
        assert_eq!(packet.write_segment(0, &mut [0; 101]), None);
        assert_eq!(packet.write_segment(0, &mut [0; 102]), Some(102));
        assert_eq!(packet.write_segment(2, &mut [0; 2000]), None);
        assert_eq!(packet.segment_len(2), 0);
    }

    proptest! {
        #[test]
        fn segments_are_sound_and_carry_the_whole_payload(
            udp: bool, v6: bool, len in 0_usize..5000, size in 1_u16..1500, tcp_options in 0_usize..10
        ) {
            let options = vec![1; tcp_options * 4];
            let spec = Spec { udp, v6, options, sequence: u32::MAX - 700, ..Spec::tcp(len) };
            let gso_type = if udp { GSO_UDP_L4 } else if v6 { GSO_TCP_V6 } else { GSO_TCP_V4 };
            let packets = split(frame(&gso(gso_type, size), &spec.build()));
            let mut payload: Vec<u8> = Vec::new();
            for packet in &packets {
                prop_assert!(is_sound(packet));
                let layout = Layout::parse(packet).expect("sound");
                if !udp {
                    let expected = spec.sequence.wrapping_add(payload.len() as u32);
                    prop_assert_eq!(get_u32(packet, layout.l4_start + 4), expected);
                }
                payload.extend(&packet[layout.header_len..]);
            }
            prop_assert_eq!(payload, spec.payload);
        }

        #[test]
        fn no_frame_makes_parsing_or_writing_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
            version in 0_usize..4,
            protocol in 0_usize..4,
            gso_type in 0_usize..5,
            small_offsets: bool,
        ) {
            // Random bytes rarely get past the first checks: make them look right with some probability.
            let len = bytes.len();
            if let (true, Some(packet)) = (small_offsets, bytes.get_mut(6..10)) {
                packet[0] %= 80;
                packet[1] = 0;
                packet[2] %= 80;
                packet[3] = 0;
            }
            if let Some(kind) = bytes.get_mut(1) {
                *kind = [*kind, 1, 4, 5, 0][gso_type];
            }
            if let Some(packet) = bytes.get_mut(10..).filter(|packet| packet.len() >= 40) {
                packet[0] = [packet[0], 0x45, 0x46, 0x60][version];
                let field = if packet[0] >> 4 == 4 { 2 } else { 4 };
                let stated = if field == 2 { len - 10 } else { len - 50 };
                put_u16(packet, field, stated as u16);
                let at = if field == 2 { 9 } else { 6 };
                packet[at] = [packet[at], 6, 17, 0][protocol];
                packet[6] &= if field == 2 { 0x40 } else { 0xff };
            }
            if let Ok(packet) = SuperPacket::parse(&mut bytes, FrameFormat::VnetHeader) {
                let mut out = [0; 300];
                for index in 0..packet.segments() {
                    prop_assert_eq!(packet.write_segment(index, &mut out), Some(packet.segment_len(index)));
                }
            }
        }
    }
}
