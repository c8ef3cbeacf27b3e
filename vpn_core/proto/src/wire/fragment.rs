//! Cuts IPv4 packets that are longer than the path to a peer takes, as a router does (RFC 791, section 3.2).
//!
//! The alternative would be to let the path cut the datagram around the packet. Many paths lose such fragments; those in the tunnel
//! are datagrams like any other.

use super::{checksum::ones_complement_sum, ip::IPV4_HEADER_SIZE};
use core::ops::Range;

/// Flags and fragment offset lie in one 16-bit word, the offset in units of eight bytes.
const FLAGS_AT: usize = 6;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;
const OFFSET_UNIT: usize = 8;

/// Whether `packet`, of which [`IpHeader::parse`](super::ip::IpHeader::parse) has accepted the header, may be cut: IPv4 without "don't fragment",
/// and no fragment that says it lies where no packet reaches to.
pub fn may_be_cut(packet: &[u8]) -> bool {
    let flags = flags(packet);
    let begin = u32::from(flags & OFFSET) * OFFSET_UNIT as u32;
    let end = begin + u32::from(u16::from_be_bytes([packet[2], packet[3]]));
    packet[0] >> 4 == 4 && flags & DONT_FRAGMENT == 0 && end <= u16::MAX.into()
}

fn flags(packet: &[u8]) -> u16 {
    u16::from_be_bytes([packet[FLAGS_AT], packet[FLAGS_AT + 1]])
}

/// Packets one after another in one buffer, some of them cut into fragments; reused from batch to batch.
#[derive(Debug, Default)]
pub struct Fragments {
    bytes: Vec<u8>,
    /// Where each one ends, and which packet it is of.
    pieces: Vec<(usize, usize)>,
    /// The packet that is being cut.
    whole: Vec<u8>,
}

impl Fragments {
    /// Forgets the packets, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.pieces.clear();
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.pieces.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Piece `index`.
    ///
    /// # Panics
    /// Beyond the last one.
    pub fn piece(&self, index: usize) -> &[u8] {
        &self.bytes[self.range(index)]
    }

    /// Which of the packets piece `index` is of.
    ///
    /// # Panics
    /// Beyond the last one.
    pub fn packet_of(&self, index: usize) -> usize {
        self.pieces[index].1
    }

    fn range(&self, index: usize) -> Range<usize> {
        let start = index.checked_sub(1).map_or(0, |before| self.pieces[before].0);
        start..self.pieces[index].0
    }

    /// Adds packet number `packet`, which is `len` bytes long and which `write` writes, in fragments of up to `limit` bytes. In one piece where
    /// it is shorter, or must not be cut.
    pub fn add(&mut self, packet: usize, len: usize, limit: usize, write: impl FnOnce(&mut [u8])) {
        let mut whole = core::mem::take(&mut self.whole);
        whole.resize(len, 0);
        write(&mut whole);
        if len <= limit || self.cut(packet, &whole, limit).is_none() {
            self.bytes.extend_from_slice(&whole);
            self.pieces.push((self.bytes.len(), packet));
        }
        self.whole = whole;
    }

    /// `None`, and nothing added, for a packet that cannot be cut to `limit`.
    fn cut(&mut self, packet: usize, whole: &[u8], limit: usize) -> Option<()> {
        let header_len = usize::from(whole.first()? & 0x0f) * 4;
        let (header, payload) = whole.split_at_checked(header_len).filter(|_| may_be_cut(whole))?;
        let room = limit.checked_sub(header_len)? / OFFSET_UNIT * OFFSET_UNIT;
        let last_flags = flags(whole);
        let offset = usize::from(last_flags & OFFSET);
        if room == 0 {
            return None;
        }
        for (at, part) in payload.chunks(room).enumerate() {
            let begin = at * room;
            let is_last = begin + part.len() == payload.len();
            let start = self.bytes.len();
            self.bytes.extend_from_slice(header);
            self.bytes.extend_from_slice(part);
            let header = &mut self.bytes[start..start + header_len];
            if at > 0 {
                leave_out_options(&mut header[IPV4_HEADER_SIZE..]);
            }
            let more = if is_last { last_flags & MORE_FRAGMENTS } else { MORE_FRAGMENTS };
            let offset = u16::try_from(offset + begin / OFFSET_UNIT).ok()?;
            put(header, 2, u16::try_from(header_len + part.len()).ok()?);
            put(header, FLAGS_AT, last_flags & !(MORE_FRAGMENTS | OFFSET) | more | offset);
            put(header, 10, 0);
            let sum = !ones_complement_sum(header, 0);
            put(header, 10, sum);
            self.pieces.push((self.bytes.len(), packet));
        }
        Some(())
    }
}

/// Overwrites the options that only the first fragment has: those without the flag "copied". The header stays as long.
fn leave_out_options(options: &mut [u8]) {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    const COPIED: u8 = 0x80;
    let mut at = 0;
    while let Some(&kind) = options.get(at).filter(|kind| **kind != END) {
        let len = match (kind, options.get(at + 1)) {
            (NO_OPERATION, _) => 1,
            (_, Some(&len)) if len >= 2 => usize::from(len),
            _ => return, // Nonsense, which stays as it is.
        };
        let end = (at + len).min(options.len());
        if kind & COPIED == 0 {
            options[at..end].fill(NO_OPERATION);
        }
        at = end;
    }
}

fn put(header: &mut [u8], at: usize, value: u16) {
    header[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ip::IpHeader;
    use proptest::prelude::*;

    /// An IPv4 packet with these options and payload; a fragment of a longer one where `flags` say so.
    fn packet(options: &[u8], payload: &[u8], flags: u16) -> Vec<u8> {
        let header_len = 20 + options.len();
        let mut packet = vec![0; 20];
        packet[0] = 0x40 | (header_len / 4) as u8;
        put(&mut packet, 2, (header_len + payload.len()) as u16);
        put(&mut packet, 4, 0x1234);
        put(&mut packet, FLAGS_AT, flags);
        packet[8..10].copy_from_slice(&[64, 17]);
        packet[12..20].copy_from_slice(&[10, 0, 0, 1, 10, 0, 0, 2]);
        packet.extend_from_slice(options);
        let sum = !ones_complement_sum(&packet, 0);
        put(&mut packet, 10, sum);
        packet.extend_from_slice(payload);
        packet
    }

    fn pieces(of: &[u8], limit: usize) -> Vec<Vec<u8>> {
        let mut fragments = Fragments::default();
        fragments.add(7, of.len(), limit, |out| out.copy_from_slice(of));
        assert!((0..fragments.len()).all(|index| fragments.packet_of(index) == 7));
        (0..fragments.len()).map(|index| fragments.piece(index).to_vec()).collect()
    }

    proptest! {
        /// Put together as a host does, they are what they were cut from.
        #[test]
        fn fragments_of_right_length_and_sum_are_the_packet_again(
            payload in proptest::collection::vec(any::<u8>(), 1..4000),
            limit in 68_usize..1500,
            is_fragment: bool,
            offset in 0_u16..1000,
        ) {
            let flags = if is_fragment { MORE_FRAGMENTS | offset } else { offset };
            let whole = packet(&[], &payload, flags);
            let pieces = pieces(&whole, limit);
            prop_assert_eq!(pieces.len() == 1, whole.len() <= limit);
            let mut together = vec![0; payload.len()];
            for (index, piece) in pieces.iter().enumerate() {
                let header = IpHeader::parse(piece).expect("a packet");
                prop_assert_eq!(header.total_len, piece.len());
                prop_assert!(piece.len() <= limit);
                prop_assert_eq!(ones_complement_sum(&piece[..20], 0), 0xffff);
                let flags = u16::from_be_bytes([piece[6], piece[7]]);
                let is_last = index + 1 == pieces.len();
                prop_assert_eq!(flags & MORE_FRAGMENTS != 0, is_fragment || !is_last);
                let at = usize::from(flags & OFFSET) * 8 - usize::from(offset) * 8;
                together[at..at + piece.len() - 20].copy_from_slice(&piece[20..]);
                prop_assert_eq!(&piece[12..20], &whole[12..20]);
                prop_assert_eq!(&piece[4..6], &whole[4..6]);
            }
            prop_assert_eq!(together, payload);
        }

        #[test]
        fn no_packet_makes_cutting_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 60..300),
            first in 0x45_u8..=0x4f,
            limit in 0_usize..300,
        ) {
            bytes[0] = first;
            let len = bytes.len() as u16;
            put(&mut bytes, 2, len);
            let pieces = pieces(&bytes, limit);
            prop_assert!(pieces.len() > 1 || pieces == [bytes]);
        }
    }

    #[test]
    fn what_must_not_or_cannot_be_cut_stays_whole() {
        let payload = [9; 1000];
        for whole in [packet(&[], &payload, DONT_FRAGMENT), packet(&[], &payload, OFFSET), vec![0x60; 1000]] {
            assert_eq!(pieces(&whole, 576), [whole]);
        }
        let whole = packet(&[], &payload, 0);
        assert_eq!(pieces(&whole, 27), [whole], "no room for eight bytes");
    }

    #[test]
    fn only_options_that_are_to_be_copied_are_in_every_fragment() {
        // A router alert (to be copied), a record of the route (not to be), and the end.
        let options = [0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0];
        let pieces = pieces(&packet(&options, &[1; 100], 0), 68);
        assert_eq!(pieces[0][20..32], options);
        for later in &pieces[1..] {
            assert_eq!(later[20..32], [0x94, 4, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0]);
            assert_eq!(ones_complement_sum(&later[..32], 0), 0xffff);
        }
    }
}
