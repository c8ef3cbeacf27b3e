//! Poly1305 (RFC 8439) with 64-bit products, of 4 texts side by side, as the AEAD computes it without associated data.
//!
//! Each block of a text waits for the one before it. What keeps the multiplier busy meanwhile are the other texts. There
//! are no vectors here: lanes of 26-bit limbs would have to be filled and carried, and short texts are over before that
//! pays.

use subtle::{Choice, ConditionallySelectable as _};

/// Texts authenticated together.
pub(super) const LANES: usize = 4;

/// Size of a block in bytes.
const BLOCK: usize = 16;

/// A one-time key: r, not clamped yet, and s.
pub(super) type Key = [u8; 2 * BLOCK];

/// A text, and the key for its tag.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) key: &'a Key,
    pub(super) text: &'a [u8],
}

/// The sum so far, below 2^130 + 2^128, as numbers of 64 bits and what is above; and its factor r.
#[derive(Clone, Copy)]
struct Sum {
    h: [u64; 3],
    r: [u64; 2],
    /// 5/4 of the upper half of r, whose lowest two bits are zero: 2^130 is 5, for where a product passes 2^128.
    wrapped: u64,
    s: u128,
}

/// The tags of texts under one-time keys.
#[target_feature(enable = "bmi2")]
#[inline]
pub(super) fn tags<const N: usize>(jobs: &[Job; N]) -> [u128; N] {
    let mut sums = [Sum::new(jobs[0].key); N];
    let mut blocks = [&[][..]; N];
    let mut together = usize::MAX;
    for ((sum, blocks), job) in sums.iter_mut().zip(&mut blocks).zip(jobs) {
        *sum = Sum::new(job.key);
        *blocks = job.text.as_chunks().0;
        together = together.min(blocks.len());
    }
    for index in 0..together {
        for (sum, blocks) in sums.iter_mut().zip(blocks) {
            sum.add(u128::from_le_bytes(blocks[index]), 1);
        }
    }
    let mut tags = [0; N];
    for ((tag, sum), job) in tags.iter_mut().zip(&mut sums).zip(jobs) {
        sum.add_rest(&job.text[together * BLOCK..]);
        sum.add(u128::from(job.text.len() as u64) << 64, 1);
        *tag = sum.finish();
    }
    tags
}

impl Sum {
    #[inline]
    fn new(key: &Key) -> Self {
        const CLAMP: u128 = 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
        let [r, s]: [[u8; BLOCK]; 2] = zerocopy::transmute!(*key);
        let (r, s) = (halves(u128::from_le_bytes(r) & CLAMP), u128::from_le_bytes(s));
        Self { h: [0; 3], r, wrapped: r[1] + (r[1] >> 2), s }
    }

    /// Whole blocks, and a last one that is filled up with zeros.
    #[target_feature(enable = "bmi2")]
    #[inline]
    fn add_rest(&mut self, text: &[u8]) {
        let (blocks, rest) = text.as_chunks();
        for block in blocks {
            self.add(u128::from_le_bytes(*block), 1);
        }
        if !rest.is_empty() {
            let mut block = [0; BLOCK];
            block[..rest.len()].copy_from_slice(rest);
            self.add(u128::from_le_bytes(block), 1);
        }
    }

    /// Adds a block, with `padding` times 2^128 on top, and multiplies by r.
    #[target_feature(enable = "bmi2")]
    #[inline]
    fn add(&mut self, block: u128, padding: u64) {
        let [r0, r1] = self.r;
        let [b0, b1] = halves(block);
        let [h0, carry] = halves(u128::from(self.h[0]) + u128::from(b0));
        let [h1, carry] = halves(u128::from(self.h[1]) + u128::from(b1) + u128::from(carry));
        let h2 = self.h[2] + padding + carry; // at most 6

        // r has 60 bits in each half, so nothing here passes 2^127, nor the last two lines' products 2^63.
        let d0 = product(h0, r0) + product(h1, self.wrapped);
        let d1 = product(h0, r1) + product(h1, r0) + u128::from(h2 * self.wrapped);
        let d2 = h2 * r0;

        let [d0, carry] = halves(d0);
        let [d1, carry] = halves(d1 + u128::from(carry));
        let d2 = d2 + carry;
        // What is above 2^130, five times.
        let (h0, carry) = d0.overflowing_add((d2 & !3) + (d2 >> 2));
        let (h1, carry) = d1.overflowing_add(u64::from(carry));
        self.h = [h0, h1, (d2 & 3) + u64::from(carry)];
    }

    /// The number, fully reduced, plus s: the tag.
    #[inline]
    fn finish(self) -> u128 {
        let [h0, h1, h2] = self.h;
        let h = u128::from(h1) << 64 | u128::from(h0);
        // h - p = h + 5 - 2^130, where that is not negative.
        let (reduced, carry) = h.overflowing_add(5);
        let reduce = Choice::from(((h2 + u64::from(carry)) >> 2) as u8);
        u128::conditional_select(&h, &reduced, reduce).wrapping_add(self.s)
    }
}

#[target_feature(enable = "bmi2")]
#[inline]
fn product(a: u64, b: u64) -> u128 {
    u128::from(a) * u128::from(b)
}

/// The lower half, and the upper one: what is to be carried.
#[inline]
fn halves(number: u128) -> [u64; 2] {
    [number as u64, (number >> 64) as u64]
}

#[cfg(test)]
pub(super) mod tests {
    use super::{super::sys::Kernel, *};
    use crate::symmetric::batch::rfc8439::{Poly1305Vector, extreme_numbers, oracle_tag, poly1305_vectors};
    use core::array::from_fn;

    fn key(r: [u8; BLOCK], s: [u8; BLOCK]) -> Key {
        [r, s].as_flattened().try_into().expect("two halves")
    }

    /// Poly1305 as RFC 8439 section 2.5 has it: no lengths, and a short last block ends in a one of its own instead of the
    /// padding bit.
    #[target_feature(enable = "bmi2")]
    pub(in super::super) fn plain_tag(key: &Key, text: &[u8]) -> u128 {
        let mut sum = Sum::new(key);
        let (blocks, rest) = text.as_chunks();
        for block in blocks {
            sum.add(u128::from_le_bytes(*block), 1);
        }
        if !rest.is_empty() {
            let mut block = [0; BLOCK];
            block[..rest.len()].copy_from_slice(rest);
            block[rest.len()] = 1;
            sum.add(u128::from_le_bytes(block), 0);
        }
        sum.finish()
    }

    #[test]
    fn tags_are_those_of_rfc_8439_appendix_a_3() {
        let Some(kernel) = Kernel::detect() else { return };
        for Poly1305Vector { number, r, s, text, tag } in poly1305_vectors() {
            assert_eq!(kernel.plain_tag(&key(r, s), &text).to_le_bytes(), tag, "vector {number}");
        }
    }

    #[test]
    fn extreme_keys_and_texts_agree_with_rustcrypto() {
        let Some(kernel) = Kernel::detect() else { return };
        for s in extreme_numbers() {
            let keys = extreme_numbers().map(|r| key(r, s));
            for byte in [0, 1, 0x7f, 0x80, 0xfe, 0xff] {
                let text = vec![byte; 700];
                for len in 0..200 {
                    // Lengths that end together, and ones that do not.
                    let lens = [len, len, len + 1, 2 * len];
                    for keys in keys.as_chunks::<LANES>().0 {
                        let jobs = from_fn(|lane| Job { key: &keys[lane], text: &text[..lens[lane]] });
                        for (tag, job) in kernel.tags(&jobs).iter().zip(jobs) {
                            let expected = oracle_tag(job.key, job.text);
                            assert_eq!(tag.to_le_bytes(), expected, "{} of {byte}", job.text.len());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn a_sum_of_p_and_above_is_reduced() {
        let top = [u64::MAX, u64::MAX];
        // Whole sums from p - 2 to 2^130 + 2 and the greatest that there may be, the tag without s: the remainder modulo p.
        for (h, remainder) in [
            ([top[0] - 6, top[1], 3], u128::MAX - 6),
            ([top[0] - 5, top[1], 3], u128::MAX - 5),
            ([top[0] - 4, top[1], 3], 0),
            ([top[0], top[1], 3], 4),
            ([0, 0, 4], 5),
            ([top[0] - 8, top[1], 4], u128::MAX - 3),
        ] {
            let sum = Sum { h, ..Sum::new(&[0; 2 * BLOCK]) };
            assert_eq!(sum.finish(), remainder, "{h:x?}");
        }
    }
}
