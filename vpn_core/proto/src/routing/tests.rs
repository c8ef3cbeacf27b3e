//! The table against a linear scan, and the edges by name.

use super::*;
use proptest::prelude::*;
use std::net::{Ipv4Addr, Ipv6Addr};

fn net(text: &str) -> IpNet {
    text.parse().expect("a prefix")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn table(routes: &[(&str, u32)]) -> AllowedIps<u32> {
    AllowedIps::try_from_iter(routes.iter().map(|(prefix, value)| (net(prefix), *value)))
        .expect("no duplicates")
}

/// The slow, obvious implementation.
fn scan(routes: &[(IpNet, u32)], address: IpAddr) -> Option<&u32> {
    let holding = routes.iter().filter(|(prefix, _)| prefix.contains(&address));
    holding.max_by_key(|(prefix, _)| prefix.prefix_len()).map(|(_, value)| value)
}

#[test]
fn longer_prefix_wins_whatever_the_order() {
    let routes = [("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("10.1.2.0/24", 3), ("10.1.2.3/32", 4)];
    let mut reversed = routes;
    reversed.reverse();
    for table in [table(&routes), table(&reversed)] {
        assert_eq!(table.lookup(ip("10.1.2.3")), Some(&4));
        assert_eq!(table.lookup(ip("10.1.2.2")), Some(&3));
        assert_eq!(table.lookup(ip("10.1.3.0")), Some(&2));
        assert_eq!(table.lookup(ip("10.255.255.255")), Some(&1));
        assert_eq!(table.lookup(ip("11.0.0.0")), None);
        assert_eq!(table.lookup(ip("9.255.255.255")), None);
    }
}

#[test]
fn default_routes_hold_the_first_and_the_last_address() {
    let table = table(&[("0.0.0.0/0", 4), ("::/0", 6)]);
    for address in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST] {
        assert_eq!(table.lookup(address.into()), Some(&4));
    }
    for address in [Ipv6Addr::UNSPECIFIED, Ipv6Addr::from_bits(u128::MAX)] {
        assert_eq!(table.lookup(address.into()), Some(&6));
    }
}

#[test]
fn split_default_routes_meet_without_a_gap() {
    let table = table(&[("0.0.0.0/1", 1), ("128.0.0.0/1", 2), ("::/1", 3), ("8000::/1", 4)]);
    assert_eq!(table.lookup(ip("127.255.255.255")), Some(&1));
    assert_eq!(table.lookup(ip("128.0.0.0")), Some(&2));
    assert_eq!(table.lookup(ip("255.255.255.255")), Some(&2));
    assert_eq!(table.lookup(ip("7fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")), Some(&3));
    assert_eq!(table.lookup(ip("8000::")), Some(&4));
}

#[test]
fn pairs_of_addresses_end_where_they_should() {
    let table = table(&[("192.0.2.2/31", 1), ("2001:db8::2/127", 2), ("192.0.2.4/31", 3)]);
    assert_eq!(table.lookup(ip("192.0.2.1")), None);
    assert_eq!(table.lookup(ip("192.0.2.2")), Some(&1));
    assert_eq!(table.lookup(ip("192.0.2.3")), Some(&1));
    assert_eq!(table.lookup(ip("192.0.2.4")), Some(&3));
    assert_eq!(table.lookup(ip("192.0.2.6")), None);
    assert_eq!(table.lookup(ip("2001:db8::1")), None);
    assert_eq!(table.lookup(ip("2001:db8::3")), Some(&2));
    assert_eq!(table.lookup(ip("2001:db8::4")), None);
}

#[test]
fn nested_networks_with_a_common_end_return_to_the_outermost() {
    let table = table(&[("10.0.0.0/8", 1), ("10.128.0.0/9", 2), ("10.192.0.0/10", 3), ("11.0.0.0/8", 4)]);
    assert_eq!(table.lookup(ip("10.255.255.255")), Some(&3));
    assert_eq!(table.lookup(ip("11.0.0.0")), Some(&4));
    assert_eq!(table.lookup(ip("12.0.0.0")), None);
}

#[test]
fn ipv4_mapped_address_is_not_its_ipv4_address() {
    let table = table(&[("10.0.0.1/32", 1), ("10.0.0.0/8", 2)]);
    assert_eq!(table.lookup(ip("::ffff:10.0.0.1")), None);
    assert_eq!(table.lookup(ip("::10.0.0.1")), None);
    let table = self::table(&[("::ffff:10.0.0.1/128", 1), ("::ffff:0:0/96", 2)]);
    assert_eq!(table.lookup(ip("10.0.0.1")), None);
    assert_eq!(table.lookup(ip("::ffff:10.0.0.1")), Some(&1));
    assert_eq!(table.lookup(ip("::ffff:10.0.0.2")), Some(&2));
}

#[test]
fn host_bits_of_a_prefix_are_ignored() {
    assert_eq!(table(&[("10.1.2.3/8", 1)]).lookup(ip("10.200.0.1")), Some(&1));
}

#[test]
fn empty_table_routes_nothing() {
    let table = AllowedIps::<u32>::default();
    assert!(table.is_empty());
    assert_eq!(table.lookup(ip("0.0.0.0")), None);
    assert_eq!(table.lookup(ip("::")), None);
}

#[test]
fn duplicate_names_both_routes_as_written() {
    let routes = [(net("10.1.2.3/24"), "alice"), (net("10.9.0.0/16"), "carol"), (net("10.1.2.0/24"), "bob")];
    let error = AllowedIps::try_from_iter(routes).expect_err("alice and bob share a prefix");
    assert_eq!(error.to_string(), "10.1.2.3/24 and 10.1.2.0/24 are the same prefix");
    let RoutingError::Duplicate { first, second } = error else { panic!("not the duplicate") };
    assert_eq!((first.1, second.1), ("alice", "bob"));
}

#[test]
fn builder_is_sound_after_a_duplicate() {
    let mut builder = AllowedIps::builder();
    for (prefix, value) in [("10.0.0.0/8", 1), ("11.0.0.0/8", 2), ("12.0.0.0/8", 3)] {
        builder.insert(net(prefix), value).expect("new");
    }
    builder.insert(net("10.0.0.0/8"), 4).expect_err("there already");
    builder.insert(net("12.0.0.0/8"), 5).expect_err("there already, and moved meanwhile");
    builder.insert(net("10.0.0.0/8"), 6).expect("was taken out with the error");
    let table = builder.build();
    assert_eq!(table.len(), 2);
    assert_eq!(table.lookup(ip("10.0.0.1")), Some(&6));
    assert_eq!(table.lookup(ip("11.0.0.1")), Some(&2));
    assert_eq!(table.lookup(ip("12.0.0.1")), None);
}

#[test]
fn replacing_moves_a_prefix_to_the_later_peer() {
    let mut builder = AllowedIps::builder();
    assert_eq!(builder.replace(net("10.0.0.7/32"), 1).expect("room"), None);
    assert_eq!(builder.replace(net("10.0.0.7/32"), 2).expect("room"), Some(1));
    assert_eq!(builder.build().lookup(ip("10.0.0.7")), Some(&2));
}

/// Addresses in a few small neighbourhoods and at the ends, so that prefixes nest, touch and share ends often.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = prop_oneof![
        (0..64_u32).prop_map(|low| 0x0a00_0000 + low),
        (0..64_u32),
        (0..64_u32).prop_map(|low| u32::MAX - low),
        any::<u32>(),
    ];
    let v6 = prop_oneof![
        (0..64_u128).prop_map(|low| (0xfd66 << 112) + low),
        (0..64_u128),
        (0..64_u128).prop_map(|low| u128::MAX - low),
        // IPv4-mapped twins of the neighbourhoods above.
        (0..64_u128).prop_map(|low| 0xffff_0a00_0000 + low),
        any::<u128>(),
    ];
    prop_oneof![
        v4.prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
        v6.prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
    ]
}

fn prefix() -> impl Strategy<Value = IpNet> {
    (address(), any::<prop::sample::Index>(), any::<bool>()).prop_map(|(address, index, long)| {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        // Half of the prefixes are long, where the neighbourhoods differ.
        let length = if long { bits - index.index(9) } else { index.index(bits + 1) };
        IpNet::new(address, u8::try_from(length).expect("at most 128")).expect("within the family").trunc()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn table_agrees_with_a_linear_scan(
        prefixes in prop::collection::hash_set(prefix(), 0..48),
        addresses in prop::collection::vec(address(), 32),
    ) {
        let routes: Vec<(IpNet, u32)> = prefixes.into_iter().zip(0..).collect();
        let table = AllowedIps::try_from_iter(routes.clone()).expect("a set has no duplicates");
        // Beside the drawn addresses, those where every prefix begins and ends, and their neighbours.
        let edges = routes.iter().flat_map(|(prefix, _)| edges(prefix));
        for address in addresses.into_iter().chain(edges) {
            prop_assert_eq!(table.lookup(address), scan(&routes, address), "{}", address);
        }
    }

    #[test]
    fn every_second_mention_of_a_prefix_is_refused(
        prefixes in prop::collection::vec(prefix(), 1..24),
        again in any::<prop::sample::Index>(),
    ) {
        let mut builder = AllowedIps::builder();
        for prefix in &prefixes {
            builder.replace(*prefix, 0).expect("room");
        }
        let duplicate = builder.insert(*again.get(&prefixes), 1).is_err();
        prop_assert!(duplicate);
    }
}

fn edges(prefix: &IpNet) -> Vec<IpAddr> {
    match (prefix.network(), prefix.broadcast()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let (first, last) = (first.to_bits(), last.to_bits());
            let edges = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
            edges.map(|bits| Ipv4Addr::from_bits(bits).into()).to_vec()
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let (first, last) = (first.to_bits(), last.to_bits());
            let edges = [first, last, first.wrapping_sub(1), last.wrapping_add(1)];
            edges.map(|bits| Ipv6Addr::from_bits(bits).into()).to_vec()
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
            unreachable!("one prefix, one family")
        }
    }
}
