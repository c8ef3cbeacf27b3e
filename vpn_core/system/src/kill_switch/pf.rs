//! The kill switch of macOS as rules for pf. Pure.
//!
//! There are no marks: our datagrams are known by the port of their socket, which only root may share.

use core::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::journal::{Family, InterfaceName};

/// Where the main ruleset of every Mac looks for more rules (`anchor "com.apple/*"`), so that it need not be edited.
const PARENT: &str = "com.apple";
/// DNS and DNS over TLS.
const NAME_PORTS: &str = "{ 53 853 }";

/// What a kill switch of macOS is made from.
#[derive(Clone, Copy, Debug)]
pub struct PfRequest<'a> {
    /// The tunnel interface. It need not exist yet.
    pub interface: &'a InterfaceName,
    /// The port of our UDP socket.
    pub port: u16,
    /// The interface's own addresses.
    pub addresses: &'a [IpNet],
    /// The networks that belong to the tunnel, whatever the local network claims.
    pub tunnel: &'a [IpNet],
    /// What is reached beside the tunnel.
    pub lan: &'a [IpNet],
}

/// The path of the anchor that holds the rules.
pub fn pf_anchor(interface: &InterfaceName) -> String {
    format!("{PARENT}/vpn_{}_kill_switch", interface.to_identifier())
}

/// The rules for `pfctl -a ANCHOR -f -`, which puts them in place of any earlier ones in one transaction. The first rule that
/// matches decides.
pub fn pf_text(request: &PfRequest<'_>) -> String {
    let PfRequest { interface, port, .. } = request;
    let own: Vec<IpNet> = request.addresses.iter().map(|address| IpNet::from(address.addr())).collect();
    let mut rules =
        vec!["pass quick on lo0 all no state".to_owned(), format!("pass quick on {interface} all no state")];
    // Nobody outside may learn what our address in the tunnel is (CVE-2019-14899).
    rules.extend(for_networks(&own, "block drop in quick", "to"));
    // With a state, so that the errors which routers send about them are let in; without one when it has expired.
    rules.push(format!("pass out quick proto udp from any port = {port} to any user = 0 keep state"));
    rules.push(format!("pass in quick proto udp from any to any port = {port} no state"));
    // Names of peers are looked up by ourselves. All other programs' go through mDNSResponder, which is not root.
    rules.push("pass out quick proto { tcp udp } from any to any port = 53 user = 0 keep state".to_owned());
    // Before the local network: its resolver would learn every name.
    rules.push(format!("block return out quick proto {{ tcp udp }} from any to any port {NAME_PORTS}"));
    rules.extend(LINK.map(str::to_owned));
    rules.extend(for_networks(request.tunnel, "block return out quick", "to"));
    rules.extend(for_networks(request.lan, "pass out quick", "to"));
    rules.extend(for_networks(request.lan, "pass in quick", "from"));
    rules.push("block drop in quick all".to_owned());
    // Whoever sends is told at once; what would wait for an answer fails instead.
    rules.push("block return out quick all".to_owned());
    rules.join("\n") + "\n"
}

/// What a host needs on its link: DHCP, and neighbour discovery without redirects. Not: telling it which groups it listens to.
const LINK: [&str; 8] = [
    "pass out quick inet proto udp from any port = 68 to any port = 67 no state",
    "pass in quick inet proto udp from any port = 67 to any port = 68 no state",
    "pass out quick inet6 proto udp from any port = 546 to any port = 547 no state",
    "pass in quick inet6 proto udp from any port = 547 to any port = 546 no state",
    "pass out quick inet6 proto ipv6-icmp all icmp6-type { 133 135 136 } no state",
    "pass in quick inet6 proto ipv6-icmp all icmp6-type { 134 135 136 } no state",
    "block drop out quick inet proto igmp all",
    "block drop out quick inet6 proto ipv6-icmp all icmp6-type { 130 131 132 143 }",
];

/// One rule for each family that there are networks of.
fn for_networks(networks: &[IpNet], action: &str, side: &str) -> Vec<String> {
    let rule = |(family, keyword)| {
        let set = set(networks, family)?;
        Some(match side {
            "to" => format!("{action} {keyword} from any to {set}"),
            _ => format!("{action} {keyword} from {set} to any"),
        })
    };
    [(Family::V4, "inet"), (Family::V6, "inet6")].into_iter().filter_map(rule).collect()
}

fn set(networks: &[IpNet], family: Family) -> Option<String> {
    let of_family: Vec<IpNet> =
        networks.iter().map(IpNet::trunc).filter(|network| Family::of(network) == family).collect();
    let mut text = String::new();
    for network in IpNet::aggregate(&of_family) {
        let _ = if network.prefix_len() == network.max_prefix_len() {
            write!(text, " {}", IpAddr::to_string(&network.addr()))
        } else {
            write!(text, " {network}")
        };
    }
    (!text.is_empty()).then(|| format!("{{{text} }}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn text_with(lan: &[&str]) -> String {
        pf_text(&PfRequest {
            interface: &InterfaceName::new("utun66").unwrap(),
            port: 50123,
            addresses: &networks(&["10.66.0.2/16", "fd66::2/64"]),
            tunnel: &networks(&["10.66.0.0/16", "10.66.3.0/24", "fd66::/64"]),
            lan: &networks(lan),
        })
    }

    #[test]
    fn nothing_passes_but_the_tunnel_our_datagrams_and_what_the_link_needs() {
        let expected = "\
pass quick on lo0 all no state
pass quick on utun66 all no state
block drop in quick inet from any to { 10.66.0.2 }
block drop in quick inet6 from any to { fd66::2 }
pass out quick proto udp from any port = 50123 to any user = 0 keep state
pass in quick proto udp from any to any port = 50123 no state
pass out quick proto { tcp udp } from any to any port = 53 user = 0 keep state
block return out quick proto { tcp udp } from any to any port { 53 853 }
pass out quick inet proto udp from any port = 68 to any port = 67 no state
pass in quick inet proto udp from any port = 67 to any port = 68 no state
pass out quick inet6 proto udp from any port = 546 to any port = 547 no state
pass in quick inet6 proto udp from any port = 547 to any port = 546 no state
pass out quick inet6 proto ipv6-icmp all icmp6-type { 133 135 136 } no state
pass in quick inet6 proto ipv6-icmp all icmp6-type { 134 135 136 } no state
block drop out quick inet proto igmp all
block drop out quick inet6 proto ipv6-icmp all icmp6-type { 130 131 132 143 }
block return out quick inet from any to { 10.66.0.0/16 }
block return out quick inet6 from any to { fd66::/64 }
block drop in quick all
block return out quick all
";
        assert_eq!(text_with(&[]), expected);
    }

    #[test]
    fn the_local_network_comes_after_names_and_the_tunnels_own() {
        let text = text_with(&["192.168.1.0/24", "224.0.0.0/4"]);
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("{part} is not in\n{text}"));
        let allowed = at("pass out quick inet from any to { 192.168.1.0/24 224.0.0.0/4 }\n");
        assert!(
            at("port { 53 853 }") < allowed && at("to { 10.66.0.0/16 }") < allowed && at("igmp") < allowed
        );
        assert!(
            at("pass in quick inet from { 192.168.1.0/24 224.0.0.0/4 } to any\n")
                < at("block drop in quick all")
        );
    }

    /// Without `quick` a later rule would decide, and the last one blocks.
    #[test]
    fn every_rule_is_final() {
        for rule in text_with(&["192.168.1.0/24", "fe80::/10"]).lines() {
            let is_known =
                ["pass", "block drop", "block return"].iter().any(|action| rule.starts_with(action));
            assert!(is_known && rule.contains(" quick "), "{rule}");
        }
    }

    #[test]
    fn the_anchor_lies_where_the_main_ruleset_looks() {
        let anchor = pf_anchor(&InterfaceName::new("utun66").unwrap());
        assert_eq!(anchor, "com.apple/vpn_utun66_kill_switch");
    }
}
