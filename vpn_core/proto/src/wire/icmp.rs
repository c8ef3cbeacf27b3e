//! What the sender of a packet that goes no further is told. Too long for its path: ICMP "fragmentation needed" (RFC 792,
//! RFC 1191) and ICMPv6 "packet too big" (RFC 4443, 3.2). For nobody: "host unreachable" and "address unreachable" (3.1).
//!
//! The answer comes *from the address that the packet was for*. A router would use one of its own; but a host drops
//! what arrives from outside with an address of its own as the source, and the far end's address may not be routed to
//! us. The packet's destination is routed into the tunnel wherever the packet came from, so reverse path filters and
//! allowed IPs let the answer pass, and who gets it looks at the packet that is quoted.

use super::{
    checksum::ones_complement_sum,
    ip::{IPV4_HEADER_SIZE, IPV6_HEADER_SIZE, IPV6_MIN_MTU, IpHeader},
    layout::put_u16,
};
use crate::base::Endpoint;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Length of the longest answer, in bytes: the least MTU of IPv6 (RFC 4443, 2.4 c).
pub const MAX_ANSWER: usize = IPV6_MIN_MTU as usize;
/// Length of the longest answer over IPv4, in bytes (RFC 1812, 4.3.2.3).
const MAX_ANSWER_V4: usize = 576;

/// Size of the ICMP header of both versions, in bytes.
const ICMP_HEADER_SIZE: usize = 8;
const PROTOCOL_ICMP: u8 = 1;
const PROTOCOL_ICMPV6: u8 = 58;
const HOP_LIMIT: u8 = 64;

/// Why a packet goes no further, as its sender is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// It is longer than its path takes, and must not be cut.
    TooBig {
        /// How long it may be, in bytes.
        mtu: u16,
    },
    /// Nobody has its destination address, or nobody knows where who has it is.
    Unreachable,
}

impl IcmpError {
    /// Type and code over IPv4, and the 16 bits before the quoted packet.
    const fn v4(self) -> (u8, u8, u16) {
        match self {
            Self::TooBig { mtu } => (3, 4, mtu),
            Self::Unreachable => (3, 1, 0),
        }
    }

    /// Type and code over IPv6, and the lower half of the 32 bits before the quoted packet.
    const fn v6(self) -> (u8, u8, u16) {
        match self {
            Self::TooBig { mtu } => (2, 0, mtu),
            Self::Unreachable => (1, 3, 0),
        }
    }
}

/// Writes into `out` the answer to `packet`, which goes no further because of `error`; its length. `None` where nobody must
/// be told: errors of ICMP, all fragments but the first, packets for or from more than one host (RFC 1122, 3.2.2; RFC 4443,
/// 2.4 e). `packet` begins with a whole header; what follows may be cut off.
pub fn icmp_error(packet: &[u8], error: IcmpError, out: &mut [u8; MAX_ANSWER]) -> Option<usize> {
    let (source, destination) = addresses(packet)?;
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            may_be_told_v4(packet, source, destination).then(|| error_v4(packet, error, out))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            may_be_told_v6(packet, source, destination).then(|| error_v6(packet, error, out))
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => None,
    }
}

/// Writes into `out` the ICMPv6 message that a router would send to this host if a datagram from `port` to `endpoint` was longer
/// than the 1280 bytes that every path takes; its length. `None` over IPv4, and where it is not known which address of
/// ours serves.
pub fn datagram_too_big(endpoint: Endpoint, port: u16, out: &mut [u8; MAX_ANSWER]) -> Option<usize> {
    const PROTOCOL_UDP: u8 = 17;
    const UDP_HEADER_SIZE: usize = 8;
    let (Some(IpAddr::V6(local)), SocketAddr::V6(remote)) = (endpoint.local, endpoint.remote) else {
        return None;
    };
    let mut packet = [0; IPV6_HEADER_SIZE + UDP_HEADER_SIZE];
    packet[0] = 0x60;
    put_u16(&mut packet, 4, UDP_HEADER_SIZE as u16);
    (packet[6], packet[7]) = (PROTOCOL_UDP, HOP_LIMIT);
    packet[8..24].copy_from_slice(&local.octets());
    packet[24..40].copy_from_slice(&remote.ip().octets());
    put_u16(&mut packet, IPV6_HEADER_SIZE, port);
    put_u16(&mut packet, IPV6_HEADER_SIZE + 2, remote.port());
    put_u16(&mut packet, IPV6_HEADER_SIZE + 4, UDP_HEADER_SIZE as u16);
    icmp_error(&packet, IcmpError::TooBig { mtu: IPV6_MIN_MTU }, out)
}

fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    IpHeader::parse(packet).map(|header| (header.source, header.destination))
}

fn may_be_told_v4(packet: &[u8], source: Ipv4Addr, destination: Ipv4Addr) -> bool {
    const FRAGMENT_OFFSET: u16 = 0x1fff;
    const ERRORS: [u8; 5] = [3, 4, 5, 11, 12]; // unreachable, quench, redirect, time exceeded, parameter problem
    let one_host = |ip: Ipv4Addr| {
        !(ip.is_multicast() || ip.is_broadcast() || ip.is_unspecified() || ip.is_loopback())
            && ip.octets()[0] < 240 // class E
    };
    let first = u16::from_be_bytes([packet[6], packet[7]]) & FRAGMENT_OFFSET == 0;
    let header_len = usize::from(packet[0] & 0x0f) * 4;
    let error =
        packet[9] == PROTOCOL_ICMP && packet.get(header_len).is_some_and(|kind| ERRORS.contains(kind));
    first && !error && one_host(source) && one_host(destination)
}

fn may_be_told_v6(packet: &[u8], source: Ipv6Addr, destination: Ipv6Addr) -> bool {
    let one_host = |ip: Ipv6Addr| !(ip.is_multicast() || ip.is_unspecified() || ip.is_loopback());
    one_host(source) && one_host(destination) && !is_error_or_later_fragment_v6(packet)
}

/// Walks over the extension headers, as far as they are there.
fn is_error_or_later_fragment_v6(packet: &[u8]) -> bool {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION_OPTIONS: u8 = 60;
    const FRAGMENT_OFFSET: u16 = 0xfff8;
    const FIRST_INFORMATIONAL: u8 = 128;
    const REDIRECT: u8 = 137; // informational by its number, and named by the RFC with the errors
    let (mut next, mut at) = (packet[6], IPV6_HEADER_SIZE);
    while let Some(&[following, len, high, low]) = packet.get(at..).and_then(<[u8]>::first_chunk) {
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => at += 8 + usize::from(len) * 8,
            FRAGMENT if u16::from_be_bytes([high, low]) & FRAGMENT_OFFSET != 0 => return true,
            FRAGMENT => at += 8,
            PROTOCOL_ICMPV6 => return following < FIRST_INFORMATIONAL || following == REDIRECT, // the type comes first
            _ => return false,
        }
        next = following;
    }
    false
}

/// The error over ICMP, from the destination of `packet` to its source.
fn error_v4(packet: &[u8], error: IcmpError, out: &mut [u8; MAX_ANSWER]) -> usize {
    let body = IPV4_HEADER_SIZE + ICMP_HEADER_SIZE;
    let quoted = packet.len().min(MAX_ANSWER_V4 - body);
    let len = body + quoted;
    out[..body].fill(0);
    out[0] = 0x45;
    out[1] = 0xc0; // internetwork control (RFC 1812, 4.3.2.5)
    put_u16(out, 2, len as u16);
    out[6] = 0x40; // never cut, so that it needs no identification (RFC 6864)
    (out[8], out[9]) = (HOP_LIMIT, PROTOCOL_ICMP);
    out[12..16].copy_from_slice(&packet[16..20]);
    out[16..20].copy_from_slice(&packet[12..16]);
    let sum = !ones_complement_sum(&out[..IPV4_HEADER_SIZE], 0);
    put_u16(out, 10, sum);

    let (kind, code, mtu) = error.v4();
    (out[IPV4_HEADER_SIZE], out[IPV4_HEADER_SIZE + 1]) = (kind, code);
    put_u16(out, IPV4_HEADER_SIZE + 6, mtu);
    out[body..len].copy_from_slice(&packet[..quoted]);
    let sum = !ones_complement_sum(&out[IPV4_HEADER_SIZE..len], 0);
    put_u16(out, IPV4_HEADER_SIZE + 2, sum);
    len
}

/// The error over ICMPv6, from the destination of `packet` to its source.
fn error_v6(packet: &[u8], error: IcmpError, out: &mut [u8; MAX_ANSWER]) -> usize {
    let body = IPV6_HEADER_SIZE + ICMP_HEADER_SIZE;
    let quoted = packet.len().min(MAX_ANSWER - body);
    let len = body + quoted;
    let payload_len = (len - IPV6_HEADER_SIZE) as u16;
    out[..body].fill(0);
    out[0] = 0x60;
    put_u16(out, 4, payload_len);
    (out[6], out[7]) = (PROTOCOL_ICMPV6, HOP_LIMIT);
    out[8..24].copy_from_slice(&packet[24..40]);
    out[24..40].copy_from_slice(&packet[8..24]);

    let (kind, code, mtu) = error.v6();
    (out[IPV6_HEADER_SIZE], out[IPV6_HEADER_SIZE + 1]) = (kind, code);
    put_u16(out, IPV6_HEADER_SIZE + 6, mtu);
    out[body..len].copy_from_slice(&packet[..quoted]);
    let pseudo = u64::from(ones_complement_sum(&out[8..IPV6_HEADER_SIZE], 0))
        + u64::from(payload_len)
        + u64::from(PROTOCOL_ICMPV6);
    let sum = !ones_complement_sum(&out[IPV6_HEADER_SIZE..len], pseudo);
    put_u16(out, IPV6_HEADER_SIZE + 2, sum);
    len
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(packet: &[u8], mtu: u16) -> Option<Vec<u8>> {
        error(packet, IcmpError::TooBig { mtu })
    }

    fn error(packet: &[u8], error: IcmpError) -> Option<Vec<u8>> {
        let mut out = [0xee; MAX_ANSWER];
        icmp_error(packet, error, &mut out).map(|len| out[..len].to_vec())
    }

    /// UDP from 10.66.0.2 to 203.0.113.2, "don't fragment".
    fn v4(len: u16) -> Vec<u8> {
        let mut packet = vec![0x11; usize::from(len)];
        packet[..20]
            .copy_from_slice(&[0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 17, 0, 0, 10, 66, 0, 2, 203, 0, 113, 2]);
        packet[2..4].copy_from_slice(&len.to_be_bytes());
        packet
    }

    /// UDP from fd66::2 to 2001:db8::2.
    fn v6(len: u16) -> Vec<u8> {
        let mut packet = vec![0x11; usize::from(len)];
        packet[..40].fill(0);
        packet[0] = 0x60;
        packet[4..6].copy_from_slice(&(len - 40).to_be_bytes());
        (packet[6], packet[7]) = (17, 64);
        (packet[8], packet[9], packet[23]) = (0xfd, 0x66, 2);
        packet[24..28].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        packet[39] = 2;
        packet
    }

    #[test]
    fn the_answer_over_ipv4_is_what_the_rfcs_say_byte_for_byte() {
        let packet = v4(1400);
        let told = answer(&packet, 1340).expect("an answer");
        // The checksums were computed elsewhere, word by word.
        let expected = [
            0x45, 0xc0, 0x02, 0x40, 0, 0, 0x40, 0, 64, 1, 0xf1, 0xb6, 203, 0, 113, 2, 10, 66, 0,
            2, // IPv4
            3, 4, 0x4d, 0x54, 0, 0, 0x05, 0x3c, // ICMP
        ];
        assert_eq!(told.len(), 576);
        assert_eq!(told[28..], packet[..548]);
        assert_eq!(told[..28], expected);
    }

    #[test]
    fn the_answer_over_ipv6_is_what_the_rfc_says_byte_for_byte() {
        let packet = v6(1400);
        let told = answer(&packet, 1340).expect("an answer");
        assert_eq!(told.len(), 1280);
        assert_eq!(told[..8], [0x60, 0, 0, 0, 0x04, 0xd8, 58, 64]);
        assert_eq!((&told[8..24], &told[24..40]), (&packet[24..40], &packet[8..24]));
        assert_eq!((told[40], told[41], &told[44..48]), (2, 0, &[0, 0, 0x05, 0x3c][..]));
        assert_eq!(told[48..], packet[..1232]);
        // The slow way: every word of pseudo-header and message, and the sum is all ones.
        let mut words: u32 = 0x04d8 + 58;
        for pair in told[8..].chunks(2) {
            words += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        }
        assert_eq!((words & 0xffff) + (words >> 16), 0xffff);
    }

    #[test]
    fn a_packet_for_nobody_is_answered_as_by_the_kernels_wireguard() {
        let told = error(&v4(100), IcmpError::Unreachable).expect("an answer");
        assert_eq!((told[20], told[21], &told[24..28]), (3, 1, &[0; 4][..]), "host unreachable (RFC 792)");
        assert_eq!((&told[12..16], &told[16..20]), (&[203, 0, 113, 2][..], &[10, 66, 0, 2][..]));
        let told = error(&v6(100), IcmpError::Unreachable).expect("an answer");
        assert_eq!(
            (told[40], told[41], &told[44..48]),
            (1, 3, &[0; 4][..]),
            "address unreachable (RFC 4443, 3.1)"
        );
    }

    #[test]
    fn the_local_system_is_told_of_a_datagram_of_its_own() {
        let (local, remote) = ("2001:db8::1", "[2001:db8::2]:51820".parse().expect("an address"));
        let endpoint = Endpoint { remote, local: local.parse().ok() };
        let mut out = [0; MAX_ANSWER];
        let len = datagram_too_big(endpoint, 40_000, &mut out).expect("a message");
        let header = IpHeader::parse(&out[..len]).expect("a packet");
        assert_eq!((header.source, Some(header.destination)), (remote.ip(), endpoint.local));
        assert_eq!((out[40], &out[44..48]), (2, &[0, 0, 0x05, 0][..]));
        assert_eq!(out[88..92], [0x9c, 0x40, 0xca, 0x6c], "from port 40000 to port 51820");
        let over_v4 = Endpoint { remote: "192.0.2.1:1".parse().expect("an address"), local: None };
        assert_eq!(datagram_too_big(over_v4, 1, &mut out), None);
        assert_eq!(datagram_too_big(Endpoint { local: None, ..endpoint }, 1, &mut out), None);
    }

    #[test]
    fn a_short_packet_is_quoted_whole() {
        assert_eq!(answer(&v4(100), 68).expect("an answer")[28..], v4(100));
        assert_eq!(answer(&v6(101), 68).expect("an answer")[48..], v6(101));
    }

    #[test]
    fn nobody_is_told_of_errors_later_fragments_and_packets_for_many() {
        let with = |mut packet: Vec<u8>, changes: &[(usize, u8)]| {
            for (at, byte) in changes {
                packet[*at] = *byte;
            }
            answer(&packet, 1280)
        };
        for kind in [3, 4, 5, 11, 12] {
            assert_eq!(with(v4(1400), &[(9, 1), (20, kind)]), None, "ICMP type {kind}");
        }
        assert!(with(v4(1400), &[(9, 1), (20, 8)]).is_some(), "an echo request is no error");
        assert_eq!(with(v4(1400), &[(7, 1)]), None, "a later fragment");
        assert!(with(v4(1400), &[(6, 0x60)]).is_some(), "the first fragment");
        for first in [0, 127, 224, 240, 255] {
            assert_eq!(
                with(v4(1400), &[(16, first), (17, first), (18, first), (19, first)]),
                None,
                "to {first}."
            );
            assert_eq!(
                with(v4(1400), &[(12, first), (13, first), (14, first), (15, first)]),
                None,
                "from {first}."
            );
        }
        assert_eq!(with(v6(1400), &[(6, 58), (40, 2)]), None, "an ICMPv6 error");
        assert_eq!(with(v6(1400), &[(6, 58), (40, 137)]), None, "an ICMPv6 redirect (RFC 4443, 2.4 e.2)");
        assert!(with(v6(1400), &[(6, 58), (40, 128)]).is_some(), "an echo request");
        assert_eq!(with(v6(1400), &[(6, 60), (40, 58), (41, 0), (48, 1)]), None, "an error behind options");
        assert_eq!(with(v6(1400), &[(6, 44), (40, 17), (42, 5), (43, 1)]), None, "a later fragment");
        assert!(
            with(v6(1400), &[(6, 44), (40, 17), (42, 0), (43, 1), (48, 0)]).is_some(),
            "the first fragment"
        );
        assert_eq!(with(v6(1400), &[(24, 0xff)]), None, "to a group");
        assert_eq!(with(v6(1400), &[(8, 0xff)]), None, "from a group");
    }

    proptest! {
        #[test]
        fn every_answer_has_right_lengths_and_sums_and_is_not_answered(
            mut packet in proptest::collection::vec(any::<u8>(), 20..1500),
            is_v6: bool,
            mtu in proptest::option::of(any::<u16>()),
        ) {
            let what = mtu.map_or(IcmpError::Unreachable, |mtu| IcmpError::TooBig { mtu });
            packet[0] = if is_v6 { 0x60 } else { 0x45 };
            let len = packet.len() as u16;
            if is_v6 && packet.len() >= 40 {
                packet[4..6].copy_from_slice(&(len - 40).to_be_bytes());
            } else {
                packet[2..4].copy_from_slice(&len.to_be_bytes());
            }
            if let Some(told) = error(&packet, what) {
                let header = IpHeader::parse(&told).expect("a whole packet");
                let of = IpHeader::parse(&packet).expect("it was answered");
                prop_assert_eq!(header.total_len, told.len());
                prop_assert_eq!((header.source, header.destination), (of.destination, of.source));
                let longest = if is_v6 { 1280 } else { 576 };
                prop_assert!(told.len() <= longest);
                if !is_v6 {
                    prop_assert_eq!(ones_complement_sum(&told[..20], 0), 0xffff);
                    prop_assert_eq!(ones_complement_sum(&told[20..], 0), 0xffff);
                }
                prop_assert_eq!(error(&told, what), None, "an error for an error");
            }
        }
    }
}
