//! Numbers with a meaning.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian};

/// The index by which the receiver of a message finds its half-open handshake or keypair; 4 bytes little-endian
/// on the wire, chosen at random by the receiver.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct ReceiverIndex(little_endian::U32);

impl ReceiverIndex {
    /// From the number.
    pub const fn new(value: u32) -> Self {
        Self(little_endian::U32::new(value))
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }

    /// Draws an index.
    pub fn random(rng: &mut dyn rand_core::CryptoRng) -> Self {
        Self::new(rng.next_u32())
    }
}

impl core::fmt::Debug for ReceiverIndex {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:#010x}", self.get())
    }
}

/// A peer of one device, numbered in the order of adding; never reused within a device's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId(pub u32);
