//! What takes traffic past the tunnel: another program's rule before ours, or its route that is longer.
//!
//! The kernel is asked for the way of unmarked packets, as a program's are, to a few destinations: some from everywhere, and
//! those that rules and routes of others name. Where the answer is not the tunnel, rules and routes are walked as the kernel
//! does it (`walk.rs`), to name what decides. Only the kernel's answer counts; the walk may not know all that a newer kernel does.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
};

use ipnet::IpNet;
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
    rule::{RuleAction, RuleMessage},
};

use super::{
    RoutePlan, RoutingMark,
    interface::ipv6_is_on,
    rule_text::{route_text, rule_text},
    walk::{
        Found, LOCAL_TABLE, Tables, destination_of_route, destination_of_rule, is_foreign, is_of_every_host,
        is_ours, outgoing, priority, refuses,
    },
};
use crate::journal::{
    Family, MAIN_TABLE,
    netlink::{Netlink, address_family, table_of_route, table_of_rule},
};

/// Destinations from everywhere, in both halves of the address space. Nothing is sent to them.
const ANYWHERE: [&str; 5] = ["1.0.0.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "2a00::1"];
/// So many destinations are asked for in a family at the most, and so many answers told.
const MAX_ASKED: usize = 128;
const MAX_TOLD: usize = 8;
/// So many networks of others are looked at for that: a router's main table may hold a million.
const MAX_LOOKED_AT: usize = 4096;
/// So many addresses of a network are asked for: the first is often this host's own.
const ASKED_OF_A_NETWORK: usize = 2;

/// What may lead past the tunnel without being told.
#[derive(Clone, Debug, Default)]
pub struct Exempt {
    /// What is reached beside the tunnel on purpose.
    pub networks: Vec<IpNet>,
    /// Whether main's routes that are longer than all of ours win on purpose: those to a gateway's own networks do.
    pub longer_routes: bool,
}

/// What takes traffic past the tunnel of `plan`, in words, and what to do about it. The tunnel is to carry what the plan routes, the
/// networks of its interface's addresses, and `allowed_ips`: those of all peers, also where one route is for many of them.
///
/// # Errors
/// The system's answer.
pub fn traffic_past(plan: &RoutePlan, allowed_ips: &[IpNet], exempt: &Exempt) -> io::Result<Vec<String>> {
    let mut netlink = Netlink::open()?;
    let tunnel = netlink.interface_index(plan.interface.as_str())?;
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    for family in [Family::V4, Family::V6] {
        let Some(carried) = Carried::of(plan, allowed_ips, family) else { continue };
        let tables = Tables { rules: netlink.rules(family)?, routes: netlink.routes(family)? };
        let view = View { tables, carried, tunnel, exempt };
        for destination in view.destinations() {
            let way = ask(&mut netlink, destination)?;
            let Some(cause) = view.cause_of(destination, way) else { continue };
            let device = cause.device.and_then(|index| netlink.interface_name(index).ok());
            let effect = device.map_or_else(
                || format!("what is sent to {destination} is refused"),
                |device| format!("what is sent to {destination} takes {device} and not the tunnel"),
            );
            told.entry(cause.text).or_insert(effect);
        }
    }
    Ok(told.into_iter().take(MAX_TOLD).map(|(cause, effect)| format!("{effect}, by {cause}")).collect())
}

/// Rules of other programs that come before a full tunnel's, for people to judge: by source, user or port they may lead packets
/// past it that a question to the kernel does not find, and by the routes that main gets later.
///
/// # Errors
/// The system's answer.
pub fn rules_before_tunnels() -> io::Result<Vec<String>> {
    let mut netlink = Netlink::open()?;
    let mut texts = Vec::new();
    for (family, name) in [(Family::V4, "IPv4"), (Family::V6, "IPv6")] {
        let rules = netlink.rules(family)?;
        let before = rules.iter().filter(|rule| may_come_before_tunnels(rule));
        texts.extend(before.map(|rule| format!("{} ({name})", rule_text(rule))));
    }
    Ok(texts)
}

fn may_come_before_tunnels(rule: &RuleMessage) -> bool {
    let leads_nowhere = match rule.header.action {
        RuleAction::Nop => true,
        RuleAction::ToTable => table_of_rule(rule) == LOCAL_TABLE,
        _ => false,
    };
    priority(rule) < RoutingMark::FIRST.resume_priority() && is_foreign(rule) && !leads_nowhere
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
        Some(route) => match route.header.kind {
            RouteType::Unicast => outgoing(&route).map_or(Way::None, Way::Interface),
            RouteType::Local | RouteType::Broadcast | RouteType::Anycast => Way::Here,
            _ => Way::None,
        },
        None => Way::None,
    })
}

/// What of a family the tunnel is to carry.
struct Carried {
    is_full: bool,
    /// The destinations of the tunnel's routes, and the networks of its interface's addresses.
    routed: Vec<IpNet>,
    /// These, and what peers are allowed.
    networks: BTreeSet<IpNet>,
    /// The same, with neighbours made one.
    joined: Vec<IpNet>,
    /// The number of the last rule that decides for the tunnel.
    last_rule: u32,
}

impl Carried {
    /// `None` where the tunnel has nothing of this family.
    fn of(plan: &RoutePlan, allowed_ips: &[IpNet], family: Family) -> Option<Self> {
        let rules = || plan.rules.iter().filter(|rule| rule.family == family);
        // A full tunnel refuses what it lacks; of another, what has no IPv6 has no routes of it.
        let has_family = match family {
            Family::V4 => true,
            Family::V6 => plan.is_full || ipv6_is_on(&plan.interface),
        };
        if !has_family || (plan.is_full && rules().next().is_none()) {
            return None;
        }
        let everything = match family {
            Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
            Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
        };
        let routes = plan.routes.iter().map(|route| route.destination);
        let routed: Vec<IpNet> = routes
            .chain(plan.connected.iter().copied())
            .chain(plan.is_full.then_some(everything))
            .filter(|network| Family::of(network) == family)
            .collect();
        let allowed = allowed_ips.iter().filter(|network| Family::of(network) == family).map(IpNet::trunc);
        let in_main = plan.routes.iter().any(|route| route.table == MAIN_TABLE) || !plan.connected.is_empty();
        let last_rule = if plan.is_full || !in_main { rules().map(|rule| rule.priority).max() } else { None };
        Self::new(plan.is_full, routed, allowed, last_rule.unwrap_or(RoutingMark::MAIN_PRIORITY))
    }

    fn new(
        is_full: bool,
        routed: Vec<IpNet>,
        allowed: impl Iterator<Item = IpNet>,
        last_rule: u32,
    ) -> Option<Self> {
        let networks: BTreeSet<IpNet> = routed.iter().copied().chain(allowed).collect();
        let joined = IpNet::aggregate(&networks.iter().copied().collect::<Vec<_>>());
        (!networks.is_empty()).then_some(Self { is_full, routed, networks, joined, last_rule })
    }

    fn has(&self, address: IpAddr) -> bool {
        self.joined.iter().any(|network| network.contains(&address))
    }

    /// A network of ours that lies within `outer`.
    fn first_within(&self, outer: &IpNet) -> Option<IpNet> {
        self.networks.range(*outer..).next().copied().filter(|inner| outer.contains(inner))
    }
}

/// The bits of the longest network around an address; 0 where there is none.
fn longest<'a>(networks: impl IntoIterator<Item = &'a IpNet>, address: IpAddr) -> u8 {
    let around = networks.into_iter().filter(|network| network.contains(&address));
    around.map(IpNet::prefix_len).max().unwrap_or_default()
}

/// Addresses of a network that may be hosts'. The first of an IPv6 network is its routers' (RFC 4291, 2.6.1).
fn within(network: &IpNet) -> impl Iterator<Item = IpAddr> + use<> {
    let first_is_routers = network.addr().is_ipv6() && network.prefix_len() < 127;
    network.hosts().skip(usize::from(first_is_routers)).take(ASKED_OF_A_NETWORK)
}

/// What leads to a destination past the tunnel.
struct Cause {
    /// Rule or route, and what to do about it.
    text: String,
    /// The interface that it leads to; `None` where it refuses.
    device: Option<u32>,
}

/// A family as seen from the tunnel.
struct View<'a> {
    tables: Tables,
    carried: Carried,
    /// The number of the tunnel interface.
    tunnel: u32,
    exempt: &'a Exempt,
}

impl View<'_> {
    /// What to ask for: of a full tunnel anything, of another what it carries; and what others' rules and routes name of it.
    fn destinations(&self) -> Vec<IpAddr> {
        let anywhere = ANYWHERE.iter().filter_map(|text| text.parse::<IpAddr>().ok());
        let networks = self.carried.networks.iter().filter(|network| network.prefix_len() > 0);
        let own = anywhere.chain(networks.flat_map(within)).filter(|address| self.is_asked(*address));
        let mut destinations: Vec<IpAddr> = own.take(MAX_ASKED / 2).collect();
        let mut known: BTreeSet<IpAddr> = destinations.iter().copied().collect();
        let named = self.named();
        let addresses = named.iter().flat_map(|network| {
            let inner = self.carried.first_within(network);
            within(network).chain(inner.into_iter().flat_map(|inner| within(&inner)))
        });
        let new = addresses.filter(|address| self.is_asked(*address) && known.insert(*address));
        destinations.extend(new.take(MAX_ASKED - MAX_ASKED / 2));
        destinations
    }

    /// Whether the tunnel is to carry what is sent to an address. A local network is reached beside it unless one of ours lies within.
    fn is_asked(&self, address: IpAddr) -> bool {
        let is_of_the_link = match address {
            IpAddr::V4(_) => address.is_multicast(),
            IpAddr::V6(v6) => address.is_multicast() || v6.is_unicast_link_local(),
        };
        let beside = self.exempt.networks.iter().filter(|network| network.contains(&address));
        let is_beside = beside
            .map(IpNet::prefix_len)
            .max()
            .is_some_and(|bits| bits > longest(&self.carried.networks, address));
        self.carried.has(address) && !is_of_the_link && !is_beside
    }

    /// The networks that others' rules before ours name, and those of the tables that they look up. Main is one of these, and
    /// besides it has the routes of every tunnel that is not full.
    fn named(&self) -> Vec<IpNet> {
        let foreign = || {
            let before = self.tables.rules.iter().filter(|rule| priority(rule) <= self.carried.last_rule);
            before.filter(|rule| is_foreign(rule))
        };
        let looked_up: BTreeSet<u32> = foreign()
            .filter_map(|rule| match rule.header.action {
                RuleAction::ToTable => Some(table_of_rule(rule)),
                // Behind our rules main is asked.
                RuleAction::Goto => Some(MAIN_TABLE),
                _ => None,
            })
            .chain((!self.carried.is_full).then_some(MAIN_TABLE))
            .collect();
        let of_tables = self.tables.routes.iter().filter(|route| {
            (route.header.kind == RouteType::Unicast || refuses(route))
                && outgoing(route) != Some(self.tunnel)
                && looked_up.contains(&table_of_route(route))
        });
        let of_tables = of_tables.map(destination_of_route).filter(|network| network.prefix_len() > 0);
        foreign().filter_map(destination_of_rule).chain(of_tables).take(MAX_LOOKED_AT).collect()
    }

    /// What leads to `destination` past the tunnel; `None` where nothing does, or we ourselves.
    fn cause_of(&self, destination: IpAddr, way: Way) -> Option<Cause> {
        let device = match way {
            Way::Here => return None,
            Way::Interface(index) if index == self.tunnel => return None,
            Way::Interface(index) => Some(index),
            Way::None => None,
        };
        let Some(found) = self.tables.walk(destination, |_| true) else {
            let text = "a rule that this program does not understand: see `ip rule`".to_owned();
            return device.map(|_| Cause { text, device });
        };
        // Where the same route would decide without others' rules, these are not the cause.
        let usual = self.tables.walk(destination, |rule| !is_foreign(rule));
        let is_usual = usual.as_ref().is_some_and(|usual| same_route(usual.route, found.route));
        let text = if is_usual {
            self.route_cause(destination, &found, device)?
        } else {
            rule_cause(&found, usual.as_ref())?
        };
        Some(Cause { text, device })
    }

    /// A route of main that wins over the tunnel's.
    fn route_cause(&self, destination: IpAddr, found: &Found<'_>, device: Option<u32>) -> Option<String> {
        let route = found.route.filter(|route| table_of_route(route) == MAIN_TABLE)?;
        // A full tunnel's own rules ask main for what is reached beside it, and what leads nowhere any more leads past nothing.
        if self.carried.is_full || (device.is_none() && !refuses(route)) {
            return None;
        }
        let (text, bits) = (route_text(route), route.header.destination_prefix_length);
        if bits == 0 || bits < longest(&self.carried.routed, destination) {
            return Some(format!(
                "the route \"{text}\" of the main table, because the tunnel's own is missing: set its interface up"
            ));
        }
        let ours = longest(&self.carried.networks, destination);
        // Of a default route longer ones that refuse are exceptions as well, such as banned hosts.
        let is_meant = self.exempt.longer_routes && bits > ours && (!refuses(route) || ours == 0);
        (!is_meant).then(|| {
            format!(
                "the route \"{text}\" of the main table: remove that route, or give the tunnel other `allowed_ips` \
                 or `addresses`"
            )
        })
    }
}

fn same_route(a: Option<&RouteMessage>, b: Option<&RouteMessage>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => std::ptr::eq(a, b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Another program's rule that comes before ours: the one that decides, or that passes over ours to one that every host has.
/// `usual` is what would decide without it.
fn rule_cause(found: &Found<'_>, usual: Option<&Found<'_>>) -> Option<String> {
    let is_not_to_blame = is_ours(found.rule) || is_of_every_host(found.rule);
    let rule = if is_not_to_blame { found.jump? } else { found.rule };
    let route = found.route.map_or_else(String::new, |route| format!(" (there {})", route_text(route)));
    let place = usual.map_or_else(String::new, |usual| {
        format!(", or give it a number above {} if it must stay", priority(usual.rule))
    });
    Some(format!("the rule \"{}\"{route}: remove that rule{place}", rule_text(rule)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::walk::samples::{jump, refusing, route, rule, to};
    use rtnetlink::packet_route::rule::RuleAttribute;

    const TUNNEL: u32 = 9;
    const ETH0: u32 = 2;
    const FULL_TABLE: u32 = 52000;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn suppressing(priority: u32) -> RuleMessage {
        rule(priority, MAIN_TABLE, &[RuleAttribute::SuppressPrefixLen(0)])
    }

    /// A host with a default route by eth0, and what others have added.
    fn tables(tunnel: &[(u32, &str)], rules: &[RuleMessage], routes: &[RouteMessage]) -> Tables {
        let mut tables = Tables {
            rules: vec![rule(0, LOCAL_TABLE, &[]), rule(32766, MAIN_TABLE, &[]), rule(32767, 253, &[])],
            routes: vec![route(MAIN_TABLE, "0.0.0.0/0", ETH0)],
        };
        tables.rules.extend_from_slice(rules);
        tables.routes.extend_from_slice(routes);
        for (table, destination) in tunnel {
            tables.routes.push(route(*table, destination, TUNNEL));
            if *table != MAIN_TABLE {
                tables.rules.push(rule(31263, *table, &[]));
            }
        }
        tables.rules.sort_by_key(priority);
        tables
    }

    /// A full tunnel.
    fn full(rules: &[RuleMessage], routes: &[RouteMessage], exempt: &Exempt) -> Vec<String> {
        let carried = Carried::new(true, networks(&["0.0.0.0/0"]), std::iter::empty(), 31265).unwrap();
        told(&View {
            tables: tables(&[(FULL_TABLE, "0.0.0.0/0")], rules, routes),
            carried,
            tunnel: TUNNEL,
            exempt,
        })
    }

    /// A tunnel with the address 10.8.0.1/24, and with 10.20.0.0/16 and two hosts among what its peers are allowed.
    fn split(rules: &[RuleMessage], routes: &[RouteMessage], exempt: &Exempt) -> Vec<String> {
        let routed = networks(&["10.8.0.0/24", "10.20.0.0/16"]);
        let allowed = networks(&["10.8.0.2/32", "10.8.0.130/32", "10.20.0.0/16"]);
        let carried = Carried::new(false, routed, allowed.into_iter(), 32766).unwrap();
        let mut routes = routes.to_vec();
        let mut own = route(LOCAL_TABLE, "10.8.0.1/32", TUNNEL);
        own.header.kind = RouteType::Local;
        routes.push(own);
        let of_tunnel = [(MAIN_TABLE, "10.8.0.0/24"), (MAIN_TABLE, "10.20.0.0/16")];
        told(&View { tables: tables(&of_tunnel, rules, &routes), carried, tunnel: TUNNEL, exempt })
    }

    /// The causes of what passes, where the kernel answers as the walk does.
    fn told(view: &View<'_>) -> Vec<String> {
        let cause = |destination: IpAddr| {
            let found = view.tables.walk(destination, |_| true)?;
            let way = match found.route {
                Some(route) if route.header.kind == RouteType::Local => Way::Here,
                Some(route) => outgoing(route).map_or(Way::None, Way::Interface),
                None => Way::None,
            };
            view.cause_of(destination, way).map(|cause| cause.text)
        };
        let causes: BTreeSet<String> = view.destinations().into_iter().filter_map(cause).collect();
        causes.into_iter().collect()
    }

    #[test]
    fn mains_longer_route_passes_a_full_tunnel_only_by_a_rule_before_ours() {
        let route = route(MAIN_TABLE, "9.9.9.0/24", ETH0);
        let passes = |rules: &[RuleMessage]| full(rules, std::slice::from_ref(&route), &Exempt::default());
        assert_eq!(passes(&[]), [""; 0]);
        assert_eq!(passes(&[suppressing(31300)]), [""; 0], "behind ours");
        assert_eq!(
            passes(&[suppressing(100)]),
            ["the rule \"100: from all lookup main suppress_prefixlength 0\" (there 9.9.9.0/24): \
              remove that rule, or give it a number above 31263 if it must stay"]
        );
        let beside = Exempt { networks: networks(&["9.9.9.0/24"]), longer_routes: false };
        assert_eq!(full(&[suppressing(100)], std::slice::from_ref(&route), &beside), [""; 0]);
    }

    #[test]
    fn a_rule_that_leads_to_main_is_named_with_the_route_and_never_the_default_route_alone() {
        for (foreign, text) in [
            (rule(100, MAIN_TABLE, &[]), "100: from all lookup main"),
            (to("9.9.9.0/24", rule(100, MAIN_TABLE, &[])), "100: from all to 9.9.9.0/24 lookup main"),
            (jump(100, 32766), "100: from all goto 32766"),
        ] {
            let passes = full(&[foreign], &[], &Exempt::default());
            let start =
                format!("the rule \"{text}\" (there default): remove that rule, or give it a number above");
            assert!(passes.len() == 1 && passes[0].starts_with(&start), "{passes:?}");
        }
    }

    #[test]
    fn a_gateway_is_told_of_rules_that_take_its_networks_and_of_no_longer_route_that_is_its_own() {
        let gateway = Exempt { networks: Vec::new(), longer_routes: true };
        let elsewhere = route(77, "0.0.0.0/0", ETH0);
        let passes = |rules: &[RuleMessage], routes: &[RouteMessage]| split(rules, routes, &gateway);
        assert_eq!(passes(&[], &[]), [""; 0]);
        assert_eq!(passes(&[], &[route(MAIN_TABLE, "10.20.1.0/24", ETH0)]), [""; 0], "a network of its own");
        assert_eq!(passes(&[], &[route(MAIN_TABLE, "10.8.0.64/26", ETH0)]), [""; 0], "no peer is there");
        // Also where the first address of the network is the gateway's.
        for network in ["10.0.0.0/8", "10.8.0.0/24", "10.8.0.128/25"] {
            let passes = passes(&[to(network, rule(100, 77, &[]))], std::slice::from_ref(&elsewhere));
            assert!(passes.len() == 1 && passes[0].contains("lookup 77\" (there default)"), "{passes:?}");
            assert!(passes[0].contains("above 32766"), "{passes:?}");
        }
        let passes = passes(&[], &[route(MAIN_TABLE, "10.8.0.128/25", ETH0)]);
        assert!(
            passes.len() == 1 && passes[0].starts_with("the route \"10.8.0.128/25\" of the main"),
            "{passes:?}"
        );
    }

    #[test]
    fn a_longer_route_of_main_is_the_cause_even_where_a_rule_asks_main_first() {
        let route = route(MAIN_TABLE, "10.20.1.0/24", ETH0);
        let passes = split(&[rule(100, MAIN_TABLE, &[])], &[route], &Exempt::default());
        assert!(
            passes.len() == 1 && passes[0].starts_with("the route \"10.20.1.0/24\" of the main"),
            "{passes:?}"
        );
    }

    #[test]
    fn routes_that_refuse_what_the_tunnel_is_to_carry_are_named() {
        for (kind, word) in [
            (RouteType::BlackHole, "blackhole"),
            (RouteType::Unreachable, "unreachable"),
            (RouteType::Prohibit, "prohibit"),
        ] {
            let route = refusing("10.20.1.0/24", kind);
            for longer_routes in [false, true] {
                let exempt = Exempt { networks: Vec::new(), longer_routes };
                let passes = split(&[], std::slice::from_ref(&route), &exempt);
                let start = format!("the route \"{word} 10.20.1.0/24\" of the main table: remove");
                assert!(passes.len() == 1 && passes[0].starts_with(&start), "{passes:?}");
            }
        }
        assert_eq!(split(&[], &[refusing("10.0.0.0/8", RouteType::BlackHole)], &Exempt::default()), [""; 0]);
    }

    #[test]
    fn where_the_tunnels_own_route_is_missing_nobody_is_to_remove_the_default_route() {
        let carried = Carried::new(false, networks(&["10.20.0.0/16"]), std::iter::empty(), 32766).unwrap();
        let passes = told(&View {
            tables: tables(&[], &[], &[]),
            carried,
            tunnel: TUNNEL,
            exempt: &Exempt::default(),
        });
        assert!(passes.len() == 1 && passes[0].ends_with("set its interface up"), "{passes:?}");
    }

    #[test]
    fn a_tunnels_network_within_a_local_one_is_asked_for() {
        let beside = Exempt { networks: networks(&["10.0.0.0/8"]), longer_routes: false };
        let elsewhere = route(77, "0.0.0.0/0", ETH0);
        assert_eq!(split(&[rule(100, 77, &[])], &[elsewhere], &beside).len(), 1);
    }

    #[test]
    fn every_rule_before_ours_that_can_lead_elsewhere_is_for_people_to_judge() {
        for rule in [suppressing(100), suppressing(31256), jump(5, 32766), rule(31264, 77, &[])] {
            assert!(may_come_before_tunnels(&rule), "{}", rule_text(&rule));
        }
        let mut nothing = rule(5, 0, &[]);
        nothing.header.action = RuleAction::Nop;
        for rule in [
            suppressing(32764),
            rule(100, LOCAL_TABLE, &[]),
            rule(1000, 0, &[RuleAttribute::L3MDev(true)]),
            rule(31263, FULL_TABLE, &[]),
            nothing,
        ] {
            assert!(!may_come_before_tunnels(&rule), "{}", rule_text(&rule));
        }
    }
}
