//! Probes of a path and their answers (protocol.md 7.5): payloads of hybrid sessions beside IP packets.

/// First byte of a probe.
const KIND_PROBE: u8 = 0x20;
/// First byte of an answer.
const KIND_ANSWER: u8 = 0x21;
/// Size of an answer, and of what is in a probe before its padding, in bytes.
pub const PATH_MESSAGE_SIZE: usize = 8;

/// A probe of a path, or the answer to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathMessage {
    /// A payload of `size` bytes that is to be answered.
    Probe {
        /// Chosen by its sender.
        id: u32,
        /// Length of the payload in bytes, padding included.
        size: u16,
    },
    /// A probe was received whole.
    Answer {
        /// That of the probe.
        id: u32,
        /// Length of the probe's payload, in bytes.
        size: u16,
    },
}

impl PathMessage {
    /// Whether a payload that begins with `first` is one of these.
    pub const fn begins_with(first: u8) -> bool {
        matches!(first, KIND_PROBE | KIND_ANSWER)
    }

    /// Whether a payload that begins with `first` is a probe.
    pub const fn begins_as_probe(first: u8) -> bool {
        first == KIND_PROBE
    }

    /// Reads a payload; `None` for anything else, for a second byte that is not 0, and for a probe that is not as long as it
    /// says. Filler is ignored, and so is what a later version may add to an answer (protocol.md 7.5.1, 7.5.2).
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [kind, 0, size @ .., a, b, c, d] = *payload.first_chunk::<PATH_MESSAGE_SIZE>()? else {
            return None;
        };
        let (size, id) = (u16::from_le_bytes(size), u32::from_le_bytes([a, b, c, d]));
        match kind {
            KIND_PROBE if usize::from(size) == payload.len() => Some(Self::Probe { id, size }),
            KIND_ANSWER => Some(Self::Answer { id, size }),
            _ => None,
        }
    }

    /// Its payload.
    pub fn payload(self) -> Vec<u8> {
        let (kind, id, size, len) = match self {
            Self::Probe { id, size } => (KIND_PROBE, id, size, usize::from(size)),
            Self::Answer { id, size } => (KIND_ANSWER, id, size, PATH_MESSAGE_SIZE),
        };
        let mut payload = vec![0; len.max(PATH_MESSAGE_SIZE)];
        payload[0] = kind;
        payload[2..4].copy_from_slice(&size.to_le_bytes());
        payload[4..8].copy_from_slice(&id.to_le_bytes());
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_examples_of_the_specification_are_what_both_ends_make() {
        let probe = PathMessage::Probe { id: 0x0403_0201, size: 12 };
        let bytes = [0x20, 0, 12, 0, 1, 2, 3, 4, 0, 0, 0, 0];
        assert_eq!((probe.payload(), PathMessage::parse(&bytes)), (bytes.to_vec(), Some(probe)));
        let answer = PathMessage::Answer { id: 0x0403_0201, size: 1420 };
        let bytes = [0x21, 0, 0x8c, 0x05, 1, 2, 3, 4];
        assert_eq!((answer.payload(), PathMessage::parse(&bytes)), (bytes.to_vec(), Some(answer)));
    }

    #[test]
    fn a_probe_that_lies_about_its_length_is_none() {
        for len in [8, 11, 13] {
            let mut payload = PathMessage::Probe { id: 1, size: 12 }.payload();
            payload.resize(len, 0);
            assert_eq!(PathMessage::parse(&payload), None, "{len}");
        }
    }

    #[test]
    fn another_second_byte_is_reserved_and_filler_says_nothing() {
        let probe = PathMessage::Probe { id: 1, size: 12 };
        let answer = PathMessage::Answer { id: 1, size: 12 };
        for message in [probe, answer] {
            let mut payload = message.payload();
            payload[1] = 1;
            assert_eq!(PathMessage::parse(&payload), None, "{message:?}");
        }
        let mut filled = probe.payload();
        filled[8..].fill(0xee);
        assert_eq!(PathMessage::parse(&filled), Some(probe));
    }

    #[test]
    fn an_answer_may_be_longer_and_not_shorter() {
        let answer = PathMessage::Answer { id: 1, size: 12 };
        let longer = [&answer.payload()[..], &[0xee; 100]].concat();
        assert_eq!(PathMessage::parse(&longer), Some(answer));
        assert_eq!(PathMessage::parse(&answer.payload()[..7]), None);
    }

    proptest! {
        #[test]
        fn no_payload_makes_parsing_panic_and_no_answer_is_longer_than_its_probe(
            payload in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            if let Some(PathMessage::Probe { id, size }) = PathMessage::parse(&payload) {
                let answer = PathMessage::Answer { id, size };
                prop_assert!(answer.payload().len() <= payload.len());
            }
        }
    }
}
