//! Frames of one keypair that are sealed, or opened, together: their cipher may serve several at a time.

use super::{Keypair, SendCounter};
use crate::{
    base::DropReason,
    symmetric::{AeadError, Frame},
    wire::transport::{HEADER_SIZE, OVERHEAD, TransportHeader},
};
use core::{ops::Range, slice};
use std::time::Instant;

/// Frames that are sealed at once: few enough to stay in the fastest cache between being written and being sealed, and as
/// many as the cipher takes in one go.
const SEALED_AT_ONCE: usize = 32;

/// Frames that have their headers and counters and wait for their cipher, all of one keypair. Sealing empties it, so that
/// no counter is used twice; the memory stays.
#[derive(Debug, Default)]
pub struct Unsealed {
    frames: Vec<Frame>,
}

/// A run of transport messages for one keypair, and afterwards what was opened of it. The memory stays from run to run.
#[derive(Debug, Default)]
pub struct Unopened {
    frames: Vec<Frame>,
    verdicts: Vec<Result<(), AeadError>>,
}

impl Unopened {
    /// Adds the transport message in `datagram`, a range of `arena`.
    ///
    /// # Errors
    /// [`DropReason::Malformed`] when it is none.
    pub fn push(&mut self, arena: &[u8], datagram: Range<usize>) -> Result<(), DropReason> {
        let header = TransportHeader::parse(&arena[datagram.clone()]).ok_or(DropReason::Malformed)?;
        let range = datagram.start + HEADER_SIZE..datagram.end;
        self.frames.push(Frame { range, counter: header.counter.get() });
        Ok(())
    }
}

impl Keypair {
    /// Writes the header of a frame, a range of `arena` that holds a payload between 16 bytes of header and 16 bytes for
    /// the tag, and leaves it to the next [`Keypair::seal_all`]; which is done at once when enough wait. A frame that gains
    /// nothing from company is sealed at once.
    ///
    /// # Panics
    /// When the frame has no room for header and tag, or lies outside the arena.
    pub fn seal_later(
        &self,
        counter: SendCounter,
        arena: &mut [u8],
        frame: Range<usize>,
        unsealed: &mut Unsealed,
    ) {
        let counter = self.write_header(counter, &mut arena[frame.clone()]);
        let frame = Frame { range: frame.start + HEADER_SIZE..frame.end, counter };
        if !self.sealing().gains_from_batches(frame.text().len()) {
            self.sealing().seal_batch(arena, slice::from_ref(&frame));
            return;
        }
        unsealed.frames.push(frame);
        if unsealed.frames.len() >= SEALED_AT_ONCE {
            self.seal_all(arena, unsealed);
        }
    }

    /// Seals in place what waits.
    pub fn seal_all(&self, arena: &mut [u8], unsealed: &mut Unsealed) {
        self.sealing().seal_batch(arena, &unsealed.frames);
        unsealed.frames.clear();
    }

    /// Opens a run of transport messages in place: `opened` is given the counter of each authentic one, to be shown to
    /// [`Keypair::replay`], and where its payload lies; `refused` is given what was wrong with each other one. Empties
    /// `run`.
    pub fn open_all(
        &self,
        arena: &mut [u8],
        run: &mut Unopened,
        now: Instant,
        mut opened: impl FnMut(u64, Range<usize>),
        mut refused: impl FnMut(DropReason),
    ) {
        if self.is_expired(now) {
            run.frames.drain(..).for_each(|_| refused(DropReason::Expired));
            return;
        }
        run.frames.retain(|frame| {
            let may_be_used = self.may_be_used(frame.counter);
            if !may_be_used {
                refused(DropReason::Expired);
            }
            may_be_used
        });
        run.verdicts.clear();
        run.verdicts.resize(run.frames.len(), Err(AeadError));
        self.opening().open_batch(arena, &run.frames, &mut run.verdicts);
        for (frame, verdict) in run.frames.drain(..).zip(&run.verdicts) {
            match verdict {
                Ok(()) => opened(frame.counter, frame.text()),
                Err(AeadError) => refused(DropReason::BadTag),
            }
        }
    }
}

const _: () = assert!(OVERHEAD == HEADER_SIZE + crate::symmetric::TAG_SIZE);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        base::SecretBytes,
        session::keypair::{reject_after_messages, tests::responders},
        symmetric::{AeadKey, Suite},
        wire::transport::TYPE_TRANSPORT,
    };

    /// A message with an empty payload, to the responder of [`responders`].
    fn message(key: &AeadKey, counter: u64) -> [u8; OVERHEAD] {
        let mut frame = [0; OVERHEAD];
        frame[..4].copy_from_slice(&TYPE_TRANSPORT);
        frame[8..HEADER_SIZE].copy_from_slice(&counter.to_le_bytes());
        frame[HEADER_SIZE..].copy_from_slice(&key.seal_in_place(counter, &[], &mut []));
        frame
    }

    #[test]
    fn each_message_of_a_run_is_judged_by_itself() {
        let now = Instant::now();
        for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
            let (keypair, key) = (responders(suite, now), AeadKey::new(suite, &SecretBytes::new([2; 32])));
            let limit = reject_after_messages(suite);
            // Those that no sender may use lie between good ones; one is forged.
            let counters = [0, limit, 1, 2, limit - 1, u64::MAX, 3];
            let mut arena: Vec<u8> = counters.iter().flat_map(|counter| message(&key, *counter)).collect();
            arena[3 * OVERHEAD + HEADER_SIZE] ^= 1;
            let mut run = Unopened::default();
            for index in 0..counters.len() {
                run.push(&arena, index * OVERHEAD..(index + 1) * OVERHEAD).expect("a transport message");
            }
            let (mut opened, mut refused) = (Vec::new(), Vec::new());
            keypair.open_all(
                &mut arena,
                &mut run,
                now,
                |counter, _| opened.push(counter),
                |r| refused.push(r),
            );
            assert_eq!(opened, [0, 1, limit - 1, 3]);
            refused.sort_by_key(|reason| *reason as usize);
            assert_eq!(refused, [DropReason::BadTag, DropReason::Expired, DropReason::Expired]);
            keypair.open_all(&mut arena, &mut run, now, |_, _| panic!("emptied"), |_| panic!("emptied"));
        }
    }

    #[test]
    fn frames_are_sealed_once_each_whether_they_wait_or_not() {
        // Longer and shorter than what gains from company, and more than are sealed at once.
        let lens: Vec<usize> = (0..100).map(|n| if n % 3 == 0 { 1420 } else { 7 * n }).collect();
        let now = Instant::now();
        for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
            let (keypair, key) = (responders(suite, now), AeadKey::new(suite, &SecretBytes::new([1; 32])));
            let mut arena = vec![5; lens.iter().map(|len| len + OVERHEAD).sum()];
            let (mut unsealed, mut frames, mut end) = (Unsealed::default(), Vec::new(), 0);
            let counters = keypair.reserve(lens.len(), now).expect("a fresh keypair");
            for (len, counter) in lens.iter().zip(counters) {
                frames.push(end..end + len + OVERHEAD);
                end += len + OVERHEAD;
                keypair.seal_later(counter, &mut arena, frames[frames.len() - 1].clone(), &mut unsealed);
            }
            keypair.seal_all(&mut arena, &mut unsealed);
            keypair.seal_all(&mut arena, &mut unsealed); // Nothing is left to be sealed again.
            for (counter, (frame, len)) in (0..).zip(frames.into_iter().zip(&lens)) {
                let mut text = vec![5; *len];
                let tag = key.seal_in_place(counter, &[], &mut text);
                assert_eq!(
                    arena[frame][HEADER_SIZE..],
                    [&text[..], &tag].concat(),
                    "frame {counter}, {suite:?}"
                );
            }
        }
    }
}
