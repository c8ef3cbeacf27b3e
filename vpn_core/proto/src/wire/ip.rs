//! What the data plane needs to know of an inner IP packet: version, length, addresses, hop limit.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Size of an IPv4 header without options, in bytes.
pub const IPV4_HEADER_SIZE: usize = 20;
/// The least MTU of IPv6 (RFC 8200, section 5), in bytes.
pub const IPV6_MIN_MTU: u16 = 1280;
/// Size of the fixed IPv6 header, in bytes.
pub const IPV6_HEADER_SIZE: usize = 40;

/// The fields of an IP header that routing looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpHeader {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Length of the whole packet in bytes, as the header states it.
    pub total_len: usize,
    /// TTL or hop limit.
    pub hop_limit: u8,
}

impl IpHeader {
    /// Reads the header of `packet`; `None` unless it is IPv4 or IPv6 with a header that fits the bytes present.
    /// `packet` may be longer than the IP packet (padding).
    #[inline]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::parse_v4(packet),
            6 => Self::parse_v6(packet),
            _ => None,
        }
    }

    #[inline]
    fn parse_v4(packet: &[u8]) -> Option<Self> {
        let header = packet.first_chunk::<IPV4_HEADER_SIZE>()?;
        let header_len = usize::from(header[0] & 0x0f) * 4;
        let total_len = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header_len < IPV4_HEADER_SIZE || total_len < header_len || total_len > packet.len() {
            return None;
        }
        Some(Self {
            source: IpAddr::V4(Ipv4Addr::from(*header[12..].first_chunk::<4>()?)),
            destination: IpAddr::V4(Ipv4Addr::from(*header[16..].first_chunk::<4>()?)),
            total_len,
            hop_limit: header[8],
        })
    }

    #[inline]
    fn parse_v6(packet: &[u8]) -> Option<Self> {
        let header = packet.first_chunk::<IPV6_HEADER_SIZE>()?;
        let total_len = IPV6_HEADER_SIZE + usize::from(u16::from_be_bytes([header[4], header[5]]));
        if total_len > packet.len() {
            return None;
        }
        Some(Self {
            source: IpAddr::V6(Ipv6Addr::from(*header[8..].first_chunk::<16>()?)),
            destination: IpAddr::V6(Ipv6Addr::from(*header[24..].first_chunk::<16>()?)),
            total_len,
            hop_limit: header[7],
        })
    }
}

/// Takes one from the TTL or hop limit of a packet that [`IpHeader::parse`] accepted and, for IPv4, mends the
/// header checksum (RFC 1624).
pub fn decrement_hop_limit(packet: &mut [u8]) {
    if packet[0] >> 4 == 6 {
        packet[7] = packet[7].saturating_sub(1);
        return;
    }
    packet[8] = packet[8].saturating_sub(1);
    // HC' = ~(~HC + ~m + m'), and m' = m - 0x0100 for the word that holds the TTL.
    let (sum, carry) = u16::from_be_bytes([packet[10], packet[11]]).overflowing_add(0x0100);
    packet[10..12].copy_from_slice(&(sum + u16::from(carry)).to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::{super::checksum::ones_complement_sum, *};
    use proptest::prelude::*;

    fn v4(total_len: u16, ttl: u8) -> Vec<u8> {
        let mut packet = vec![0; usize::from(total_len)];
        packet[0] = 0x45;
        packet[2..4].copy_from_slice(&total_len.to_be_bytes());
        packet[8] = ttl;
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        let sum = !ones_complement_sum(&packet[..20], 0);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet
    }

    proptest! {
        #[test]
        fn no_bytes_make_parsing_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(header) = IpHeader::parse(&bytes) {
                prop_assert!(header.total_len <= bytes.len());
            }
        }

        #[test]
        fn decrementing_keeps_the_header_checksum_right(ttl in 1_u8.., id in any::<[u8; 2]>()) {
            let mut packet = v4(40, ttl);
            packet[4..6].copy_from_slice(&id);
            packet[10..12].fill(0);
            let sum = !ones_complement_sum(&packet[..20], 0);
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
            decrement_hop_limit(&mut packet);
            prop_assert_eq!(packet[8], ttl - 1);
            prop_assert_eq!(ones_complement_sum(&packet[..20], 0), 0xffff);
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        assert!(IpHeader::parse(&v4(40, 1)).is_some());
        assert!(IpHeader::parse(&v4(40, 1)[..39]).is_none());
        let mut short_header = v4(40, 1);
        short_header[0] = 0x44;
        assert!(IpHeader::parse(&short_header).is_none());
        assert!(IpHeader::parse(&[0x60; 39]).is_none());
        assert!(IpHeader::parse(&[]).is_none());
    }
}
