//! The plan of a client whose peers' allowed IPs hold a default route: everything takes the tunnel. Pure.
//!
//! ```text
//! P    fwmark MARK lookup main                            our own datagrams leave by the host's routes,
//! P+1  fwmark MARK unreachable                            or not at all
//! P+2  fwmark TUNNELS goto P+7                            other tunnels' datagrams, and answers to the outside
//! P+3  lookup TABLE suppress_prefixlength 0               the tunnel's own networks, before the local one's
//! P+4  to NETWORK lookup main suppress_prefixlength N     for each network of `lan`, as long as main has a route to it
//!      to NETWORK lookup main                             multicast and broadcast
//!      ipproto udp sport 68 dport 67 lookup main          renewals of the host's address (DHCPv6 as well)
//! P+5  lookup TABLE                                       everything else
//! P+6  unreachable                                        what the tunnel lacks, or all of it while it is gone
//! P+7  lookup EMPTY                                       nothing: the host's own rules go on from here
//! ```
//!
//! TUNNELS are the marks of all instances on this host, those that wg-quick uses, and that of answers which leave as they came
//! (`inbound.rs`). They pass over our rules and not straight to main: the host's own rules, such as one for each of two
//! uplinks, are there for them as if there was no tunnel.
//!
//! For IPv4 the last is `lookup TABLE+129`, with a route there that says unreachable. When a network manager adds a route by
//! a gateway, the kernel asks the rules which link that gateway is on and must come through to main; routes have a scope by
//! which it passes over ours, rules have not. For IPv6 it asks main itself; and a route would not do, because a socket that
//! is bound to an interface passes over it.
//!
//! Main is not asked before the tunnel: whoever hands out this host's address hands out routes as well, and one that is
//! longer than the tunnel's would pull traffic out of it (TunnelVision, CVE-2024-3661). Nor does the rule for a local network
//! outlast that network, by which main's default route would take what is sent there: only routes of its length or longer
//! count, N is one bit less. Both families have these rules, whatever the tunnel carries. They outlive a client that is
//! killed: what they refuse then does not leak.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{Lan, RoutingMark, mark::TUNNEL_MARKS};
use crate::journal::{Family, MAIN_TABLE, PolicyRule, RefusingTable, RuleSelector};

/// Shorter prefixes than this, in bits, stand for a part of the default route where there is one: 0.0.0.0/1 and
/// 128.0.0.0/1, as some write it. They must not come before the local network; a network that is really meant may.
const SHORTEST_NETWORK: u8 = 8;
/// The ports of DHCP: from the client, to the server.
const DHCP: (u16, u16) = (68, 67);
const DHCP_V6: (u16, u16) = (546, 547);

/// Whether `prefixes` cover a family.
pub(super) fn holds_default_route(prefixes: &BTreeSet<IpNet>) -> bool {
    covered(prefixes, Family::V4) || covered(prefixes, Family::V6)
}

fn covered(prefixes: &BTreeSet<IpNet>, family: Family) -> bool {
    let all: Vec<IpNet> = prefixes.iter().copied().filter(|prefix| Family::of(prefix) == family).collect();
    IpNet::aggregate(&all).iter().any(|prefix| prefix.prefix_len() == 0)
}

/// The prefixes, and those of the `name_servers` that they cover. These are hosts in the tunnel, whoever on the local network
/// claims to be a network around them.
pub(super) fn with_name_servers(mut prefixes: BTreeSet<IpNet>, name_servers: &[IpAddr]) -> BTreeSet<IpNet> {
    let in_tunnel = |server: &&IpAddr| prefixes.iter().any(|prefix| prefix.contains(*server));
    let servers: Vec<IpNet> = name_servers.iter().filter(in_tunnel).copied().map(IpNet::from).collect();
    prefixes.extend(servers);
    prefixes
}

/// The destinations that are routed to the tunnel interface: the default route in place of its parts, the tunnel's
/// networks, and those of our own addresses.
pub(super) fn destinations(prefixes: &BTreeSet<IpNet>, connected: &[IpNet]) -> BTreeSet<IpNet> {
    let mut destinations: BTreeSet<IpNet> = networks(prefixes, connected).collect();
    for (family, default) in [(Family::V4, "0.0.0.0/0"), (Family::V6, "::/0")] {
        if covered(prefixes, family) {
            destinations.extend(default.parse::<IpNet>());
        }
    }
    destinations
}

/// The tunnel's own networks, which come before the local ones.
pub(super) fn networks<'a>(
    prefixes: &'a BTreeSet<IpNet>,
    connected: &'a [IpNet],
) -> impl Iterator<Item = IpNet> + 'a {
    let part_of_default =
        |prefix: &IpNet| prefix.prefix_len() < SHORTEST_NETWORK && covered(prefixes, Family::of(prefix));
    prefixes.iter().copied().filter(move |prefix| !part_of_default(prefix)).chain(connected.iter().copied())
}

/// The table that refuses.
pub(super) fn refusal(mark: RoutingMark) -> RefusingTable {
    RefusingTable { table: mark.refusing_table() }
}

/// The rules above, for both families.
pub(super) fn rules(mark: RoutingMark, lan: &Lan) -> Vec<PolicyRule> {
    let refusal = refusal(mark).table;
    [(Family::V4, DHCP, Some(refusal)), (Family::V6, DHCP_V6, None)]
        .into_iter()
        .flat_map(|(family, dhcp, refusal)| family_rules(mark, lan, family, dhcp, refusal))
        .collect()
}

fn family_rules(
    mark: RoutingMark,
    lan: &Lan,
    family: Family,
    dhcp: (u16, u16),
    refusal: Option<u32>,
) -> Vec<PolicyRule> {
    let first = mark.full_tunnel_priority();
    let rule =
        |place, selector, table| PolicyRule { family, priority: first + place, selector, table, goto: None };
    let own = Some(mark.full_tunnel_table());
    let main = Some(MAIN_TABLE);
    let mut rules = vec![
        rule(0, RuleSelector::Mark(mark.value()), main),
        rule(1, RuleSelector::Mark(mark.value()), None),
        pass_over(mark, family, first + 2),
        rule(3, RuleSelector::SuppressPrefixLength(0), own),
    ];
    let private = lan.private().iter().copied().map(|network| (network, RuleSelector::Within(network)));
    let to_many = lan.to_many().into_iter().map(|network| (network, RuleSelector::To(network)));
    let local = private.chain(to_many).filter(|(network, _)| Family::of(network) == family);
    rules.extend(local.map(|(_, selector)| rule(4, selector, main)));
    rules.extend([
        rule(4, RuleSelector::UdpPorts { source: dhcp.0, destination: dhcp.1 }, main),
        rule(5, RuleSelector::All, own),
        rule(6, RuleSelector::All, refusal),
        resume(mark, family),
    ]);
    rules
}

/// The rule by which what carries a tunnel's mark passes over the rules of this instance.
pub(super) fn pass_over(mark: RoutingMark, family: Family, priority: u32) -> PolicyRule {
    let (bits, mask) = TUNNEL_MARKS;
    let selector = RuleSelector::Marks { mark: bits, mask };
    PolicyRule { family, priority, selector, table: None, goto: Some(mark.resume_priority()) }
}

/// The rule at which such a search goes on. It finds nothing itself.
pub(super) fn resume(mark: RoutingMark, family: Family) -> PolicyRule {
    PolicyRule {
        family,
        priority: mark.resume_priority(),
        selector: RuleSelector::All,
        table: Some(mark.empty_table()),
        goto: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(texts: &[&str]) -> BTreeSet<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_default_route_is_one_in_any_family_whole_or_in_parts() {
        for whole in [
            &["0.0.0.0/0"][..],
            &["::/0", "10.0.0.0/8"],
            &["0.0.0.0/1", "128.0.0.0/1"],
            &["::/1", "8000::/1"],
        ] {
            assert!(holds_default_route(&prefixes(whole)), "{whole:?}");
        }
        for part in [&[][..], &["10.0.0.0/8"], &["0.0.0.0/1", "128.0.0.0/2"], &["0.0.0.0/1", "8000::/1"]] {
            assert!(!holds_default_route(&prefixes(part)), "{part:?}");
        }
    }

    #[test]
    fn parts_of_the_default_route_become_one_and_networks_stay() {
        let connected = [IpNet::V4("10.66.0.0/16".parse().unwrap())];
        let allowed = prefixes(&["0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8", "fd00::/7"]);
        let expected = prefixes(&["0.0.0.0/0", "10.0.0.0/8", "10.66.0.0/16", "fd00::/7"]);
        assert_eq!(destinations(&allowed, &connected), expected);
    }

    #[test]
    fn both_families_have_all_rules_in_order_and_the_last_refuses() {
        let lan = Lan::allow(&["192.168.1.0/24".parse().unwrap(), "fe80::/64".parse().unwrap()], &[]);
        let texts: Vec<String> = rules(RoutingMark::FIRST, &lan).iter().map(ToString::to_string).collect();
        let of_family = |local: &[&str], ports: &str, refusal: &str| {
            let mut expected = vec![
                "31258: from all fwmark 52000 lookup 254".to_owned(),
                "31259: from all fwmark 52000 unreachable".to_owned(),
                "31260: from all fwmark 0xc000/0xffffc000 goto 31265".to_owned(),
                "31261: from all lookup 52000 suppress_prefixlength 0".to_owned(),
            ];
            expected.extend(local.iter().map(|local| format!("31262: from all to {local}")));
            expected.push(format!("31262: from all ipproto udp {ports} lookup 254"));
            expected.push("31263: from all lookup 52000".to_owned());
            expected.push(format!("31264: from all {refusal}"));
            expected.push("31265: from all lookup 52198".to_owned());
            expected
        };
        let local = [
            "192.168.1.0/24 lookup 254 suppress_prefixlength 23",
            "224.0.0.0/4 lookup 254",
            "255.255.255.255/32 lookup 254",
        ];
        let v4 = of_family(&local, "sport 68 dport 67", "lookup 52129");
        let local = ["fe80::/64 lookup 254 suppress_prefixlength 63", "ff00::/8 lookup 254"];
        let v6 = of_family(&local, "sport 546 dport 547", "unreachable");
        assert_eq!(texts, [v4, v6].concat());
        assert_eq!(rules(RoutingMark::FIRST, &Lan::Deny).len(), 16, "eight for each family");
    }
}
