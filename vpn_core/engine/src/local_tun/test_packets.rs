//! Packets for the tests of this module, made and checked in the most obvious way.

use super::{
    segment::SuperPacket,
    vnet::{FrameFormat, VnetHeader},
};
use crate::wire::hybrid::Features;
use zerocopy::IntoBytes;

/// A packet to be made.
#[expect(clippy::struct_excessive_bools, reason = "tests vary each on its own")]
#[derive(Clone, Debug)]
pub(super) struct Spec {
    pub(super) v6: bool,
    pub(super) udp: bool,
    /// Last byte of the source address and source port.
    pub(super) flow: u8,
    pub(super) tos: u8,
    pub(super) ttl: u8,
    pub(super) id: u16,
    pub(super) df: bool,
    pub(super) sequence: u32,
    pub(super) acknowledgement: u32,
    pub(super) flags: u8,
    pub(super) window: u16,
    /// TCP options, a multiple of 4 bytes.
    pub(super) options: Vec<u8>,
    pub(super) payload: Vec<u8>,
    pub(super) checksum_is_wrong: bool,
}

impl Spec {
    pub(super) fn tcp(payload_len: usize) -> Self {
        Self {
            v6: false,
            udp: false,
            flow: 1,
            tos: 0,
            ttl: 64,
            id: 7,
            df: false,
            sequence: 1000,
            acknowledgement: 0x0909_0909,
            flags: 0x10,
            window: 500,
            options: [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8].to_vec(),
            payload: (0..payload_len).map(|i| i as u8).collect(),
            checksum_is_wrong: false,
        }
    }

    pub(super) fn udp(payload_len: usize) -> Self {
        Self { udp: true, ..Self::tcp(payload_len) }
    }

    /// The packet of the same flow that follows this one, with a payload of `len` bytes.
    pub(super) fn following(&self, len: usize) -> Self {
        Self {
            id: self.id.wrapping_add(1),
            sequence: self.sequence.wrapping_add(self.payload.len() as u32),
            payload: (0..len).map(|i| (i as u8).wrapping_mul(3).wrapping_add(self.id as u8)).collect(),
            ..self.clone()
        }
    }

    /// The same packet with a payload for which the checksum comes out as zero. The payload has an even length.
    pub(super) fn with_a_checksum_of_zero(mut self) -> Self {
        let at = if self.v6 { 40 } else { 20 } + if self.udp { 6 } else { 16 };
        let end = self.payload.len() - 2;
        self.payload[end..].fill(0);
        let checksum = self.build()[at..at + 2].to_vec();
        // A sum and its complement add up to what the checksum field holds the complement of.
        self.payload[end..].copy_from_slice(&checksum);
        self
    }

    pub(super) fn build(&self) -> Vec<u8> {
        let mut l4 = vec![0x30, self.flow, 0, 80];
        if self.udp {
            l4.extend((8 + self.payload.len() as u16).to_be_bytes());
            l4.extend([0, 0]);
        } else {
            l4.extend(self.sequence.to_be_bytes());
            l4.extend(self.acknowledgement.to_be_bytes());
            l4.extend([((20 + self.options.len()) as u8 / 4) << 4, self.flags]);
            l4.extend(self.window.to_be_bytes());
            l4.extend([0, 0, 0, 0]);
            l4.extend(&self.options);
        }
        l4.extend(&self.payload);
        let protocol = if self.udp { 17 } else { 6 };
        let mut packet;
        if self.v6 {
            packet = vec![0x60 | self.tos >> 4, self.tos << 4, 0x12, 0x34];
            packet.extend((l4.len() as u16).to_be_bytes());
            packet.extend([protocol, self.ttl]);
            packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, self.flow]);
            packet.extend([0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 200]);
        } else {
            packet = vec![0x45, self.tos];
            packet.extend((20 + l4.len() as u16).to_be_bytes());
            packet.extend(self.id.to_be_bytes());
            packet.extend([if self.df { 0x40 } else { 0 }, 0, self.ttl, protocol, 0, 0]);
            packet.extend([10, 0, 0, self.flow, 10, 0, 0, 200]);
            let sum = !obvious_sum(&[&packet]);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        let at = packet.len() + if self.udp { 6 } else { 16 };
        packet.extend(l4);
        let mut sum = obvious_l4_sum(&packet);
        if self.udp && sum == 0 {
            sum = 0xffff;
        }
        if self.checksum_is_wrong {
            sum ^= 0x0101;
        }
        packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        packet
    }
}

/// RFC 1071, two bytes at a time; odd parts are padded.
fn obvious_sum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    sum as u16
}

/// The complemented TCP or UDP sum of a packet without extension headers, over the bytes as they are: 0 if the
/// checksum field is filled in rightly.
pub(super) fn obvious_l4_sum(packet: &[u8]) -> u16 {
    let (start, protocol, addresses) = match packet[0] >> 4 {
        4 => (usize::from(packet[0] & 15) * 4, packet[9], &packet[12..20]),
        _ => (40, packet[6], &packet[8..40]),
    };
    let len = (packet.len() - start) as u16;
    !obvious_sum(&[addresses, &[0, protocol], &len.to_be_bytes(), &packet[start..]])
}

/// Whether length fields and checksums of a final packet are right.
pub(super) fn is_sound(packet: &[u8]) -> bool {
    let length_is_right = match packet[0] >> 4 {
        4 => {
            usize::from(u16::from_be_bytes([packet[2], packet[3]])) == packet.len()
                && obvious_sum(&[&packet[..usize::from(packet[0] & 15) * 4]]) == 0xffff
        }
        _ => usize::from(u16::from_be_bytes([packet[4], packet[5]])) + 40 == packet.len(),
    };
    length_is_right && obvious_l4_sum(packet) == 0
}

/// The packet with nothing in its checksum field.
pub(super) fn without_checksum(packet: &[u8]) -> Vec<u8> {
    let (start, protocol) = match packet[0] >> 4 {
        4 => (usize::from(packet[0] & 15) * 4, packet[9]),
        _ => (40, packet[6]),
    };
    let at = start + if protocol == 17 { 6 } else { 16 };
    let mut packet = packet.to_vec();
    packet[at..at + 2].fill(0);
    packet
}

/// A frame with the given header, as the device delivers it.
pub(super) fn frame(header: &VnetHeader, packet: &[u8]) -> Vec<u8> {
    [header.as_bytes(), packet].concat()
}

/// All final packets of a frame.
pub(super) fn split(frame: Vec<u8>) -> Vec<Vec<u8>> {
    split_for(frame, Features::NONE)
}

/// The payloads that a frame becomes for a receiver that accepts `accepted`.
pub(super) fn split_for(mut frame: Vec<u8>, accepted: Features) -> Vec<Vec<u8>> {
    let packet = SuperPacket::parse(&mut frame, FrameFormat::VnetHeader).expect("frames of ours are sound");
    (0..packet.segments())
        .map(|index| {
            let mut out = vec![0; packet.segment_len(index)];
            assert_eq!(packet.write_segment(index, &mut out, accepted), Some(out.len()));
            out
        })
        .collect()
}
