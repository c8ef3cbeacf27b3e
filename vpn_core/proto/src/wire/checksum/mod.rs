//! The Internet checksum (RFC 1071), which every packet passes: the sender's when it cuts a super-packet, the receiver's
//! before it joins packets into one.
//!
//! All arithmetic is modulo 2^16 - 1 at the end, so until then it may be modulo 2^64 - 1, in words of 8 bytes. Words are
//! read in the host's order: that only turns the result around (RFC 1071, section 2 B).

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "calls of functions for certain CPUs are unsafe")]
mod sys;

/// Bytes that are summed together: a vector of AVX2, two of the vectors that every x86-64 and AArch64 has.
const VECTOR: usize = 32;
/// Vectors from which on it pays to ask for AVX2: not for the headers, which are the shorter half of all sums.
#[cfg(target_arch = "x86_64")]
const WORTH_ASKING: usize = 3; // 96 bytes

/// The Internet checksum of `bytes`, continued from `sum`, not yet complemented.
///
/// Bytes that are followed by others, summed later, must be of an even number. Right for up to 16 GB.
#[inline]
pub fn ones_complement_sum(bytes: &[u8], sum: u64) -> u16 {
    let (vectors, rest) = bytes.as_chunks();
    let total = if vectors.is_empty() { sum_rest(rest) } else { add(sum_vectors(vectors), sum_rest(rest)) };
    fold(u64::from(fold(total).to_be()) + u64::from(fold(sum)))
}

fn sum_vectors(vectors: &[[u8; VECTOR]]) -> u64 {
    #[cfg(target_arch = "x86_64")]
    if vectors.len() >= WORTH_ASKING
        && let Some(avx2) = sys::Avx2::detect()
    {
        return avx2.sum(vectors);
    }
    sum_portably(vectors)
}

/// In a shape that the compiler makes vector instructions of.
fn sum_portably(vectors: &[[u8; VECTOR]]) -> u64 {
    // Upper halves are summed by themselves, whole words so that the carry is lost: what the lower halves add up to is
    // the difference. That is one operation less for each word than taking both halves out.
    let (mut words, mut upper) = (0_u64, 0_u64);
    for word in vectors.as_flattened().as_chunks().0 {
        let word = u64::from_ne_bytes(*word);
        words = words.wrapping_add(word);
        upper += word >> 32;
    }
    let lower = words.wrapping_sub(upper << 32);
    lower + upper
}

/// The sum of less than a vector.
#[inline]
fn sum_rest(rest: &[u8]) -> u64 {
    let (words, mut tail) = rest.as_chunks();
    let mut total = 0;
    for word in words {
        total = add(total, u64::from_ne_bytes(*word));
    }
    // By its parts: a copy of unknown length into a word would cost more than everything else here.
    let mut part = |bytes: u64| total = add(total, bytes);
    if let Some((word, rest)) = tail.split_first_chunk() {
        part(u32::from_ne_bytes(*word).into());
        tail = rest;
    }
    if let Some((word, rest)) = tail.split_first_chunk() {
        part(u16::from_ne_bytes(*word).into());
        tail = rest;
    }
    if let Some(byte) = tail.first() {
        part(u16::from_ne_bytes([*byte, 0]).into());
    }
    total
}

/// Modulo 2^64 - 1.
#[inline]
fn add(a: u64, b: u64) -> u64 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u64::from(carry)
}

/// Modulo 2^16 - 1; of numbers other than 0, never 0.
#[inline]
fn fold(sum: u64) -> u16 {
    // 64 bits, 33, 32, 17, 16: always the same steps, for there is nothing to predict in a checksum.
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 32) + (sum & 0xffff_ffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    let sum = (sum >> 16) + (sum & 0xffff);
    sum as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Longest text, beyond any packet of a jumbo frame.
    const MAX_LEN: usize = 9000;

    /// RFC 1071, section 1, to the letter.
    fn obvious_sum(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// Nothing in them repeats within a vector.
    fn varied_bytes() -> Vec<u8> {
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        (0..MAX_LEN + VECTOR).map(|_| next()).collect()
    }

    #[test]
    fn every_length_at_every_alignment_has_the_obvious_sum() {
        let bytes = varied_bytes();
        for len in 0..=MAX_LEN {
            // Every place in a vector for short ones; for long ones they take turns.
            let places = if len < 300 { 0..VECTOR } else { len % VECTOR..len % VECTOR + 1 };
            for at in places {
                let bytes = &bytes[at..at + len];
                assert_eq!(ones_complement_sum(bytes, 0), obvious_sum(bytes), "{len} bytes at {at}");
            }
        }
    }

    #[test]
    fn greatest_words_lose_no_carry() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            let bytes = vec![byte; MAX_LEN];
            for len in (0..=600).chain(MAX_LEN - VECTOR..=MAX_LEN) {
                assert_eq!(
                    ones_complement_sum(&bytes[..len], 0),
                    obvious_sum(&bytes[..len]),
                    "{len} of {byte}"
                );
            }
        }
    }

    #[test]
    fn portable_sums_are_the_obvious_ones_on_any_cpu() {
        for bytes in [varied_bytes(), vec![0xff; MAX_LEN]] {
            let vectors = bytes.as_chunks().0;
            for len in 0..=vectors.len() {
                let sum = fold(sum_portably(&vectors[..len])).to_be();
                assert_eq!(sum, obvious_sum(vectors[..len].as_flattened()), "{len} vectors");
            }
        }
    }

    #[test]
    fn folding_loses_no_carry() {
        const WORDS: [u64; 4] = [0, 1, 0xfffe, 0xffff]; // where carries make carries
        for choice in 0..4_usize.pow(4) {
            let sum = (0..4).fold(0, |sum, place| sum << 16 | WORDS[choice >> (2 * place) & 3]);
            assert_eq!(fold(sum), obvious_sum(&sum.to_be_bytes()), "{sum:x}");
        }
    }

    proptest! {
        #[test]
        fn sums_continue_at_any_even_place(
            bytes in prop::collection::vec(any::<u8>(), 0..3000),
            split: prop::sample::Index,
        ) {
            let (first, rest) = bytes.split_at(split.index(bytes.len() + 1) / 2 * 2);
            let continued = ones_complement_sum(rest, u64::from(ones_complement_sum(first, 0)));
            prop_assert_eq!(continued, obvious_sum(&bytes));
        }

        #[test]
        fn a_number_of_any_size_may_be_continued(bytes in prop::collection::vec(any::<u8>(), 0..100), sum: u64) {
            let all = [&sum.to_be_bytes()[..], &bytes].concat();
            prop_assert_eq!(ones_complement_sum(&bytes, sum), obvious_sum(&all));
        }
    }
}
