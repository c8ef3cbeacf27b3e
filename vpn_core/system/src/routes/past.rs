//! What takes traffic past the tunnel: another program's rule before ours, or its route that is longer.
//!
//! The kernel is asked for the way of unmarked packets, as a program's are, to a few destinations: some from everywhere, and
//! those that rules and routes of others name. Where the answer is not the tunnel, rules and routes are walked as the kernel
//! does it (`walk.rs`), to name what decides. Only the kernel's answer counts; the walk may not know all that a newer kernel does.

mod carried;

use std::{collections::BTreeSet, io, net::IpAddr};

use ipnet::IpNet;
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
    rule::{RuleAction, RuleMessage},
};

use self::carried::{Carried, longest, within};
use super::{
    RoutePlan, RoutingMark,
    route_table::Table,
    rule_text::{route_text, rule_text},
    walk::{
        Found, LOCAL_TABLE, Tables, destination_of_route, destination_of_rule, is_for_one_address,
        is_foreign, is_of_every_host, is_ours, outgoing, priority, refuses,
    },
};
use crate::journal::{
    Family, MAIN_TABLE,
    netlink::{Netlink, address_family, table_of_route, table_of_rule},
};

/// Destinations from everywhere, in both halves of the address space. Nothing is sent to them.
const ANYWHERE: [&str; 5] = ["1.0.0.1", "198.51.100.1", "203.0.113.1", "2001:db8::1", "2a00::1"];
/// So many destinations are asked for in a family at the most, and so many answers told of each weight.
const MAX_ASKED: usize = 128;
const MAX_TOLD: usize = 8;
/// So many networks of others are looked at in a table for that: a router's main table may hold a million.
const MAX_LOOKED_AT: usize = 4096;
/// So many networks of a table are asked for beside the tunnel's own: their rule is told once, whichever of them it takes.
const ASKED_OF_A_TABLE: usize = 16;

fn anywhere() -> impl Iterator<Item = IpAddr> {
    ANYWHERE.iter().filter_map(|text| text.parse().ok())
}

/// What may lead past the tunnel without being told.
#[derive(Clone, Debug, Default)]
pub struct Exempt {
    /// What is reached beside the tunnel on purpose.
    pub networks: Vec<IpNet>,
    /// Whether main's routes that are longer than all of ours win on purpose: those to a gateway's own networks do.
    pub longer_routes: bool,
}

/// What takes traffic past the tunnel, in words, and what to do about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Past {
    /// What the tunnel is to carry and does not.
    pub warnings: Vec<Told>,
    /// What another program reaches its own way, as a second VPN its network: mostly meant.
    pub notes: Vec<Told>,
}

/// Something to tell people of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What it is told of. It stays the same where only the example in the text is another.
    pub cause: String,
    /// The sentence for people.
    pub text: String,
}

impl Told {
    /// Whether it is among what was told before.
    pub fn is_in(&self, before: &[Self]) -> bool {
        before.iter().any(|told| told.cause == self.cause)
    }
}

/// What takes traffic past the tunnel of `plan`. The tunnel is to carry what the plan routes, the networks of its interface's
/// addresses, and `allowed_ips`: those of all peers, also where one route is for many of them.
///
/// # Errors
/// The system's answer.
pub fn traffic_past(plan: &RoutePlan, allowed_ips: &[IpNet], exempt: &Exempt) -> io::Result<Past> {
    let mut netlink = Netlink::open()?;
    let tunnel = netlink.interface_index(plan.interface.as_str())?;
    let mut causes = Causes::default();
    for family in [Family::V4, Family::V6] {
        let Some(carried) = Carried::of(plan, allowed_ips, family) else { continue };
        let tables = Tables::new(netlink.rules(family)?, Vec::new());
        let mut view = View { tables, carried, tunnel, exempt };
        let mut astray = view.astray(&mut netlink, view.own_destinations())?;
        // The routes, which may be very many, matter only where there is something to name.
        if astray.is_empty() && !view.others_may_lead() {
            continue;
        }
        view.tables = Tables::new(view.tables.rules, netlink.routes(family)?);
        astray.extend(view.astray(&mut netlink, view.named_destinations())?);
        let mut of_family = Causes::default();
        for (destination, way) in astray {
            of_family.add(view.cause_of(destination, way));
            if of_family.are_enough() {
                break;
            }
        }
        causes.0.extend(of_family.0);
    }
    Ok(causes.in_words(|index| netlink.interface_name(index).ok()))
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

/// What leads to a destination past the tunnel.
struct Cause {
    /// The rule or the route, which is told once.
    subject: String,
    /// The same, and what to do about it.
    text: String,
    destination: IpAddr,
    /// The interface that it leads to; `None` where it refuses.
    device: Option<u32>,
    weight: Weight,
}

/// How much a cause matters, the most first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Weight {
    /// It takes what may be anywhere.
    Everything,
    /// It takes something that the tunnel is to carry.
    Something,
    /// Another program's own networks.
    OfAnother,
}

/// One cause for each rule or route, in the order in which they were found.
#[derive(Default)]
struct Causes(Vec<Cause>);

impl Causes {
    /// Of a rule that takes several destinations the one that matters most stays.
    fn add(&mut self, cause: Option<Cause>) {
        let Some(cause) = cause else { return };
        match self.0.iter_mut().find(|known| known.subject == cause.subject) {
            Some(known) if cause.weight < known.weight => *known = cause,
            Some(_) => {}
            None => self.0.push(cause),
        }
    }

    /// Whether no more of them would be told.
    fn are_enough(&self) -> bool {
        self.0.iter().filter(|cause| cause.weight != Weight::OfAnother).count() >= MAX_TOLD
    }

    fn in_words(mut self, mut name: impl FnMut(u32) -> Option<String>) -> Past {
        self.0.sort_by_key(|cause| cause.weight);
        let mut past = Past::default();
        for Cause { subject, text, destination, device, weight } in self.0 {
            let device = device.and_then(&mut name);
            let (told, text) = match weight {
                Weight::Everything | Weight::Something => {
                    let effect = device.map_or_else(
                        || "is refused".to_owned(),
                        |device| format!("takes {device} and not the tunnel"),
                    );
                    (&mut past.warnings, format!("what is sent to {destination} {effect}, by {text}"))
                }
                Weight::OfAnother => {
                    let device = device.map_or_else(String::new, |device| format!(" through {device}"));
                    (&mut past.notes, format!("another program reaches its own networks{device} {text}"))
                }
            };
            // A rule of the same words may be there for both families.
            let cause = format!("{subject} of IPv{}", if destination.is_ipv4() { 4 } else { 6 });
            if told.len() < MAX_TOLD && told.iter().all(|known| known.text != text) {
                told.push(Told { cause, text });
            }
        }
        past
    }
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
    /// Of a full tunnel anything, of another what it carries.
    fn own_destinations(&self) -> Vec<IpAddr> {
        let networks = self.carried.networks.iter().filter(|network| network.prefix_len() > 0);
        let own = anywhere().chain(networks.flat_map(within)).filter(|address| self.is_asked(*address));
        own.take(MAX_ASKED / 2).collect()
    }

    /// What others' rules and routes name of what the tunnel carries: at first of its own networks, which nothing may take, and then,
    /// with a share of its own, of all else.
    fn named_destinations(&self) -> Vec<IpAddr> {
        let mut known: BTreeSet<IpAddr> = self.own_destinations().into_iter().collect();
        let mut destinations = Vec::new();
        for networks in [self.named_within_own(), self.named()] {
            let addresses = networks.iter().flat_map(|network| self.asked_of(network));
            destinations.extend(addresses.filter(|address| known.insert(*address)).take(MAX_ASKED / 4));
        }
        destinations
    }

    /// The kernel's answers to what is neither sent into the tunnel nor to the host itself.
    fn astray(&self, netlink: &mut Netlink, to: Vec<IpAddr>) -> io::Result<Vec<(IpAddr, Way)>> {
        let mut astray = Vec::new();
        for destination in to {
            let way = ask(netlink, destination)?;
            match way {
                Way::Here => {}
                Way::Interface(index) if index == self.tunnel => {}
                Way::Interface(_) | Way::None => astray.push((destination, way)),
            }
        }
        Ok(astray)
    }

    /// Addresses of a network, and of a network of ours within it, that the tunnel is to carry.
    fn asked_of(&self, network: &IpNet) -> impl Iterator<Item = IpAddr> + use<'_> {
        let inner = self.carried.first_within(network);
        let addresses = within(network).chain(inner.into_iter().flat_map(|inner| within(&inner)));
        addresses.filter(|address| self.is_asked(*address))
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

    /// Others' rules before ours.
    fn foreign(&self) -> impl Iterator<Item = &RuleMessage> {
        let before = self.tables.rules.iter().filter(|rule| priority(rule) <= self.carried.last_rule);
        before.filter(|rule| is_foreign(rule))
    }

    /// Whether others' rules or routes can lead past the tunnel: of one that is not full the routes are in main, among others'.
    fn others_may_lead(&self) -> bool {
        !self.carried.is_full || self.foreign().next().is_some()
    }

    /// The tables that others' rules look up before ours. Main is one of these, and besides it has the routes of every tunnel that is
    /// not full.
    fn looked_up(&self) -> impl Iterator<Item = &Table> {
        let numbers: BTreeSet<u32> = self
            .foreign()
            .filter_map(|rule| match rule.header.action {
                RuleAction::ToTable => Some(table_of_rule(rule)),
                // Behind our rules main is asked.
                RuleAction::Goto => Some(MAIN_TABLE),
                _ => None,
            })
            .chain((!self.carried.is_full).then_some(MAIN_TABLE))
            .collect();
        numbers.into_iter().filter_map(|number| self.tables.table(number))
    }

    /// Networks of others within the tunnel's own.
    fn named_within_own(&self) -> Vec<IpNet> {
        let inner = |table| {
            let routes = self.carried.own.iter().flat_map(move |own| Table::within(table, own));
            routes.filter(|route| self.leads_elsewhere(route)).map(destination_of_route).take(MAX_LOOKED_AT)
        };
        let mut networks: Vec<IpNet> = self.looked_up().flat_map(inner).collect();
        networks.sort_by_key(IpNet::prefix_len);
        networks
    }

    /// The networks that others' rules and the tables of these name, the widest first: they take the most.
    fn named(&self) -> Vec<IpNet> {
        let of_table = |table| {
            let routes = Table::widest(table).filter(|route| self.leads_elsewhere(route));
            let networks = routes.map(destination_of_route).take(MAX_LOOKED_AT);
            networks.filter(|network| self.asked_of(network).next().is_some()).take(ASKED_OF_A_TABLE)
        };
        let of_rules = self.foreign().filter_map(destination_of_rule).take(MAX_LOOKED_AT);
        let mut networks: Vec<IpNet> = of_rules.chain(self.looked_up().flat_map(of_table)).collect();
        networks.sort_by_key(IpNet::prefix_len);
        networks
    }

    fn leads_elsewhere(&self, route: &RouteMessage) -> bool {
        (route.header.kind == RouteType::Unicast || refuses(route)) && outgoing(route) != Some(self.tunnel)
    }

    /// What leads to `destination` past the tunnel by `way`; `None` where nothing does, or we ourselves.
    fn cause_of(&self, destination: IpAddr, way: Way) -> Option<Cause> {
        let device = match way {
            Way::Interface(index) => Some(index),
            Way::Here | Way::None => None,
        };
        let is_anywhere = anywhere().any(|address| address == destination);
        let weight = if is_anywhere { Weight::Everything } else { Weight::Something };
        let cause =
            |subject: String, text, weight| Some(Cause { subject, text, destination, device, weight });
        let Some(found) = self.tables.walk(destination, |_| true) else {
            let text = "a rule that this program does not understand: see `ip rule`".to_owned();
            return device.and_then(|_| cause(text.clone(), text, weight));
        };
        // Where the same route would decide without others' rules, these are not the cause.
        let usual = self.tables.walk(destination, |rule| !is_foreign(rule));
        let is_usual = usual.as_ref().is_some_and(|usual| same_route(usual.route, found.route));
        if is_usual {
            let (route, remedy) = self.route_cause(destination, &found, device)?;
            return cause(route.clone(), route + &remedy, weight);
        }
        let rule = rule_to_blame(&found)?;
        let subject = format!("the rule \"{}\"", rule_text(rule));
        if self.is_of_another(destination, &found) {
            let text = format!(
                "by {subject}, and not through the tunnel: nothing is to be done where that is wanted, as of a second VPN \
                 or of containers; else stop that program, or remove the rule"
            );
            return cause(subject, text, Weight::OfAnother);
        }
        let text = format!("{subject}{}", rule_remedy(&found, usual.as_ref()));
        cause(subject, text, weight)
    }

    /// Whether what leads to `destination` is most likely meant to: another program's table for some networks, as a second VPN's, or
    /// its rule for one address, as a container's. Never what the tunnel has by more than a default route.
    fn is_of_another(&self, destination: IpAddr, found: &Found<'_>) -> bool {
        let Some(route) = found.route.filter(|route| route.header.kind == RouteType::Unicast) else {
            return false;
        };
        let table = table_of_route(route);
        let has_default = self.tables.table(table).is_some_and(Table::has_default);
        let is_for_some_networks = table != MAIN_TABLE
            && !has_default
            && found.jump.is_none()
            && anywhere().all(|address| address != destination);
        let is_likely = is_for_some_networks || is_for_one_address(found.rule);
        self.carried.is_full && is_likely && !self.carried.is_own(destination)
    }

    /// A route of main that wins over the tunnel's, and what to do about it.
    fn route_cause(
        &self,
        destination: IpAddr,
        found: &Found<'_>,
        device: Option<u32>,
    ) -> Option<(String, String)> {
        let route = found.route.filter(|route| table_of_route(route) == MAIN_TABLE)?;
        // A full tunnel's own rules ask main for what is reached beside it, and what leads nowhere any more leads past nothing.
        if self.carried.is_full || (device.is_none() && !refuses(route)) {
            return None;
        }
        let text = format!("the route \"{}\" of the main table", route_text(route));
        let bits = route.header.destination_prefix_length;
        if bits == 0 || bits < longest(&self.carried.routed, destination) {
            return Some((text, ", because the tunnel's own is missing: set its interface up".to_owned()));
        }
        let ours = longest(&self.carried.networks, destination);
        // Of a default route longer ones that refuse are exceptions as well, such as banned hosts.
        let is_meant = self.exempt.longer_routes && bits > ours && (!refuses(route) || ours == 0);
        let remedy = ": remove that route, or give the tunnel other `allowed_ips` or `addresses`";
        (!is_meant).then(|| (text, remedy.to_owned()))
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
fn rule_to_blame<'a>(found: &Found<'a>) -> Option<&'a RuleMessage> {
    if is_ours(found.rule) || is_of_every_host(found.rule) { found.jump } else { Some(found.rule) }
}

/// The route that such a rule leads to, and what to do about the rule. `usual` is what would decide without it.
fn rule_remedy(found: &Found<'_>, usual: Option<&Found<'_>>) -> String {
    let route = found.route.map_or_else(String::new, |route| format!(" (there {})", route_text(route)));
    let place = usual.map_or_else(String::new, |usual| {
        format!(", or give it a number above {} if it must stay", priority(usual.rule))
    });
    format!("{route}: remove that rule{place}")
}

#[cfg(test)]
mod tests;
