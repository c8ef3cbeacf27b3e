//! Layer 3: cryptokey routing (protocol.md 9), the longest-prefix match from an inner address to a peer.
//!
//! [`AllowedIps`] is an immutable snapshot: control builds a new one for each change of configuration, the data
//! plane reads it without locks. Single addresses (/32, /128) lie in a hash map, everything shorter in sorted
//! ranges that no longer overlap, so that a lookup is one hash probe and, where that misses, one binary search.
//! `docs/adr/0007-routing-snapshot.md` has the measurement behind this shape.

mod hosts;
mod ranges;
#[cfg(test)]
mod tests;

use core::fmt;
use hosts::Hosts;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use ranges::Ranges;
use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
};

/// Most prefixes that one snapshot takes. Keeps positions in 32 bits; far beyond a full Internet table (10^6).
pub const MAX_PREFIXES: usize = 1 << 24;

/// Position of a value in [`AllowedIps::values`]; below [`MAX_PREFIXES`].
type Slot = u32;

/// Allowed IPs of all peers: from an inner address to the value of the longest prefix that holds it.
///
/// IPv4 and IPv6 are strictly apart: an IPv4-mapped IPv6 address (`::ffff:a.b.c.d`) in an inner packet is an IPv6
/// address, and treating it as IPv4 would let a peer use the addresses of another.
///
/// # Costs
/// With n prefixes: a lookup is O(1) for a single address, O(log n) otherwise, without allocation; building is
/// O(n log n). Memory beside the values is at most 24 bytes for an IPv4 network and 48 for an IPv6 one, 21 and 76
/// for single addresses. There is no insertion into a snapshot: a change costs a build, so changes want to be batched.
pub struct AllowedIps<T> {
    values: Vec<T>,
    v4: Family<u32>,
    v6: Family<u128>,
}

#[derive(Default)]
struct Family<A> {
    hosts: Hosts<A>,
    networks: Ranges<A>,
}

impl<T> AllowedIps<T> {
    /// Starts a snapshot.
    pub fn builder() -> Builder<T> {
        Builder { routes: Vec::new(), seen: HashMap::new() }
    }

    /// The snapshot of `routes`. Bits of a prefix beyond its length are ignored, as `wg` does.
    ///
    /// # Errors
    /// [`RoutingError`], as [`Builder::insert`] returns it.
    pub fn try_from_iter(routes: impl IntoIterator<Item = (IpNet, T)>) -> Result<Self, RoutingError<T>> {
        let mut builder = Self::builder();
        for (prefix, value) in routes {
            builder.insert(prefix, value)?;
        }
        Ok(builder.build())
    }

    /// The value of the longest prefix that holds `address`.
    pub fn lookup(&self, address: IpAddr) -> Option<&T> {
        let slot = match address {
            IpAddr::V4(address) => self.v4.lookup(address.to_bits()),
            IpAddr::V6(address) => self.v6.lookup(address.to_bits()),
        }?;
        self.values.get(slot as usize)
    }

    /// How many prefixes there are.
    pub const fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is no prefix at all.
    pub const fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

impl<A: ranges::Address> Family<A> {
    fn lookup(&self, address: A) -> Option<Slot> {
        // No prefix is longer than a single address, so a hit here needs no second opinion.
        self.hosts.get(&address).or_else(|| self.networks.get(address))
    }
}

impl<T> Default for AllowedIps<T> {
    fn default() -> Self {
        Self { values: Vec::new(), v4: Family::default(), v6: Family::default() }
    }
}

impl<T> fmt::Debug for AllowedIps<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AllowedIps({} prefixes)", self.len())
    }
}

/// Collects prefixes and refuses what would be ambiguous.
pub struct Builder<T> {
    /// Prefixes as written, with host bits, so that an error can quote them.
    routes: Vec<(IpNet, T)>,
    /// From a prefix without host bits to its place in `routes`.
    seen: HashMap<IpNet, usize>,
}

impl<T> Builder<T> {
    /// Adds a prefix. Overlap is fine (the longer prefix wins); naming the same prefix twice is not.
    ///
    /// # Errors
    /// [`RoutingError::Duplicate`] when the prefix is there already: the earlier route is taken out of the builder
    /// to be named in the error. [`RoutingError::TooManyPrefixes`] beyond [`MAX_PREFIXES`].
    pub fn insert(&mut self, prefix: IpNet, value: T) -> Result<(), RoutingError<T>> {
        let place = self.routes.len();
        match self.seen.entry(prefix.trunc()) {
            Entry::Occupied(entry) => {
                let earlier = entry.remove();
                let first = self.routes.swap_remove(earlier);
                // The last route has moved into the gap.
                if let Some((moved, _)) = self.routes.get(earlier) {
                    self.seen.insert(moved.trunc(), earlier);
                }
                Err(RoutingError::Duplicate { first, second: (prefix, value) })
            }
            Entry::Vacant(_) if place >= MAX_PREFIXES => Err(RoutingError::TooManyPrefixes),
            Entry::Vacant(entry) => {
                entry.insert(place);
                self.routes.push((prefix, value));
                Ok(())
            }
        }
    }

    /// Adds a prefix, or moves it from the peer that had it; returns what that one's value was. This is what the
    /// WireGuard configuration protocol asks for: an allowed IP given to a second peer leaves the first.
    ///
    /// # Errors
    /// [`RoutingError::TooManyPrefixes`] beyond [`MAX_PREFIXES`].
    pub fn replace(&mut self, prefix: IpNet, value: T) -> Result<Option<T>, RoutingError<T>> {
        let place = self.seen.get(&prefix.trunc()).and_then(|place| self.routes.get_mut(*place));
        let Some(route) = place else {
            return self.insert(prefix, value).map(|()| None);
        };
        Ok(Some(core::mem::replace(route, (prefix, value)).1))
    }

    /// The snapshot.
    pub fn build(self) -> AllowedIps<T> {
        let (mut v4, mut v6) = (Family::default(), Family::default());
        let mut networks_v4 = Vec::new();
        let mut networks_v6 = Vec::new();
        let mut values = Vec::with_capacity(self.routes.len());
        // `insert` keeps the number of routes below MAX_PREFIXES, which a slot can count.
        for (slot, (prefix, value)) in (0..).zip(self.routes) {
            match prefix.trunc() {
                IpNet::V4(net) if net.prefix_len() == net.max_prefix_len() => {
                    v4.hosts.insert(net.addr().to_bits(), slot);
                }
                IpNet::V6(net) if net.prefix_len() == net.max_prefix_len() => {
                    v6.hosts.insert(net.addr().to_bits(), slot);
                }
                IpNet::V4(net) => networks_v4.push(bounds_v4(net, slot)),
                IpNet::V6(net) => networks_v6.push(bounds_v6(net, slot)),
            }
            values.push(value);
        }
        v4.networks = Ranges::flatten(networks_v4);
        v6.networks = Ranges::flatten(networks_v6);
        AllowedIps { values, v4, v6 }
    }
}

fn bounds_v4(net: Ipv4Net, slot: Slot) -> ranges::Network<u32> {
    ranges::Network { first: net.network().to_bits(), last: net.broadcast().to_bits(), slot }
}

fn bounds_v6(net: Ipv6Net, slot: Slot) -> ranges::Network<u128> {
    ranges::Network { first: net.network().to_bits(), last: net.broadcast().to_bits(), slot }
}

impl<T> fmt::Debug for Builder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Builder({} prefixes)", self.routes.len())
    }
}

/// The caller's routes make no table.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum RoutingError<T> {
    /// One prefix was given twice; both routes as they were written, with their values, so that the caller can
    /// name the two peers.
    #[error("{} and {} are the same prefix", first.0, second.0)]
    Duplicate {
        /// The route that came first.
        first: (IpNet, T),
        /// The route that says it again.
        second: (IpNet, T),
    },
    /// More than [`MAX_PREFIXES`].
    #[error("more than {MAX_PREFIXES} prefixes")]
    TooManyPrefixes,
}

impl<T> fmt::Debug for RoutingError<T> {
    /// Without the values: they need not be printable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate { first, second } => write!(f, "Duplicate({}, {})", first.0, second.0),
            Self::TooManyPrefixes => f.write_str("TooManyPrefixes"),
        }
    }
}
