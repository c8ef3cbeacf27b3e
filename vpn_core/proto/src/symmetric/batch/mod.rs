//! ChaCha20-Poly1305 of several packets at a time, for CPUs with AVX-512 or AVX2.
//!
//! The lanes of a vector serve ChaCha20 blocks of whichever packets, so packets of one batch keep every lane busy where a
//! single one could not. All of it is safe code except the files `sys.rs`; nothing branches or addresses memory by key,
//! text or tag. docs/adr/0010 has the measurements.

#[cfg(not(target_arch = "x86_64"))]
mod absent;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod kernel;
#[cfg(test)]
mod rfc8439;

#[cfg(not(target_arch = "x86_64"))]
use absent::Kernel;
#[cfg(target_arch = "x86_64")]
use kernel::Kernel;

use super::{AeadError, TAG_SIZE};
use crate::base::SecretBytes;
use core::ops::Range;

/// Packets that a kernel takes at once.
pub(super) const GROUP: usize = 32;

/// Packets below which the library's cipher, one packet at a time, is as fast. Measured for AVX-512: 2 for packets of
/// 1420 bytes, 3 for 64, and one more, for CPUs with narrower units; for AVX2: 3 for 64 bytes, 4 for 300.
const BREAK_EVEN: usize = 4;

/// Code that serves several packets at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKernel {
    /// For AVX-512 with IFMA: packets of any length.
    Avx512,
    /// For AVX2: short packets.
    Avx2,
}

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

/// A key for a kernel. The copy of the key is erased on drop and does not move.
pub(super) struct BatchKey {
    kernel: Kernel,
    key: Box<SecretBytes<32>>,
}

impl BatchKey {
    /// A key for the best kernel that the CPU has what it needs for.
    pub(super) fn new(secret: &SecretBytes<32>) -> Option<Self> {
        [BatchKernel::Avx512, BatchKernel::Avx2]
            .into_iter()
            .find_map(|kernel| Self::with_kernel(secret, kernel))
    }

    /// A key for `kernel`, where the CPU has what it needs.
    pub(super) fn with_kernel(secret: &SecretBytes<32>, kernel: BatchKernel) -> Option<Self> {
        let kernel = Kernel::detect(kernel)?;
        let mut key = Box::new(SecretBytes::ZERO);
        key.expose_mut().copy_from_slice(secret.expose());
        Some(Self { kernel, key })
    }

    pub(super) const fn kernel(&self) -> BatchKernel {
        self.kernel.name()
    }

    /// Longest text, in bytes, that the kernel is faster for than the library.
    pub(super) const fn longest(&self) -> usize {
        self.kernel.longest()
    }

    /// Encrypts those of at most [`GROUP`] frames that the kernel is faster for, and writes their tags.
    pub(super) fn seal(&self, arena: &mut [u8], frames: &[Frame]) -> Served {
        let Some((texts, served)) = Texts::of(frames, self.longest()) else { return Served::NONE };
        self.kernel.seal(&self.key, arena, texts.as_slice());
        served
    }

    /// Checks the tags of those of at most [`GROUP`] frames that the kernel is faster for, and decrypts the authentic
    /// ones; the others stay as they are. Leaves the verdicts on all other frames alone.
    pub(super) fn open(
        &self,
        arena: &mut [u8],
        frames: &[Frame],
        verdicts: &mut [Result<(), AeadError>],
    ) -> Served {
        let Some((texts, served)) = Texts::of(frames, self.longest()) else { return Served::NONE };
        let authentic = self.kernel.open(&self.key, arena, texts.as_slice());
        let verdicts = verdicts.iter_mut().enumerate().filter(|(index, _)| served.has(*index));
        for ((_, verdict), authentic) in verdicts.zip(authentic) {
            *verdict = if authentic { Ok(()) } else { Err(AeadError) };
        }
        served
    }
}

/// Which frames of a group the kernel served: a bit for each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served(u32);

const _: () = assert!(GROUP <= u32::BITS as usize);

impl Served {
    pub(super) const NONE: Self = Self(0);

    pub(super) const fn has(self, index: usize) -> bool {
        self.0 >> index & 1 != 0
    }
}

/// A packet's text in the arena; its tag follows it.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "for kernels, of which there are none here")
)]
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
struct Texts {
    texts: [Text; GROUP],
    len: usize,
}

impl Texts {
    /// The texts of up to `longest` bytes among `frames`, and which frames' they are; `None` if they are too few. A frame
    /// without room for a tag has no text.
    fn of(frames: &[Frame], longest: usize) -> Option<(Self, Served)> {
        if frames.len() < BREAK_EVEN {
            return None;
        }
        let (mut texts, mut served) = (Self { texts: [Text::default(); GROUP], len: 0 }, Served::NONE);
        for (index, frame) in frames.iter().enumerate() {
            let Some(len) = frame.range.len().checked_sub(TAG_SIZE).filter(|len| *len <= longest) else {
                continue;
            };
            texts.texts[texts.len] = Text { start: frame.range.start, len, counter: frame.counter };
            texts.len += 1;
            served.0 |= 1 << index;
        }
        (texts.len >= BREAK_EVEN).then_some((texts, served))
    }

    fn as_slice(&self) -> &[Text] {
        &self.texts[..self.len]
    }
}
