//! A long TCP segment as the kernel hands it over, and the packets that it is cut into.

use std::ops::Range;
use vpn_core::{
    local_tun::{FrameFormat, SuperPacket, VNET_HEADER_SIZE},
    wire::hybrid::Features,
};

/// Length of each packet in bytes: the usual MTU of a tunnel.
pub(super) const PACKET: usize = 1420;
/// IPv4 and TCP with timestamps, in bytes.
pub(super) const HEADERS: usize = IPV4 + TCP;

const IPV4: usize = 20;
const TCP: usize = 32;

/// Packets that lie one after another in `bytes`.
pub(super) struct Packets {
    pub(super) bytes: Vec<u8>,
    pub(super) ranges: Vec<Range<usize>>,
}

impl Packets {
    /// Consecutive packets of one TCP stream, all checksums right.
    pub(super) fn tcp(count: usize) -> Self {
        let mut frame = super_packet(count);
        let parsed = SuperPacket::parse(&mut frame, FrameFormat::VnetHeader).expect("well formed");
        let mut packets = Self { bytes: vec![0; count * PACKET], ranges: Vec::with_capacity(count) };
        for (index, out) in packets.bytes.chunks_exact_mut(PACKET).enumerate() {
            assert_eq!(
                parsed.write_segment(index, out, Features::NONE),
                Some(PACKET),
                "all are equally long"
            );
            packets.ranges.push(index * PACKET..(index + 1) * PACKET);
        }
        packets
    }

    pub(super) fn each(&self) -> impl Iterator<Item = &[u8]> {
        self.bytes.chunks_exact(PACKET)
    }
}

/// A frame that is to be cut into `count` packets of [`PACKET`] bytes, from 10.0.0.1 to 10.0.0.2.
pub(super) fn super_packet(count: usize) -> Vec<u8> {
    let payload = count * (PACKET - HEADERS);
    let total = u16::try_from(HEADERS + payload).expect("the run fits one IP packet");
    let mut frame = Vec::with_capacity(VNET_HEADER_SIZE + usize::from(total));

    // struct virtio_net_hdr: the checksum is partial, TCP over IPv4, fields in the byte order of the host.
    frame.extend([1, 1]);
    for field in [HEADERS, PACKET - HEADERS, IPV4, 16] {
        frame.extend((field as u16).to_ne_bytes());
    }

    frame.extend([0x45, 0]);
    frame.extend(total.to_be_bytes());
    frame.extend([0, 7, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);

    frame.extend(5201_u16.to_be_bytes());
    frame.extend(40_000_u16.to_be_bytes());
    frame.extend([0, 0, 0, 1, 0, 0, 0, 1, (TCP as u8 / 4) << 4, 0x10, 1, 0, 0, 0, 0, 0]);
    frame.extend([1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8]);
    frame.extend((0..payload).map(|n| (n % 251) as u8));
    frame
}
