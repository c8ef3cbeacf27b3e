//! The addresses that lie inside the tunnel, where no peer is reached from outside (protocol.md 9.3).

use ipnet::IpNet;
use std::net::IpAddr;

/// Allowed IPs this short, in bits, are a default route or one of its halves: our own datagrams leave beside it.
const DEFAULT_ROUTE: u8 = 1;

/// Networks to which our own datagrams would travel inside the tunnel. Sealing them again would have no end.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct InnerNetworks(Vec<IpNet>); // sorted, none within another

impl InnerNetworks {
    /// All addresses of `networks`.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Self {
        let networks: Vec<IpNet> = networks.into_iter().collect();
        let mut disjoint = IpNet::aggregate(&networks);
        disjoint.sort_unstable_by_key(IpNet::network);
        Self(disjoint)
    }

    /// The `own` networks of the tunnel interface, and all allowed IPs but default routes: for who does not know the routes in force.
    pub fn assumed(
        own: impl IntoIterator<Item = IpNet>,
        allowed_ips: impl IntoIterator<Item = IpNet>,
    ) -> Self {
        let allowed_ips = allowed_ips.into_iter().filter(|network| network.prefix_len() > DEFAULT_ROUTE);
        Self::new(own.into_iter().chain(allowed_ips))
    }

    /// Returns true if `address` is inside. An IPv4-mapped address is looked up as the IPv4 address that datagrams go to.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let behind = self.0.partition_point(|network| network.network() <= address);
        self.0[..behind].last().is_some_and(|network| network.contains(&address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().expect("a network")).collect()
    }

    #[test]
    fn a_default_route_and_its_halves_leave_every_address_outside() {
        let whole = networks(&["0.0.0.0/0", "::/0", "0.0.0.0/1", "128.0.0.0/1", "8000::/1"]);
        let inner = InnerNetworks::assumed([], whole);
        assert_eq!(inner, InnerNetworks::default());
    }

    #[test]
    fn own_addresses_and_allowed_ips_are_inside_and_mapped_ones_as_well() {
        let own = networks(&["10.66.0.1/32"]);
        let inner = InnerNetworks::assumed(own, networks(&["0.0.0.0/0", "192.168.7.9/24", "fd66::/64"]));
        for inside in ["10.66.0.1", "192.168.7.0", "192.168.7.255", "::ffff:192.168.7.1", "fd66::99"] {
            assert!(inner.contains(inside.parse().expect("an address")), "{inside}");
        }
        for outside in ["10.66.0.2", "192.168.8.0", "192.168.6.255", "fd66:0:0:1::", "::", "0.0.0.0"] {
            assert!(!inner.contains(outside.parse().expect("an address")), "{outside}");
        }
    }

    proptest! {
        /// Against asking every network.
        #[test]
        fn an_address_is_inside_exactly_if_one_of_the_networks_holds_it(
            raw in prop::collection::vec((0_u8..4, any::<u8>(), 12_u8..=32), 0..16),
            asked in prop::collection::vec((0_u8..4, any::<u8>(), any::<u8>()), 32),
        ) {
            let networks: Vec<IpNet> = raw
                .iter()
                .map(|(b, c, len)| IpNet::new([10, *b, *c, 7].into(), *len).expect("a length up to 32"))
                .collect();
            let inner = InnerNetworks::new(networks.iter().copied());
            for (b, c, d) in asked {
                let address = IpAddr::from([10, b, c, d]);
                let expected = networks.iter().any(|network| network.contains(&address));
                prop_assert_eq!(inner.contains(address), expected, "{}", address);
            }
        }
    }
}
