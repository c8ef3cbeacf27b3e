//! The transport message (protocol.md 7.1), byte-identical to WireGuard's.

use super::{
    ip::{IPV4_HEADER_SIZE, IPV6_HEADER_SIZE},
    layout::PROTOCOL_UDP,
};
use crate::{base::ReceiverIndex, symmetric::TAG_SIZE};
use core::net::IpAddr;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian};

/// First four bytes of a transport message.
pub const TYPE_TRANSPORT: [u8; 4] = [4, 0, 0, 0];
/// Size of the header in front of the ciphertext, in bytes.
pub const HEADER_SIZE: usize = size_of::<TransportHeader>();
/// What a transport message adds to its payload, in bytes.
pub const OVERHEAD: usize = HEADER_SIZE + TAG_SIZE;
/// Size of a UDP header, in bytes.
const UDP_HEADER_SIZE: usize = 8;

/// What a packet in the tunnel gets around it on the way to `endpoint`, in bytes: headers of IP and UDP, and [`OVERHEAD`].
pub const fn outer_overhead(endpoint: IpAddr) -> usize {
    let ip = match endpoint.to_canonical() {
        IpAddr::V4(_) => IPV4_HEADER_SIZE,
        IpAddr::V6(_) => IPV6_HEADER_SIZE,
    };
    ip + UDP_HEADER_SIZE + OVERHEAD
}

/// The header of a transport message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct TransportHeader {
    /// [`TYPE_TRANSPORT`].
    pub kind: [u8; 4],
    /// The receiver's index for the keypair.
    pub receiver: ReceiverIndex,
    /// Counter: nonce of this message.
    pub counter: little_endian::U64,
}

impl TransportHeader {
    /// Recognises a transport message: type and at least an empty payload.
    pub fn parse(datagram: &[u8]) -> Option<&Self> {
        let (header, rest) = Self::ref_from_prefix(datagram).ok()?;
        (header.kind == TYPE_TRANSPORT && rest.len() >= TAG_SIZE).then_some(header)
    }

    /// Recognises a transport message that travels in `packet`: an IP packet with UDP, of which [`IpHeader::parse`](super::ip::IpHeader::parse)
    /// has accepted the header.
    pub fn carried_by(packet: &[u8]) -> Option<&Self> {
        let (protocol, ip_header) = match packet[0] >> 4 {
            4 => (packet[9], usize::from(packet[0] & 0x0f) * 4),
            _ => (packet[6], IPV6_HEADER_SIZE),
        };
        let datagram = packet.get(ip_header + UDP_HEADER_SIZE..).filter(|_| protocol == PROTOCOL_UDP)?;
        Self::parse(datagram)
    }
}

const _: () = assert!(HEADER_SIZE == 16);
