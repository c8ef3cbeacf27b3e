//! Where the parts of an inner TCP or UDP packet lie, and the checksums over them.

use super::{
    checksum::ones_complement_sum,
    ip::{IPV4_HEADER_SIZE, IPV6_HEADER_SIZE},
};

const PROTOCOL_TCP: u8 = 6;
/// Protocol number of UDP.
pub const PROTOCOL_UDP: u8 = 17;

const TCP_HEADER_SIZE: usize = 20;
const UDP_HEADER_SIZE: usize = 8;

/// IPv6 extension headers before TCP or UDP that are walked over.
const MAX_EXTENSION_HEADERS: usize = 4; // more is no traffic of a real host

/// TCP flag: the sender has no more to send.
pub const TCP_FIN: u8 = 0x01;
/// TCP flag: deliver what has arrived.
pub const TCP_PSH: u8 = 0x08;
/// TCP flag: the acknowledgement number counts.
pub const TCP_ACK: u8 = 0x10;
/// TCP flag: congestion was reported by the network (RFC 3168).
pub const TCP_ECE: u8 = 0x40;
/// TCP flag: the sender has slowed down (RFC 3168).
pub const TCP_CWR: u8 = 0x80;

/// Why a packet has no layout: it is not TCP or UDP in one piece, or contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// Shorter than its headers state, or a UDP length that is not the packet's.
    #[error("the packet is shorter than its headers state")]
    Truncated,
    /// Neither IPv4 nor IPv6.
    #[error("no IP packet")]
    NotIp,
    /// One of several fragments.
    #[error("a fragment")]
    Fragment,
    /// Another protocol, or an extension header that is not walked over.
    #[error("neither TCP nor UDP (protocol {0})")]
    OtherProtocol(u8),
}

/// Version of an IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Transport protocol of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum L4 {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl L4 {
    /// Protocol number.
    #[inline]
    pub const fn protocol(self) -> u8 {
        match self {
            Self::Tcp => PROTOCOL_TCP,
            Self::Udp => PROTOCOL_UDP,
        }
    }

    /// Where the checksum lies, from the start of the L4 header.
    #[inline]
    pub const fn checksum_offset(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

/// The parts of an unfragmented TCP or UDP packet; every offset lies inside the packet that it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Version of IP.
    pub version: IpVersion,
    /// Transport protocol.
    pub l4: L4,
    /// Where the TCP or UDP header begins.
    pub l4_start: usize,
    /// Length of all headers: where the payload begins.
    pub header_len: usize,
    /// Length of the packet.
    pub total_len: usize,
}

impl Layout {
    /// Finds the parts of `packet`, whose length must be the one that `IpHeader::parse` found.
    ///
    /// # Errors
    /// [`LayoutError`].
    #[inline]
    pub fn parse(packet: &[u8]) -> Result<Self, LayoutError> {
        let (version, protocol, l4_start) = match packet.first().ok_or(LayoutError::NotIp)? >> 4 {
            4 => Self::walk_v4(packet)?,
            6 => Self::walk_v6(packet)?,
            _ => return Err(LayoutError::NotIp),
        };
        let l4_bytes = packet.get(l4_start..).ok_or(LayoutError::Truncated)?;
        let (l4, l4_len) = match protocol {
            PROTOCOL_TCP => {
                let header = l4_bytes.first_chunk::<TCP_HEADER_SIZE>().ok_or(LayoutError::Truncated)?;
                let len = usize::from(header[12] >> 4) * 4;
                if len < TCP_HEADER_SIZE || len > l4_bytes.len() {
                    return Err(LayoutError::Truncated);
                }
                (L4::Tcp, len)
            }
            PROTOCOL_UDP => {
                let header = l4_bytes.first_chunk::<UDP_HEADER_SIZE>().ok_or(LayoutError::Truncated)?;
                if usize::from(u16::from_be_bytes([header[4], header[5]])) != l4_bytes.len() {
                    return Err(LayoutError::Truncated);
                }
                (L4::Udp, UDP_HEADER_SIZE)
            }
            other => return Err(LayoutError::OtherProtocol(other)),
        };
        Ok(Self { version, l4, l4_start, header_len: l4_start + l4_len, total_len: packet.len() })
    }

    fn walk_v4(packet: &[u8]) -> Result<(IpVersion, u8, usize), LayoutError> {
        let header = packet.first_chunk::<IPV4_HEADER_SIZE>().ok_or(LayoutError::Truncated)?;
        // More-fragments or an offset.
        if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
            return Err(LayoutError::Fragment);
        }
        let len = usize::from(header[0] & 0x0f) * 4;
        if len < IPV4_HEADER_SIZE {
            return Err(LayoutError::Truncated);
        }
        Ok((IpVersion::V4, header[9], len))
    }

    /// A routing header is refused like any unknown one: its pseudo-header has another destination.
    fn walk_v6(packet: &[u8]) -> Result<(IpVersion, u8, usize), LayoutError> {
        const HOP_BY_HOP: u8 = 0;
        const FRAGMENT: u8 = 44;
        const DESTINATION_OPTIONS: u8 = 60;
        let mut next = *packet.get(6).ok_or(LayoutError::Truncated)?;
        let mut at = IPV6_HEADER_SIZE;
        for _ in 0..MAX_EXTENSION_HEADERS {
            match next {
                HOP_BY_HOP | DESTINATION_OPTIONS => {
                    let [following, len] =
                        *packet.get(at..).and_then(<[u8]>::first_chunk).ok_or(LayoutError::Truncated)?;
                    next = following;
                    at += 8 + usize::from(len) * 8;
                }
                FRAGMENT => return Err(LayoutError::Fragment),
                _ => break,
            }
        }
        Ok((IpVersion::V6, next, at))
    }

    /// Length of the payload in bytes.
    #[inline]
    pub const fn payload_len(&self) -> usize {
        self.total_len - self.header_len
    }

    /// The same headers over another payload.
    #[must_use]
    #[inline]
    pub const fn with_payload(self, len: usize) -> Self {
        Self { total_len: self.header_len + len, ..self }
    }

    /// No IPv4 options, no IPv6 extension headers.
    #[inline]
    pub const fn is_plain(&self) -> bool {
        match self.version {
            IpVersion::V4 => self.l4_start == IPV4_HEADER_SIZE,
            IpVersion::V6 => self.l4_start == IPV6_HEADER_SIZE,
        }
    }

    /// The pseudo-header sum (RFC 9293 3.1, RFC 8200 8.1), not complemented: what a partial checksum field holds.
    #[inline]
    pub fn pseudo_header_sum(&self, headers: &[u8]) -> u16 {
        let addresses = match self.version {
            IpVersion::V4 => &headers[12..20],
            IpVersion::V6 => &headers[8..40],
        };
        let l4_len = self.total_len - self.l4_start;
        ones_complement_sum(addresses, u64::from(self.l4.protocol()) + l4_len as u64)
    }

    /// Writes `total_len` into the IP and UDP length fields, adds `id_step` to an IPv4 identification and renews
    /// the IPv4 header checksum.
    #[inline]
    pub fn write_lengths(&self, headers: &mut [u8], id_step: u16) {
        match self.version {
            IpVersion::V4 => {
                put_u16(headers, 2, self.total_len as u16);
                put_u16(headers, 4, get_u16(headers, 4).wrapping_add(id_step));
                put_u16(headers, 10, 0);
                let sum = !ones_complement_sum(&headers[..self.l4_start], 0);
                put_u16(headers, 10, sum);
            }
            IpVersion::V6 => put_u16(headers, 4, (self.total_len - IPV6_HEADER_SIZE) as u16),
        }
        match self.l4 {
            L4::Tcp => {}
            L4::Udp => put_u16(headers, self.l4_start + 4, (self.total_len - self.l4_start) as u16),
        }
    }

    /// Computes the whole TCP or UDP checksum of a final packet.
    #[inline]
    pub fn write_checksum(&self, packet: &mut [u8]) {
        let at = self.checksum_field();
        put_u16(packet, at, 0);
        let pseudo = self.pseudo_header_sum(packet);
        let sum = !ones_complement_sum(&packet[self.l4_start..self.total_len], u64::from(pseudo));
        put_u16(packet, at, self.wire_checksum(sum));
    }

    /// Where the TCP or UDP checksum lies in the packet.
    #[inline]
    pub const fn checksum_field(&self) -> usize {
        self.l4_start + self.l4.checksum_offset()
    }

    /// Whether `packet` carries a TCP or UDP checksum: a UDP field of zero says that there is none (RFC 768).
    #[inline]
    pub fn has_checksum(&self, packet: &[u8]) -> bool {
        match self.l4 {
            L4::Tcp => true,
            L4::Udp => get_u16(packet, self.checksum_field()) != 0,
        }
    }

    /// Whether the checksum of an IPv4 header is right; IPv6 has none.
    #[inline]
    pub fn header_checksum_is_right(&self, packet: &[u8]) -> bool {
        match self.version {
            IpVersion::V4 => ones_complement_sum(&packet[..self.l4_start], 0) == 0xffff,
            IpVersion::V6 => true,
        }
    }

    /// Whether the TCP or UDP checksum is right.
    #[inline]
    pub fn checksum_is_right(&self, packet: &[u8]) -> bool {
        let pseudo = self.pseudo_header_sum(packet);
        ones_complement_sum(&packet[self.l4_start..self.total_len], u64::from(pseudo)) == 0xffff
    }

    /// A UDP checksum of zero means "none" (RFC 768); its other form stands for it.
    const fn wire_checksum(&self, sum: u16) -> u16 {
        match self.l4 {
            L4::Udp if sum == 0 => 0xffff,
            L4::Tcp | L4::Udp => sum,
        }
    }
}

/// Reads two bytes in network order.
///
/// # Panics
/// Beyond the end of `bytes`.
#[inline]
pub fn get_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Writes two bytes in network order.
///
/// # Panics
/// Beyond the end of `bytes`.
#[inline]
pub fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Reads four bytes in network order.
///
/// # Panics
/// Beyond the end of `bytes`.
#[inline]
pub fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Writes four bytes in network order.
///
/// # Panics
/// Beyond the end of `bytes`.
#[inline]
pub fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}
