//! Inner packets: IPv4 with a number that tells them apart.

use std::net::Ipv4Addr;

pub(crate) const HEADER: usize = 20;

/// A packet as a TUN device would hand it over.
pub(crate) fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, ttl: u8, number: u64, len: usize) -> Vec<u8> {
    let len = len.max(HEADER + 8);
    let mut packet = vec![number as u8; len];
    packet[..HEADER].fill(0);
    packet[0] = 0x45;
    packet[2..4].copy_from_slice(&u16::try_from(len).expect("packets are small").to_be_bytes());
    packet[8] = ttl;
    packet[9] = 253; // For experiments, RFC 3692.
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&destination.octets());
    packet[HEADER..HEADER + 8].copy_from_slice(&number.to_be_bytes());
    let sum = !checksum(&packet[..HEADER]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// The number of a packet that [`ipv4`] made.
pub(crate) fn number(packet: &[u8]) -> u64 {
    u64::from_be_bytes(*packet[HEADER..].first_chunk().expect("our packets carry a number"))
}

/// Whether the header checksum is right.
pub(crate) fn is_intact(packet: &[u8]) -> bool {
    checksum(&packet[..HEADER]) == 0xffff
}

fn checksum(header: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in header.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], pair[1]]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
