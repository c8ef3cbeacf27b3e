//! The rules and routes of a family, and which of them decide on a packet. Pure.
//!
//! The walk is the kernel's for an unmarked packet of this host from a socket that is bound to nothing: rules by number, in each the
//! longest route of its table. What it cannot know, such as a condition of a newer kernel, it takes for a rule of other packets.

use std::{collections::BTreeMap, net::IpAddr};

use ipnet::IpNet;
use rtnetlink::packet_route::{
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType},
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};

use super::{
    RoutingMark,
    mark::TUNNEL_MARKS,
    route_table::Table,
    rule_text::{EVERYTHING, selector_text},
};
use crate::journal::{
    Family, MAIN_TABLE,
    netlink::{address_family, table_of_route, table_of_rule},
};

pub(super) const LOCAL_TABLE: u32 = 255;
pub(super) const DEFAULT_TABLE: u32 = 253;
/// The rules that every host has: number and table.
const OF_EVERY_HOST: [(u32, u32); 3] = [
    (0, LOCAL_TABLE),
    (RoutingMark::MAIN_PRIORITY, MAIN_TABLE),
    (RoutingMark::MAIN_PRIORITY + 1, DEFAULT_TABLE),
];
/// The loopback interface, which the kernel takes for where this host's own packets come in.
const LOOPBACK: &str = "lo";

/// Rules and routes of a family.
pub(super) struct Tables {
    pub(super) rules: Vec<RuleMessage>,
    routes: BTreeMap<u32, Table>,
}

/// Where a walk ends.
pub(super) struct Found<'a> {
    pub(super) rule: &'a RuleMessage,
    /// `None` where the rule itself refuses.
    pub(super) route: Option<&'a RouteMessage>,
    /// The rule that passed over others to get there.
    pub(super) jump: Option<&'a RuleMessage>,
}

impl Tables {
    /// Only routes of tables that a rule looks up count: the others decide on nothing.
    pub(super) fn new(rules: Vec<RuleMessage>, routes: Vec<RouteMessage>) -> Self {
        let mut by_table: BTreeMap<u32, Vec<RouteMessage>> = BTreeMap::new();
        for rule in rules.iter().filter(|rule| rule.header.action == RuleAction::ToTable) {
            by_table.entry(table_of_rule(rule)).or_default();
        }
        for route in routes {
            if let Some(routes) = by_table.get_mut(&table_of_route(&route)) {
                routes.push(route);
            }
        }
        let routes = by_table.into_iter().map(|(number, routes)| (number, Table::new(routes))).collect();
        Self { rules, routes }
    }

    /// The routes of a table; `None` where no rule looks it up.
    pub(super) fn table(&self, number: u32) -> Option<&Table> {
        self.routes.get(&number)
    }

    /// The rule and the route that decide on a packet to `to`, if there are no other rules than those that `counts` accepts.
    pub(super) fn walk(&self, to: IpAddr, counts: impl Fn(&RuleMessage) -> bool) -> Option<Found<'_>> {
        let mut skip_to = 0;
        let mut jump = None;
        for rule in self.rules.iter().filter(|rule| counts(rule)) {
            if priority(rule) < skip_to || !matches(rule, to) {
                continue;
            }
            match rule.header.action {
                RuleAction::ToTable => {
                    let Some(route) = self.table(table_of_rule(rule)).and_then(|table| table.longest(to))
                    else {
                        continue;
                    };
                    let length = u32::from(route.header.destination_prefix_length);
                    if suppressed_bits(rule).is_some_and(|bits| length <= bits)
                        || route.header.kind == RouteType::Throw
                    {
                        continue;
                    }
                    return Some(Found { rule, route: Some(route), jump });
                }
                RuleAction::Goto => (skip_to, jump) = (goto(rule).unwrap_or_default(), Some(rule)),
                RuleAction::Blackhole | RuleAction::Unreachable | RuleAction::Prohibit => {
                    return Some(Found { rule, route: None, jump });
                }
                // Nop, and what is not known here.
                _ => {}
            }
        }
        None
    }
}

/// Whether it is a rule of one of our instances.
pub(super) fn is_ours(rule: &RuleMessage) -> bool {
    let is_marked_as_ours = || {
        rule.attributes.iter().any(|attribute| match attribute {
            RuleAttribute::FwMark(mark) => {
                *mark == TUNNEL_MARKS.0 || RoutingMark::of_socket_mark(*mark).is_some()
            }
            _ => false,
        })
    };
    let looks_up_ours =
        rule.header.action == RuleAction::ToTable && RoutingMark::of_table(table_of_rule(rule)).is_some();
    // Those for the local network and for DHCP look up main, and are known by their place.
    looks_up_ours
        || is_marked_as_ours()
        || (RoutingMark::at_priority(priority(rule)).is_some()
            && matches!(rule.header.action, RuleAction::ToTable | RuleAction::Unreachable)
            && is_of_kernel(rule))
}

pub(super) fn is_of_kernel(rule: &RuleMessage) -> bool {
    rule.attributes.contains(&RuleAttribute::Protocol(RouteProtocol::Kernel))
}

/// Whether it is one of the three rules that every host has, in its place.
pub(super) fn is_of_every_host(rule: &RuleMessage) -> bool {
    rule.header.action == RuleAction::ToTable
        && OF_EVERY_HOST.contains(&(priority(rule), table_of_rule(rule)))
        && suppressed_bits(rule).is_none()
        && selector_text(rule) == EVERYTHING
}

/// Whether it is the one rule for all VRFs, which looks up a table for their interfaces only.
pub(super) fn is_of_vrfs(rule: &RuleMessage) -> bool {
    rule.attributes.iter().any(|attribute| matches!(attribute, RuleAttribute::L3MDev(true)))
}

/// Whether another program has made it.
pub(super) fn is_foreign(rule: &RuleMessage) -> bool {
    !(is_ours(rule) || is_of_every_host(rule) || is_of_vrfs(rule))
}

pub(super) fn priority(rule: &RuleMessage) -> u32 {
    find(rule, |attribute| match attribute {
        RuleAttribute::Priority(priority) => Some(*priority),
        _ => None,
    })
    .unwrap_or_default()
}

pub(super) fn suppressed_bits(rule: &RuleMessage) -> Option<u32> {
    find(rule, |attribute| match attribute {
        RuleAttribute::SuppressPrefixLen(bits) if *bits != u32::MAX => Some(*bits),
        _ => None,
    })
}

pub(super) fn goto(rule: &RuleMessage) -> Option<u32> {
    find(rule, |attribute| match attribute {
        RuleAttribute::Goto(target) => Some(*target),
        _ => None,
    })
}

pub(super) fn find<T>(rule: &RuleMessage, get: impl Fn(&RuleAttribute) -> Option<T>) -> Option<T> {
    rule.attributes.iter().find_map(get)
}

fn matches(rule: &RuleMessage, to: IpAddr) -> bool {
    if is_of_vrfs(rule) {
        return false;
    }
    let mask = find(rule, |attribute| match attribute {
        RuleAttribute::FwMask(mask) => Some(*mask),
        _ => None,
    });
    let all = rule.header.src_len == 0
        && rule.header.tos == 0
        && rule.attributes.iter().all(|attribute| match attribute {
            RuleAttribute::Destination(network) => {
                IpNet::new(*network, rule.header.dst_len).is_ok_and(|network| network.contains(&to))
            }
            RuleAttribute::FwMark(mark) => mark & mask.unwrap_or(u32::MAX) == 0,
            RuleAttribute::Iifname(name) => name == LOOPBACK,
            RuleAttribute::UidRange(range) => range.start == 0,
            RuleAttribute::Oifname(_)
            | RuleAttribute::IpProtocol(_)
            | RuleAttribute::SourcePortRange(_)
            | RuleAttribute::DestinationPortRange(_)
            | RuleAttribute::TunId(_)
            // A condition of a newer kernel, such as DSCP.
            | RuleAttribute::Other(_) => false,
            // What it does, and not what for.
            _ => true,
        });
    all != rule.header.flags.contains(RuleFlags::Invert)
}

pub(super) fn destination_of_rule(rule: &RuleMessage) -> Option<IpNet> {
    find(rule, |attribute| match attribute {
        RuleAttribute::Destination(address) => {
            IpNet::new(*address, rule.header.dst_len).ok().map(|network| network.trunc())
        }
        _ => None,
    })
}

/// Whether it is for what is sent to one address only.
pub(super) fn is_for_one_address(rule: &RuleMessage) -> bool {
    let is_one = |network: IpNet| network.prefix_len() == network.max_prefix_len();
    !rule.header.flags.contains(RuleFlags::Invert) && destination_of_rule(rule).is_some_and(is_one)
}

pub(super) fn destination_of_route(route: &RouteMessage) -> IpNet {
    let length = route.header.destination_prefix_length;
    let named = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(v4)) => IpNet::new((*v4).into(), length).ok(),
        RouteAttribute::Destination(RouteAddress::Inet6(v6)) => IpNet::new((*v6).into(), length).ok(),
        _ => None,
    });
    let is_v4 = route.header.address_family == address_family(Family::V4);
    let all = if is_v4 { IpNet::V4(ipnet::Ipv4Net::default()) } else { IpNet::V6(ipnet::Ipv6Net::default()) };
    named.unwrap_or(all)
}

/// Whether it refuses what it is for.
pub(super) fn refuses(route: &RouteMessage) -> bool {
    matches!(route.header.kind, RouteType::BlackHole | RouteType::Unreachable | RouteType::Prohibit)
}

pub(super) fn metric(route: &RouteMessage) -> u32 {
    let metric = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    metric.unwrap_or_default()
}

pub(super) fn outgoing(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}

/// Rules and routes of IPv4 for tests.
#[cfg(test)]
pub(super) mod samples {
    use super::*;

    pub(in crate::routes) fn rule(priority: u32, table: u32, attributes: &[RuleAttribute]) -> RuleMessage {
        let mut rule = RuleMessage::default();
        rule.header.family = address_family(Family::V4);
        rule.header.action = RuleAction::ToTable;
        rule.attributes = vec![RuleAttribute::Priority(priority), RuleAttribute::Table(table)];
        rule.attributes.extend_from_slice(attributes);
        rule
    }

    pub(in crate::routes) fn to(network: &str, mut rule: RuleMessage) -> RuleMessage {
        let network: IpNet = network.parse().unwrap();
        rule.header.dst_len = network.prefix_len();
        rule.attributes.push(RuleAttribute::Destination(network.addr()));
        rule
    }

    pub(in crate::routes) fn jump(priority: u32, target: u32) -> RuleMessage {
        let mut rule = rule(priority, 0, &[RuleAttribute::Goto(target)]);
        rule.header.action = RuleAction::Goto;
        rule
    }

    pub(in crate::routes) fn route(table: u32, destination: &str, device: u32) -> RouteMessage {
        let network: ipnet::Ipv4Net = destination.parse().unwrap();
        let mut route = RouteMessage::default();
        route.header.address_family = address_family(Family::V4);
        route.header.kind = RouteType::Unicast;
        route.header.destination_prefix_length = network.prefix_len();
        route.attributes = vec![
            RouteAttribute::Table(table),
            RouteAttribute::Destination(RouteAddress::Inet(network.network())),
            RouteAttribute::Oif(device),
        ];
        route
    }

    /// A route of main that refuses.
    pub(in crate::routes) fn refusing(destination: &str, kind: RouteType) -> RouteMessage {
        let mut route = route(MAIN_TABLE, destination, 1);
        route.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Oif(_)));
        route.header.kind = kind;
        route
    }
}

#[cfg(test)]
mod tests {
    use super::{
        samples::{jump, route, rule, to},
        *,
    };
    use crate::routes::rule_text::rule_text;
    use rtnetlink::packet_core::DefaultNla;

    fn decides(rules: &[RuleMessage], to: &str) -> Option<u32> {
        let routes = vec![route(77, "0.0.0.0/0", 2), route(78, "10.0.0.0/8", 2), route(254, "0.0.0.0/0", 2)];
        let tables = Tables::new(rules.to_vec(), routes);
        tables.walk(to.parse().unwrap(), |_| true).map(|found| priority(found.rule))
    }

    #[test]
    fn the_first_rule_that_finds_a_route_decides_and_what_is_not_for_the_packet_is_passed_over() {
        let main = rule(32766, 254, &[]);
        let not = |mut rule: RuleMessage| {
            rule.header.flags = RuleFlags::Invert;
            rule
        };
        for (first, address, expected) in [
            (rule(1, 77, &[]), "8.8.8.8", 1),
            (rule(1, 78, &[]), "8.8.8.8", 32766),
            (rule(1, 78, &[]), "10.1.1.1", 1),
            (rule(1, 77, &[RuleAttribute::FwMark(7)]), "8.8.8.8", 32766),
            (rule(1, 77, &[RuleAttribute::FwMask(7)]), "8.8.8.8", 1),
            (not(rule(1, 77, &[RuleAttribute::FwMark(51820)])), "8.8.8.8", 1),
            (rule(1, 77, &[RuleAttribute::SuppressPrefixLen(0)]), "8.8.8.8", 32766),
            (rule(1, 77, &[RuleAttribute::Iifname("eth1".into())]), "8.8.8.8", 32766),
            (rule(1, 77, &[RuleAttribute::Iifname("lo".into())]), "8.8.8.8", 1),
            (rule(1, 77, &[RuleAttribute::L3MDev(true)]), "8.8.8.8", 32766),
            (rule(1, 77, &[RuleAttribute::Other(DefaultNla::new(25, vec![8]))]), "8.8.8.8", 32766),
            (to("8.8.0.0/16", rule(1, 77, &[])), "8.8.8.8", 1),
            (to("8.8.0.0/16", rule(1, 77, &[])), "9.9.9.9", 32766),
        ] {
            let text = rule_text(&first);
            assert_eq!(decides(&[first, main.clone()], address), Some(expected), "{text} for {address}");
        }
        assert_eq!(decides(&[rule(1, 78, &[])], "8.8.8.8"), None);
        assert_eq!(decides(&[jump(1, 32766), rule(2, 77, &[]), main], "8.8.8.8"), Some(32766));
    }

    #[test]
    fn our_own_rules_and_those_of_every_host_are_known() {
        let kernel = RuleAttribute::Protocol(RouteProtocol::Kernel);
        assert!(is_ours(&rule(31263, 52000, &[])) && is_ours(&rule(30963, 52329, &[])));
        assert!(is_ours(&rule(31258, 254, &[RuleAttribute::FwMark(52000)])));
        assert!(is_ours(&rule(31256, 254, &[RuleAttribute::SuppressPrefixLen(0), kernel.clone()])));
        for (priority, table) in OF_EVERY_HOST {
            assert!(is_of_every_host(&rule(priority, table, std::slice::from_ref(&kernel))), "{priority}");
        }
        for foreign in [
            rule(31258, 254, &[]),
            rule(9, 51820, &[]),
            // wg-quick's, which gets a number below ours when it starts after us.
            rule(31256, 254, &[RuleAttribute::SuppressPrefixLen(0)]),
            rule(100, 254, &[]),
            rule(32766, 254, &[RuleAttribute::FwMask(1)]),
            jump(100, 32766),
        ] {
            assert!(is_foreign(&foreign), "{}", rule_text(&foreign));
        }
    }
}
