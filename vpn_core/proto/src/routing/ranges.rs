//! Networks: nested prefixes, flattened into consecutive ranges of addresses.

use super::Slot;
use core::hash::Hash;

/// An address as a number.
pub(super) trait Address: Copy + Ord + Hash {
    /// The lowest address.
    const ZERO: Self;
    /// The address after this one.
    fn next(self) -> Option<Self>;
}

impl Address for u32 {
    const ZERO: Self = 0;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Address for u128 {
    const ZERO: Self = 0;
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// One prefix: its first and last address, and where its value is.
#[derive(Clone, Copy)]
pub(super) struct Network<A> {
    pub(super) first: A,
    pub(super) last: A,
    pub(super) slot: Slot,
}

/// Ranges that cover all addresses without overlap: range i goes from `starts[i]` up to the next start, and belongs
/// to `owners[i]`. Two arrays, because a search touches the starts only.
pub(super) struct Ranges<A> {
    /// Ascending; the first is zero. Empty when there is no network.
    starts: Vec<A>,
    owners: Vec<Option<Slot>>,
}

impl<A: Address> Ranges<A> {
    /// Sweeps over the prefixes in order of their addresses with a stack of those that are open. Prefixes nest or
    /// are disjoint, so the innermost open one owns what lies between two boundaries: n prefixes make at most
    /// 2 n + 1 ranges.
    pub(super) fn flatten(mut networks: Vec<Network<A>>) -> Self {
        let mut ranges = Self::default();
        if networks.is_empty() {
            return ranges;
        }
        // Of prefixes with the same first address the shortest comes first: it is the outermost.
        networks.sort_unstable_by(|a, b| a.first.cmp(&b.first).then(b.last.cmp(&a.last)));
        ranges.begin(A::ZERO, None);
        let mut open: Vec<Network<A>> = Vec::new();
        for network in networks {
            while let Some(ended) = open.pop_if(|innermost| innermost.last < network.first) {
                ranges.end(ended, open.last());
            }
            ranges.begin(network.first, Some(network.slot));
            open.push(network);
        }
        while let Some(ended) = open.pop() {
            ranges.end(ended, open.last());
        }
        ranges.starts.shrink_to_fit();
        ranges.owners.shrink_to_fit();
        ranges
    }

    /// The owner of the range that holds `address`.
    #[inline]
    pub(super) fn get(&self, address: A) -> Option<Slot> {
        let after = self.starts.partition_point(|start| *start <= address);
        *self.owners.get(after.checked_sub(1)?)?
    }

    /// `ended` is over; from there on `outer` owns the addresses again.
    fn end(&mut self, ended: Network<A>, outer: Option<&Network<A>>) {
        // A prefix that reaches the last address of all has nothing after it.
        if let Some(start) = ended.last.next() {
            self.begin(start, outer.map(|network| network.slot));
        }
    }

    fn begin(&mut self, start: A, owner: Option<Slot>) {
        // Several prefixes can begin or end at one address: what is said last holds.
        if self.starts.last() == Some(&start) {
            self.starts.pop();
            self.owners.pop();
        }
        self.starts.push(start);
        self.owners.push(owner);
    }
}

impl<A> Default for Ranges<A> {
    fn default() -> Self {
        Self { starts: Vec::new(), owners: Vec::new() }
    }
}
