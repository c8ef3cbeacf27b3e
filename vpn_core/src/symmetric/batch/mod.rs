//! ChaCha20-Poly1305 of several packets at a time, for CPUs with AVX-512.
//!
//! A vector holds the same word of 16 ChaCha20 blocks, of whichever packets, or the same limb of 8 packets' Poly1305
//! sums, so packets of one batch keep every lane busy where a single one could not. All of it is safe code except
//! `sys.rs`; nothing branches or addresses memory by key, text or tag. docs/adr/0010 has the measurements.

#[cfg(not(target_arch = "x86_64"))]
mod absent;
#[cfg(target_arch = "x86_64")]
mod chacha;
#[cfg(target_arch = "x86_64")]
mod group;
#[cfg(target_arch = "x86_64")]
mod poly;
#[cfg(target_arch = "x86_64")]
#[expect(
    unsafe_code,
    reason = "calls of functions for certain CPUs, and masked loads and stores, are unsafe"
)]
mod sys;

#[cfg(not(target_arch = "x86_64"))]
use absent::Kernel;
#[cfg(target_arch = "x86_64")]
use sys::Kernel;

use super::TAG_SIZE;
use crate::base::SecretBytes;
use core::ops::Range;

/// Packets that the kernel takes at once: their one-time keys are one call of the block function.
pub(super) const GROUP: usize = 32;

/// Packets below which the library's cipher, one packet at a time, is as fast. Measured: 2 for packets of 1420
/// bytes, 3 for 64; one more, for CPUs with narrower units.
pub(super) const BREAK_EVEN: usize = 4;

/// A packet of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Where it lies in the arena: the text, and the 16 bytes of its tag.
    pub range: Range<usize>,
    /// Its counter, which with 4 zero bytes before it, little-endian, is the nonce.
    pub counter: u64,
}

impl Frame {
    /// Where its text lies in the arena.
    ///
    /// # Panics
    /// When the frame is shorter than a tag.
    pub fn text(&self) -> Range<usize> {
        assert!(self.range.len() >= TAG_SIZE, "a frame holds a tag");
        self.range.start..self.range.end - TAG_SIZE
    }
}

/// A key for the kernel. The copy of the key is erased on drop and does not move.
pub(super) struct BatchKey {
    kernel: Kernel,
    key: Box<SecretBytes<32>>,
}

impl BatchKey {
    /// A key, where the CPU has what the kernel needs.
    pub(super) fn new(secret: &SecretBytes<32>) -> Option<Self> {
        let kernel = Kernel::detect()?;
        let mut key = Box::new(SecretBytes::ZERO);
        key.expose_mut().copy_from_slice(secret.expose());
        Some(Self { kernel, key })
    }

    /// Encrypts the texts and writes their tags.
    pub(super) fn seal(&self, arena: &mut [u8], texts: &Texts) {
        self.kernel.seal(&self.key, arena, texts.as_slice());
    }

    /// Checks the tags of the texts and decrypts the authentic ones; the others stay as they are.
    pub(super) fn open(&self, arena: &mut [u8], texts: &Texts) -> Verdicts {
        self.kernel.open(&self.key, arena, texts.as_slice())
    }
}

/// A packet's text in the arena; its tag follows it.
#[derive(Clone, Copy, Debug, Default)]
struct Text {
    start: usize,
    len: usize,
    counter: u64,
}

impl Text {
    #[cfg(target_arch = "x86_64")]
    const fn tag(&self) -> Range<usize> {
        let start = self.start + self.len;
        start..start + TAG_SIZE
    }
}

/// Which texts of a group were authentic.
type Verdicts = [bool; GROUP];

/// The texts of a group.
#[derive(Debug)]
pub(super) struct Texts {
    texts: [Text; GROUP],
    len: usize,
}

impl Texts {
    /// The texts of `frames`, if the kernel takes them: if there are enough, and none lacks room for a tag or is longer
    /// than one keystream.
    ///
    /// # Panics
    /// When there are more than [`GROUP`].
    pub(super) fn of(frames: &[Frame]) -> Option<Self> {
        const LIMIT: usize = 1 << 32; // bytes, of 2^38 that the block counter could reach
        if frames.len() < BREAK_EVEN {
            return None;
        }
        let mut texts = [Text::default(); GROUP];
        let len = frames.len();
        for (text, frame) in texts[..len].iter_mut().zip(frames) {
            let (start, len) = (frame.range.start, frame.range.len().checked_sub(TAG_SIZE)?);
            *text = (len <= LIMIT).then_some(Text { start, len, counter: frame.counter })?;
        }
        Some(Self { texts, len })
    }

    fn as_slice(&self) -> &[Text] {
        &self.texts[..self.len]
    }
}
