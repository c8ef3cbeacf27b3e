//! A batch of datagrams to send: one arena that frames are sealed into, grouped into runs for UDP GSO.

use super::Cut;
use crate::base::Endpoint;
use std::ops::Range;

/// Datagrams in one system call.
pub const MAX_SEGMENTS: usize = 64; // UDP_MAX_SEGMENTS before Linux 6.9; 45 of 1452 bytes fill a call anyhow

/// Bytes in one system call: the payload of the largest UDP datagram over IPv4.
pub const MAX_SEND_SIZE: usize = 65_507;

/// Runs in one batch.
const MAX_RUNS: usize = 512; // bounds the memory when every frame goes to another endpoint

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendReport {
    /// Datagrams that the kernel took.
    pub sent: usize,
    /// Datagrams that it refused: no route, no permission (firewall), no memory, a full interface, too long.
    pub dropped: usize,
    /// Runs that left from an address of the kernel's choice because their [`Endpoint::local`] is ours no more.
    pub stale_sources: usize,
    /// The socket's buffer is full: what was not sent is still in the batch.
    pub blocked: bool,
}

/// Datagrams to one endpoint, all but the last `stride` bytes long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) range: Range<usize>,
    pub(super) stride: usize,
    pub(super) count: usize,
    pub(super) to: Endpoint,
    pub(super) cut: Cut,
}

impl Run {
    /// Whether a datagram of `len` bytes to `to` can be added at the end.
    fn takes(&self, to: &Endpoint, cut: Cut, len: usize) -> bool {
        let last_is_full = self.range.len() == self.stride * self.count;
        last_is_full
            && len <= self.stride
            && self.count < MAX_SEGMENTS
            && self.range.len() + len <= MAX_SEND_SIZE
            && self.to == *to
            && self.cut == cut
    }
}

/// The memory of one sending thread, reused from batch to batch.
#[derive(Debug)]
pub struct SendBatch {
    arena: Box<[u8]>,
    used: usize,
    /// Length of the slot that was handed out last and not committed.
    reserved: usize,
    runs: Vec<Run>,
    /// How many of the runs were dealt with.
    done: usize,
}

impl SendBatch {
    /// A batch with an arena of `size` bytes, at least [`MAX_SEND_SIZE`]; 256 KB hold four full runs.
    pub fn new(size: usize) -> Self {
        Self {
            arena: vec![0; size.max(MAX_SEND_SIZE)].into_boxed_slice(),
            used: 0,
            reserved: 0,
            runs: Vec::with_capacity(MAX_RUNS),
            done: 0,
        }
    }

    /// Room for a frame of up to `len` bytes, to be followed by [`Self::commit`]; its content is undefined. A slot
    /// that is not committed is handed out again. `None` when the batch is full: send it first.
    pub fn slot(&mut self, len: usize) -> Option<&mut [u8]> {
        if self.runs.len() >= MAX_RUNS {
            return None;
        }
        let slot = self.arena.get_mut(self.used..self.used.checked_add(len)?)?;
        self.reserved = len;
        Some(slot)
    }

    /// Adds the first `len` bytes of the last [`Self::slot`] as one datagram to `to`, and answers where it lies in
    /// [`Self::arena_mut`]. More than the slot holds is cut; an empty datagram is not sent.
    pub fn commit(&mut self, to: Endpoint, cut: Cut, len: usize) -> Range<usize> {
        debug_assert!(len <= self.reserved, "a commit is not longer than its slot");
        let len = len.min(self.reserved);
        self.reserved = 0;
        let range = self.used..self.used + len;
        if len == 0 {
            return range;
        }
        self.used = range.end;
        match self.runs.last_mut() {
            Some(run) if run.takes(&to, cut, len) => {
                run.range.end = range.end;
                run.count += 1;
            }
            _ => self.runs.push(Run { range: range.clone(), stride: len, count: 1, to, cut }),
        }
        range
    }

    /// The memory that datagrams lie in, to finish those that wait in place.
    pub fn arena_mut(&mut self) -> &mut [u8] {
        &mut self.arena
    }

    /// Whether nothing waits to be sent.
    pub fn is_empty(&self) -> bool {
        self.done == self.runs.len()
    }

    /// Bytes of the arena that cannot be handed out before the batch was sent.
    pub const fn used(&self) -> usize {
        self.used
    }

    /// Number of datagrams that wait to be sent.
    pub fn datagrams(&self) -> usize {
        self.runs[self.done..].iter().map(|run| run.count).sum()
    }

    /// Forgets what was not sent.
    pub fn clear(&mut self) {
        self.used = 0;
        self.reserved = 0;
        self.runs.clear();
        self.done = 0;
    }

    /// Drops the first run of those that wait, as far as it does, and answers how many datagrams that were.
    pub fn skip_first(&mut self) -> usize {
        let Some((count, len)) = self.first().map(|(run, bytes)| (run.count, bytes.len())) else { return 0 };
        self.advance(len);
        count
    }

    /// The first run of those that wait, as far as it does.
    pub(super) fn first(&self) -> Option<(&Run, &[u8])> {
        self.runs.get(self.done).map(|run| (run, &self.arena[run.range.clone()]))
    }

    /// Takes the first `len` bytes, whole datagrams, from the first run; the memory is free again when nothing waits.
    pub(super) fn advance(&mut self, len: usize) {
        let Some(run) = self.runs.get_mut(self.done) else { return };
        run.range.start += len;
        run.count -= len.div_ceil(run.stride);
        if run.range.is_empty() {
            self.done += 1;
        }
        if self.is_empty() {
            self.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16) -> Endpoint {
        Endpoint::to(([192, 0, 2, 1], port).into())
    }

    /// Stride, count and length of each run after committing frames of these ports and lengths.
    fn runs_of(frames: &[(u16, usize)]) -> Vec<(usize, usize, usize)> {
        let mut batch = SendBatch::new(1 << 20);
        for &(port, len) in frames {
            batch.slot(len).expect("fits");
            batch.commit(to(port), Cut::ByPath, len);
        }
        assert_eq!(batch.datagrams(), frames.len());
        let mut runs = Vec::new();
        while let Some((run, bytes)) = batch.first() {
            runs.push((run.stride, run.count, bytes.len()));
            let len = bytes.len();
            batch.advance(len);
        }
        assert_eq!((batch.is_empty(), batch.used()), (true, 0));
        runs
    }

    #[test]
    fn equal_frames_to_one_endpoint_form_a_run_that_a_short_one_ends() {
        assert_eq!(
            runs_of(&[(1, 100), (1, 100), (1, 50), (1, 50), (1, 60)]),
            [(100, 3, 250), (50, 1, 50), (60, 1, 60)]
        );
        assert_eq!(runs_of(&[(1, 100), (2, 100), (1, 100)]).len(), 3);
    }

    #[test]
    fn runs_keep_the_limits_of_the_kernel() {
        assert_eq!(runs_of(&[(1, 10); MAX_SEGMENTS + 1]), [(10, MAX_SEGMENTS, 640), (10, 1, 10)]);
        assert_eq!(runs_of(&[(1, 1452); 46]), [(1452, 45, 65_340), (1452, 1, 1452)]);
    }

    #[test]
    fn a_full_batch_hands_out_no_slot() {
        let mut batch = SendBatch::new(0);
        assert!(batch.slot(MAX_SEND_SIZE + 1).is_none());
        assert!(batch.slot(usize::MAX).is_none());
        batch.slot(MAX_SEND_SIZE).expect("fits");
        batch.commit(to(1), Cut::ByPath, MAX_SEND_SIZE - 1);
        assert!(batch.slot(2).is_none());
        assert!(batch.slot(1).is_some());
        batch.clear();
        assert!(batch.is_empty());
        for port in 0..MAX_RUNS as u16 {
            batch.slot(1).expect("fits");
            batch.commit(to(port), Cut::ByPath, 1);
        }
        assert!(batch.slot(1).is_none());
    }

    #[test]
    fn an_uncommitted_slot_and_an_empty_frame_leave_nothing() {
        let mut batch = SendBatch::new(0);
        batch.slot(100).expect("fits").fill(1);
        batch.slot(10).expect("fits").fill(2);
        batch.commit(to(1), Cut::ByPath, 0);
        assert!(batch.is_empty());
        batch.slot(10).expect("fits").fill(3);
        batch.commit(to(1), Cut::ByPath, 5);
        assert_eq!(batch.first().map(|(_, bytes)| bytes), Some([3; 5].as_slice()));
    }

    #[test]
    fn a_run_that_was_sent_in_part_goes_on_where_it_stopped() {
        let mut batch = SendBatch::new(0);
        for (index, len) in [100, 100, 100, 50].into_iter().enumerate() {
            batch.slot(len).expect("fits").fill(index as u8);
            batch.commit(to(1), Cut::ByPath, len);
        }
        batch.advance(200);
        assert_eq!(batch.datagrams(), 2);
        let (run, bytes) = batch.first().expect("two are left");
        assert_eq!((run.stride, run.count, bytes), (100, 2, &[[2; 100].as_slice(), &[3; 50]].concat()[..]));
        // Nothing joins it behind the short one, and what comes now is sent after it.
        batch.slot(50).expect("fits").fill(4);
        batch.commit(to(1), Cut::ByPath, 50);
        assert_eq!(batch.skip_first(), 2);
        assert_eq!(batch.first().map(|(_, bytes)| bytes), Some([4; 50].as_slice()));
        assert_eq!((batch.skip_first(), batch.skip_first()), (1, 0));
        assert_eq!((batch.is_empty(), batch.used()), (true, 0));
    }
}
