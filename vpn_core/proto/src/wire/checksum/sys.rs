//! The only unsafe code of the checksum: entering the function that needs AVX2.

use super::{VECTOR, avx2};

/// Proof that this CPU, under this operating system, has AVX2. Made by [`Avx2::detect`] only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Avx2(());

impl Avx2 {
    /// Asks the CPU. The standard library remembers the answer, so asking again is cheap.
    #[inline]
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    /// [`avx2::sum`].
    #[inline]
    pub(super) fn sum(self, vectors: &[[u8; VECTOR]]) -> u64 {
        let Self(()) = self;
        // SAFETY: the function is safe but for AVX2, which it needs and `self` proves.
        unsafe { avx2::sum(vectors) }
    }
}
