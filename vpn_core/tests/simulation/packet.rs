//! Inner packets: IPv4 with a number that tells them apart.

use std::net::Ipv4Addr;

pub(crate) const HEADER: usize = 20;

const UDP: u8 = 17;
const UDP_CHECKSUM: usize = HEADER + 6;
const UDP_PAYLOAD: usize = HEADER + 8;

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

/// The same packet, not to be cut on its way.
pub(crate) fn uncut(mut packet: Vec<u8>) -> Vec<u8> {
    packet[6] |= 0x40;
    packet[10..12].fill(0);
    let sum = !checksum(&packet[..HEADER]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Whether it is a part of a packet, which the local system would put together.
pub(crate) fn is_fragment(packet: &[u8]) -> bool {
    packet[6] & 0x3f != 0 || packet[7] != 0
}

/// Whether somebody on the way has sent it, to say something of a packet that was sent.
pub(crate) fn is_icmp(packet: &[u8]) -> bool {
    packet[9] == 1
}

/// A UDP datagram with a number in its payload, all checksums right.
pub(crate) fn udp(source: Ipv4Addr, destination: Ipv4Addr, number: u64) -> Vec<u8> {
    let mut packet = ipv4(source, destination, 64, number, 101);
    packet[9] = UDP;
    packet[10..12].fill(0);
    let sum = !checksum(&packet[..HEADER]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());

    let len = (packet.len() - HEADER) as u16;
    let header = [4000, 4001, len, 0].map(u16::to_be_bytes);
    packet[HEADER..UDP_PAYLOAD].copy_from_slice(header.as_flattened());
    packet[UDP_PAYLOAD..UDP_PAYLOAD + 8].copy_from_slice(&number.to_be_bytes());
    let pseudo = [&packet[12..20], &[0, UDP], &len.to_be_bytes()].concat();
    let sum = !checksum(&[pseudo.as_slice(), &packet[HEADER..]].concat());
    packet[UDP_CHECKSUM..UDP_CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
    packet
}

/// Takes the checksum out of a packet that [`udp`] made.
pub(crate) fn clear_udp_checksum(packet: &mut [u8]) {
    packet[UDP_CHECKSUM..UDP_CHECKSUM + 2].fill(0);
}

/// The number of a packet that [`ipv4`] or [`udp`] made.
pub(crate) fn number(packet: &[u8]) -> u64 {
    let at = if packet[9] == UDP { UDP_PAYLOAD } else { HEADER };
    u64::from_be_bytes(*packet[at..].first_chunk().expect("our packets carry a number"))
}

/// Whether the header checksum is right.
pub(crate) fn is_intact(packet: &[u8]) -> bool {
    checksum(&packet[..HEADER]) == 0xffff
}

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
