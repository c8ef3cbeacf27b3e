//! Socket addresses and control messages as the bytes that `recvmsg` and `sendmsg` exchange.
//!
//! Handled as bytes, they need no unsafe code and can be tested without a socket; those of one system on the other, too.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// How a system lays its addresses and control messages out. 64-bit systems only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Dialect {
    /// The number of IPv6's address family.
    af_inet6: u8,
    /// A socket address begins with its own length and the family, a byte each; otherwise the family takes two.
    has_length: bool,
    /// Size of the length in `struct cmsghdr`, in bytes, and what all its parts are aligned to.
    word: usize,
    ip_pktinfo: i32,
    ipv6_pktinfo: i32,
    /// Where in a received `struct in_pktinfo` our address is.
    arrival: usize,
}

/// Linux fills `ipi_spec_dst` with the address to answer from, also where the datagram was a broadcast.
const LINUX: Dialect =
    Dialect { af_inet6: 10, has_length: false, word: 8, ip_pktinfo: 8, ipv6_pktinfo: 50, arrival: 4 };

/// macOS fills `ipi_addr` only, the address in the datagram.
const MACOS: Dialect =
    Dialect { af_inet6: 30, has_length: true, word: 4, ip_pktinfo: 26, ipv6_pktinfo: 46, arrival: 8 };

const NATIVE: Dialect = if cfg!(target_os = "macos") { MACOS } else { LINUX };

const AF_INET: u8 = 2;

const SOL_IP: i32 = 0;
const SOL_UDP: i32 = 17;
const SOL_IPV6: i32 = 41;
const UDP_SEGMENT: i32 = 103; // Linux's only
const UDP_GRO: i32 = 104;

impl Dialect {
    /// Size of `struct cmsghdr`, in bytes: a length, level, type.
    const fn control_header(self) -> usize {
        self.word + 8
    }

    fn write_family(self, family: u8, len: usize, bytes: &mut [u8; NAME_V6_SIZE]) {
        let head = if self.has_length { [len as u8, family] } else { u16::from(family).to_ne_bytes() };
        bytes[..2].copy_from_slice(&head);
    }

    fn family(self, bytes: &[u8]) -> Option<u8> {
        let head = *bytes.first_chunk::<2>()?;
        if self.has_length { Some(head[1]) } else { u8::try_from(u16::from_ne_bytes(head)).ok() }
    }
}

/// Size of `struct sockaddr_in`, in bytes.
const NAME_V4_SIZE: usize = 16;
/// Size of `struct sockaddr_in6`, in bytes.
const NAME_V6_SIZE: usize = 28;

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
        Self::encode(NATIVE, address, socket_is_v6)
    }

    /// The address, IPv4 never mapped. `None` for any other family.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.decode(NATIVE)
    }

    fn encode(dialect: Dialect, address: SocketAddr, socket_is_v6: bool) -> Self {
        let mut name = Self { bytes: [0; NAME_V6_SIZE], len: NAME_V6_SIZE };
        let (family, ip, scope) = match address {
            SocketAddr::V4(v4) if !socket_is_v6 => {
                name.bytes[4..8].copy_from_slice(&v4.ip().octets());
                name.len = NAME_V4_SIZE;
                (AF_INET, None, 0)
            }
            SocketAddr::V4(v4) => (dialect.af_inet6, Some(v4.ip().to_ipv6_mapped()), 0),
            SocketAddr::V6(v6) => (dialect.af_inet6, Some(*v6.ip()), v6.scope_id()),
        };
        dialect.write_family(family, name.len, &mut name.bytes);
        name.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        if let Some(ip) = ip {
            name.bytes[8..24].copy_from_slice(&ip.octets());
            name.bytes[24..28].copy_from_slice(&scope.to_ne_bytes());
        }
        name
    }

    fn decode(&self, dialect: Dialect) -> Option<SocketAddr> {
        let bytes = self.bytes.get(..self.len)?;
        let port = u16::from_be_bytes(*bytes.get(2..)?.first_chunk()?);
        let family = dialect.family(bytes)?;
        if family == AF_INET {
            let ip = Ipv4Addr::from(*bytes.get(4..)?.first_chunk::<4>()?);
            return Some(SocketAddr::new(ip.into(), port));
        }
        if family != dialect.af_inet6 {
            return None;
        }
        let ip = Ipv6Addr::from(*bytes.get(8..)?.first_chunk::<16>()?);
        let scope = u32::from_ne_bytes(*bytes.get(24..)?.first_chunk()?);
        Some(match ip.to_canonical() {
            IpAddr::V4(v4) => SocketAddr::new(v4.into(), port),
            // Only a link-local address has a scope; elsewhere it would make equal endpoints differ.
            IpAddr::V6(v6) if v6.is_unicast_link_local() => SocketAddrV6::new(v6, port, 0, scope).into(),
            IpAddr::V6(v6) => SocketAddr::new(v6.into(), port),
        })
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
        self.encode_source(NATIVE, local, scope);
    }

    /// Cut what is sent into datagrams of `size` bytes.
    pub(super) fn push_segment_size(&mut self, size: u16) {
        self.push(NATIVE, SOL_UDP, UDP_SEGMENT, &size.to_ne_bytes());
    }

    /// Reads what the kernel wrote.
    pub(super) fn arrival(&self) -> Arrival {
        self.decode(NATIVE)
    }

    fn encode_source(&mut self, dialect: Dialect, local: IpAddr, scope: u32) {
        match local {
            IpAddr::V4(v4) => {
                // Interface index (any), then `ipi_spec_dst`; `ipi_addr` is ignored when sending.
                let mut body = [0; 12];
                body[4..8].copy_from_slice(&v4.octets());
                self.push(dialect, SOL_IP, dialect.ip_pktinfo, &body);
            }
            IpAddr::V6(v6) => {
                let mut body = [0; 20];
                body[..16].copy_from_slice(&v6.octets());
                if v6.is_unicast_link_local() {
                    body[16..].copy_from_slice(&scope.to_ne_bytes());
                }
                self.push(dialect, SOL_IPV6, dialect.ipv6_pktinfo, &body);
            }
        }
    }

    fn push(&mut self, dialect: Dialect, level: i32, kind: i32, body: &[u8]) {
        let word = dialect.word;
        let len = dialect.control_header() + body.len();
        let space = len.next_multiple_of(word);
        // A source and a segment size always fit: 40 + 24 bytes.
        let Some(target) = self.bytes.get_mut(self.len..self.len + space) else { return };
        let (header, rest) = target.split_at_mut(dialect.control_header());
        let (stated, kinds) = header.split_at_mut(word);
        stated.copy_from_slice(&len.to_ne_bytes()[native_tail(word)]);
        kinds[..4].copy_from_slice(&level.to_ne_bytes());
        kinds[4..].copy_from_slice(&kind.to_ne_bytes());
        rest[..body.len()].copy_from_slice(body);
        self.len += space;
    }

    fn decode(&self, dialect: Dialect) -> Arrival {
        let mut arrival = Arrival::default();
        let mut rest = self.bytes.get(..self.len).unwrap_or_default();
        while let Some((level, kind, body, after)) = next_message(dialect, rest) {
            if (level, kind) == (SOL_IP, dialect.ip_pktinfo) {
                if let Some(octets) = body.get(dialect.arrival..).and_then(<[u8]>::first_chunk::<4>) {
                    arrival.local = Some(Ipv4Addr::from(*octets).into());
                }
            } else if (level, kind) == (SOL_IPV6, dialect.ipv6_pktinfo) {
                if let (Some(octets), None) = (body.first_chunk::<16>(), arrival.local) {
                    arrival.local = Some(Ipv6Addr::from(*octets).to_canonical());
                }
            } else if (level, kind) == (SOL_UDP, UDP_GRO) {
                let size = body.first_chunk().map(|bytes| i32::from_ne_bytes(*bytes));
                arrival.stride = size.and_then(|size| usize::try_from(size).ok()).filter(|size| *size > 0);
            }
            rest = after;
        }
        arrival
    }
}

/// Level, type and body of the first control message, and what follows it.
fn next_message(dialect: Dialect, bytes: &[u8]) -> Option<(i32, i32, &[u8], &[u8])> {
    let word = dialect.word;
    let mut stated = [0; size_of::<usize>()];
    stated[native_tail(word)].copy_from_slice(bytes.get(..word)?);
    let len = usize::from_ne_bytes(stated);
    let kinds = bytes.get(word..)?.first_chunk::<8>()?;
    let level = i32::from_ne_bytes([kinds[0], kinds[1], kinds[2], kinds[3]]);
    let kind = i32::from_ne_bytes([kinds[4], kinds[5], kinds[6], kinds[7]]);
    let body = bytes.get(dialect.control_header()..len)?;
    let after = bytes.get(len.checked_next_multiple_of(word)?..).unwrap_or_default();
    Some((level, kind, body, after))
}

/// Where in a `usize` of the host the low `word` bytes are.
const fn native_tail(word: usize) -> std::ops::Range<usize> {
    if cfg!(target_endian = "little") { 0..word } else { size_of::<usize>() - word..size_of::<usize>() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DIALECTS: [Dialect; 2] = [LINUX, MACOS];

    fn round_trip(text: &str, socket_is_v6: bool) -> String {
        let address = text.parse().expect("an address");
        let [linux, macos] = DIALECTS.map(|dialect| {
            Name::encode(dialect, address, socket_is_v6).decode(dialect).expect("ours").to_string()
        });
        assert_eq!(linux, macos);
        linux
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
    fn a_name_of_macos_begins_with_its_length() {
        let name = Name::encode(MACOS, "192.0.2.1:258".parse().expect("an address"), false);
        assert_eq!(name.bytes[..8], [16, 2, 1, 2, 192, 0, 2, 1]);
        let name = Name::encode(MACOS, "[2001:db8::1]:258".parse().expect("an address"), true);
        assert_eq!((&name.bytes[..4], name.len), (&[28, 30, 1, 2][..], 28));
    }

    #[test]
    fn source_and_segment_size_are_found_again() {
        for text in ["192.0.2.1", "2001:db8::1"] {
            let local: IpAddr = text.parse().expect("an address");
            let mut control = Control::empty();
            control.push(LINUX, SOL_UDP, UDP_SEGMENT, &1452_u16.to_ne_bytes());
            control.encode_source(LINUX, local, 0);
            assert_eq!(control.decode(LINUX), Arrival { local: Some(local), stride: None });
            assert_eq!(control.len % 8, 0);
        }
        let mut control = Control::empty();
        control.push(LINUX, SOL_UDP, UDP_GRO, &1452_i32.to_ne_bytes());
        assert_eq!(control.decode(LINUX).stride, Some(1452));
    }

    #[test]
    fn control_messages_of_macos_have_a_short_header_and_the_address_at_their_end() {
        let mut control = Control::empty();
        control.encode_source(MACOS, Ipv4Addr::new(192, 0, 2, 1).into(), 0);
        // cmsg_len, level, type; interface, ipi_spec_dst, ipi_addr.
        let words: Vec<u32> = control.bytes[..control.len]
            .chunks(4)
            .map(|word| u32::from_ne_bytes(word.try_into().unwrap()))
            .collect();
        let address = u32::from_ne_bytes([192, 0, 2, 1]);
        assert_eq!(words, [24, 0, 26, 0, address, 0]);
        // As it is received: the address in the datagram's header is the last one.
        control.bytes[20..24].copy_from_slice(&[198, 51, 100, 7]);
        assert_eq!(control.decode(MACOS).local, Some(Ipv4Addr::new(198, 51, 100, 7).into()));
        let mut control = Control::empty();
        control.encode_source(MACOS, "2001:db8::1".parse().expect("an address"), 0);
        assert_eq!(control.len, 12 + 20);
        assert_eq!(control.decode(MACOS).local, Some("2001:db8::1".parse().expect("an address")));
    }

    proptest! {
        #[test]
        fn no_bytes_make_parsing_panic(bytes: [[u8; 32]; 4], lens: [u8; 4], len in 0_usize..200) {
            for dialect in DIALECTS {
                let mut control = Control { bytes: [0; 128], len };
                for ((chunk, bytes), len) in control.bytes.chunks_mut(32).zip(bytes).zip(lens) {
                    chunk.copy_from_slice(&bytes);
                    chunk[..8].copy_from_slice(&u64::from(len % 48).to_ne_bytes());
                }
                let _ = control.decode(dialect);
                let mut name = Name::empty();
                name.bytes.copy_from_slice(&bytes[0][..NAME_V6_SIZE]);
                name.len = len;
                let _ = name.decode(dialect);
            }
        }
    }
}
