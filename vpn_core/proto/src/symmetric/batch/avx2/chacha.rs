//! ChaCha20 (RFC 8439), 8 blocks at a time: vector `i` holds word `i` of 8 states, whichever packets they belong to.

use crate::base::SecretBytes;
use core::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_or_si256, _mm256_permute2x128_si256, _mm256_set1_epi32,
    _mm256_setr_epi8, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srli_epi32,
    _mm256_unpackhi_epi32, _mm256_unpackhi_epi64, _mm256_unpacklo_epi32, _mm256_unpacklo_epi64,
    _mm256_xor_si256,
};

/// Blocks computed together.
pub(super) const LANES: usize = 8;

/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// A block of keystream, 64 bytes: as numbers, which are erased faster than bytes.
pub(super) type Block = [u64; 8];

/// Four words of 8 states.
type Row = [__m256i; 4];
/// 8 states: vector `i`, counted over the rows, holds word `i` of each.
type State = [Row; 4];

/// What tells the 8 states apart.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Inputs {
    /// The number of the block in its packet's keystream.
    pub(super) block: [u32; LANES],
    /// Low and high half of the packet's counter; the first 4 bytes of a nonce are zero.
    pub(super) counter: [[u32; LANES]; 2],
}

impl Inputs {
    #[inline]
    pub(super) const fn set(&mut self, lane: usize, block: u32, counter: u64) {
        let [low, high] = &mut self.counter;
        self.block[lane] = block;
        low[lane] = counter as u32;
        high[lane] = (counter >> 32) as u32;
    }
}

/// The block function for all `inputs`.
#[target_feature(enable = "avx2")]
pub(super) fn blocks(key: &SecretBytes<32>, inputs: &[Inputs], blocks: &mut [[Block; LANES]]) {
    for (inputs, blocks) in inputs.iter().zip(blocks) {
        *blocks = zerocopy::transmute!(transpose(&permute(key, inputs)));
    }
}

/// One vector of states at a time: it fills the 16 registers, and its four columns are enough to do while one waits.
#[target_feature(enable = "avx2")]
#[inline]
fn permute(key: &SecretBytes<32>, inputs: &Inputs) -> State {
    let initial = initial(key, inputs);
    let mut state = initial;
    for _ in 0..10 {
        quarter_rounds(&mut state);
        // Diagonals become columns, and go back after their quarter rounds. No instruction moves: only names do.
        let [_, b, c, d] = &mut state;
        (*b, *c, *d) = ([b[1], b[2], b[3], b[0]], [c[2], c[3], c[0], c[1]], [d[3], d[0], d[1], d[2]]);
        quarter_rounds(&mut state);
        let [_, b, c, d] = &mut state;
        (*b, *c, *d) = ([b[3], b[0], b[1], b[2]], [c[2], c[3], c[0], c[1]], [d[1], d[2], d[3], d[0]]);
    }
    for (word, initial) in state.as_flattened_mut().iter_mut().zip(initial.as_flattened()) {
        *word = _mm256_add_epi32(*word, *initial);
    }
    state
}

#[target_feature(enable = "avx2")]
#[inline]
fn initial(key: &SecretBytes<32>, inputs: &Inputs) -> State {
    let mut state = [[_mm256_setzero_si256(); 4]; 4];
    let words = CONSTANTS.map(u32::cast_signed).into_iter();
    let words = words.chain(key.expose().as_chunks().0.iter().copied().map(i32::from_le_bytes));
    for (vector, word) in state.as_flattened_mut().iter_mut().zip(words) {
        *vector = _mm256_set1_epi32(word);
    }
    let [low, high] = inputs.counter;
    state[3] = [
        zerocopy::transmute!(inputs.block),
        _mm256_setzero_si256(),
        zerocopy::transmute!(low),
        zerocopy::transmute!(high),
    ];
    state
}

/// A quarter round of each column.
#[target_feature(enable = "avx2")]
#[inline]
fn quarter_rounds([a, b, c, d]: &mut State) {
    // Rotations by whole bytes are one shuffle, the others take three operations.
    let by_16 = _mm256_setr_epi8(
        2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15,
        12, 13,
    );
    let by_8 = _mm256_setr_epi8(
        3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14, 3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12,
        13, 14,
    );
    mix(a, b, d, |x| _mm256_shuffle_epi8(x, by_16));
    mix(c, d, b, |x| _mm256_or_si256(_mm256_slli_epi32::<12>(x), _mm256_srli_epi32::<20>(x)));
    mix(a, b, d, |x| _mm256_shuffle_epi8(x, by_8));
    mix(c, d, b, |x| _mm256_or_si256(_mm256_slli_epi32::<7>(x), _mm256_srli_epi32::<25>(x)));
}

/// A quarter of a quarter round: a sum, and the word that it is mixed into.
#[target_feature(enable = "avx2")]
#[inline]
fn mix(sum: &mut Row, addend: &Row, mixed: &mut Row, rotate: impl Fn(__m256i) -> __m256i) {
    for ((sum, addend), mixed) in sum.iter_mut().zip(addend).zip(mixed) {
        *sum = _mm256_add_epi32(*sum, *addend);
        *mixed = rotate(_mm256_xor_si256(*mixed, *sum));
    }
}

/// From word `i` of every block in vector `i` to block `i` in pair `i`.
#[target_feature(enable = "avx2")]
#[inline]
fn transpose(words: &State) -> [[__m256i; 2]; LANES] {
    // Within each half of a vector: 4 × 4 words. Then half `h` of `rows[g][k]` holds words 4g..4g + 4 of block 4h + k.
    let mut rows = [[_mm256_setzero_si256(); 4]; 4];
    for (rows, words) in rows.iter_mut().zip(words) {
        let low01 = _mm256_unpacklo_epi32(words[0], words[1]);
        let low23 = _mm256_unpacklo_epi32(words[2], words[3]);
        let high01 = _mm256_unpackhi_epi32(words[0], words[1]);
        let high23 = _mm256_unpackhi_epi32(words[2], words[3]);
        *rows = [
            _mm256_unpacklo_epi64(low01, low23),
            _mm256_unpackhi_epi64(low01, low23),
            _mm256_unpacklo_epi64(high01, high23),
            _mm256_unpackhi_epi64(high01, high23),
        ];
    }
    let mut blocks = [[_mm256_setzero_si256(); 2]; LANES];
    for k in 0..4 {
        for half in 0..2 {
            let (even, odd) = (rows[2 * half][k], rows[2 * half + 1][k]);
            blocks[k][half] = _mm256_permute2x128_si256::<0x20>(even, odd);
            blocks[4 + k][half] = _mm256_permute2x128_si256::<0x31>(even, odd);
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::{super::sys::Kernel, *};
    use crate::symmetric::batch::rfc8439::ZERO_KEY_BLOCKS;
    use zerocopy::IntoBytes as _;

    #[test]
    fn blocks_are_those_of_rfc_8439_appendix_a_1_in_every_lane() {
        let Some(kernel) = Kernel::detect() else { return };
        let mut inputs = Inputs::default();
        (0..LANES).for_each(|lane| inputs.set(lane, lane as u32 % 2, 0));
        let mut blocks = [[[0; 8]; LANES]];
        kernel.blocks(&SecretBytes::ZERO, &[inputs], &mut blocks);
        for (lane, block) in blocks[0].iter().enumerate() {
            assert_eq!(block.as_bytes(), ZERO_KEY_BLOCKS[lane % 2], "lane {lane}");
        }
    }
}
