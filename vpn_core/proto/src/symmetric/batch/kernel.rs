//! The kernels that there are on x86-64.

use super::{BatchKernel, Text, Verdicts, avx2, avx512};
use crate::base::SecretBytes;

/// A kernel, with the proof that the CPU has what it needs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kernel {
    Avx512(avx512::Kernel),
    Avx2(avx2::Kernel),
}

impl Kernel {
    /// Asks the CPU.
    pub(super) fn detect(kernel: BatchKernel) -> Option<Self> {
        match kernel {
            BatchKernel::Avx512 => avx512::Kernel::detect().map(Self::Avx512),
            BatchKernel::Avx2 => avx2::Kernel::detect().map(Self::Avx2),
        }
    }

    pub(super) const fn name(self) -> BatchKernel {
        match self {
            Self::Avx512(_) => BatchKernel::Avx512,
            Self::Avx2(_) => BatchKernel::Avx2,
        }
    }

    /// Longest text, in bytes, that the kernel takes.
    pub(super) const fn longest(self) -> usize {
        match self {
            Self::Avx512(_) => 1 << 32, // of 2^38 that the block counter could reach
            Self::Avx2(_) => avx2::LONGEST,
        }
    }

    /// Encrypts texts and writes their tags.
    pub(super) fn seal(self, key: &SecretBytes<32>, arena: &mut [u8], texts: &[Text]) {
        match self {
            Self::Avx512(kernel) => kernel.seal(key, arena, texts),
            Self::Avx2(kernel) => kernel.seal(key, arena, texts),
        }
    }

    /// Checks the tags of texts and decrypts the authentic ones.
    pub(super) fn open(self, key: &SecretBytes<32>, arena: &mut [u8], texts: &[Text]) -> Verdicts {
        match self {
            Self::Avx512(kernel) => kernel.open(key, arena, texts),
            Self::Avx2(kernel) => kernel.open(key, arena, texts),
        }
    }
}
