//! Which addresses are free: a client gets the lowest one of each of the server's networks that nobody has.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The lowest host address of `network` (whose own address is the server's) outside all of `taken`.
///
/// A default route in `taken` counts for nothing: it is a way out and no address of its peer.
pub(crate) fn next_free(network: &IpNet, taken: &[IpNet]) -> Option<IpAddr> {
    let (first, last) = hosts(network)?;
    let same_family =
        |other: &&IpNet| other.addr().is_ipv4() == network.addr().is_ipv4() && other.prefix_len() > 0;
    let mut ranges: Vec<(u128, u128)> = taken
        .iter()
        .filter(same_family)
        .map(|other| (number(other.network()), number(other.broadcast())))
        .collect();
    ranges.push((number(network.addr()), number(network.addr())));
    ranges.sort_unstable();
    let mut candidate = first;
    for (start, end) in ranges {
        if candidate < start {
            break;
        }
        candidate = candidate.max(end.checked_add(1)?);
    }
    (candidate <= last).then(|| address(candidate, network))
}

/// The first address that a server can have in `pool`, with the pool's prefix length.
pub(crate) fn first_host(pool: &IpNet) -> Option<IpNet> {
    let (first, last) = hosts(pool)?;
    if first >= last {
        return None;
    }
    IpNet::new(address(first, pool), pool.prefix_len()).ok()
}

/// The lowest and highest number that a host can have: not the network's own address (in IPv6 the subnet-router
/// anycast address, RFC 4291, section 2.6.1), and not an IPv4 broadcast address.
fn hosts(network: &IpNet) -> Option<(u128, u128)> {
    if network.prefix_len() == network.max_prefix_len() {
        return None;
    }
    let (low, high) = (number(network.network()), number(network.broadcast()));
    let point_to_point = network.max_prefix_len() - network.prefix_len() == 1; // RFC 3021, RFC 6164
    match network {
        _ if point_to_point => Some((low, high)),
        IpNet::V4(_) => Some((low + 1, high - 1)),
        IpNet::V6(_) => Some((low + 1, high)),
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(number: u128, like: &IpNet) -> IpAddr {
    match like {
        // Numbers come from inside a network of this family, so nothing is cut off.
        IpNet::V4(_) => Ipv4Addr::from_bits(number as u32).into(),
        IpNet::V6(_) => Ipv6Addr::from_bits(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect(text)
    }

    fn next(network: &str, taken: &[&str]) -> Option<String> {
        let taken: Vec<IpNet> = taken.iter().map(|text| net(text)).collect();
        next_free(&net(network), &taken).map(|address| address.to_string())
    }

    #[test]
    fn the_lowest_address_outside_every_taken_network_is_next() {
        assert_eq!(next("10.66.0.1/16", &[]).as_deref(), Some("10.66.0.2"));
        assert_eq!(next("10.66.0.1/16", &["10.66.0.2/32", "10.66.0.4/32"]).as_deref(), Some("10.66.0.3"));
        assert_eq!(next("10.66.0.1/16", &["10.66.0.0/24", "0.0.0.0/0"]).as_deref(), Some("10.66.1.0"));
        assert_eq!(next("fd66::1/64", &["fd66::2/128", "10.66.0.2/32"]).as_deref(), Some("fd66::3"));
        assert_eq!(next("10.0.0.5/24", &["10.0.0.0/30"]).as_deref(), Some("10.0.0.4"));
    }

    #[test]
    fn a_full_network_has_no_next_address() {
        assert_eq!(next("10.0.0.1/30", &["10.0.0.2/32"]), None);
        assert_eq!(next("10.0.0.1/24", &["10.0.0.0/8"]), None);
        assert_eq!(next("10.0.0.1/32", &[]), None);
        assert_eq!(next("ffff::1/16", &["::/1", "8000::/1"]), None);
    }

    #[test]
    fn a_server_takes_the_first_host_of_a_pool_that_leaves_room_for_clients() {
        assert_eq!(first_host(&net("10.66.0.0/16")), Some(net("10.66.0.1/16")));
        assert_eq!(first_host(&net("fd66::/64")), Some(net("fd66::1/64")));
        assert_eq!(first_host(&net("10.0.0.0/32")), None);
    }
}
