//! Where the parts of a TCP or UDP packet lie, and the checksums over them.

use super::segment::FrameError;
use crate::wire::{
    checksum::ones_complement_sum,
    ip::{IPV4_HEADER_SIZE, IPV6_HEADER_SIZE, IpHeader},
};

pub(super) const PROTOCOL_TCP: u8 = 6;
pub(super) const PROTOCOL_UDP: u8 = 17;

const TCP_HEADER_SIZE: usize = 20;
const UDP_HEADER_SIZE: usize = 8;

/// IPv6 extension headers before TCP or UDP that are walked over.
const MAX_EXTENSION_HEADERS: usize = 4; // more is no traffic of a real host

pub(super) const TCP_FIN: u8 = 0x01;
pub(super) const TCP_PSH: u8 = 0x08;
pub(super) const TCP_ACK: u8 = 0x10;
pub(super) const TCP_ECE: u8 = 0x40;
pub(super) const TCP_CWR: u8 = 0x80;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IpVersion {
    V4,
    V6,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum L4 {
    Tcp,
    Udp,
}

impl L4 {
    pub(super) const fn protocol(self) -> u8 {
        match self {
            Self::Tcp => PROTOCOL_TCP,
            Self::Udp => PROTOCOL_UDP,
        }
    }

    /// Where the checksum lies, from the start of the L4 header.
    pub(super) const fn checksum_offset(self) -> usize {
        match self {
            Self::Tcp => 16,
            Self::Udp => 6,
        }
    }
}

/// The parts of an unfragmented TCP or UDP packet; every offset lies inside the packet that it was parsed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) version: IpVersion,
    pub(super) l4: L4,
    /// Where the TCP or UDP header begins.
    pub(super) l4_start: usize,
    /// Length of all headers: where the payload begins.
    pub(super) header_len: usize,
    /// Length of the packet.
    pub(super) total_len: usize,
}

impl Layout {
    /// Finds the parts of `packet`, whose length must be the one that `IpHeader::parse` found.
    pub(super) fn parse(packet: &[u8]) -> Result<Self, FrameError> {
        let (version, protocol, l4_start) = match packet.first().ok_or(FrameError::NotIp)? >> 4 {
            4 => Self::walk_v4(packet)?,
            6 => Self::walk_v6(packet)?,
            _ => return Err(FrameError::NotIp),
        };
        let l4_bytes = packet.get(l4_start..).ok_or(FrameError::Truncated)?;
        let (l4, l4_len) = match protocol {
            PROTOCOL_TCP => {
                let header = l4_bytes.first_chunk::<TCP_HEADER_SIZE>().ok_or(FrameError::Truncated)?;
                let len = usize::from(header[12] >> 4) * 4;
                if len < TCP_HEADER_SIZE || len > l4_bytes.len() {
                    return Err(FrameError::Truncated);
                }
                (L4::Tcp, len)
            }
            PROTOCOL_UDP => {
                let header = l4_bytes.first_chunk::<UDP_HEADER_SIZE>().ok_or(FrameError::Truncated)?;
                if usize::from(u16::from_be_bytes([header[4], header[5]])) != l4_bytes.len() {
                    return Err(FrameError::Truncated);
                }
                (L4::Udp, UDP_HEADER_SIZE)
            }
            other => return Err(FrameError::UnexpectedProtocol(other)),
        };
        Ok(Self { version, l4, l4_start, header_len: l4_start + l4_len, total_len: packet.len() })
    }

    fn walk_v4(packet: &[u8]) -> Result<(IpVersion, u8, usize), FrameError> {
        let header = packet.first_chunk::<IPV4_HEADER_SIZE>().ok_or(FrameError::Truncated)?;
        // More-fragments or an offset.
        if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
            return Err(FrameError::Fragment);
        }
        let len = usize::from(header[0] & 0x0f) * 4;
        if len < IPV4_HEADER_SIZE {
            return Err(FrameError::Truncated);
        }
        Ok((IpVersion::V4, header[9], len))
    }

    /// A routing header is refused like any unknown one: its pseudo-header has another destination.
    fn walk_v6(packet: &[u8]) -> Result<(IpVersion, u8, usize), FrameError> {
        const HOP_BY_HOP: u8 = 0;
        const FRAGMENT: u8 = 44;
        const DESTINATION_OPTIONS: u8 = 60;
        let mut next = *packet.get(6).ok_or(FrameError::Truncated)?;
        let mut at = IPV6_HEADER_SIZE;
        for _ in 0..MAX_EXTENSION_HEADERS {
            match next {
                HOP_BY_HOP | DESTINATION_OPTIONS => {
                    let [following, len] =
                        *packet.get(at..).and_then(<[u8]>::first_chunk).ok_or(FrameError::Truncated)?;
                    next = following;
                    at += 8 + usize::from(len) * 8;
                }
                FRAGMENT => return Err(FrameError::Fragment),
                _ => break,
            }
        }
        Ok((IpVersion::V6, next, at))
    }

    pub(super) const fn payload_len(&self) -> usize {
        self.total_len - self.header_len
    }

    /// The same headers over another payload.
    pub(super) const fn with_payload(self, len: usize) -> Self {
        Self { total_len: self.header_len + len, ..self }
    }

    /// No IPv4 options, no IPv6 extension headers.
    pub(super) const fn is_plain(&self) -> bool {
        match self.version {
            IpVersion::V4 => self.l4_start == IPV4_HEADER_SIZE,
            IpVersion::V6 => self.l4_start == IPV6_HEADER_SIZE,
        }
    }

    /// The pseudo-header sum (RFC 9293 3.1, RFC 8200 8.1), not complemented: what a partial checksum field holds.
    pub(super) fn pseudo_header_sum(&self, headers: &[u8]) -> u16 {
        let addresses = match self.version {
            IpVersion::V4 => &headers[12..20],
            IpVersion::V6 => &headers[8..40],
        };
        let l4_len = self.total_len - self.l4_start;
        ones_complement_sum(addresses, u64::from(self.l4.protocol()) + l4_len as u64)
    }

    /// Writes `total_len` into the IP and UDP length fields, adds `id_step` to an IPv4 identification and renews
    /// the IPv4 header checksum.
    pub(super) fn write_lengths(&self, headers: &mut [u8], id_step: u16) {
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
    pub(super) fn write_checksum(&self, packet: &mut [u8]) {
        let at = self.l4_start + self.l4.checksum_offset();
        put_u16(packet, at, 0);
        let pseudo = self.pseudo_header_sum(packet);
        let sum = !ones_complement_sum(&packet[self.l4_start..self.total_len], u64::from(pseudo));
        put_u16(packet, at, self.wire_checksum(sum));
    }

    /// Whether the TCP or UDP checksum and, for IPv4, the header checksum are right.
    pub(super) fn checksums_are_right(&self, packet: &[u8]) -> bool {
        let header_is_right = match self.version {
            IpVersion::V4 => ones_complement_sum(&packet[..self.l4_start], 0) == 0xffff,
            IpVersion::V6 => true,
        };
        let pseudo = self.pseudo_header_sum(packet);
        header_is_right
            && ones_complement_sum(&packet[self.l4_start..self.total_len], u64::from(pseudo)) == 0xffff
    }

    /// A UDP checksum of zero means "none" (RFC 768); its other form stands for it.
    const fn wire_checksum(&self, sum: u16) -> u16 {
        match self.l4 {
            L4::Udp if sum == 0 => 0xffff,
            L4::Tcp | L4::Udp => sum,
        }
    }
}

/// The IP packet at the start of `bytes` without what may follow it, and its header.
pub(super) fn parse_ip(bytes: &mut [u8]) -> Result<(&mut [u8], IpHeader), FrameError> {
    let header = IpHeader::parse(bytes).ok_or(FrameError::NotIp)?;
    Ok((&mut bytes[..header.total_len], header))
}

/// The length that the IP header of `packet` states; `None` unless it fits.
pub(super) fn parse_ip_len(packet: &[u8]) -> Option<usize> {
    IpHeader::parse(packet).map(|header| header.total_len)
}

pub(super) fn get_u16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

pub(super) fn get_u32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

pub(super) fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}
