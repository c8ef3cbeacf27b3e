//! Poly1305 (RFC 8439) of 8 texts at a time, one in each 64-bit lane, as the AEAD computes it without associated data.
//!
//! Numbers modulo 2^130 - 5 are three limbs of 44, 44 and 42 bits. The multiply instruction takes 52 bits of each
//! factor and adds the low or the high 52 bits of the product. After a carry the middle limb is below 2^44 + 2^10, the
//! others are in their bits; sums with a block are below 2^46 and 20 times a limb is below 2^49, so nothing is cut off,
//! and sums of twelve products are below 2^56. Four blocks are added in one step,
//! `((h + a) r^4 + b r^3 + c r^2 + d r)`, with one carry at its end.
//!
//! Texts of a group end together: shorter ones begin later, their blocks so far being zero without the padding bit,
//! which leave zero at zero.

use super::sys::{self, VECTOR};
use core::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_cmpge_epu64_mask, _mm512_cmple_epu64_mask,
    _mm512_cmplt_epu64_mask, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_mask_add_epi64,
    _mm512_mask_mov_epi64, _mm512_maskz_mov_epi64, _mm512_or_si512, _mm512_set1_epi64, _mm512_setzero_si512,
    _mm512_shuffle_i64x2, _mm512_slli_epi64, _mm512_srli_epi64, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};

/// Texts authenticated together.
pub(super) const LANES: usize = 8;

/// Size of a block in bytes.
const BLOCK: usize = 16;
/// Blocks in a step: what one vector holds of each text.
const STEP: usize = VECTOR / BLOCK;

const LIMB: u32 = 44;
const TOP_LIMB: u32 = 42;
/// 2^128 in the top limb: what Poly1305 puts on top of a block.
const PADDING_BIT: i64 = 1 << (128 - 2 * LIMB);

/// The tags of 8 texts: the low halves of all, the high halves of all.
#[derive(Debug)]
pub(super) struct Tags([[u8; VECTOR]; 2]);

impl Tags {
    /// The tag of one text, a little-endian number.
    pub(super) fn get(&self, lane: usize) -> u128 {
        let [low, high] = self.0.each_ref().map(|halves| u64::from_le_bytes(halves.as_chunks().0[lane]));
        u128::from(high) << 64 | u128::from(low)
    }
}

/// Numbers modulo 2^130 - 5.
type Number = [__m512i; 3];

/// Factors: a number's limbs, and 20 times the upper two: 2^132 is 20, for where a product passes the top.
#[derive(Clone, Copy)]
struct Factor {
    limbs: Number,
    wrapped: [__m512i; 2],
}

/// Sums of products that are not carried yet: `low[i]` weighs 2^(44 i), `high[i]` 2^(44 i + 52).
struct Products {
    low: Number,
    high: Number,
}

/// Where in its text each lane is.
struct Schedule<'a> {
    texts: [&'a [u8]; LANES],
    /// Bytes by which a text begins after the start of the first step.
    delays: [usize; LANES],
    /// Steps until every text has begun.
    head: usize,
    steps: usize,
}

/// Tags of texts under one-time keys, each given as the block that holds it (r, s, 32 bytes of no use).
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
pub(super) fn tags(keys: &[[u8; VECTOR]; LANES], texts: [&[u8]; LANES]) -> Tags {
    let (r, s) = split_keys(keys);
    let powers = powers(r);
    let schedule = Schedule::new(texts);
    let mut h = zero();
    for step in 0..schedule.head {
        let (low, high) = transpose(&schedule.window(step));
        h = add_blocks(h, low, high, schedule.padding(step), &powers);
    }
    let rest = schedule.rest();
    for step in 0..schedule.steps - 1 - schedule.head {
        let mut vectors = [_mm512_setzero_si512(); LANES];
        for (vector, rest) in vectors.iter_mut().zip(rest) {
            *vector = sys::load(&rest[step]);
        }
        let (low, high) = transpose(&vectors);
        h = add_blocks(h, low, high, [_mm512_set1_epi64(PADDING_BIT); STEP], &powers);
    }
    let step = schedule.steps - 1;
    let (low, mut high) = transpose(&schedule.window(step));
    high[STEP - 1] = numbers(schedule.texts.map(<[u8]>::len));
    h = add_blocks(h, low, high, schedule.padding(step), &powers);
    finish(h, s)
}

impl<'a> Schedule<'a> {
    #[inline]
    fn new(texts: [&'a [u8]; LANES]) -> Self {
        // The text, padded to whole blocks, and the block with the lengths.
        let blocks = texts.map(|text| text.len().div_ceil(BLOCK) + 1);
        let steps = blocks.into_iter().fold(1, usize::max).div_ceil(STEP);
        let delays = blocks.map(|blocks| (steps * STEP - blocks) * BLOCK);
        let head = delays.into_iter().fold(0, usize::max).div_ceil(VECTOR).min(steps - 1);
        Self { texts, delays, head, steps }
    }

    /// The 64 bytes of each text in a step, zero where it has none.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn window(&self, step: usize) -> [__m512i; LANES] {
        let mut vectors = [_mm512_setzero_si512(); LANES];
        for ((vector, text), delay) in vectors.iter_mut().zip(self.texts).zip(self.delays) {
            *vector = sys::load_window(text, (step * VECTOR).cast_signed() - delay.cast_signed());
        }
        vectors
    }

    /// The texts as whole vectors for all steps after the head but the last. Only the last one holds padding and
    /// lengths: of its 64 bytes, at least 33 are text, or the text has not begun before.
    fn rest(&self) -> [&'a [[u8; VECTOR]]; LANES] {
        let mut rest = [&[][..]; LANES];
        for ((rest, text), delay) in rest.iter_mut().zip(self.texts).zip(self.delays) {
            let begun = (self.head * VECTOR).checked_sub(delay).and_then(|at| text.get(at..));
            *rest = begun.unwrap_or_default().as_chunks().0;
        }
        rest
    }

    /// The padding bits of the blocks of a step: of those whose texts have begun.
    #[target_feature(enable = "avx512f")]
    fn padding(&self, step: usize) -> [__m512i; STEP] {
        let delays = numbers(self.delays);
        let mut bits = [_mm512_setzero_si512(); STEP];
        for (bits, block) in bits.iter_mut().zip(step * STEP..) {
            let begun = _mm512_cmple_epu64_mask(delays, numbers([block * BLOCK; LANES]));
            *bits = _mm512_maskz_mov_epi64(begun, _mm512_set1_epi64(PADDING_BIT));
        }
        bits
    }
}

/// r, clamped, and s as its low and high half.
#[target_feature(enable = "avx512f")]
#[inline]
fn split_keys(keys: &[[u8; VECTOR]; LANES]) -> (Number, [__m512i; 2]) {
    let mut blocks = [_mm512_setzero_si512(); LANES];
    for (block, key) in blocks.iter_mut().zip(keys) {
        *block = sys::load(key);
    }
    let ([r_low, s_low, ..], [r_high, s_high, ..]) = transpose(&blocks);
    let r_low = _mm512_and_si512(r_low, _mm512_set1_epi64(0x0fff_fffc_0fff_ffff));
    let r_high = _mm512_and_si512(r_high, _mm512_set1_epi64(0x0fff_fffc_0fff_fffc));
    (limbs(r_low, r_high), [s_low, s_high])
}

/// r^4, r^3, r^2, r.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn powers(r: Number) -> [Factor; STEP] {
    let r1 = factor(r);
    let r2 = multiply(r, &r1);
    let r3 = multiply(r2, &r1);
    let r4 = multiply(r3, &r1);
    [factor(r4), factor(r3), factor(r2), r1]
}

#[target_feature(enable = "avx512f")]
#[inline]
fn factor(limbs: Number) -> Factor {
    let times20 = |limb| _mm512_add_epi64(_mm512_slli_epi64::<4>(limb), _mm512_slli_epi64::<2>(limb));
    Factor { limbs, wrapped: [times20(limbs[1]), times20(limbs[2])] }
}

#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn multiply(a: Number, b: &Factor) -> Number {
    let mut products = Products { low: zero(), high: zero() };
    accumulate(&mut products, a, b);
    carry(&products)
}

/// A step: four blocks of each text, given as the low and high halves of their numbers.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn add_blocks(
    h: Number,
    low: [__m512i; STEP],
    high: [__m512i; STEP],
    padding: [__m512i; STEP],
    powers: &[Factor; STEP],
) -> Number {
    let mut products = Products { low: zero(), high: zero() };
    // Backwards: only the first block waits for the last step.
    for i in (0..STEP).rev() {
        let mut block = limbs(low[i], high[i]);
        block[2] = _mm512_or_si512(block[2], padding[i]);
        if i == 0 {
            for (limb, h) in block.iter_mut().zip(h) {
                *limb = _mm512_add_epi64(*limb, h);
            }
        }
        accumulate(&mut products, block, &powers[i]);
    }
    carry(&products)
}

/// A number of 128 bits in limbs.
#[target_feature(enable = "avx512f")]
#[inline]
fn limbs(low: __m512i, high: __m512i) -> Number {
    let mask = _mm512_set1_epi64((1 << LIMB) - 1);
    let middle = _mm512_or_si512(_mm512_srli_epi64::<LIMB>(low), _mm512_slli_epi64::<{ 64 - LIMB }>(high));
    [
        _mm512_and_si512(low, mask),
        _mm512_and_si512(middle, mask),
        _mm512_srli_epi64::<{ 2 * LIMB - 64 }>(high),
    ]
}

/// Adds the product of `a` and `b`.
#[target_feature(enable = "avx512f,avx512ifma")]
#[inline]
fn accumulate(sum: &mut Products, a: Number, b: &Factor) {
    let [b0, b1, b2] = b.limbs;
    let [w1, w2] = b.wrapped;
    for (i, factors) in [[b0, w2, w1], [b1, b0, w2], [b2, b1, b0]].into_iter().enumerate() {
        for (a, b) in a.into_iter().zip(factors) {
            sum.low[i] = _mm512_madd52lo_epu64(sum.low[i], a, b);
            sum.high[i] = _mm512_madd52hi_epu64(sum.high[i], a, b);
        }
    }
}

/// Brings limbs back to 44, 44 and 42 bits, except that the middle one may be up to 2^10 above its bits.
#[target_feature(enable = "avx512f")]
#[inline]
fn carry(products: &Products) -> Number {
    let Products { low, high } = products;
    let mask = _mm512_set1_epi64((1 << LIMB) - 1);
    let top_mask = _mm512_set1_epi64((1 << TOP_LIMB) - 1);
    let d0 = low[0];
    let d1 = _mm512_add_epi64(low[1], _mm512_slli_epi64::<{ 52 - LIMB }>(high[0]));
    let d2 = _mm512_add_epi64(low[2], _mm512_slli_epi64::<{ 52 - LIMB }>(high[1]));

    let d1 = _mm512_add_epi64(d1, _mm512_srli_epi64::<LIMB>(d0));
    let d2 = _mm512_add_epi64(d2, _mm512_srli_epi64::<LIMB>(d1));
    let over =
        _mm512_add_epi64(_mm512_srli_epi64::<TOP_LIMB>(d2), _mm512_slli_epi64::<{ 52 - TOP_LIMB }>(high[2]));
    let h0 = _mm512_add_epi64(_mm512_and_si512(d0, mask), times5(over));
    let h1 = _mm512_add_epi64(_mm512_and_si512(d1, mask), _mm512_srli_epi64::<LIMB>(h0));
    [_mm512_and_si512(h0, mask), h1, _mm512_and_si512(d2, top_mask)]
}

/// The number, fully reduced, plus s: the tags.
#[target_feature(enable = "avx512f")]
#[inline]
fn finish(h: Number, s: [__m512i; 2]) -> Tags {
    let mask = _mm512_set1_epi64((1 << LIMB) - 1);
    let top_mask = _mm512_set1_epi64((1 << TOP_LIMB) - 1);
    let [mut h0, mut h1, mut h2] = h;
    // Once around is enough: `h1` passes its limb by so little that, when it makes the top pass 2^130, what is left of
    // it cannot pass its limb again.
    h2 = _mm512_add_epi64(h2, _mm512_srli_epi64::<LIMB>(h1));
    h1 = _mm512_and_si512(h1, mask);
    h0 = _mm512_add_epi64(h0, times5(_mm512_srli_epi64::<TOP_LIMB>(h2)));
    h2 = _mm512_and_si512(h2, top_mask);
    h1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<LIMB>(h0));
    h0 = _mm512_and_si512(h0, mask);
    // h - p = h + 5 - 2^130, where that is not negative.
    let g0 = _mm512_add_epi64(h0, _mm512_set1_epi64(5));
    let g1 = _mm512_add_epi64(h1, _mm512_srli_epi64::<LIMB>(g0));
    let g2 = _mm512_add_epi64(h2, _mm512_srli_epi64::<LIMB>(g1));
    let reduce = _mm512_cmpge_epu64_mask(g2, _mm512_set1_epi64(1 << TOP_LIMB));
    let h0 = _mm512_mask_mov_epi64(h0, reduce, _mm512_and_si512(g0, mask));
    let h1 = _mm512_mask_mov_epi64(h1, reduce, _mm512_and_si512(g1, mask));
    let h2 = _mm512_mask_mov_epi64(h2, reduce, g2); // What is above 128 bits is shifted out below.

    let low = _mm512_or_si512(h0, _mm512_slli_epi64::<LIMB>(h1));
    let high =
        _mm512_or_si512(_mm512_srli_epi64::<{ 64 - LIMB }>(h1), _mm512_slli_epi64::<{ 2 * LIMB - 64 }>(h2));
    let low = _mm512_add_epi64(low, s[0]);
    let carried = _mm512_cmplt_epu64_mask(low, s[0]);
    let high = _mm512_add_epi64(high, s[1]);
    let high = _mm512_mask_add_epi64(high, carried, high, _mm512_set1_epi64(1));
    let mut tags = Tags([[0; VECTOR]; 2]);
    sys::store(&mut tags.0[0], low);
    sys::store(&mut tags.0[1], high);
    tags
}

#[target_feature(enable = "avx512f")]
#[inline]
fn numbers(numbers: [usize; LANES]) -> __m512i {
    sys::load(&zerocopy::transmute!(numbers))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn times5(x: __m512i) -> __m512i {
    _mm512_add_epi64(x, _mm512_slli_epi64::<2>(x))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn zero() -> Number {
    [_mm512_setzero_si512(); 3]
}

/// From 64 bytes of each text to the four blocks of all texts, as the low and high halves of their numbers.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(texts: &[__m512i; LANES]) -> ([__m512i; STEP], [__m512i; STEP]) {
    (
        quarters([0, 2, 4, 6].map(|i| _mm512_unpacklo_epi64(texts[i], texts[i + 1]))),
        quarters([0, 2, 4, 6].map(|i| _mm512_unpackhi_epi64(texts[i], texts[i + 1]))),
    )
}

/// A 4 × 4 matrix of quarter vectors, transposed.
#[target_feature(enable = "avx512f")]
#[inline]
fn quarters([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    const EVEN: i32 = 0b10_00_10_00;
    const ODD: i32 = 0b11_01_11_01;
    let (even_ab, even_cd) = (_mm512_shuffle_i64x2::<EVEN>(a, b), _mm512_shuffle_i64x2::<EVEN>(c, d));
    let (odd_ab, odd_cd) = (_mm512_shuffle_i64x2::<ODD>(a, b), _mm512_shuffle_i64x2::<ODD>(c, d));
    [
        _mm512_shuffle_i64x2::<EVEN>(even_ab, even_cd),
        _mm512_shuffle_i64x2::<EVEN>(odd_ab, odd_cd),
        _mm512_shuffle_i64x2::<ODD>(even_ab, even_cd),
        _mm512_shuffle_i64x2::<ODD>(odd_ab, odd_cd),
    ]
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::sys::Kernel;
    use super::*;
    use crate::symmetric::batch::rfc8439::{Poly1305Vector, extreme_numbers, oracle_tag, poly1305_vectors};

    /// Poly1305 of one text under 8 keys, as RFC 8439 section 2.5 has it: no lengths, and a short last block ends in
    /// a one of its own instead of the padding bit.
    #[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
    pub(in super::super) fn plain_tags(keys: &[[u8; VECTOR]; LANES], text: &[u8]) -> Tags {
        let (r, s) = split_keys(keys);
        let powers = powers(r);
        let mut blocks = vec![([0; BLOCK], 0); text.len().div_ceil(BLOCK).next_multiple_of(STEP)];
        let delay = blocks.len() - text.len().div_ceil(BLOCK);
        for ((block, padding), text) in blocks[delay..].iter_mut().zip(text.chunks(BLOCK)) {
            block[..text.len()].copy_from_slice(text);
            if let Some(one) = block.get_mut(text.len()) {
                *one = 1;
            } else {
                *padding = PADDING_BIT;
            }
        }
        let mut h = zero();
        for step in blocks.as_chunks().0 {
            let half = |half: usize| {
                step.map(|(block, _)| _mm512_set1_epi64(i64::from_le_bytes(block.as_chunks().0[half])))
            };
            h = add_blocks(h, half(0), half(1), step.map(|(_, padding)| _mm512_set1_epi64(padding)), &powers);
        }
        finish(h, s)
    }

    /// A key block. Its unused half must not matter.
    fn key_block(r: [u8; BLOCK], s: [u8; BLOCK]) -> [u8; VECTOR] {
        [r, s, [0xa5; BLOCK], [0x5a; BLOCK]].as_flattened().try_into().expect("four quarters")
    }

    #[test]
    fn tags_are_those_of_rfc_8439_appendix_a_3() {
        let Some(kernel) = Kernel::detect() else { return };
        for Poly1305Vector { number, r, s, text, tag } in poly1305_vectors() {
            let tags = kernel.plain_tags(&[key_block(r, s); LANES], &text);
            for lane in 0..LANES {
                assert_eq!(tags.get(lane).to_le_bytes(), tag, "vector {number}, lane {lane}");
            }
        }
    }

    #[test]
    fn extreme_keys_and_texts_agree_with_rustcrypto() {
        let Some(kernel) = Kernel::detect() else { return };
        let numbers = extreme_numbers();
        for (i, s) in numbers.into_iter().enumerate() {
            let keys = numbers.map(|r| key_block(r, s));
            for byte in [0, 1, 0x7f, 0x80, 0xfe, 0xff] {
                let text = vec![byte; 700 + 16 * i];
                for len in 0..300 {
                    // One length in most lanes, others beside it.
                    let lens = [len, len, len, 0, len, len + 1, 2 * len, text.len()];
                    let texts = lens.map(|len| &text[..len]);
                    let tags = kernel.tags(&keys, texts);
                    for lane in 0..LANES {
                        let key = keys[lane].first_chunk().expect("a key is half a block");
                        let expected = oracle_tag(key, texts[lane]);
                        assert_eq!(tags.get(lane).to_le_bytes(), expected, "lane {lane}, {lens:?} of {byte}");
                    }
                }
            }
        }
    }
}
