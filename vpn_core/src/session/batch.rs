//! Frames of one keypair that are sealed, or opened, together: their cipher may serve several at a time.

use super::{Keypair, SendCounter};
use crate::{
    base::DropReason,
    symmetric::{AeadError, Frame},
    wire::transport::{HEADER_SIZE, OVERHEAD, TransportHeader},
};
use core::ops::Range;
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
    /// the tag, and leaves it to the next [`Keypair::seal_all`]; which is done at once when enough wait.
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
        unsealed.frames.push(Frame { range: frame.start + HEADER_SIZE..frame.end, counter });
        if unsealed.frames.len() >= SEALED_AT_ONCE || !self.has_batch_kernel() {
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
