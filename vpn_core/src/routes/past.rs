//! What takes traffic past the tunnel: another program's rule before ours, or its route that is longer.
//!
//! The kernel is asked for the way of unmarked packets, as a program's are, to a few destinations: some from everywhere, and
//! those that rules and routes of others name. Where the answer is not the tunnel, rules and routes are walked as the kernel
//! does it, to name what decides. Only the kernel's answer counts; the walk may not know all that a newer kernel does.

use std::{collections::BTreeMap, fmt::Write as _, io, net::IpAddr};

use ipnet::IpNet;
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};

use super::{RoutePlan, RoutingMark, mark::TUNNEL_MARKS};
use crate::journal::{
    Family, MAIN_TABLE,
    netlink::{Netlink, address_family, table_of_route, table_of_rule},
};

/// Destinations from everywhere, in both halves of the address space. Nothing is sent to them.
const ANYWHERE: [&str; 5] = ["1.0.0.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "2a00::1"];
/// So many destinations are asked for in a family at the most, and so many answers told.
const MAX_ASKED: usize = 64;
const MAX_TOLD: usize = 8;
/// So many networks of others are looked at for that: a router's main table may hold a million.
const MAX_LOOKED_AT: usize = 4096;
const LOCAL_TABLE: u32 = 255;
const DEFAULT_TABLE: u32 = 253;
/// The loopback interface, which the kernel takes for where this host's own packets come in.
const LOOPBACK: &str = "lo";

/// What may lead past the tunnel without being told.
#[derive(Clone, Debug, Default)]
pub struct Exempt {
    /// What is reached beside the tunnel on purpose.
    pub networks: Vec<IpNet>,
    /// Whether longer routes of main win on purpose: those of a gateway's own networks do.
    pub longer_routes: bool,
}

/// What takes traffic past the tunnel of `plan`, in words. Nothing where the plan has no routes.
///
/// # Errors
/// The system's answer.
pub fn traffic_past(plan: &RoutePlan, exempt: &Exempt) -> io::Result<Vec<String>> {
    let mut netlink = Netlink::open()?;
    let tunnel = netlink.interface_index(plan.interface.as_str())?;
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    for family in [Family::V4, Family::V6] {
        if !plan.routes.iter().any(|route| Family::of(&route.destination) == family) {
            continue;
        }
        let tables = Tables { rules: netlink.rules(family)?, routes: netlink.routes(family)? };
        for destination in destinations(plan, family, &tables, exempt) {
            let way = ask(&mut netlink, destination)?;
            let Some((cause, device)) = tables.cause_of(destination, way, tunnel, exempt) else { continue };
            let device = device.and_then(|index| netlink.interface_name(index).ok());
            let effect = device.map_or_else(
                || format!("what is sent to {destination} is refused"),
                |device| format!("what is sent to {destination} takes {device} and not the tunnel"),
            );
            told.entry(cause).or_insert(effect);
        }
    }
    Ok(told.into_iter().take(MAX_TOLD).map(|(cause, effect)| format!("{effect}, by {cause}")).collect())
}

/// Rules of other programs that come before a full tunnel's, for people to judge: by source, user or port they may lead packets
/// past it that a question to the kernel does not find.
///
/// # Errors
/// The system's answer.
pub fn rules_before_tunnels() -> io::Result<Vec<String>> {
    let mut netlink = Netlink::open()?;
    let mut texts = Vec::new();
    for family in [Family::V4, Family::V6] {
        let rules = netlink.rules(family)?;
        let leads_elsewhere = |rule: &&RuleMessage| {
            priority(rule) < RoutingMark::FIRST.full_tunnel_priority()
                && !is_ours(rule)
                && table_of_rule(rule) != LOCAL_TABLE
                && !is_of_vrfs(rule)
                && suppressed_bits(rule).is_none()
                && !matches!(rule.header.action, RuleAction::Nop | RuleAction::Goto)
        };
        let protocol = match family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        texts.extend(rules.iter().filter(leads_elsewhere).map(|rule| format!("{} ({protocol})", text(rule))));
    }
    Ok(texts)
}

/// The kernel's answer.
#[derive(Clone, Copy)]
enum Way {
    Interface(u32),
    /// The host itself.
    Here,
    None,
}

fn ask(netlink: &mut Netlink, to: IpAddr) -> io::Result<Way> {
    const NO_WAY: [i32; 4] = [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EACCES, libc::EINVAL];
    let mut question = RouteMessage::default();
    let network = IpNet::from(to);
    question.header.address_family = address_family(Family::of(&network));
    question.header.destination_prefix_length = network.prefix_len();
    question.attributes.push(RouteAttribute::Destination(match to {
        IpAddr::V4(v4) => RouteAddress::Inet(v4),
        IpAddr::V6(v6) => RouteAddress::Inet6(v6),
    }));
    let answers = match netlink.request(RouteNetlinkMessage::GetRoute(question), 0) {
        Err(error) if error.raw_os_error().is_some_and(|code| NO_WAY.contains(&code)) => {
            return Ok(Way::None);
        }
        answers => answers?,
    };
    let route = answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewRoute(route) => Some(route),
        _ => None,
    });
    Ok(match route {
        Some(route) if route.header.kind == RouteType::Unicast => {
            outgoing(&route).map_or(Way::None, Way::Interface)
        }
        Some(route) if matches!(route.header.kind, RouteType::Local | RouteType::Broadcast) => Way::Here,
        Some(_) | None => Way::None,
    })
}

/// What to ask for: of a full tunnel anything, of another what is routed there; and what others' rules and routes name of it.
fn destinations(plan: &RoutePlan, family: Family, tables: &Tables, exempt: &Exempt) -> Vec<IpAddr> {
    let mut ours: Vec<IpNet> = plan.routes.iter().map(|route| route.destination).collect();
    ours.retain(|network| Family::of(network) == family);
    let is_ours = |address: &IpAddr| ours.iter().any(|network| network.contains(address));
    let is_exempt = |address: &IpAddr| {
        address.is_multicast() || exempt.networks.iter().any(|network| network.contains(address))
    };
    let anywhere = ANYWHERE.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    let networks = ours.iter().filter(|network| network.prefix_len() > 0).copied();
    let mut addresses: Vec<IpAddr> = anywhere.chain(networks.map(|network| within(&network))).collect();
    addresses.truncate(MAX_ASKED / 2);
    addresses.extend(tables.named(plan, exempt).iter().map(within));
    addresses.retain(|address| is_ours(address) && !is_exempt(address));
    addresses.truncate(MAX_ASKED);
    addresses
}

/// An address of a network that may be a host's.
fn within(network: &IpNet) -> IpAddr {
    network.hosts().next().unwrap_or_else(|| network.network())
}

/// Rules and routes of a family.
struct Tables {
    rules: Vec<RuleMessage>,
    routes: Vec<RouteMessage>,
}

/// Where a walk ends.
struct Found<'a> {
    rule: &'a RuleMessage,
    route: Option<&'a RouteMessage>,
}

impl Tables {
    /// The networks that others' rules name, those of the tables that they look up, and in main those beside ours.
    fn named(&self, plan: &RoutePlan, exempt: &Exempt) -> Vec<IpNet> {
        let foreign = || self.rules.iter().filter(|rule| !is_ours(rule) && !is_of_vrfs(rule));
        let mut networks: Vec<IpNet> = foreign().filter_map(destination_of_rule).collect();
        let looked_up: Vec<u32> = foreign()
            .filter(|rule| rule.header.action == RuleAction::ToTable)
            .map(table_of_rule)
            .filter(|table| ![LOCAL_TABLE, DEFAULT_TABLE].contains(table))
            // A full tunnel does not ask main, and a gateway's longer routes win on purpose.
            .filter(|table| *table != MAIN_TABLE || !(plan.is_full || exempt.longer_routes))
            .collect();
        let of_tables = self.routes.iter().filter(|route| {
            route.header.kind == RouteType::Unicast && looked_up.contains(&table_of_route(route))
        });
        let of_tables = of_tables.map(destination_of_route).filter(|network| network.prefix_len() > 0);
        networks.extend(of_tables.take(MAX_LOOKED_AT));
        networks
    }

    /// What leads to `destination` past the tunnel, and through which interface; `None` where nothing does, or we ourselves.
    fn cause_of(
        &self,
        destination: IpAddr,
        way: Way,
        tunnel: u32,
        exempt: &Exempt,
    ) -> Option<(String, Option<u32>)> {
        let device = match way {
            Way::Here => return None,
            Way::Interface(index) if index == tunnel => return None,
            Way::Interface(index) => Some(index),
            Way::None => None,
        };
        let Some(Found { rule, route }) = self.walk(destination) else {
            return device.map(|_| ("a rule that this program does not understand".to_owned(), device));
        };
        if is_ours(rule) {
            return None;
        }
        let route = route.map(route_text);
        if table_of_rule(rule) != MAIN_TABLE || rule.header.action != RuleAction::ToTable {
            let route = route.map_or_else(String::new, |route| format!(" (there {route})"));
            return Some((format!("the rule \"{}\"{route}", text(rule)), device));
        }
        // Only what refuses, or is gone, leads nowhere: that is no way past the tunnel.
        let route = route.filter(|_| device.is_some() && !exempt.longer_routes)?;
        Some((format!("the route \"{route}\" of the main table"), device))
    }

    /// The rule and the route that decide on an unmarked packet of this host.
    fn walk(&self, to: IpAddr) -> Option<Found<'_>> {
        let mut skip_to = 0;
        for rule in &self.rules {
            if priority(rule) < skip_to || !matches(rule, to) {
                continue;
            }
            match rule.header.action {
                RuleAction::ToTable => {
                    let Some(route) = self.longest(table_of_rule(rule), to) else { continue };
                    let length = u32::from(route.header.destination_prefix_length);
                    if suppressed_bits(rule).is_some_and(|bits| length <= bits)
                        || route.header.kind == RouteType::Throw
                    {
                        continue;
                    }
                    return Some(Found { rule, route: Some(route) });
                }
                RuleAction::Goto => skip_to = goto(rule).unwrap_or_default(),
                RuleAction::Blackhole | RuleAction::Unreachable | RuleAction::Prohibit => {
                    return Some(Found { rule, route: None });
                }
                // Nop, and what is not known here.
                _ => {}
            }
        }
        None
    }

    fn longest(&self, table: u32, to: IpAddr) -> Option<&RouteMessage> {
        self.routes
            .iter()
            .filter(|route| table_of_route(route) == table && destination_of_route(route).contains(&to))
            .min_by_key(|route| (u8::MAX - route.header.destination_prefix_length, metric(route)))
    }
}

/// Whether it is a rule of one of our instances.
fn is_ours(rule: &RuleMessage) -> bool {
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
    use rtnetlink::packet_route::route::RouteProtocol;
    rule.attributes.contains(&RuleAttribute::Protocol(RouteProtocol::Kernel))
}

/// Whether it is the one rule for all VRFs, which looks up a table for their interfaces only.
fn is_of_vrfs(rule: &RuleMessage) -> bool {
    rule.attributes.iter().any(|attribute| matches!(attribute, RuleAttribute::L3MDev(true)))
}

fn priority(rule: &RuleMessage) -> u32 {
    find(rule, |attribute| match attribute {
        RuleAttribute::Priority(priority) => Some(*priority),
        _ => None,
    })
    .unwrap_or_default()
}

fn suppressed_bits(rule: &RuleMessage) -> Option<u32> {
    find(rule, |attribute| match attribute {
        RuleAttribute::SuppressPrefixLen(bits) if *bits != u32::MAX => Some(*bits),
        _ => None,
    })
}

fn goto(rule: &RuleMessage) -> Option<u32> {
    find(rule, |attribute| match attribute {
        RuleAttribute::Goto(target) => Some(*target),
        _ => None,
    })
}

fn find<T>(rule: &RuleMessage, get: impl Fn(&RuleAttribute) -> Option<T>) -> Option<T> {
    rule.attributes.iter().find_map(get)
}

/// Whether a rule is for an unmarked packet of this host to `to` from a socket that is bound to nothing.
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
            | RuleAttribute::TunId(_) => false,
            // What it does, and not what for.
            _ => true,
        });
    all != rule.header.flags.contains(RuleFlags::Invert)
}

fn destination_of_rule(rule: &RuleMessage) -> Option<IpNet> {
    find(rule, |attribute| match attribute {
        RuleAttribute::Destination(network) => IpNet::new(*network, rule.header.dst_len).ok(),
        _ => None,
    })
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

fn route_text(route: &RouteMessage) -> String {
    let destination = match destination_of_route(route) {
        network if network.prefix_len() == 0 => "default".to_owned(),
        network => network.to_string(),
    };
    let gateway = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(v4)) => Some(IpAddr::V4(*v4)),
        RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => Some(IpAddr::V6(*v6)),
        _ => None,
    });
    gateway.map_or_else(|| destination.clone(), |gateway| format!("{destination} via {gateway}"))
}

/// A rule as `ip rule` shows it, as far as it has what we know of.
fn text(rule: &RuleMessage) -> String {
    let mut text = format!("{}:", priority(rule));
    if rule.header.flags.contains(RuleFlags::Invert) {
        text.push_str(" not");
    }
    let source = find(rule, |attribute| match attribute {
        RuleAttribute::Source(network) => IpNet::new(*network, rule.header.src_len).ok(),
        _ => None,
    });
    let _ = match source {
        Some(network) => write!(text, " from {network}"),
        None => write!(text, " from all"),
    };
    for attribute in &rule.attributes {
        let _ = match attribute {
            RuleAttribute::Destination(network) => write!(text, " to {network}/{}", rule.header.dst_len),
            RuleAttribute::FwMark(mark) => write!(text, " fwmark {mark:#x}"),
            RuleAttribute::Iifname(name) => write!(text, " iif {name}"),
            RuleAttribute::Oifname(name) => write!(text, " oif {name}"),
            RuleAttribute::UidRange(range) => write!(text, " uidrange {}-{}", range.start, range.end),
            RuleAttribute::IpProtocol(protocol) => write!(text, " ipproto {}", i32::from(*protocol)),
            RuleAttribute::SourcePortRange(range) => write!(text, " sport {}-{}", range.start, range.end),
            RuleAttribute::DestinationPortRange(range) => {
                write!(text, " dport {}-{}", range.start, range.end)
            }
            _ => Ok(()),
        };
    }
    let _ = match rule.header.action {
        RuleAction::ToTable => match table_of_rule(rule) {
            LOCAL_TABLE => write!(text, " lookup local"),
            MAIN_TABLE => write!(text, " lookup main"),
            DEFAULT_TABLE => write!(text, " lookup default"),
            table => write!(text, " lookup {table}"),
        },
        RuleAction::Goto => write!(text, " goto {}", goto(rule).unwrap_or_default()),
        RuleAction::Blackhole => write!(text, " blackhole"),
        RuleAction::Unreachable => write!(text, " unreachable"),
        RuleAction::Prohibit => write!(text, " prohibit"),
        _ => Ok(()),
    };
    if let Some(bits) = suppressed_bits(rule) {
        let _ = write!(text, " suppress_prefixlength {bits}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(priority: u32, table: u32, attributes: &[RuleAttribute]) -> RuleMessage {
        let mut rule = RuleMessage::default();
        rule.header.family = address_family(Family::V4);
        rule.header.action = RuleAction::ToTable;
        rule.attributes = vec![RuleAttribute::Priority(priority), RuleAttribute::Table(table)];
        rule.attributes.extend_from_slice(attributes);
        rule
    }

    fn route(table: u32, destination: &str) -> RouteMessage {
        let network: ipnet::Ipv4Net = destination.parse().unwrap();
        let mut route = RouteMessage::default();
        route.header.address_family = address_family(Family::V4);
        route.header.kind = RouteType::Unicast;
        route.header.destination_prefix_length = network.prefix_len();
        route.attributes = vec![
            RouteAttribute::Table(table),
            RouteAttribute::Destination(RouteAddress::Inet(network.network())),
        ];
        route
    }

    fn decides(rules: &[RuleMessage], to: &str) -> Option<u32> {
        let routes = vec![route(77, "0.0.0.0/0"), route(78, "10.0.0.0/8"), route(254, "0.0.0.0/0")];
        let tables = Tables { rules: rules.to_vec(), routes };
        tables.walk(to.parse().unwrap()).map(|found| priority(found.rule))
    }

    #[test]
    fn the_first_rule_that_finds_a_route_decides_and_what_is_not_for_the_packet_is_passed_over() {
        let main = rule(32766, 254, &[]);
        let to = |network: [u8; 4], length, mut rule: RuleMessage| {
            rule.header.dst_len = length;
            rule.attributes.push(RuleAttribute::Destination(network.into()));
            rule
        };
        let not = |mut rule: RuleMessage| {
            rule.header.flags = RuleFlags::Invert;
            rule
        };
        for (first, address, expected) in [
            (rule(1, 77, &[]), "8.8.8.8", 1),
            (rule(1, 78, &[]), "8.8.8.8", 32766),
            (rule(1, 78, &[]), "10.1.1.1", 1),
            (rule(1, 77, &[RuleAttribute::FwMark(7)]), "8.8.8.8", 32766),
            (not(rule(1, 77, &[RuleAttribute::FwMark(51820)])), "8.8.8.8", 1),
            (rule(1, 77, &[RuleAttribute::SuppressPrefixLen(0)]), "8.8.8.8", 32766),
            (rule(1, 77, &[RuleAttribute::Iifname("eth1".into())]), "8.8.8.8", 32766),
            (rule(1, 77, &[RuleAttribute::L3MDev(true)]), "8.8.8.8", 32766),
            (to([8, 8, 0, 0], 16, rule(1, 77, &[])), "8.8.8.8", 1),
            (to([8, 8, 0, 0], 16, rule(1, 77, &[])), "9.9.9.9", 32766),
        ] {
            let text = text(&first);
            assert_eq!(decides(&[first, main.clone()], address), Some(expected), "{text} for {address}");
        }
        assert_eq!(decides(&[rule(1, 78, &[])], "8.8.8.8"), None);
    }

    #[test]
    fn rules_are_written_as_ip_writes_them_and_our_own_are_known() {
        let mut from = rule(1002, 77, &[RuleAttribute::Source([192, 0, 2, 0].into())]);
        from.header.src_len = 24;
        assert_eq!(text(&from), "1002: from 192.0.2.0/24 lookup 77");
        assert_eq!(
            text(&rule(1, 254, &[RuleAttribute::SuppressPrefixLen(0)])),
            "1: from all lookup main suppress_prefixlength 0"
        );
        assert!(is_ours(&rule(31263, 52000, &[])) && is_ours(&rule(30963, 52329, &[])));
        assert!(is_ours(&rule(31258, 254, &[RuleAttribute::FwMark(52000)])));
        assert!(!is_ours(&from) && !is_ours(&rule(31258, 254, &[])) && !is_ours(&rule(9, 51820, &[])));
    }
}
