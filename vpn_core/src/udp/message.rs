//! Socket addresses and control messages as the bytes that `recvmsg` and `sendmsg` of Linux exchange.
//!
//! Handled as bytes, they need no unsafe code and can be tested without a socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

const SOL_IP: i32 = 0;
const SOL_UDP: i32 = 17;
const SOL_IPV6: i32 = 41;
const IP_PKTINFO: i32 = 8;
const IPV6_PKTINFO: i32 = 50;
const UDP_SEGMENT: i32 = 103;
const UDP_GRO: i32 = 104;

/// Size of `struct sockaddr_in`, in bytes.
const NAME_V4_SIZE: usize = 16;
/// Size of `struct sockaddr_in6`, in bytes.
const NAME_V6_SIZE: usize = 28;
/// Size of `struct cmsghdr` as the kernel writes it: a `size_t`, level, type.
const CONTROL_HEADER_SIZE: usize = size_of::<usize>() + 8;

/// `struct sockaddr_in` or `struct sockaddr_in6`.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Name {
    pub(super) bytes: [u8; NAME_V6_SIZE],
    pub(super) len: usize,
}

impl Name {
    /// Room for any address.
    pub(super) const fn empty() -> Self {
        Self { bytes: [0; NAME_V6_SIZE], len: NAME_V6_SIZE }
    }

    /// `address` for a socket of the given family: an IPv6 socket reaches IPv4 through mapped addresses.
    pub(super) fn of(address: SocketAddr, socket_is_v6: bool) -> Self {
        let mut name = Self { bytes: [0; NAME_V6_SIZE], len: NAME_V6_SIZE };
        let (family, ip, scope) = match address {
            SocketAddr::V4(v4) if !socket_is_v6 => {
                name.bytes[4..8].copy_from_slice(&v4.ip().octets());
                name.len = NAME_V4_SIZE;
                (AF_INET, None, 0)
            }
            SocketAddr::V4(v4) => (AF_INET6, Some(v4.ip().to_ipv6_mapped()), 0),
            SocketAddr::V6(v6) => (AF_INET6, Some(*v6.ip()), v6.scope_id()),
        };
        name.bytes[..2].copy_from_slice(&family.to_ne_bytes());
        name.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        if let Some(ip) = ip {
            name.bytes[8..24].copy_from_slice(&ip.octets());
            name.bytes[24..28].copy_from_slice(&scope.to_ne_bytes());
        }
        name
    }

    /// The address, IPv4 never mapped. `None` for any other family.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        let bytes = self.bytes.get(..self.len)?;
        let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
        match u16::from_ne_bytes(*bytes.first_chunk()?) {
            AF_INET => {
                let ip = Ipv4Addr::from(*bytes.get(4..)?.first_chunk::<4>()?);
                Some(SocketAddr::new(ip.into(), port))
            }
            AF_INET6 => {
                let ip = Ipv6Addr::from(*bytes.get(8..)?.first_chunk::<16>()?);
                let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
                Some(match ip.to_canonical() {
                    IpAddr::V4(v4) => SocketAddr::new(v4.into(), port),
                    // Only a link-local address has a scope; elsewhere it would make equal endpoints differ.
                    IpAddr::V6(v6) if v6.is_unicast_link_local() => {
                        SocketAddrV6::new(v6, port, 0, scope).into()
                    }
                    IpAddr::V6(v6) => SocketAddr::new(v6.into(), port),
                })
            }
            _ => None,
        }
    }
}

/// A buffer of control messages.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
pub(super) struct Control {
    pub(super) bytes: [u8; 128], // IPV6_PKTINFO 40, IP_PKTINFO 32, UDP_GRO 24
    pub(super) len: usize,
}

/// What the control messages of a received run say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arrival {
    /// Our address that the datagrams were sent to.
    pub(super) local: Option<IpAddr>,
    /// Size of all but the last datagram, in bytes; `None` for a single one.
    pub(super) stride: Option<usize>,
}

impl Control {
    /// Room to receive into.
    pub(super) const fn for_receiving() -> Self {
        Self { bytes: [0; 128], len: 128 }
    }

    /// Nothing, to be added to.
    pub(super) const fn empty() -> Self {
        Self { bytes: [0; 128], len: 0 }
    }

    /// Send from `local`. A link-local address needs the interface, which is the peer's `scope`.
    pub(super) fn push_source(&mut self, local: IpAddr, scope: u32) {
        match local {
            IpAddr::V4(v4) => {
                // Interface index (any), then `ipi_spec_dst`; `ipi_addr` is ignored when sending.
                let mut body = [0; 12];
                body[4..8].copy_from_slice(&v4.octets());
                self.push(SOL_IP, IP_PKTINFO, &body);
            }
            IpAddr::V6(v6) => {
                let mut body = [0; 20];
                body[..16].copy_from_slice(&v6.octets());
                if v6.is_unicast_link_local() {
                    body[16..].copy_from_slice(&scope.to_ne_bytes());
                }
                self.push(SOL_IPV6, IPV6_PKTINFO, &body);
            }
        }
    }

    /// Cut what is sent into datagrams of `size` bytes.
    pub(super) fn push_segment_size(&mut self, size: u16) {
        self.push(SOL_UDP, UDP_SEGMENT, &size.to_ne_bytes());
    }

    fn push(&mut self, level: i32, kind: i32, body: &[u8]) {
        let len = CONTROL_HEADER_SIZE + body.len();
        let space = len.next_multiple_of(size_of::<usize>());
        // A source and a segment size always fit: 40 + 24 bytes.
        let Some(target) = self.bytes.get_mut(self.len..self.len + space) else { return };
        let (header, rest) = target.split_at_mut(CONTROL_HEADER_SIZE);
        let (stated, kinds) = header.split_at_mut(size_of::<usize>());
        stated.copy_from_slice(&len.to_ne_bytes());
        kinds[..4].copy_from_slice(&level.to_ne_bytes());
        kinds[4..].copy_from_slice(&kind.to_ne_bytes());
        rest[..body.len()].copy_from_slice(body);
        self.len += space;
    }

    /// Reads what the kernel wrote.
    pub(super) fn arrival(&self) -> Arrival {
        let mut arrival = Arrival::default();
        let mut rest = self.bytes.get(..self.len).unwrap_or_default();
        while let Some((level, kind, body, after)) = next_message(rest) {
            match (level, kind) {
                // `ipi_spec_dst`: the address to answer from, also where the datagram was a broadcast.
                (SOL_IP, IP_PKTINFO) => {
                    if let Some(octets) = body.get(4..).and_then(<[u8]>::first_chunk::<4>) {
                        arrival.local = Some(Ipv4Addr::from(*octets).into());
                    }
                }
                (SOL_IPV6, IPV6_PKTINFO) => {
                    if let (Some(octets), None) = (body.first_chunk::<16>(), arrival.local) {
                        arrival.local = Some(Ipv6Addr::from(*octets).to_canonical());
                    }
                }
                (SOL_UDP, UDP_GRO) => {
                    let size = body.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
                    arrival.stride =
                        size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
                }
                _ => {}
            }
            rest = after;
        }
        arrival
    }
}

/// Level, type and body of the first control message, and what follows it.
fn next_message(bytes: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let len = usize::from_ne_bytes(*bytes.first_chunk()?);
    let kinds = bytes.get(size_of::<usize>()..)?.first_chunk::<8>()?;
    let level = i32::from_ne_bytes([kinds[0], kinds[1], kinds[2], kinds[3]]);
    let kind = i32::from_ne_bytes([kinds[4], kinds[5], kinds[6], kinds[7]]);
    let body = bytes.get(CONTROL_HEADER_SIZE..len)?;
    let after = bytes.get(len.checked_next_multiple_of(size_of::<usize>())?..).unwrap_or_default();
    Some((level, kind, body, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(text: &str, socket_is_v6: bool) -> String {
        Name::of(text.parse().expect("an address"), socket_is_v6).address().expect("ours").to_string()
    }

    #[test]
    fn addresses_survive_both_families() {
        assert_eq!(round_trip("192.0.2.1:51820", false), "192.0.2.1:51820");
        assert_eq!(round_trip("192.0.2.1:51820", true), "192.0.2.1:51820");
        assert_eq!(round_trip("[2001:db8::1]:9", true), "[2001:db8::1]:9");
        assert_eq!(round_trip("[fe80::1%3]:9", true), "[fe80::1%3]:9");
        assert_eq!(round_trip("[2001:db8::1%3]:9", true), "[2001:db8::1]:9");
    }

    #[test]
    fn source_and_segment_size_are_found_again() {
        for text in ["192.0.2.1", "2001:db8::1"] {
            let local: IpAddr = text.parse().expect("an address");
            let mut control = Control::empty();
            control.push_segment_size(1452);
            control.push_source(local, 0);
            assert_eq!(control.arrival(), Arrival { local: Some(local), stride: None });
            assert_eq!(control.len % 8, 0);
        }
        let mut control = Control::empty();
        control.push(SOL_UDP, UDP_GRO, &1452_i32.to_ne_bytes());
        assert_eq!(control.arrival().stride, Some(1452));
    }

    proptest! {
        #[test]
        fn no_bytes_make_parsing_panic(bytes: [[u8; 32]; 4], lens: [u8; 4], len in 0_usize..200) {
            let mut control = Control { bytes: [0; 128], len };
            for ((chunk, bytes), len) in control.bytes.chunks_mut(32).zip(bytes).zip(lens) {
                chunk.copy_from_slice(&bytes);
                chunk[..8].copy_from_slice(&u64::from(len % 48).to_ne_bytes());
            }
            let _ = control.arrival();
            let mut name = Name::empty();
            name.bytes.copy_from_slice(&bytes[0][..NAME_V6_SIZE]);
            name.len = len;
            let _ = name.address();
        }
    }
}
