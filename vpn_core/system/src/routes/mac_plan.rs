//! Which routes a Mac needs for the peers' allowed IPs, and what its programs say of the system's own. Pure.
//!
//! There is no policy routing and no mark. Instead, a default route is two routes of half the address space each, which
//! win over the system's own default without replacing it, and our sockets are scoped to the interface that this one
//! leads to: none of our datagrams looks at what leads into the tunnel.

use std::collections::BTreeSet;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Link;
use crate::journal::{Family, InterfaceName, MacRoute};

/// The routes into the tunnel `interface`, which has `addresses`.
///
/// With a default route in one family, what the tunnel lacks of the other is refused: it would go beside the tunnel.
pub(super) fn plan_for_mac(
    interface: &InterfaceName,
    addresses: &[IpNet],
    allowed_ips: &[IpNet],
) -> Vec<MacRoute> {
    let connected: BTreeSet<IpNet> = addresses.iter().map(IpNet::trunc).collect();
    let allowed: BTreeSet<IpNet> = allowed_ips.iter().map(IpNet::trunc).flat_map(in_halves).collect();
    let lacking: Vec<IpNet> = [Family::V4, Family::V6]
        .into_iter()
        .map(halves)
        .filter(|halves| !halves.iter().all(|half| allowed.contains(half)))
        .flatten()
        .collect();
    let is_default = lacking.len() < 4;
    let outside = |prefix: &IpNet| !connected.iter().any(|network| network.contains(prefix));
    // A point-to-point interface does not bring the route to its network along.
    let into_tunnel: BTreeSet<IpNet> = connected
        .iter()
        .copied()
        .filter(|network| !is_single(network))
        .chain(allowed.iter().copied().filter(outside))
        .collect();
    let refused: Vec<IpNet> =
        lacking.into_iter().filter(|half| is_default && !into_tunnel.contains(half)).collect();
    let through = |destination| MacRoute { destination, device: Some(interface.to_string()) };
    let nowhere = |destination| MacRoute { destination, device: None };
    // Refusing comes first: there must be no moment in which one family takes the tunnel and the other one goes beside it.
    refused.into_iter().map(nowhere).chain(into_tunnel.into_iter().map(through)).collect()
}

fn is_single(network: &IpNet) -> bool {
    network.prefix_len() == network.max_prefix_len()
}

fn in_halves(prefix: IpNet) -> Vec<IpNet> {
    if prefix.prefix_len() == 0 { halves(Family::of(&prefix)).into() } else { vec![prefix] }
}

/// The two halves of a family's addresses.
fn halves(family: Family) -> [IpNet; 2] {
    match family {
        Family::V4 => [0, 1 << 31].map(|bits: u32| Ipv4Net::new_assert(bits.into(), 1).into()),
        Family::V6 => [0, 1 << 127].map(|bits: u128| Ipv6Net::new_assert(bits.into(), 1).into()),
    }
}

/// The interface that a destination is routed to, in the output of `route -n get`.
pub(super) fn routed_interface(output: &str) -> Option<&str> {
    output.lines().find_map(|line| line.trim().strip_prefix("interface:")).map(str::trim)
}

/// The state of an interface in the output of `ifconfig NAME`, which begins `NAME: flags=8051<UP,…> mtu 1420`.
pub(super) fn link_state(ifconfig: &str) -> Option<Link> {
    let first = ifconfig.lines().next()?;
    let flags = first.split_once('<')?.1.split_once('>')?.0;
    let mtu = first.rsplit_once("mtu ")?.1;
    Some(Link {
        is_up: flags.split(',').any(|flag| flag == "UP"),
        mtu: mtu.split_whitespace().next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(addresses: &[&str], allowed: &[&str]) -> Vec<String> {
        let networks =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<IpNet>>();
        let interface = InterfaceName::new("utun66").unwrap();
        plan_for_mac(&interface, &networks(addresses), &networks(allowed))
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn a_default_route_is_two_halves_and_the_systems_own_is_left_alone() {
        assert_eq!(
            planned(&["10.66.0.2/16", "fd66::2/64"], &["0.0.0.0/0", "::/0"]),
            [
                "0.0.0.0/1 interface utun66",
                "10.66.0.0/16 interface utun66",
                "128.0.0.0/1 interface utun66",
                "::/1 interface utun66",
                "8000::/1 interface utun66",
                "fd66::/64 interface utun66",
            ]
        );
    }

    #[test]
    fn the_family_that_a_full_tunnel_lacks_is_refused_before_anything_else() {
        let routes = planned(&["10.66.0.2/32"], &["0.0.0.0/0"]);
        assert_eq!(
            routes,
            [
                "::/1 refused",
                "8000::/1 refused",
                "0.0.0.0/1 interface utun66",
                "128.0.0.0/1 interface utun66"
            ]
        );
        // Written in halves by the user, it is a default route as well.
        assert_eq!(planned(&["10.66.0.2/32"], &["0.0.0.0/1", "128.0.0.0/1"]), routes);
        let routes = planned(&["fd66::2/128"], &["::/0", "10.0.0.0/8"]);
        assert_eq!(routes[..2], ["0.0.0.0/1 refused", "128.0.0.0/1 refused"]);
        assert!(routes.contains(&"10.0.0.0/8 interface utun66".to_owned()));
    }

    #[test]
    fn half_of_a_family_is_no_default_route_but_its_other_half_is_refused_beside_one() {
        assert_eq!(
            planned(&[], &["0.0.0.0/1", "fd66::/64"]),
            ["0.0.0.0/1 interface utun66", "fd66::/64 interface utun66"]
        );
        let routes = planned(&[], &["0.0.0.0/1", "::/0"]);
        assert_eq!(routes[..2], ["128.0.0.0/1 refused", "0.0.0.0/1 interface utun66"]);
    }

    #[test]
    fn a_split_tunnel_refuses_nothing_and_its_own_network_is_routed_once() {
        assert_eq!(
            planned(&["10.66.0.2/16"], &["10.66.3.0/24", "192.168.7.9/24"]),
            ["10.66.0.0/16 interface utun66", "192.168.7.0/24 interface utun66"]
        );
    }

    #[test]
    fn what_the_programs_say_of_routes_and_links_is_understood() {
        let get = "   route to: 10.1.0.0\ndestination: 10.1.0.0\n  interface: en0\n      flags: <UP,DONE>\n";
        assert_eq!(routed_interface(get), Some("en0"));
        assert_eq!(routed_interface("route: writing to routing socket: not in table\n"), None);
        let up =
            "utun66: flags=8051<UP,POINTOPOINT,RUNNING,MULTICAST> mtu 1380\n\tinet 10.66.0.2 --> 10.66.0.2\n";
        assert_eq!(link_state(up), Some(Link { is_up: true, mtu: 1380 }));
        assert_eq!(
            link_state("utun66: flags=8050<POINTOPOINT> mtu 1500\n"),
            Some(Link { is_up: false, mtu: 1500 })
        );
        assert_eq!(link_state(""), None);
    }
}
