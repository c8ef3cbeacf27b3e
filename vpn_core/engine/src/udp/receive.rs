//! A batch of received datagrams: one arena, and what lies where in it.

use crate::base::Endpoint;
use std::ops::Range;

/// The most that one system call receives, in bytes: a run of datagrams that the kernel joined (GRO).
pub const MAX_DATAGRAM_RUN: usize = 65_535;

/// Runs in one batch.
pub const MAX_RECEIVED: usize = 256; // bounds the time until a batch is served when datagrams are tiny

/// Datagrams from one endpoint that arrived in a row; all but the last are `stride` bytes long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// Where they lie in the arena.
    pub range: Range<usize>,
    /// Size of each datagram in bytes, not 0; the last one may be shorter.
    pub stride: usize,
    /// Who sent them, and to which of our addresses.
    pub from: Endpoint,
}

impl Received {
    /// The place of each datagram in the arena, in the order of arrival.
    pub fn datagrams(&self) -> impl ExactSizeIterator<Item = Range<usize>> + use<> {
        let (end, stride) = (self.range.end, self.stride.max(1));
        self.range.clone().step_by(stride).map(move |start| start..end.min(start + stride))
    }
}

/// What one call of `recv` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecvReport {
    /// Datagrams received.
    pub datagrams: usize,
    /// Runs dropped because the kernel had cut them or their addresses.
    pub truncated: usize,
    /// Errors of earlier datagrams that the network reported (ICMP); they concern no received one.
    pub errors: usize,
    /// The socket may hold more: the batch was full before the socket was empty.
    pub more: bool,
}

/// The memory of one receiving thread, reused from batch to batch.
#[derive(Debug)]
pub struct RecvBatch {
    pub(super) arena: Box<[u8]>,
    pub(super) used: usize,
    pub(super) received: Vec<Received>,
}

impl RecvBatch {
    /// A batch with an arena of `size` bytes, at least [`MAX_DATAGRAM_RUN`]. 256 KB hold four full runs and stay
    /// in the cache.
    pub fn new(size: usize) -> Self {
        Self {
            arena: vec![0; size.max(MAX_DATAGRAM_RUN)].into_boxed_slice(),
            used: 0,
            received: Vec::with_capacity(MAX_RECEIVED),
        }
    }

    /// What was received, in the order of arrival.
    pub fn received(&self) -> &[Received] {
        &self.received
    }

    /// What was received and the arena that it lies in, to open the datagrams in place.
    pub fn parts_mut(&mut self) -> (&[Received], &mut [u8]) {
        (&self.received, &mut self.arena)
    }

    pub(super) fn clear(&mut self) {
        self.used = 0;
        self.received.clear();
    }

    /// Room for one more run, if a whole one is sure to fit.
    pub(super) fn room(&mut self) -> Option<&mut [u8]> {
        if self.received.len() >= MAX_RECEIVED {
            return None;
        }
        let end = self.used + MAX_DATAGRAM_RUN;
        self.arena.get_mut(self.used..end)
    }

    /// Records `len` bytes that were written to [`Self::room`].
    pub(super) fn push(&mut self, len: usize, stride: Option<usize>, from: Endpoint) -> usize {
        let received = Received {
            range: self.used..self.used + len,
            stride: stride.unwrap_or(len).clamp(1, len.max(1)),
            from,
        };
        let datagrams = received.datagrams().len();
        self.used += len;
        self.received.push(received);
        datagrams
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint::to("192.0.2.1:9".parse().expect("an address"))
    }

    #[test]
    fn a_run_yields_its_datagrams_and_the_short_one_last() {
        let received = Received { range: 100..350, stride: 100, from: endpoint() };
        assert_eq!(received.datagrams().collect::<Vec<_>>(), [100..200, 200..300, 300..350]);
        let single = Received { range: 5..6, stride: 1, from: endpoint() };
        assert_eq!(single.datagrams().collect::<Vec<_>>(), vec![5..6]);
    }

    #[test]
    fn room_is_given_only_for_a_whole_run() {
        let mut batch = RecvBatch::new(0);
        assert_eq!(batch.room().map(|room| room.len()), Some(MAX_DATAGRAM_RUN));
        assert_eq!(batch.push(2500, Some(1000), endpoint()), 3);
        assert!(batch.room().is_none());
        batch.clear();
        assert!(batch.room().is_some());
        let mut batch = RecvBatch::new(10 * MAX_DATAGRAM_RUN);
        for _ in 0..MAX_RECEIVED {
            assert!(batch.room().is_some());
            batch.push(1, None, endpoint());
        }
        assert!(batch.room().is_none());
    }
}
