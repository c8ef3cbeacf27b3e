//! ChaCha20 (RFC 8439), 16 blocks at a time: vector `i` holds word `i` of 16 states, whichever packets they belong to.

use super::{
    Text,
    sys::{self, VECTOR},
};
use crate::base::SecretBytes;
use core::arch::x86_64::{
    __m512i, __mmask16, _mm512_add_epi32, _mm512_mask_mov_epi32, _mm512_mask_set1_epi32, _mm512_rol_epi32,
    _mm512_set1_epi32, _mm512_setr_epi32, _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
};

/// Blocks computed together.
const LANES: usize = 16;

/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// Four words of 16 states.
type Row = [__m512i; 4];
/// 16 states: vector `i`, counted over the rows, holds word `i` of each.
type State = [Row; 4];

/// What tells the 16 states of a vector apart.
#[derive(Clone, Copy)]
struct Inputs {
    /// The number of the block in its packet's keystream.
    block: __m512i,
    /// Low and high half of the packet's counter; the first 4 bytes of a nonce are zero.
    counter: [__m512i; 2],
}

/// A piece of a text, at most 16 blocks, and the first lane that serves it.
#[derive(Clone, Copy, Default)]
struct Piece {
    start: usize,
    len: usize,
    lane: usize,
}

/// The lanes of one vector, as they are dealt out to pieces.
struct Lanes {
    inputs: Inputs,
    pieces: [Piece; LANES],
    /// Pieces that there are.
    len: usize,
    /// Lanes that serve them; the others' blocks go nowhere.
    used: usize,
}

impl Lanes {
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn new() -> Self {
        let zero = _mm512_setzero_si512();
        let inputs = Inputs { block: zero, counter: [zero; 2] };
        Self { inputs, pieces: [Piece::default(); LANES], len: 0, used: 0 }
    }

    /// Serves as much of a text from `at` on as there is room for, and returns how many bytes.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn deal(&mut self, text: &Text, first: u32, at: usize) -> usize {
        let len = (text.len - at).min((LANES - self.used) * VECTOR);
        self.pieces[self.len] = Piece { start: text.start + at, len, lane: self.used };
        self.len += 1;
        // Lanes after these are set, too, and set again by the next piece.
        let these: __mmask16 = !0 << self.used;
        let number = first.wrapping_add((at / VECTOR) as u32).wrapping_sub(self.used as u32);
        let numbers = _mm512_add_epi32(
            _mm512_set1_epi32(number.cast_signed()),
            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
        );
        self.inputs.block = _mm512_mask_mov_epi32(self.inputs.block, these, numbers);
        let [low, high] = &mut self.inputs.counter;
        *low = _mm512_mask_set1_epi32(*low, these, text.counter as i32);
        *high = _mm512_mask_set1_epi32(*high, these, (text.counter >> 32) as i32);
        self.used += len.div_ceil(VECTOR);
        len
    }
}

/// Encrypts or decrypts texts in place: adds the keystream from block number `first` on.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn apply(key: &SecretBytes<32>, arena: &mut [u8], texts: impl Iterator<Item = Text>, first: u32) {
    let mut lanes = [Lanes::new(), Lanes::new()];
    let mut filling = 0;
    for text in texts {
        let mut at = 0;
        while at < text.len {
            at += lanes[filling].deal(&text, first, at);
            if lanes[filling].used == LANES {
                filling += 1;
            }
            if filling == lanes.len() {
                add_keystream(key, &mut lanes, arena);
                filling = 0;
            }
        }
    }
    if lanes[0].used > 0 {
        add_keystream(key, &mut lanes, arena);
    }
}

/// One call of the block function: its blocks go to the pieces, and the lanes are free again.
#[target_feature(enable = "avx512f,avx512bw")]
fn add_keystream(key: &SecretBytes<32>, lanes: &mut [Lanes; 2], arena: &mut [u8]) {
    let states = permute(key, &[lanes[0].inputs, lanes[1].inputs]);
    for (lanes, states) in lanes.iter_mut().zip(&states) {
        let blocks = transpose(states);
        for piece in &lanes.pieces[..lanes.len] {
            let text = &mut arena[piece.start..][..piece.len];
            let blocks = &blocks[piece.lane..];
            let (whole, rest) = text.as_chunks_mut::<VECTOR>();
            for (text, block) in whole.iter_mut().zip(blocks) {
                sys::store(text, _mm512_xor_si512(sys::load(text), *block));
            }
            if !rest.is_empty() {
                let old = sys::load_window(rest, 0);
                sys::store_prefix(rest, _mm512_xor_si512(old, blocks[whole.len()]));
            }
        }
        (lanes.len, lanes.used) = (0, 0);
    }
}

/// The block function for 32 states. Two vectors of states run side by side: one alone would wait for its own results.
/// Called from one place only, so that the compiler keeps it and the states in there.
#[target_feature(enable = "avx512f")]
#[inline]
fn permute(key: &SecretBytes<32>, inputs: &[Inputs; 2]) -> [State; 2] {
    let initial = [initial(key, inputs[0]), initial(key, inputs[1])];
    let mut states = initial;
    for _ in 0..10 {
        quarter_rounds(&mut states);
        // Diagonals become columns, and go back after their quarter rounds. No instruction moves: only names do.
        for [_, b, c, d] in &mut states {
            (*b, *c, *d) = ([b[1], b[2], b[3], b[0]], [c[2], c[3], c[0], c[1]], [d[3], d[0], d[1], d[2]]);
        }
        quarter_rounds(&mut states);
        for [_, b, c, d] in &mut states {
            (*b, *c, *d) = ([b[3], b[0], b[1], b[2]], [c[2], c[3], c[0], c[1]], [d[1], d[2], d[3], d[0]]);
        }
    }
    for (state, initial) in states.iter_mut().zip(&initial) {
        for (word, initial) in state.as_flattened_mut().iter_mut().zip(initial.as_flattened()) {
            *word = _mm512_add_epi32(*word, *initial);
        }
    }
    states
}

#[target_feature(enable = "avx512f")]
#[inline]
fn initial(key: &SecretBytes<32>, inputs: Inputs) -> State {
    let mut state = [[_mm512_setzero_si512(); 4]; 4];
    let words = CONSTANTS.map(u32::cast_signed).into_iter();
    let words = words.chain(key.expose().as_chunks().0.iter().copied().map(i32::from_le_bytes));
    for (vector, word) in state.as_flattened_mut().iter_mut().zip(words) {
        *vector = _mm512_set1_epi32(word);
    }
    let [low, high] = inputs.counter;
    state[3] = [inputs.block, _mm512_setzero_si512(), low, high];
    state
}

/// A quarter round of each column.
#[target_feature(enable = "avx512f")]
#[inline]
fn quarter_rounds(states: &mut [State; 2]) {
    for [a, b, _, d] in &mut *states {
        mix::<16>(a, b, d);
    }
    for [_, b, c, d] in &mut *states {
        mix::<12>(c, d, b);
    }
    for [a, b, _, d] in &mut *states {
        mix::<8>(a, b, d);
    }
    for [_, b, c, d] in &mut *states {
        mix::<7>(c, d, b);
    }
}

/// A quarter of a quarter round: a sum, and the word that it is mixed into.
#[target_feature(enable = "avx512f")]
#[inline]
fn mix<const ROTATION: i32>(sum: &mut Row, addend: &Row, mixed: &mut Row) {
    for ((sum, addend), mixed) in sum.iter_mut().zip(addend).zip(mixed) {
        *sum = _mm512_add_epi32(*sum, *addend);
        *mixed = _mm512_rol_epi32::<ROTATION>(_mm512_xor_si512(*mixed, *sum));
    }
}

/// From word `i` of every block in vector `i` to block `i` in vector `i`.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(words: &State) -> [__m512i; 16] {
    // Within each quarter of a vector: first 4 × 4 words. Then quarter `q` of `rows[4 * g + k]` holds words 4g..4g + 4
    // of block 4q + k.
    let mut rows = [_mm512_setzero_si512(); 16];
    for (rows, words) in rows.as_chunks_mut::<4>().0.iter_mut().zip(words) {
        let low01 = _mm512_unpacklo_epi32(words[0], words[1]);
        let low23 = _mm512_unpacklo_epi32(words[2], words[3]);
        let high01 = _mm512_unpackhi_epi32(words[0], words[1]);
        let high23 = _mm512_unpackhi_epi32(words[2], words[3]);
        *rows = [
            _mm512_unpacklo_epi64(low01, low23),
            _mm512_unpackhi_epi64(low01, low23),
            _mm512_unpacklo_epi64(high01, high23),
            _mm512_unpackhi_epi64(high01, high23),
        ];
    }
    // Then 4 × 4 quarters.
    let mut blocks = [_mm512_setzero_si512(); 16];
    for k in 0..4 {
        let [a, b, c, d] = [rows[k], rows[4 + k], rows[8 + k], rows[12 + k]];
        let (even_ab, even_cd) =
            (_mm512_shuffle_i32x4::<0b10_00_10_00>(a, b), _mm512_shuffle_i32x4::<0b10_00_10_00>(c, d));
        let (odd_ab, odd_cd) =
            (_mm512_shuffle_i32x4::<0b11_01_11_01>(a, b), _mm512_shuffle_i32x4::<0b11_01_11_01>(c, d));
        blocks[k] = _mm512_shuffle_i32x4::<0b10_00_10_00>(even_ab, even_cd);
        blocks[4 + k] = _mm512_shuffle_i32x4::<0b10_00_10_00>(odd_ab, odd_cd);
        blocks[8 + k] = _mm512_shuffle_i32x4::<0b11_01_11_01>(even_ab, even_cd);
        blocks[12 + k] = _mm512_shuffle_i32x4::<0b11_01_11_01>(odd_ab, odd_cd);
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::super::sys::Kernel;
    use super::*;
    use crate::symmetric::batch::rfc8439::ZERO_KEY_BLOCKS;

    #[test]
    fn blocks_are_those_of_rfc_8439_appendix_a_1() {
        let Some(kernel) = Kernel::detect() else { return };
        let mut arena = [0; 2 * VECTOR];
        let text = Text { start: 0, len: arena.len(), counter: 0 };
        kernel.apply(&SecretBytes::ZERO, &mut arena, &[text], 0);
        assert_eq!(arena.as_chunks().0, ZERO_KEY_BLOCKS);
    }

    #[test]
    fn every_lane_serves_its_own_text() {
        let Some(kernel) = Kernel::detect() else { return };
        // More texts than lanes; each text's blocks begin in another lane than the last one's.
        let texts: Vec<Text> =
            (0..67).map(|i| Text { start: 100 * i, len: 100, counter: i as u64 }).collect();
        let mut together = [0; 6700];
        kernel.apply(&SecretBytes::ZERO, &mut together, &texts, 1);
        for text in texts {
            let mut alone = [0; 6700];
            kernel.apply(&SecretBytes::ZERO, &mut alone, &[text], 1);
            let place = text.start..text.start + text.len;
            assert_eq!(together[place.clone()], alone[place], "text {}", text.counter);
        }
    }
}
