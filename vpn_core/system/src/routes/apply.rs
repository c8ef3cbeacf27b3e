//! Applying and replacing a plan.

use core::fmt;
use std::io;

use tracing::{debug, info, warn};

use super::{RouteError, RoutePlan, inbound::inbound_table, interface::ipv6_is_on, marks::marks_table};
use crate::journal::{
    Change, CommandError, DeviceRoute, EntryId, Family, Journal, JournalError, SysctlValue, installed,
    netlink::{Netlink, table_of_route},
    require, run, sysctl,
};

const SOURCE_VALID_MARK: &str = "net/ipv4/conf/all/src_valid_mark";
/// By this a TCP connection, of either family, has the mark of what came in from its start. Without it it is marked only when it
/// leaves, which it does not where the tunnel refuses its family, or is gone. Not `fwmark_reflect`, which does the same for the
/// kernel's own answers: a host whose client was killed would tell the gateway that the port is closed.
const ACCEPT_WITH_MARK: &str = "net/ipv4/tcp_fwmark_accept";
/// There on every host that knows IPv6 at all.
const IPV6: &str = "net/ipv6/conf/all/disable_ipv6";

/// The routes in force, and their journal entries.
#[derive(Debug)]
pub struct Routes {
    /// The plan that was asked for.
    wanted: RoutePlan,
    /// What of it this host can have.
    plan: RoutePlan,
    /// In the order in which they were made; undone in reverse.
    made: Vec<(EntryId, Change)>,
}

impl Routes {
    /// Applies `plan`. Where it [needs the mark](RoutePlan::needs_mark), the UDP sockets must carry it already.
    ///
    /// # Errors
    /// [`RouteError`]; everything that had been changed is undone.
    pub fn apply(plan: &RoutePlan, journal: &mut Journal) -> Result<Self, RouteError> {
        let empty = RoutePlan::empty(&plan.interface);
        let mut routes = Self { wanted: empty.clone(), plan: empty, made: Vec::new() };
        routes.replace(plan, journal)?;
        Ok(routes)
    }

    /// The plan in force.
    pub fn plan(&self) -> &RoutePlan {
        &self.plan
    }

    /// Goes over to another plan for the same interface: what is new is added, then what is no longer wanted is removed,
    /// and what both have is not touched, so no packet finds a route missing.
    ///
    /// # Errors
    /// [`RouteError`]; the additions are undone, and the old plan stays in force.
    pub fn replace(&mut self, plan: &RoutePlan, journal: &mut Journal) -> Result<(), RouteError> {
        if *plan == self.wanted {
            return Ok(());
        }
        let wanted = plan;
        let plan = &fit_to_host(wanted);
        let kept = self.made.len();
        if let Err(error) = self.add(plan, journal) {
            let ids: Vec<EntryId> = self.made.drain(kept..).map(|(id, _)| id).collect();
            if let Err(undo) = journal.undo(&ids) {
                warn!(%undo, "routes that could not be applied left something behind");
            }
            return Err(error);
        }
        let needed = changes(plan);
        let stale: Vec<EntryId> =
            self.made.iter().filter(|(_, change)| !needed.contains(change)).map(|(id, _)| *id).collect();
        self.made.retain(|(id, _)| !stale.contains(id));
        self.wanted = wanted.clone();
        self.plan = plan.clone();
        journal.undo(&stale)?;
        let (routes, rules) = (plan.routes.len(), plan.rules.len());
        info!(interface = %plan.interface, routes, rules, "routes applied");
        Ok(())
    }

    /// Adds routes and rules again that vanished: when the interface was set down, or because somebody else removed
    /// them. What is there is not touched. They are in the journal already.
    ///
    /// # Errors
    /// [`RouteError`]: the first; what can be put back is.
    pub fn restore(&self) -> Result<(), RouteError> {
        let name = self.plan.interface.as_str();
        let mut netlink = Netlink::open()
            .map_err(|source| RouteError::kernel("open a netlink socket".into(), name, source))?;
        // Rules first: without a route they refuse, without a rule nobody asks for the routes.
        let mut outcome = Ok(());
        for (_, change) in &self.made {
            outcome = outcome.and(add_rule(&mut netlink, name, change));
        }
        for (_, change) in &self.made {
            let Change::Route(route) = change else { continue };
            let added = netlink.add_route(route);
            outcome = outcome.and(unless_there(added, &format_args!("add the route {route}"), name));
        }
        outcome
    }

    /// Puts the nftables tables back, as they were made.
    ///
    /// # Errors
    /// [`CommandError`]: the first; what can be put back is.
    pub fn restore_tables(&self) -> Result<(), CommandError> {
        if !installed("nft") {
            return Ok(());
        }
        let mut outcome = Ok(());
        for (_, _, text) in tables(&self.plan) {
            outcome = outcome.and(run("nft", &["-f", "-"], Some(text)).map(drop));
        }
        outcome
    }

    /// The names of the nftables tables in force.
    pub fn table_names(&self) -> Vec<String> {
        tables(&self.plan).map(|(_, name, _)| name).collect()
    }

    /// Whether answers to connections from outside leave as these came.
    pub fn answers_outside(&self) -> bool {
        self.plan.inbound.is_some()
    }

    /// Removes all routes and rules.
    ///
    /// # Errors
    /// [`JournalError::Undo`] names what could not be removed.
    pub fn stop(self, journal: &mut Journal) -> Result<(), JournalError> {
        let ids: Vec<EntryId> = self.made.iter().map(|(id, _)| *id).collect();
        journal.undo(&ids)
    }

    /// Marks first, then routes in tables that nothing looks up yet, then the rules: at no point does one of our own
    /// datagrams go into the tunnel.
    fn add(&mut self, plan: &RoutePlan, journal: &mut Journal) -> Result<(), RouteError> {
        let new: Vec<Change> = changes(plan).into_iter().filter(|change| !self.has(change)).collect();
        let (sysctls, mut new): (Vec<Change>, Vec<Change>) =
            new.into_iter().partition(|change| matches!(change, Change::Sysctl { .. }));
        for sysctl in sysctls {
            let Change::Sysctl { set, .. } = &sysctl else { continue };
            match journal.set_sysctl(&set.key, &set.value, &[]) {
                Ok(id) => self.made.push((id, sysctl)),
                Err(error) if set.key == ACCEPT_WITH_MARK => {
                    // No failure: all else works, and a container is often without this setting.
                    warn!(
                        "some answers to connections from outside will not leave: {} cannot be set to {} here; set it on the host, \
                         or `inbound = \"refuse\"` in [interface]",
                        set.key, set.value
                    );
                    debug!(%error, "a setting could not be made");
                }
                Err(error) => return Err(error.into()),
            }
        }
        if plan.marks.is_some() && !installed("nft") {
            warn_about_strict_filters();
            new.retain(|change| !matches!(change, Change::NftTable { .. }));
        }
        let ids = journal.record_all(new.iter().cloned())?;
        self.made.extend(ids.into_iter().zip(new.iter().cloned()));
        if installed("nft") {
            // The same table with other contents is no new change, but a new batch.
            let known: Vec<_> = tables(&self.plan).collect();
            for (_, _, text) in tables(plan).filter(|table| !known.contains(table)) {
                run("nft", &["-f", "-"], Some(text))?;
            }
        }
        let name = plan.interface.as_str();
        let mut netlink = Netlink::open()
            .map_err(|source| RouteError::kernel("open a netlink socket".into(), name, source))?;
        for change in &new {
            if let Change::Route(route) = change {
                add_route(&mut netlink, route)?;
            }
        }
        new.iter().try_for_each(|change| add_rule(&mut netlink, name, change))
    }

    fn has(&self, change: &Change) -> bool {
        self.made.iter().any(|(_, made)| made == change)
    }
}

/// What a plan changes, in the order in which it is made. The sysctl's entry stands for itself here; the journal
/// writes its own, with the value from before.
fn changes(plan: &RoutePlan) -> Vec<Change> {
    let mut changes = Vec::new();
    let by_rules = plan.has_ipv4_rules().then_some(SOURCE_VALID_MARK);
    let by_answers = plan.inbound.is_some().then_some(ACCEPT_WITH_MARK);
    changes.extend(by_rules.into_iter().chain(by_answers).map(|key| {
        let set = SysctlValue { key: key.into(), value: "1".into() };
        Change::Sysctl { set, previous: String::new(), dependents: Vec::new() }
    }));
    changes.extend(tables(plan).map(|(family, name, _)| Change::NftTable { family: family.into(), name }));
    changes.extend(plan.routes.iter().cloned().map(Change::Route));
    changes.extend(plan.refusal.iter().copied().map(Change::RefusingTable));
    changes.extend(plan.rules.iter().copied().map(Change::PolicyRule));
    changes
}

/// The nftables tables of a plan: family, name and batch.
fn tables(plan: &RoutePlan) -> impl Iterator<Item = (&'static str, String, &str)> {
    let of_marks = |family, text| (family, marks_table(&plan.interface), text);
    let marks = plan.marks.as_deref().map(|text| of_marks("inet", text));
    let neighbours = plan.neighbours.as_deref().map(|text| of_marks("arp", text));
    let inbound = plan.inbound.as_deref().map(|text| ("inet", inbound_table(&plan.interface), text));
    marks.into_iter().chain(neighbours).chain(inbound)
}

fn fit_to_host(plan: &RoutePlan) -> RoutePlan {
    let mut plan = plan.clone();
    if plan.has_ipv6_routes() && !ipv6_is_on(&plan.interface) {
        if plan.is_full {
            warn!(interface = %plan.interface, "IPv6 is disabled on the tunnel interface: IPv6 is unreachable");
        } else {
            warn!(
                interface = %plan.interface,
                "IPv6 is disabled on the tunnel interface: IPv6 routes are left out, and IPv6 traffic, \
                 if this host has any, does not take the tunnel"
            );
        }
        plan.remove_ipv6_routes();
    }
    if sysctl::read(IPV6).is_err() {
        plan.remove_ipv6_rules();
    }
    // Not every kernel has nftables for ARP, and few hosts need it.
    plan.neighbours = plan.neighbours.filter(|text| {
        !strict_filters().is_empty()
            && installed("nft")
            && run("nft", &["--check", "-f", "-"], Some(text)).is_ok()
    });
    plan.inbound = plan.inbound.filter(|text| can_answer_outside(text));
    plan
}

fn can_answer_outside(text: &str) -> bool {
    let loaded = require("nft").and_then(|()| run("nft", &["--check", "-f", "-"], Some(text)).map(drop));
    if let Err(error) = &loaded {
        warn!(%error, "answers to connections from outside go into the tunnel, and so get lost");
    }
    loaded.is_ok()
}

/// Adds a rule, or the route of a table that refuses. Nothing else.
fn add_rule(netlink: &mut Netlink, interface: &str, change: &Change) -> Result<(), RouteError> {
    match change {
        // One that is there was left by somebody who had this mark: priorities and tables are not shared.
        Change::PolicyRule(rule) => {
            unless_there(netlink.add_rule(rule), &format_args!("add the policy rule {rule}"), interface)
        }
        Change::RefusingTable(table) => {
            unless_there(netlink.add_refusal(*table), &format_args!("add the route {table}"), interface)
        }
        Change::Route(_)
        | Change::Sysctl { .. }
        | Change::NftTable { .. }
        | Change::KillSwitch { .. }
        | Change::IptablesRule { .. }
        | Change::IptablesChain { .. }
        | Change::NameServers(_)
        | Change::Mac(_)
        | Change::Mark { .. } => Ok(()),
    }
}

fn unless_there(
    result: io::Result<()>,
    action: &fmt::Arguments<'_>,
    interface: &str,
) -> Result<(), RouteError> {
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        result => result.map_err(|source| RouteError::kernel(action.to_string(), interface, source)),
    }
}

fn add_route(netlink: &mut Netlink, route: &DeviceRoute) -> Result<(), RouteError> {
    let result = netlink.add_route(route);
    match result {
        Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
            if is_ours(netlink, route) {
                Ok(())
            } else {
                Err(RouteError::Conflict { destination: route.destination })
            }
        }
        result => result
            .map_err(|source| RouteError::kernel(format!("add the route {route}"), &route.device, source)),
    }
}

/// Whether the route that is in the way is the same one.
fn is_ours(netlink: &mut Netlink, route: &DeviceRoute) -> bool {
    use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute};

    let Ok(index) = netlink.interface_index(&route.device) else { return false };
    let Ok(existing) = netlink.routes(Family::of(&route.destination)) else { return false };
    existing.iter().any(|other| {
        let has = |wanted: &RouteAttribute| other.attributes.contains(wanted);
        let destination = match route.destination {
            ipnet::IpNet::V4(network) => RouteAddress::Inet(network.network()),
            ipnet::IpNet::V6(network) => RouteAddress::Inet6(network.network()),
        };
        table_of_route(other) == route.table
            && other.header.destination_prefix_length == route.destination.prefix_len()
            && (route.destination.prefix_len() == 0 || has(&RouteAttribute::Destination(destination)))
            && has(&RouteAttribute::Oif(index))
    })
}

/// The sysctls that ask for a strict reverse path filter.
fn strict_filters() -> Vec<String> {
    let is_strict = |key: &String| sysctl::read(key).is_ok_and(|value| value == "1");
    sysctl::each("net/ipv4/conf", "rp_filter").into_iter().filter(is_strict).collect()
}

fn warn_about_strict_filters() {
    let strict = strict_filters();
    if !strict.is_empty() {
        warn!(
            sysctls = strict.join(", "),
            "nft is not installed, so a strict reverse path filter drops what peers send: install the package \
             nftables, or set these sysctls to 2"
        );
    }
}
