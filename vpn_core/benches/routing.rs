//! Longest-prefix match: the table that we use against what was not chosen (docs/adr/0007-routing-snapshot.md).
//!
//! Each measurement looks up 1024 addresses in turn, drawn beforehand from the prefixes of the table, so that
//! caches hold about what they would hold under many flows; divide by 1024 for one lookup.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng as _, SeedableRng as _};
use std::{
    collections::{HashMap, HashSet},
    hint::black_box,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};
use vpn_core::routing::AllowedIps;

const LOOKUPS: usize = 1024;
const SIZES: [usize; 3] = [1, 1000, 100_000];

/// What the table holds.
#[derive(Clone, Copy)]
enum Kind {
    /// Pool addresses, as road warriors have them.
    HostsV4,
    HostsV6,
    /// Networks of 8 to 31 and of 16 to 127 bits, as site links have them.
    NetworksV4,
    NetworksV6,
}

const KINDS: [(&str, Kind); 4] = [
    ("hosts-v4", Kind::HostsV4),
    ("hosts-v6", Kind::HostsV6),
    ("networks-v4", Kind::NetworksV4),
    ("networks-v6", Kind::NetworksV6),
];

fn prefixes(kind: Kind, count: usize, rng: &mut ChaCha20Rng) -> Vec<IpNet> {
    let mut seen = HashSet::new();
    while seen.len() < count {
        let at = u32::try_from(seen.len()).expect("small");
        let wide = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        let prefix: IpNet = match kind {
            Kind::HostsV4 => Ipv4Net::from(Ipv4Addr::from_bits(0x0a40_0000 + at)).into(),
            Kind::HostsV6 => Ipv6Net::from(Ipv6Addr::from_bits((0xfd66 << 112) + u128::from(at))).into(),
            Kind::NetworksV4 => {
                let length = 8 + (rng.next_u32() % 24) as u8;
                Ipv4Net::new_assert(Ipv4Addr::from_bits(rng.next_u32()), length).trunc().into()
            }
            Kind::NetworksV6 => {
                let length = 16 + (rng.next_u32() % 112) as u8;
                Ipv6Net::new_assert(Ipv6Addr::from_bits(wide), length).trunc().into()
            }
        };
        seen.insert(prefix);
    }
    let mut prefixes: Vec<_> = seen.into_iter().collect();
    prefixes.sort();
    prefixes
}

/// Addresses inside the prefixes, in random order.
fn addresses(prefixes: &[IpNet], rng: &mut ChaCha20Rng) -> Vec<IpAddr> {
    let mut address = || {
        let prefix = prefixes[rng.next_u64() as usize % prefixes.len()];
        let noise = u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64());
        match prefix {
            IpNet::V4(net) => IpAddr::V4(Ipv4Addr::from_bits(
                net.addr().to_bits() | noise as u32 & net.hostmask().to_bits(),
            )),
            IpNet::V6(net) => {
                IpAddr::V6(Ipv6Addr::from_bits(net.addr().to_bits() | noise & net.hostmask().to_bits()))
            }
        }
    };
    (0..LOOKUPS).map(|_| address()).collect()
}

/// Both families in `prefix-trie`, host addresses among the rest.
struct Tries {
    v4: PrefixMap<Ipv4Net, usize>,
    v6: PrefixMap<Ipv6Net, usize>,
}

impl Tries {
    fn new(prefixes: &[IpNet]) -> Self {
        let mut tries = Self { v4: PrefixMap::new(), v6: PrefixMap::new() };
        for (value, prefix) in prefixes.iter().enumerate() {
            match prefix {
                IpNet::V4(net) => tries.v4.insert(*net, value),
                IpNet::V6(net) => tries.v6.insert(*net, value),
            };
        }
        tries
    }

    fn lookup(&self, address: IpAddr) -> Option<&usize> {
        match address {
            IpAddr::V4(address) => self.v4.get_lpm(&address.into()).map(|(_, value)| value),
            IpAddr::V6(address) => self.v6.get_lpm(&address.into()).map(|(_, value)| value),
        }
    }
}

fn lookups(criterion: &mut Criterion) {
    for (name, kind) in KINDS {
        let mut group = criterion.benchmark_group(format!("lookup/{name}"));
        group.throughput(Throughput::Elements(LOOKUPS as u64));
        group
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .sample_size(20);
        for size in SIZES {
            let mut rng = ChaCha20Rng::seed_from_u64(size as u64);
            let prefixes = prefixes(kind, size, &mut rng);
            let addresses = addresses(&prefixes, &mut rng);

            let table =
                AllowedIps::try_from_iter(prefixes.iter().copied().zip(0_usize..)).expect("no duplicates");
            group.bench_with_input(
                BenchmarkId::new("allowed-ips", size),
                &addresses,
                |bencher, addresses| {
                    bencher.iter(|| {
                        addresses.iter().filter_map(|address| table.lookup(*black_box(address))).count()
                    });
                },
            );
            let tries = Tries::new(&prefixes);
            group.bench_with_input(
                BenchmarkId::new("prefix-trie", size),
                &addresses,
                |bencher, addresses| {
                    bencher.iter(|| {
                        addresses.iter().filter_map(|address| tries.lookup(*black_box(address))).count()
                    });
                },
            );
            if matches!(kind, Kind::HostsV4 | Kind::HostsV6) {
                // What the standard library's keyed hash would cost.
                let map: HashMap<IpAddr, usize> = prefixes.iter().map(IpNet::addr).zip(0..).collect();
                group.bench_with_input(
                    BenchmarkId::new("siphash", size),
                    &addresses,
                    |bencher, addresses| {
                        bencher.iter(|| {
                            addresses.iter().filter_map(|address| map.get(black_box(address))).count()
                        });
                    },
                );
            }
        }
        group.finish();
    }
}

fn builds(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("build/networks-v4");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2)).sample_size(10);
    for size in SIZES {
        let prefixes = prefixes(Kind::NetworksV4, size, &mut ChaCha20Rng::seed_from_u64(size as u64));
        group.bench_with_input(BenchmarkId::new("allowed-ips", size), &prefixes, |bencher, prefixes| {
            bencher.iter(|| AllowedIps::try_from_iter(prefixes.iter().copied().zip(0_usize..)).map_err(drop));
        });
        group.bench_with_input(BenchmarkId::new("prefix-trie", size), &prefixes, |bencher, prefixes| {
            bencher.iter(|| Tries::new(prefixes));
        });
    }
    group.finish();
}

criterion_group!(benches, lookups, builds);
criterion_main!(benches);
