//! The default route of a Mac, in what its `netstat` prints. Pure.

use std::net::IpAddr;

/// Where the default route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DefaultRoute {
    /// The interface's name.
    pub(super) interface: String,
    /// The router, where it is an address.
    pub(super) gateway: Option<IpAddr>,
}

/// The default route in the output of `netstat -n -r -f FAMILY`. It is never the tunnel's, which has halves; and none of those
/// that count only for who has chosen their interface already (flag `I`).
pub(super) fn default_route(netstat: &str) -> Option<DefaultRoute> {
    let mut columns = None;
    for line in netstat.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.first() == Some(&"Destination") {
            let column = |name| words.iter().position(|word| *word == name);
            columns = column("Gateway").zip(column("Flags")).zip(column("Netif"));
            continue;
        }
        let (Some(((gateway, flags), interface)), Some(&"default")) = (columns, words.first()) else {
            continue;
        };
        let word = |at: usize| words.get(at).copied();
        let (Some(gateway), Some(flags), Some(interface)) = (word(gateway), word(flags), word(interface))
        else {
            continue;
        };
        if !flags.contains('I') {
            // A link-local address comes with its interface: fe80::1%en0.
            let address = gateway.split('%').next().unwrap_or_default();
            return Some(DefaultRoute { interface: interface.to_owned(), gateway: address.parse().ok() });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As macOS 14 prints it; earlier ones had two more columns.
    const NETSTAT: &str = "\
Routing tables

Internet:
Destination        Gateway            Flags               Netif Expire
0/1                utun66             USc                utun66
default            link#22            UCSIg           bridge100      !
default            192.168.1.1        UGScg                 en0
127                127.0.0.1          UCS                   lo0
";

    fn found(netstat: &str) -> Option<(String, Option<String>)> {
        let route = default_route(netstat)?;
        Some((route.interface, route.gateway.map(|gateway| gateway.to_string())))
    }

    #[test]
    fn the_default_route_is_neither_the_tunnels_half_nor_a_scoped_one() {
        assert_eq!(found(NETSTAT), Some(("en0".into(), Some("192.168.1.1".into()))));
        assert_eq!(found("Routing tables\n"), None);
        assert_eq!(found("default 10.0.0.1 UGSc en1\n"), None, "no columns are known");
    }

    #[test]
    fn columns_are_found_by_their_names_and_routers_without_their_interface() {
        let older = "Destination Gateway Flags Refs Use Netif Expire\ndefault fe80::1%en1 UGSc 40 0 en1\n";
        assert_eq!(found(older), Some(("en1".into(), Some("fe80::1".into()))));
        let link = "Destination Gateway Flags Netif\ndefault link#4 UCS ppp0\n";
        assert_eq!(found(link), Some(("ppp0".into(), None)));
    }
}
