//! Packets of any length, for CPUs with AVX-512: keystream over all texts of a group, then tags of 8 at a time, or the
//! other way round.
//!
//! A vector holds the same word of 16 ChaCha20 blocks, of whichever packets, or the same limb of 8 packets' Poly1305 sums.

mod chacha;
mod poly;
#[expect(
    unsafe_code,
    reason = "calls of functions for certain CPUs, and masked loads and stores, are unsafe"
)]
mod sys;

pub(super) use sys::Kernel;

use super::{GROUP, Text, Verdicts};
use crate::base::SecretBytes;
use poly::Tags;
use subtle::ConstantTimeEq as _;
use sys::VECTOR;
use zerocopy::IntoBytes as _;
use zeroize::{Zeroize, ZeroizeOnDrop};

const _: () = assert!(GROUP.is_multiple_of(poly::LANES));

/// The one-time keys of a group: block 0 of each packet's keystream, as vectors of numbers. Erased on drop.
#[derive(Zeroize, ZeroizeOnDrop)]
struct OneTimeKeys([[u64; VECTOR / 8]; GROUP]);

impl OneTimeKeys {
    const ZERO: Self = Self([[0; VECTOR / 8]; GROUP]);

    /// Fills zeros with the keys; in place, because a move would leave a copy that nobody erases.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn fill(&mut self, key: &SecretBytes<32>, texts: &[Text]) {
        let blocks = (0..).step_by(VECTOR).zip(texts);
        let blocks = blocks.map(|(start, text)| Text { start, len: VECTOR, counter: text.counter });
        chacha::apply(key, self.0.as_mut_bytes(), blocks, 0);
    }

    fn lanes(&self) -> &[[[u8; VECTOR]; poly::LANES]; GROUP / poly::LANES] {
        zerocopy::transmute_ref!(&self.0)
    }
}

/// Encrypts the texts, at most [`GROUP`], and writes their tags.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn seal(key: &SecretBytes<32>, arena: &mut [u8], texts: &[Text]) {
    let mut keys = OneTimeKeys::ZERO;
    keys.fill(key, texts);
    chacha::apply(key, arena, texts.iter().copied(), 1);
    for (keys, texts) in keys.lanes().iter().zip(texts.chunks(poly::LANES)) {
        let tags = tags(keys, arena, texts);
        for (lane, text) in texts.iter().enumerate() {
            arena[text.tag()].copy_from_slice(&tags.get(lane).to_le_bytes());
        }
    }
}

/// Checks the tags of the texts, at most [`GROUP`], and decrypts the authentic ones. The others stay as they are.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn open(key: &SecretBytes<32>, arena: &mut [u8], texts: &[Text]) -> Verdicts {
    let mut keys = OneTimeKeys::ZERO;
    keys.fill(key, texts);
    let mut authentic = [false; GROUP];
    let groups = keys.lanes().iter().zip(texts.chunks(poly::LANES)).zip(authentic.chunks_mut(poly::LANES));
    for ((keys, texts), verdicts) in groups {
        let tags = tags(keys, arena, texts);
        for (lane, (text, verdict)) in texts.iter().zip(verdicts).enumerate() {
            let claimed = arena[text.tag()].try_into().expect("a tag's range is 16 bytes");
            *verdict = u128::from_le_bytes(claimed).ct_eq(&tags.get(lane)).into();
        }
    }
    let opened = texts.iter().zip(authentic).filter_map(|(text, authentic)| authentic.then_some(*text));
    chacha::apply(key, arena, opened, 1);
    authentic
}

/// The tags of up to 8 texts.
#[target_feature(enable = "avx512f,avx512bw,avx512ifma")]
fn tags(keys: &[[u8; VECTOR]; poly::LANES], arena: &[u8], texts: &[Text]) -> Tags {
    let bytes = |text: &Text| &arena[text.start..][..text.len];
    // Lanes without a text repeat the first one: an empty text would have all steps look for where texts begin.
    let mut lanes = [texts.first().map_or(&[][..], bytes); poly::LANES];
    for (lane, text) in lanes.iter_mut().zip(texts) {
        *lane = bytes(text);
    }
    poly::tags(keys, lanes)
}
