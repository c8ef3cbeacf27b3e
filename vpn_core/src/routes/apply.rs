//! Applying and replacing a plan.

use tracing::{info, warn};

use super::{RouteError, RoutePlan, interface::ipv6_is_on, plan::marks_table};
use crate::journal::{
    Change, DeviceRoute, EntryId, Family, Journal, JournalError, installed,
    netlink::{Netlink, table_of_route},
    run, sysctl,
};

const SOURCE_VALID_MARK: &str = "net/ipv4/conf/all/src_valid_mark";

/// The routes in force, and their journal entries.
#[derive(Debug)]
pub struct Routes {
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
        let mut routes = Self { plan: RoutePlan::empty(&plan.interface), made: Vec::new() };
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
        let plan = &fit_to_host(plan);
        let kept = self.made.len();
        if let Err(error) = self.add(plan, journal) {
            let ids: Vec<EntryId> = self.made.drain(kept..).map(|(id, _)| id).collect();
            if let Err(undo) = journal.undo(&ids) {
                warn!(%undo, "routes that could not be applied left something behind");
            }
            return Err(error);
        }
        let wanted = changes(plan);
        let stale: Vec<EntryId> =
            self.made.iter().filter(|(_, change)| !wanted.contains(change)).map(|(id, _)| *id).collect();
        self.made.retain(|(id, _)| !stale.contains(id));
        self.plan = plan.clone();
        journal.undo(&stale)?;
        let (routes, rules) = (plan.routes.len(), plan.rules.len());
        info!(interface = %plan.interface, routes, rules, "routes applied");
        Ok(())
    }

    /// Adds the routes again that vanished when the interface was set down. They are in the journal already.
    ///
    /// # Errors
    /// [`RouteError`]; the routes after the one that failed are missing.
    pub fn restore(&self) -> Result<(), RouteError> {
        let name = self.plan.interface.as_str();
        let mut netlink = Netlink::open()
            .map_err(|source| RouteError::kernel("open a netlink socket".into(), name, source))?;
        self.made.iter().try_for_each(|(_, change)| match change {
            Change::Route(route) => add_route(&mut netlink, route),
            // These do not depend on the interface being up.
            Change::PolicyRule(_)
            | Change::Sysctl { .. }
            | Change::NftTable { .. }
            | Change::IptablesRule { .. }
            | Change::IptablesChain { .. }
            | Change::Mark { .. } => Ok(()),
        })
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
            let id = journal.set_sysctl(SOURCE_VALID_MARK, "1", &[])?;
            self.made.push((id, sysctl));
        }
        if plan.marks.is_some() && !installed("nft") {
            warn_about_strict_filters();
            new.retain(|change| !matches!(change, Change::NftTable { .. }));
        }
        let ids = journal.record_all(new.iter().cloned())?;
        self.made.extend(ids.into_iter().zip(new.iter().cloned()));
        // The same table with other contents is no new change, but a new batch.
        let text = plan.marks.as_ref().filter(|text| self.plan.marks.as_ref() != Some(*text));
        if let Some(text) = text.filter(|_| installed("nft")) {
            run("nft", &["-f", "-"], Some(text))?;
        }
        let name = plan.interface.as_str();
        let mut netlink = Netlink::open()
            .map_err(|source| RouteError::kernel("open a netlink socket".into(), name, source))?;
        for change in &new {
            match change {
                Change::Route(route) => add_route(&mut netlink, route)?,
                Change::PolicyRule(rule) => match netlink.add_rule(rule) {
                    // The same rule, left by somebody who had this mark: priorities are not shared.
                    Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
                    result => result.map_err(|source| {
                        RouteError::kernel(format!("add the policy rule {rule}"), name, source)
                    })?,
                },
                Change::Sysctl { .. }
                | Change::NftTable { .. }
                | Change::IptablesRule { .. }
                | Change::IptablesChain { .. }
                | Change::Mark { .. } => {}
            }
        }
        Ok(())
    }

    fn has(&self, change: &Change) -> bool {
        self.made.iter().any(|(_, made)| made == change)
    }
}

/// What a plan changes, in the order in which it is made. The sysctl's entry stands for itself here; the journal
/// writes its own, with the value from before.
fn changes(plan: &RoutePlan) -> Vec<Change> {
    let mut changes = Vec::new();
    if plan.has_ipv4_rules() {
        let set = crate::journal::SysctlValue { key: SOURCE_VALID_MARK.into(), value: "1".into() };
        changes.push(Change::Sysctl { set, previous: String::new(), dependents: Vec::new() });
    }
    if plan.marks.is_some() {
        changes.push(Change::NftTable { family: "inet".into(), name: marks_table(&plan.interface) });
    }
    changes.extend(plan.routes.iter().cloned().map(Change::Route));
    changes.extend(plan.rules.iter().copied().map(Change::PolicyRule));
    changes
}

fn fit_to_host(plan: &RoutePlan) -> RoutePlan {
    let has_ipv6 = plan.routes.iter().any(|route| Family::of(&route.destination) == Family::V6);
    if !has_ipv6 || ipv6_is_on(&plan.interface) {
        return plan.clone();
    }
    warn!(
        interface = %plan.interface,
        "IPv6 is disabled on the tunnel interface: IPv6 routes are left out, and IPv6 traffic, \
         if this host has any, does not take the tunnel"
    );
    plan.without_ipv6()
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

fn warn_about_strict_filters() {
    let strict: Vec<String> = sysctl::each("net/ipv4/conf", "rp_filter")
        .into_iter()
        .filter(|key| sysctl::read(key).is_ok_and(|value| value == "1"))
        .collect();
    if !strict.is_empty() {
        warn!(
            sysctls = strict.join(", "),
            "nft is not installed, so a strict reverse path filter drops what peers send: install the package \
             nftables, or set these sysctls to 2"
        );
    }
}
