//! Batches of packets under one key: RustCrypto and the library's own path, one packet at a time, are the oracles.
//!
//! They run with every kernel that the CPU has, not only with the one that it would use, and without any;
//! `kernels_are_there_where_the_cpu_has_what_they_need` says which those are.

use super::vectors::{hex, hex_array, random, random_vec, rng};
use chacha20poly1305::{AeadInOut as _, ChaCha20Poly1305, KeyInit as _};
use proptest::prelude::{any, prop, prop_assert_eq, proptest};
use rand_chacha::ChaCha20Rng;
use rand_core::Rng as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use vpn_core::{
    base::SecretBytes,
    symmetric::{AeadError, AeadKey, BatchKernel, Frame, Suite, TAG_SIZE},
};

/// Longest text of the differential tests, beyond any packet of a jumbo frame.
const MAX_TEXT: usize = 9000;

/// Frames with gaps between them, all of the arena random.
struct Batch {
    arena: Vec<u8>,
    frames: Vec<Frame>,
}

impl Batch {
    fn random(rng: &mut ChaCha20Rng, lens: &[usize]) -> Self {
        let mut frames = Vec::new();
        let mut end = 0;
        for len in lens {
            let start = end + below(rng, 70);
            end = start + len + TAG_SIZE;
            let counter = match rng.next_u32() % 8 {
                0 => 0,
                1 => u64::MAX,
                2 => u64::from(u32::MAX),
                _ => rng.next_u64(),
            };
            frames.push(Frame { range: start..end, counter });
        }
        // The last frame sometimes ends the arena.
        let len = end + below(rng, 3) * 50;
        // In any order: the arena's is not the frames'.
        for i in (1..frames.len()).rev() {
            frames.swap(i, below(rng, i + 1));
        }
        Self { arena: random_vec(rng, len), frames }
    }

    /// What the arena should be after sealing, from an implementation that shares no code.
    fn sealed_by_oracle(&self, key: &[u8; 32]) -> Vec<u8> {
        let oracle = ChaCha20Poly1305::new_from_slice(key).expect("32 bytes");
        let mut arena = self.arena.clone();
        for frame in &self.frames {
            let nonce: [u8; 12] =
                [&[0; 4][..], &frame.counter.to_le_bytes()].concat().try_into().expect("12 bytes");
            let text = &mut arena[frame.text()];
            let tag = oracle.encrypt_inout_detached(&nonce.into(), &[], text.into()).expect("a short text");
            arena[frame.text().end..frame.range.end].copy_from_slice(&tag);
        }
        arena
    }
}

fn below(rng: &mut ChaCha20Rng, n: usize) -> usize {
    rng.next_u32() as usize % n
}

/// The same key for each kernel of this CPU, and for none.
fn own_keys(key: [u8; 32]) -> Vec<AeadKey> {
    let secret = SecretBytes::new(key);
    let kernels = [Some(BatchKernel::Avx512), Some(BatchKernel::Avx2), None];
    kernels.into_iter().filter_map(|kernel| AeadKey::with_kernel(&secret, kernel)).collect()
}

fn own_key(key: [u8; 32]) -> AeadKey {
    AeadKey::new(Suite::ChaCha20Poly1305, &SecretBytes::new(key))
}

fn open(key: &AeadKey, arena: &mut [u8], frames: &[Frame]) -> Vec<Result<(), AeadError>> {
    // Both verdicts must be written: begin with the wrong one, whichever that is.
    let mut verdicts: Vec<_> =
        (0..frames.len()).map(|i| if i % 2 == 0 { Ok(()) } else { Err(AeadError) }).collect();
    key.open_batch(arena, frames, &mut verdicts);
    verdicts
}

/// Seals and opens, against the oracle; bytes outside of the frames' texts and tags must not change.
fn assert_agrees(rng: &mut ChaCha20Rng, lens: &[usize]) {
    let secret: [u8; 32] = random(rng);
    let batch = Batch::random(rng, lens);
    let expected = batch.sealed_by_oracle(&secret);
    let mut opened = expected.clone();
    for frame in &batch.frames {
        opened[frame.text()].copy_from_slice(&batch.arena[frame.text()]);
    }
    for key in own_keys(secret) {
        let kernel = key.batch_kernel();
        let mut arena = batch.arena.clone();
        key.seal_batch(&mut arena, &batch.frames);
        assert!(arena == expected, "sealing frames of {lens:?}, {kernel:?}");

        let verdicts = open(&key, &mut arena, &batch.frames);
        assert_eq!(verdicts, vec![Ok(()); lens.len()], "frames of {lens:?}, {kernel:?}");
        assert!(arena == opened, "opening frames of {lens:?}, {kernel:?}");
    }
}

#[test]
fn every_length_agrees_with_rustcrypto_in_batches_of_any_size() {
    let mut rng = rng();
    let mut lens: Vec<usize> = (0..=MAX_TEXT).collect();
    for i in (1..lens.len()).rev() {
        lens.swap(i, below(&mut rng, i + 1));
    }
    let mut lens = lens.as_slice();
    while !lens.is_empty() {
        let (batch, rest) = lens.split_at((1 + below(&mut rng, 70)).min(lens.len()));
        assert_agrees(&mut rng, batch);
        lens = rest;
    }
}

#[test]
fn every_batch_size_agrees_with_rustcrypto_on_packets_of_one_length() {
    let mut rng = rng();
    for count in 0..=70 {
        for len in [0, 1, 15, 16, 17, 48, 63, 64, 65, 576, 1420] {
            assert_agrees(&mut rng, &vec![len; count]);
        }
    }
}

#[test]
fn every_short_length_agrees_with_rustcrypto_in_every_place_of_a_group() {
    let mut rng = rng();
    for len in 0..=450 {
        let other = below(&mut rng, 450);
        let place = len % 32;
        let lens: Vec<usize> = (0..32).map(|i| if i == place { len } else { other }).collect();
        assert_agrees(&mut rng, &lens);
    }
}

#[test]
fn short_packets_among_long_ones_agree_with_rustcrypto() {
    let mut rng = rng();
    for round in 0..100 {
        // From all short to hardly any, so that groups have too few of them, too.
        let lens: Vec<usize> = (0..below(&mut rng, 70))
            .map(|_| {
                if below(&mut rng, 100) < round { 300 + below(&mut rng, 1200) } else { below(&mut rng, 400) }
            })
            .collect();
        assert_agrees(&mut rng, &lens);
    }
}

#[test]
fn an_empty_text_is_sealed_as_the_one_time_key_of_rfc_8439_appendix_a_4_says() {
    // Poly1305 of 16 zero bytes is (2^128 mod p) r + s; with the RFC's r and s, computed apart from this program.
    for key in own_keys([0; 32]) {
        let mut arena = [0; 4 * TAG_SIZE];
        let frames: Vec<Frame> = (0..4).map(|i| Frame { range: 16 * i..16 * i + 16, counter: 0 }).collect();
        key.seal_batch(&mut arena, &frames);
        let tag: [u8; 16] = hex_array("4eb972c9a8fb3a1b382bb4d36f5ffad1");
        assert_eq!(arena, [tag; 4].concat()[..]);
    }
}

#[test]
fn the_keystream_is_that_of_rfc_8439_appendix_a_1() {
    for key in own_keys([0; 32]) {
        let mut arena = [0; 4 * 80];
        let frames: Vec<Frame> = (0..4).map(|i| Frame { range: 80 * i..80 * i + 80, counter: 0 }).collect();
        key.seal_batch(&mut arena, &frames);
        let block = hex("9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed\
             29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f");
        for frame in frames {
            assert_eq!(arena[frame.text()], block);
        }
    }
}

#[test]
fn any_flipped_bit_is_refused_and_concerns_no_neighbour() {
    for key in own_keys([3; 32]) {
        // The groups of a batch: a whole one, one with idle lanes, and packets too few for the kernel.
        for (count, len) in [(32, 40), (9, 70), (3, 40), (34, 0), (5, 384)] {
            let mut rng = rng();
            let batch = Batch::random(&mut rng, &vec![len; count]);
            let mut sealed = batch.arena.clone();
            key.seal_batch(&mut sealed, &batch.frames);
            for bit in 0..(len + TAG_SIZE) * 8 {
                let victim = bit % count;
                let mut arena = sealed.clone();
                arena[batch.frames[victim].range.start + bit / 8] ^= 1 << (bit % 8);
                assert_refused(&key, &batch, &batch.frames, &mut arena, &[victim]);
            }
            for bit in 0..64 {
                let victim = bit % count;
                let mut frames = batch.frames.clone();
                frames[victim].counter ^= 1 << bit;
                assert_refused(&key, &batch, &frames, &mut sealed.clone(), &[victim]);
            }
        }
    }
}

#[test]
fn all_but_one_forged_leaves_that_one_whole() {
    for key in own_keys([3; 32]) {
        let mut rng = rng();
        let batch = Batch::random(&mut rng, &[100; 40]);
        let mut sealed = batch.arena.clone();
        key.seal_batch(&mut sealed, &batch.frames);
        for honest in 0..40 {
            let mut arena = sealed.clone();
            let forged: Vec<usize> = (0..40).filter(|i| *i != honest).collect();
            for victim in &forged {
                arena[batch.frames[*victim].range.end - 1 - victim % TAG_SIZE] ^= 0x10;
            }
            assert_refused(&key, &batch, &batch.frames, &mut arena, &forged);
        }
    }
}

#[test]
fn a_kernel_leaves_forged_frames_as_they_are() {
    for key in own_keys([3; 32]).into_iter().filter(|key| key.batch_kernel().is_some()) {
        let batch = Batch::random(&mut rng(), &[100; 20]);
        let mut sealed = batch.arena.clone();
        key.seal_batch(&mut sealed, &batch.frames);
        for forged in &batch.frames {
            let mut arena = sealed.clone();
            arena[forged.range.start] ^= 1;
            let before = arena[forged.range.clone()].to_vec();
            let verdicts = open(&key, &mut arena, &batch.frames);
            assert_eq!(verdicts.iter().filter(|verdict| verdict.is_err()).count(), 1);
            assert_eq!(arena[forged.range.clone()], before, "{:?}", key.batch_kernel());
        }
    }
}

/// Opens, and expects the `forged` frames refused and all others as they were before sealing.
fn assert_refused(key: &AeadKey, batch: &Batch, frames: &[Frame], arena: &mut [u8], forged: &[usize]) {
    let verdicts = open(key, arena, frames);
    for (i, (frame, verdict)) in frames.iter().zip(verdicts).enumerate() {
        let expected = if forged.contains(&i) { Err(AeadError) } else { Ok(()) };
        assert_eq!(verdict, expected, "frame {i}, forged {forged:?}");
        if verdict.is_ok() {
            assert_eq!(arena[frame.text()], batch.arena[frame.text()], "frame {i}, forged {forged:?}");
        }
    }
}

#[test]
fn a_frame_shorter_than_a_tag_is_refused_and_concerns_no_neighbour() {
    for key in own_keys([3; 32]) {
        let mut rng = rng();
        let batch = Batch::random(&mut rng, &[100; 16]);
        let mut sealed = batch.arena.clone();
        key.seal_batch(&mut sealed, &batch.frames);
        for len in 0..TAG_SIZE {
            let mut frames = batch.frames.clone();
            let start = frames[5].range.start;
            frames[5].range = start..start + len;
            let verdicts = open(&key, &mut sealed.clone(), &frames);
            let refused: Vec<usize> = (0..16).filter(|i| verdicts[*i].is_err()).collect();
            assert_eq!(refused, [5], "a frame of {len} bytes");
        }
    }
}

#[test]
#[should_panic(expected = "a frame holds a tag")]
fn sealing_a_frame_without_room_for_a_tag_panics() {
    let frames = vec![Frame { range: 0..TAG_SIZE - 1, counter: 0 }; 8];
    own_key([3; 32]).seal_batch(&mut [0; 64], &frames);
}

#[test]
fn a_frame_outside_of_the_arena_panics() {
    let frames = vec![Frame { range: 0..65, counter: 0 }; 8];
    for key in own_keys([3; 32]) {
        let sealing = AssertUnwindSafe(|| key.seal_batch(&mut [0; 64], &frames));
        let panic = catch_unwind(sealing).expect_err("the frame is one byte too long");
        let message = panic.downcast::<String>().expect("a message with numbers");
        assert!(message.contains("range end index"), "{message}");
    }
}

#[test]
#[should_panic(expected = "a verdict for each frame")]
fn opening_with_too_few_verdicts_panics() {
    let frames = vec![Frame { range: 0..64, counter: 0 }; 8];
    own_key([3; 32]).open_batch(&mut [0; 64], &frames, &mut [Ok(()); 7]);
}

#[test]
fn aes_256_gcm_batches_are_its_packets_one_by_one() {
    let key = AeadKey::new(Suite::Aes256Gcm, &SecretBytes::new([3; 32]));
    let mut rng = rng();
    let batch = Batch::random(&mut rng, &[0, 1, 64, 1420, 300, 17, 16, 15]);
    let mut expected = batch.arena.clone();
    for frame in &batch.frames {
        let tag = key.seal_in_place(frame.counter, &[], &mut expected[frame.text()]);
        expected[frame.text().end..frame.range.end].copy_from_slice(&tag);
    }
    let mut arena = batch.arena.clone();
    key.seal_batch(&mut arena, &batch.frames);
    assert_eq!(arena, expected);
    assert_refused(&key, &batch, &batch.frames, &mut arena, &[]);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn kernels_are_there_where_the_cpu_has_what_they_need() {
    let avx512 = is_x86_feature_detected!("avx512bw") && is_x86_feature_detected!("avx512ifma");
    let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2");
    let kernels: Vec<_> = own_keys([3; 32]).iter().map(AeadKey::batch_kernel).collect();
    assert_eq!(kernels.contains(&Some(BatchKernel::Avx512)), avx512);
    assert_eq!(kernels.contains(&Some(BatchKernel::Avx2)), avx2);
    assert!(kernels.contains(&None));
    // The first of them is the one that a session uses.
    assert_eq!(own_key([3; 32]).batch_kernel(), kernels[0]);
    assert_eq!(AeadKey::new(Suite::Aes256Gcm, &SecretBytes::new([3; 32])).batch_kernel(), None);
}

#[test]
fn the_kernel_for_avx2_gains_from_short_packets_only() {
    for key in own_keys([3; 32]) {
        let gains = [0, 384, 385, 1420].map(|len| key.gains_from_batches(len));
        match key.batch_kernel() {
            Some(BatchKernel::Avx512) => assert_eq!(gains, [true; 4]),
            Some(BatchKernel::Avx2) => assert_eq!(gains, [true, true, false, false]),
            None => assert_eq!(gains, [false; 4]),
        }
    }
}

proptest! {
    /// Of any batch, with any one byte changed before opening, both paths say and make the same.
    #[test]
    fn batches_agree_with_packets_one_by_one(
        secret: [u8; 32],
        frames in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..400), any::<u64>()), 0..50),
        flip in prop::option::of((any::<prop::sample::Index>(), 1..=255_u8)),
    ) {
        let (mut arena, mut placed) = (Vec::new(), Vec::new());
        for (text, counter) in frames {
            let start = arena.len();
            arena.extend(text);
            arena.extend([0; TAG_SIZE]);
            placed.push(Frame { range: start..arena.len(), counter });
        }
        for key in own_keys(secret) {
            let (mut arena, mut singly) = (arena.clone(), arena.clone());
            for frame in &placed {
                let tag = key.seal_in_place(frame.counter, &[], &mut singly[frame.text()]);
                singly[frame.text().end..frame.range.end].copy_from_slice(&tag);
            }
            key.seal_batch(&mut arena, &placed);
            prop_assert_eq!(&arena, &singly);

            if let Some((at, change)) = &flip && !arena.is_empty() {
                let at = at.index(arena.len());
                arena[at] ^= *change;
                singly[at] ^= *change;
            }
            let verdicts = open(&key, &mut arena, &placed);
            for (frame, verdict) in placed.iter().zip(verdicts) {
                let opened = key.open_in_place(frame.counter, &[], &mut singly[frame.range.clone()]).map(drop);
                prop_assert_eq!(verdict, opened);
                if verdict.is_ok() {
                    prop_assert_eq!(&arena[frame.text()], &singly[frame.text()]);
                }
            }
        }
    }
}
