//! The sum of whole vectors with AVX2, the same way as `sum_portably`.

use super::VECTOR;
use core::arch::x86_64::{
    __m256i, _mm_add_epi64, _mm_cvtsi128_si64, _mm_unpackhi_epi64, _mm256_add_epi64, _mm256_castsi256_si128,
    _mm256_extracti128_si256, _mm256_setr_epi64x, _mm256_setzero_si256, _mm256_slli_epi64, _mm256_srli_epi64,
    _mm256_sub_epi64,
};

/// Sums of the words in each lane, their carries lost, and of the words' upper halves.
#[derive(Clone, Copy)]
struct Sums {
    words: __m256i,
    upper: __m256i,
}

impl Sums {
    #[target_feature(enable = "avx2")]
    #[inline]
    fn add(&mut self, vector: &[u8; VECTOR]) {
        let vector = load(vector);
        self.words = _mm256_add_epi64(self.words, vector);
        self.upper = _mm256_add_epi64(self.upper, _mm256_srli_epi64::<32>(vector));
    }
}

/// The sum of `vectors`.
#[target_feature(enable = "avx2")]
pub(super) fn sum(vectors: &[[u8; VECTOR]]) -> u64 {
    // Two of each, so that an addition need not wait for the one before.
    let zero = _mm256_setzero_si256();
    let [mut even, mut odd] = [Sums { words: zero, upper: zero }; 2];
    let (pairs, last) = vectors.as_chunks();
    for [first, second] in pairs {
        even.add(first);
        odd.add(second);
    }
    for vector in last {
        even.add(vector);
    }
    let words = _mm256_add_epi64(even.words, odd.words);
    let upper = _mm256_add_epi64(even.upper, odd.upper);
    let lower = _mm256_sub_epi64(words, _mm256_slli_epi64::<32>(upper));
    let lanes = _mm256_add_epi64(lower, upper);
    let lanes = _mm_add_epi64(_mm256_castsi256_si128(lanes), _mm256_extracti128_si256::<1>(lanes));
    _mm_cvtsi128_si64(_mm_add_epi64(lanes, _mm_unpackhi_epi64(lanes, lanes))).cast_unsigned()
}

/// One load, once compiled.
#[target_feature(enable = "avx2")]
#[inline]
fn load(vector: &[u8; VECTOR]) -> __m256i {
    let words: [i64; VECTOR / 8] = zerocopy::transmute!(*vector);
    _mm256_setr_epi64x(words[0], words[1], words[2], words[3])
}
