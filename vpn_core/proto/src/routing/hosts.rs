//! Single addresses: a hash map with a fast, unkeyed hash.

use super::Slot;
use core::hash::{BuildHasherDefault, Hash, Hasher};
use std::collections::HashMap;

/// From single addresses to slots.
pub(super) struct Hosts<A>(HashMap<A, Slot, BuildHasherDefault<FoldHasher>>);

impl<A: Copy + Eq + Hash> Hosts<A> {
    pub(super) fn insert(&mut self, address: A, slot: Slot) {
        self.0.insert(address, slot);
    }

    #[inline]
    pub(super) fn get(&self, address: &A) -> Option<Slot> {
        self.0.get(address).copied()
    }
}

impl<A> Default for Hosts<A> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

/// Multiply to 128 bits and fold the halves.
///
/// A hash without a secret key is enough *here*: only configuration puts addresses into the map, the network merely
/// looks them up, and a lookup that misses walks no longer chain than the configured addresses made. Do not use it
/// where a stranger can insert.
#[derive(Default)]
pub(super) struct FoldHasher(u64);

/// Odd, with bits spread evenly: the fractions of pi, as good as any.
const MULTIPLIER: u64 = 0x243f_6a88_85a3_08d3;
/// Keeps the address 0 (and hence `::`) from being a fixed point.
const OFFSET: u64 = 0x1319_8a2e_0370_7344;

impl Hasher for FoldHasher {
    #[inline]
    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word ^ OFFSET) * u128::from(MULTIPLIER);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }

    #[inline]
    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    #[inline]
    fn write_u128(&mut self, word: u128) {
        self.write_u64((word >> 64) as u64);
        self.write_u64(word as u64);
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64((*byte).into());
        }
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn hash<A: Hash>(address: A) -> u64 {
        let mut hasher = FoldHasher::default();
        address.hash(&mut hasher);
        hasher.finish()
    }

    /// The map takes its bucket from the low bits and its tag from the top seven: both must vary over a pool.
    fn assert_spread(hashes: &[u64]) {
        let buckets = hashes.len() as u64;
        assert!(buckets.is_power_of_two());
        let used: HashSet<u64> = hashes.iter().map(|hash| hash & (buckets - 1)).collect();
        // A random function leaves 1/e of the buckets empty.
        assert!(used.len() * 2 > hashes.len(), "{} of {buckets} buckets used", used.len());
        let tags: HashSet<u64> = hashes.iter().map(|hash| hash >> 57).collect();
        assert!(tags.len() > 100, "{} of 128 tags used", tags.len());
    }

    #[test]
    fn consecutive_pool_addresses_spread() {
        assert_spread(&(0..1 << 14).map(|host| hash(0x0a42_0000_u32 + host)).collect::<Vec<_>>());
    }

    #[test]
    fn strided_pool_addresses_spread() {
        assert_spread(
            &(0..1 << 14).map(|subnet| hash((0x0a00_u32 << 16 | 1) + (subnet << 8))).collect::<Vec<_>>(),
        );
    }

    #[test]
    fn ipv6_addresses_that_differ_in_one_half_spread() {
        let pool = 0xfd66_u128 << 112;
        assert_spread(&(0..1 << 14).map(|host: u128| hash(pool + host)).collect::<Vec<_>>());
        assert_spread(&(0..1 << 14).map(|subnet: u128| hash(pool + (subnet << 64) + 1)).collect::<Vec<_>>());
    }
}
