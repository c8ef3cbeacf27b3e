//! Short packets, for CPUs with AVX2: the whole keystream of a few packets, then their texts and tags.
//!
//! A vector holds the same word of 8 ChaCha20 blocks, of whichever packets. The library does as much for one long packet;
//! for a short one it computes blocks that nobody needs, and waits for its Poly1305, which is sequential.

mod chacha;
mod poly;
#[expect(unsafe_code, reason = "calls of functions for certain CPUs are unsafe")]
mod sys;

pub(super) use sys::Kernel;

use super::{GROUP, Text, Verdicts};
use crate::base::SecretBytes;
use chacha::{Block, Inputs, LANES};
use poly::Job;
use subtle::ConstantTimeEq as _;
use zerocopy::IntoBytes as _;
use zeroize::Zeroize as _;

/// Longest text, in bytes. Measured: up to here the kernel gains 10 % or more over the library's AVX2 code.
pub(super) const LONGEST: usize = 384;

/// Size of a block of keystream in bytes.
const BLOCK: usize = size_of::<Block>();
/// Packets whose keystream is computed together; as many as there are lanes, for then equally long packets fill them.
const TOGETHER: usize = LANES;
/// Blocks of the longest packet's keystream: the one with the one-time key, and the text's.
const MOST_BLOCKS: usize = 1 + LONGEST.div_ceil(BLOCK);

/// The keystream of some packets. Erased on drop.
struct Keystream {
    /// The packets' blocks, one after another.
    blocks: [[Block; LANES]; TOGETHER * MOST_BLOCKS / LANES],
    /// Where a packet's blocks begin.
    starts: [usize; TOGETHER],
    /// Vectors of blocks that there are.
    used: usize,
}

impl Keystream {
    const ZERO: Self =
        Self { blocks: [[[0; 8]; LANES]; TOGETHER * MOST_BLOCKS / LANES], starts: [0; TOGETHER], used: 0 };

    /// Fills zeros with the keystream of `texts`; in place, because a move would leave a copy that nobody erases.
    #[target_feature(enable = "avx2")]
    fn fill(&mut self, key: &SecretBytes<32>, texts: &[Text]) {
        let mut inputs = [Inputs::default(); TOGETHER * MOST_BLOCKS / LANES];
        let mut at = 0;
        for (text, start) in texts.iter().zip(&mut self.starts) {
            *start = at;
            for block in 0..=text.len.div_ceil(BLOCK) {
                inputs[at / LANES].set(at % LANES, block as u32, text.counter);
                at += 1;
            }
        }
        self.used = at.div_ceil(LANES);
        chacha::blocks(key, &inputs[..self.used], &mut self.blocks[..self.used]);
    }

    /// The Poly1305 key of a packet.
    #[inline]
    fn one_time_key(&self, index: usize) -> &poly::Key {
        let block = &self.blocks.as_flattened()[self.starts[index]];
        block.as_bytes().first_chunk().expect("a block is longer than a key")
    }

    /// Encrypts or decrypts a packet's text.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn add(&self, index: usize, text: &mut [u8]) {
        let stream = self.blocks.as_flattened()[self.starts[index] + 1..].as_bytes();
        // In pieces whose lengths the compiler knows, as far as they go.
        let (vectors, rest) = text.as_chunks_mut::<32>();
        let (words, bytes) = rest.as_chunks_mut::<8>();
        let (stream_of_rest, at) = (&stream[vectors.as_flattened().len()..], words.as_flattened().len());
        for (vector, stream) in vectors.iter_mut().zip(stream.as_chunks().0) {
            add(vector, stream);
        }
        for (word, stream) in words.iter_mut().zip(stream_of_rest.as_chunks().0) {
            add(word, stream);
        }
        for (byte, stream) in bytes.iter_mut().zip(&stream_of_rest[at..]) {
            *byte ^= stream;
        }
    }
}

impl Drop for Keystream {
    fn drop(&mut self) {
        self.blocks[..self.used].as_flattened_mut().as_flattened_mut().zeroize();
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn add<const N: usize>(text: &mut [u8; N], stream: &[u8; N]) {
    for (byte, stream) in text.iter_mut().zip(stream) {
        *byte ^= stream;
    }
}

/// Encrypts the texts, each of at most [`LONGEST`] bytes, and writes their tags.
#[target_feature(enable = "avx2,bmi2")]
fn seal(key: &SecretBytes<32>, arena: &mut [u8], texts: &[Text]) {
    for texts in texts.chunks(TOGETHER) {
        let mut keystream = Keystream::ZERO;
        keystream.fill(key, texts);
        for (index, text) in texts.iter().enumerate() {
            keystream.add(index, &mut arena[text.start..][..text.len]);
        }
        for (text, tag) in texts.iter().zip(tags(&keystream, arena, texts)) {
            arena[text.tag()].copy_from_slice(&tag.to_le_bytes());
        }
    }
}

/// Checks the tags of the texts, each of at most [`LONGEST`] bytes, and decrypts the authentic ones. The others stay as
/// they are.
#[target_feature(enable = "avx2,bmi2")]
fn open(key: &SecretBytes<32>, arena: &mut [u8], texts: &[Text]) -> Verdicts {
    let mut authentic = [false; GROUP];
    for (texts, verdicts) in texts.chunks(TOGETHER).zip(authentic.chunks_mut(TOGETHER)) {
        let mut keystream = Keystream::ZERO;
        keystream.fill(key, texts);
        let tags = tags(&keystream, arena, texts);
        for (index, ((text, verdict), tag)) in texts.iter().zip(verdicts).zip(tags).enumerate() {
            let claimed = arena[text.tag()].try_into().expect("a tag's range is 16 bytes");
            *verdict = u128::from_le_bytes(claimed).ct_eq(&tag).into();
            if *verdict {
                keystream.add(index, &mut arena[text.start..][..text.len]);
            }
        }
    }
    authentic
}

/// The tags of some ciphertexts.
#[target_feature(enable = "avx2,bmi2")]
fn tags(keystream: &Keystream, arena: &[u8], texts: &[Text]) -> [u128; TOGETHER] {
    let mut jobs = [Job { key: keystream.one_time_key(0), text: &[] }; TOGETHER];
    for (index, (job, text)) in jobs.iter_mut().zip(texts).enumerate() {
        *job = Job { key: keystream.one_time_key(index), text: &arena[text.start..][..text.len] };
    }
    let mut tags = [0; TOGETHER];
    let (groups, alone) = jobs[..texts.len()].as_chunks::<{ poly::LANES }>();
    let (group_tags, alone_tags) = tags.split_at_mut(groups.as_flattened().len());
    for (tags, jobs) in group_tags.as_chunks_mut().0.iter_mut().zip(groups) {
        *tags = poly::tags(jobs);
    }
    for (tag, job) in alone_tags.iter_mut().zip(alone) {
        [*tag] = poly::tags(&[*job]);
    }
    tags
}
