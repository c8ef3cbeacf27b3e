//! Packets that travel without their TCP or UDP checksum (protocol.md 7.4.5).
//!
//! ```text
//! sender    sum known to be good ── leave_out ──▶ field 0, version 4 → 7 or 6 → 5
//! receiver  take_mark: version back ── check_left_out ──▶ Checksum::LeftOut ──┬─▶ local system: "partial"
//!                                                                             └─▶ pass_on: marked again, or completed
//! ```

use super::{
    hybrid::Features,
    layout::{Layout, put_u16},
};
use core::ops::Range;

/// The bits in which the version of a packet without checksum differs from the plain one: 4 and 7, 6 and 5.
const MARK: u8 = 0x30;

/// Whether an inner packet carries its TCP or UDP checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// It is as its sender made it, right or wrong; or it is of a kind that has none.
    AsIs,
    /// It was known to be good and was left out: the field is 0. Whoever hands the packet to somebody who looks at the
    /// checksum has to compute it; the AEAD has protected the packet up to here.
    LeftOut,
}

impl Checksum {
    /// Turns a whole packet in this state into the payload for a receiver that accepts `accepted`.
    pub fn pass_on(self, packet: &mut [u8], accepted: Features) {
        match self {
            Self::AsIs => {}
            Self::LeftOut if accepted.contains(Features::CHECKSUM_LEFT_OUT) => packet[0] ^= MARK,
            Self::LeftOut => self.complete(packet),
        }
    }

    /// Computes the checksum of a whole packet, if it was left out.
    pub fn complete(self, packet: &mut [u8]) {
        match (self, Layout::parse(packet)) {
            (Self::LeftOut, Ok(layout)) => layout.write_checksum(packet),
            // `check_left_out` has found a layout.
            (Self::LeftOut, Err(_)) | (Self::AsIs, _) => {}
        }
    }
}

/// An inner packet in an arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InnerPacket {
    /// Where it lies, without padding.
    pub range: Range<usize>,
    /// Whether it carries its checksum.
    pub checksum: Checksum,
}

impl InnerPacket {
    /// A packet that is as its sender made it.
    pub const fn as_is(range: Range<usize>) -> Self {
        Self { range, checksum: Checksum::AsIs }
    }
}

/// Turns a final packet, whose checksum lies at `field` and need not be filled in, into a payload without it.
pub fn leave_out(packet: &mut [u8], field: usize) {
    put_u16(packet, field, 0);
    packet[0] ^= MARK;
}

/// Gives the first byte of a payload the version that the packet has, if it is marked as one without checksum.
pub fn take_mark(first: &mut u8) -> Checksum {
    match *first >> 4 {
        5 | 7 => {
            *first ^= MARK;
            Checksum::LeftOut
        }
        _ => Checksum::AsIs,
    }
}

/// Whether the checksum of `packet` can have been left out: TCP or UDP in one piece and directly behind the IP header. Clears
/// the field. `packet` is as long as its header states, its version taken from [`take_mark`].
pub fn check_left_out(packet: &mut [u8]) -> bool {
    match Layout::parse(packet) {
        Ok(layout) if layout.is_plain() => {
            // Not taken from the peer: from here on it is 0 whatever was sent.
            put_u16(packet, layout.checksum_field(), 0);
            true
        }
        Ok(_) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example of protocol.md 7.4.6: UDP from 10.66.0.2 to 10.66.0.1, four bytes.
    const PACKET: [u8; 32] = [
        0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0x26, 0x47, 10, 66, 0, 2, 10, 66, 0, 1, // IPv4
        0x0f, 0xa0, 0x0f, 0xa1, 0, 12, 0xc8, 0x08, 1, 2, 3, 4, // UDP
    ];
    const PAYLOAD: [u8; 32] = [
        0x75, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0x26, 0x47, 10, 66, 0, 2, 10, 66, 0, 1, //
        0x0f, 0xa0, 0x0f, 0xa1, 0, 12, 0, 0, 1, 2, 3, 4,
    ];

    /// What a receiver that has announced it makes of `payload`.
    fn received(mut payload: Vec<u8>) -> Option<Vec<u8>> {
        let checksum = take_mark(&mut payload[0]);
        (checksum == Checksum::LeftOut && check_left_out(&mut payload)).then_some(payload)
    }

    #[test]
    fn the_example_of_the_specification_is_what_both_ends_compute() {
        let mut payload = PACKET;
        leave_out(&mut payload, 26);
        assert_eq!(payload, PAYLOAD);
        let mut packet = received(PAYLOAD.to_vec()).expect("as it is sent");
        Checksum::LeftOut.complete(&mut packet);
        assert_eq!(packet, PACKET);
    }

    #[test]
    fn a_packet_goes_on_without_checksum_only_to_who_accepts_it() {
        let opened = received(PAYLOAD.to_vec()).expect("as it is sent");
        for (accepted, sent) in [(Features::CHECKSUM_LEFT_OUT, PAYLOAD), (Features::NONE, PACKET)] {
            let mut packet = opened.clone();
            Checksum::LeftOut.pass_on(&mut packet, accepted);
            assert_eq!(packet, sent);
            let mut packet = PACKET;
            packet[27] ^= 1;
            let wrong = packet;
            Checksum::AsIs.pass_on(&mut packet, accepted);
            assert_eq!(packet, wrong, "what came with a checksum keeps it");
        }
    }

    #[test]
    fn what_a_peer_puts_into_the_field_goes_nowhere() {
        let mut payload = PAYLOAD;
        payload[26..28].fill(0xee);
        assert_eq!(received(payload.to_vec()), received(PAYLOAD.to_vec()));
    }

    proptest! {
        #[test]
        fn no_payload_makes_restoring_panic(mut payload in proptest::collection::vec(any::<u8>(), 1..80), v6: bool) {
            payload[0] = if v6 { 0x50 } else { 0x75 };
            if let Some(mut packet) = received(payload) {
                Checksum::LeftOut.complete(&mut packet);
                Checksum::LeftOut.pass_on(&mut packet, Features::SUPPORTED);
            }
        }
    }
}
