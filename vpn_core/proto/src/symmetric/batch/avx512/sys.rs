//! The only unsafe code of this kernel: entering functions that need AVX-512, and moving vectors to and from memory.

use super::{Text, Verdicts};
#[cfg(test)]
use super::{chacha, poly};
use crate::base::SecretBytes;
use core::arch::x86_64::{
    __m512i, __mmask64, _mm512_loadu_si512, _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8,
    _mm512_setzero_si512, _mm512_storeu_si512,
};

/// Size of a vector in bytes; that of a ChaCha20 block, too.
pub(super) const VECTOR: usize = 64;

/// Proof that this CPU, under this operating system, has every instruction that the kernel is compiled to. Made by
/// [`Kernel::detect`] only.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Kernel(());

impl Kernel {
    /// Asks the CPU. The standard library remembers the answer, so asking again is cheap.
    pub(in super::super) fn detect() -> Option<Self> {
        let available = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512ifma");
        available.then_some(Self(()))
    }

    /// [`super::seal`].
    pub(in super::super) fn seal(self, key: &SecretBytes<32>, arena: &mut [u8], texts: &[Text]) {
        let Self(()) = self;
        // SAFETY: the function is safe but for the CPU features that it needs, and `self` proves those.
        unsafe { super::seal(key, arena, texts) }
    }

    /// [`super::open`].
    pub(in super::super) fn open(self, key: &SecretBytes<32>, arena: &mut [u8], texts: &[Text]) -> Verdicts {
        let Self(()) = self;
        // SAFETY: the function is safe but for the CPU features that it needs, and `self` proves those.
        unsafe { super::open(key, arena, texts) }
    }
}

/// What tests need of the parts.
#[cfg(test)]
impl Kernel {
    /// [`chacha::apply`].
    pub(super) fn apply(self, key: &SecretBytes<32>, arena: &mut [u8], texts: &[Text], first: u32) {
        let Self(()) = self;
        // SAFETY: the function is safe but for the CPU features that it needs, and `self` proves those.
        unsafe { chacha::apply(key, arena, texts.iter().copied(), first) }
    }

    /// [`poly::tags`].
    pub(super) fn tags(self, keys: &[[u8; VECTOR]; poly::LANES], texts: [&[u8]; poly::LANES]) -> poly::Tags {
        let Self(()) = self;
        // SAFETY: the function is safe but for the CPU features that it needs, and `self` proves those.
        unsafe { poly::tags(keys, texts) }
    }

    /// [`poly::tests::plain_tags`].
    pub(super) fn plain_tags(self, keys: &[[u8; VECTOR]; poly::LANES], text: &[u8]) -> poly::Tags {
        let Self(()) = self;
        // SAFETY: the function is safe but for the CPU features that it needs, and `self` proves those.
        unsafe { poly::tests::plain_tags(keys, text) }
    }
}

/// 64 bytes as a vector.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn load(bytes: &[u8; VECTOR]) -> __m512i {
    // SAFETY: `bytes` is valid for reads of 64 bytes; the load asks for no alignment.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Writes a vector over 64 bytes.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn store(bytes: &mut [u8; VECTOR], vector: __m512i) {
    // SAFETY: `bytes` is valid for writes of 64 bytes; the store asks for no alignment.
    unsafe { _mm512_storeu_si512(bytes.as_mut_ptr().cast(), vector) }
}

/// The 64 bytes of `text` from position `at` on, which may lie before its start; zeros stand where there is no text.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn load_window(text: &[u8], at: isize) -> __m512i {
    let (start, end) = (at.saturating_neg(), text.len().cast_signed().saturating_sub(at));
    let inside = ones(end) & !ones(start);
    // A load of nothing may still touch pages that are not there, which costs microseconds even if it does no harm.
    if inside == 0 {
        return _mm512_setzero_si512();
    }
    let window = text.as_ptr().wrapping_offset(at).cast();
    // SAFETY: byte `i` is read where bit `i` of `inside` is set, which it is where `at + i` is a position in `text`;
    // the instruction does not touch the others, so `window` itself may point outside.
    unsafe { _mm512_maskz_loadu_epi8(inside, window) }
}

/// Writes the first bytes of a vector over `bytes`, at most 64 of them.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn store_prefix(bytes: &mut [u8], vector: __m512i) {
    let inside = ones(bytes.len().cast_signed());
    // SAFETY: byte `i` is written where bit `i` of `inside` is set, so only below the length of `bytes`; the
    // instruction does not touch the others.
    unsafe { _mm512_mask_storeu_epi8(bytes.as_mut_ptr().cast(), inside, vector) }
}

/// A mask whose lowest `n` bits are set: none below 0, all above 63.
#[inline]
const fn ones(n: isize) -> __mmask64 {
    match n {
        ..=0 => 0,
        1..64 => (1 << n) - 1,
        64.. => !0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_as_many_bits_as_asked_for() {
        for (n, bits) in [(isize::MIN, 0), (-1, 0), (0, 0), (1, 1), (63, 63), (64, 64), (isize::MAX, 64)] {
            assert_eq!(ones(n).count_ones(), bits);
            assert_eq!(ones(n).trailing_ones(), bits);
        }
    }
}
