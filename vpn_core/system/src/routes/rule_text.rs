//! Other programs' rules and routes in words, as `ip rule` and `ip route` show them. Pure.

use std::{fmt::Write as _, net::IpAddr};

use ipnet::IpNet;
use rtnetlink::packet_route::{
    IpProtocol,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType},
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage, RulePortRange},
};

use super::walk::{
    DEFAULT_TABLE, LOCAL_TABLE, destination_of_route, destination_of_rule, find, goto, is_of_vrfs, priority,
    suppressed_bits,
};
use crate::journal::{MAIN_TABLE, netlink::table_of_rule};

/// The selector of a rule that is for every packet.
pub(super) const EVERYTHING: &str = "from all";

/// A rule as `ip rule` shows it, so that it can be found there. Tables and values have their numbers in place of local names.
pub(super) fn rule_text(rule: &RuleMessage) -> String {
    format!("{}: {}{}", priority(rule), selector_text(rule), action_text(rule))
}

/// Which packets a rule is for, in the order of `ip rule`.
pub(super) fn selector_text(rule: &RuleMessage) -> String {
    let mut text = String::new();
    if rule.header.flags.contains(RuleFlags::Invert) {
        text.push_str("not ");
    }
    let source = find(rule, |attribute| match attribute {
        RuleAttribute::Source(address) => Some(network_text(*address, rule.header.src_len)),
        _ => None,
    });
    let _ = write!(text, "from {}", source.as_deref().unwrap_or("all"));
    if let Some(network) = destination_of_rule(rule) {
        let _ = write!(text, " to {}", network_text(network.addr(), network.prefix_len()));
    }
    if rule.header.tos != 0 {
        let _ = write!(text, " tos {:#04x}", rule.header.tos);
    }
    if let Some(mark) = mark_text(rule) {
        let _ = write!(text, " fwmark {mark}");
    }
    let mut conditions: Vec<(u8, String)> = rule.attributes.iter().filter_map(condition).collect();
    conditions.sort();
    for (_, condition) in conditions {
        let _ = write!(text, " {condition}");
    }
    text
}

/// What an attribute asks of a packet, and its place among those that `ip rule` shows.
fn condition(attribute: &RuleAttribute) -> Option<(u8, String)> {
    Some(match attribute {
        RuleAttribute::Iifname(name) => (0, format!("iif {name}")),
        RuleAttribute::Oifname(name) => (1, format!("oif {name}")),
        RuleAttribute::UidRange(range) => (2, format!("uidrange {}-{}", range.start, range.end)),
        RuleAttribute::IpProtocol(protocol) => (3, format!("ipproto {}", protocol_text(*protocol))),
        RuleAttribute::SourcePortRange(range) => (4, format!("sport {}", ports_text(*range))),
        RuleAttribute::DestinationPortRange(range) => (5, format!("dport {}", ports_text(*range))),
        RuleAttribute::TunId(number) => (6, format!("tun_id {number}")),
        _ => return None,
    })
}

/// What a rule does, with a space before it.
fn action_text(rule: &RuleMessage) -> String {
    let mut text = match rule.header.action {
        RuleAction::ToTable if is_of_vrfs(rule) => " lookup [l3mdev-table]".to_owned(),
        RuleAction::ToTable => match table_of_rule(rule) {
            LOCAL_TABLE => " lookup local".to_owned(),
            MAIN_TABLE => " lookup main".to_owned(),
            DEFAULT_TABLE => " lookup default".to_owned(),
            table => format!(" lookup {table}"),
        },
        RuleAction::Goto => format!(" goto {}", goto(rule).unwrap_or_default()),
        RuleAction::Nop => " nop".to_owned(),
        RuleAction::Blackhole => " blackhole".to_owned(),
        RuleAction::Unreachable => " unreachable".to_owned(),
        RuleAction::Prohibit => " prohibit".to_owned(),
        _ => String::new(),
    };
    if let Some(bits) = suppressed_bits(rule) {
        let _ = write!(text, " suppress_prefixlength {bits}");
    }
    for attribute in &rule.attributes {
        let _ = match attribute {
            RuleAttribute::SuppressIfGroup(group) if *group != u32::MAX => {
                write!(text, " suppress_ifgroup {group}")
            }
            RuleAttribute::Protocol(protocol)
                if !matches!(protocol, RouteProtocol::Unspec | RouteProtocol::Kernel) =>
            {
                write!(text, " proto {}", protocol.to_string().to_lowercase())
            }
            _ => Ok(()),
        };
    }
    text
}

/// The kernel names a mask alone for a rule that is for packets without a mark: `fwmark 0/0xff`.
fn mark_text(rule: &RuleMessage) -> Option<String> {
    let mark = find(rule, |attribute| match attribute {
        RuleAttribute::FwMark(mark) => Some(*mark),
        _ => None,
    });
    let mask = find(rule, |attribute| match attribute {
        RuleAttribute::FwMask(mask) => Some(*mask),
        _ => None,
    });
    let hexadecimal = |value: u32| if value == 0 { "0".to_owned() } else { format!("{value:#x}") };
    let mark = mark.or(mask.map(|_| 0)).map(hexadecimal)?;
    Some(match mask {
        Some(mask) if mask != u32::MAX => format!("{mark}/{}", hexadecimal(mask)),
        _ => mark,
    })
}

fn network_text(address: IpAddr, length: u8) -> String {
    let whole = IpNet::from(address).prefix_len();
    if length == whole { address.to_string() } else { format!("{address}/{length}") }
}

fn protocol_text(protocol: IpProtocol) -> String {
    let name = match i32::from(protocol) {
        1 => "icmp",
        6 => "tcp",
        17 => "udp",
        47 => "gre",
        50 => "esp",
        58 => "ipv6-icmp",
        132 => "sctp",
        number => return number.to_string(),
    };
    name.to_owned()
}

fn ports_text(range: RulePortRange) -> String {
    if range.start == range.end { range.start.to_string() } else { format!("{}-{}", range.start, range.end) }
}

/// A route as `ip route` shows it, without its metric and device.
pub(super) fn route_text(route: &RouteMessage) -> String {
    let kind = match route.header.kind {
        RouteType::BlackHole => "blackhole ",
        RouteType::Unreachable => "unreachable ",
        RouteType::Prohibit => "prohibit ",
        _ => "",
    };
    let destination = match destination_of_route(route) {
        network if network.prefix_len() == 0 => "default".to_owned(),
        network => network_text(network.addr(), network.prefix_len()),
    };
    let gateway = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    });
    let gateway = gateway.map_or_else(String::new, |gateway| format!(" via {gateway}"));
    format!("{kind}{destination}{gateway}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::walk::samples::{refusing, route, rule};
    use rtnetlink::packet_route::rule::RuleUidRange;

    #[test]
    fn rules_are_written_as_ip_writes_them() {
        let mut of_host = rule(13, 7, &[RuleAttribute::Source([10, 0, 0, 1].into())]);
        of_host.header.src_len = 32;
        of_host.attributes.push(RuleAttribute::Oifname("lo".into()));
        of_host.attributes.push(RuleAttribute::UidRange(RuleUidRange { start: 0, end: 99 }));
        of_host.attributes.push(RuleAttribute::SuppressPrefixLen(0));
        let mut from = rule(1002, 77, &[RuleAttribute::Source([192, 0, 2, 0].into())]);
        from.header.src_len = 24;
        let mut by_service = rule(11, 7, &[]);
        by_service.header.tos = 0x10;
        let mut refused = rule(14, 0, &[RuleAttribute::FwMark(5), RuleAttribute::FwMask(u32::MAX)]);
        refused.header.flags = RuleFlags::Invert;
        refused.header.action = RuleAction::Prohibit;
        let ports = RulePortRange { start: 25, end: 25 };
        let mut jump = rule(16, 0, &[RuleAttribute::Goto(99)]);
        jump.header.action = RuleAction::Goto;
        for (rule, expected) in [
            (from, "1002: from 192.0.2.0/24 lookup 77"),
            (
                rule(1, MAIN_TABLE, &[RuleAttribute::SuppressPrefixLen(0)]),
                "1: from all lookup main suppress_prefixlength 0",
            ),
            (rule(10, 7, &[RuleAttribute::FwMask(0xff)]), "10: from all fwmark 0/0xff lookup 7"),
            (
                rule(10, 7, &[RuleAttribute::FwMark(5), RuleAttribute::FwMask(0xf)]),
                "10: from all fwmark 0x5/0xf lookup 7",
            ),
            (by_service, "11: from all tos 0x10 lookup 7"),
            (
                rule(
                    12,
                    7,
                    &[
                        RuleAttribute::IpProtocol(IpProtocol::Tcp),
                        RuleAttribute::DestinationPortRange(ports),
                        RuleAttribute::Iifname("lo".into()),
                    ],
                ),
                "12: from all iif lo ipproto tcp dport 25 lookup 7",
            ),
            (of_host, "13: from 10.0.0.1 oif lo uidrange 0-99 lookup 7 suppress_prefixlength 0"),
            (refused, "14: not from all fwmark 0x5 prohibit"),
            (jump, "16: from all goto 99"),
            (
                rule(18, DEFAULT_TABLE, &[RuleAttribute::Protocol(RouteProtocol::Static)]),
                "18: from all lookup default proto static",
            ),
            (
                rule(19, 7, &[RuleAttribute::IpProtocol(IpProtocol::Other(58))]),
                "19: from all ipproto ipv6-icmp lookup 7",
            ),
            (rule(21, 0, &[RuleAttribute::L3MDev(true)]), "21: from all lookup [l3mdev-table]"),
        ] {
            assert_eq!(rule_text(&rule), expected);
        }
    }

    #[test]
    fn a_route_that_refuses_says_so() {
        assert_eq!(route_text(&route(MAIN_TABLE, "0.0.0.0/0", 2)), "default");
        assert_eq!(route_text(&refusing("10.1.0.0/16", RouteType::BlackHole)), "blackhole 10.1.0.0/16");
        assert_eq!(route_text(&refusing("10.1.2.3/32", RouteType::Prohibit)), "prohibit 10.1.2.3");
    }
}
