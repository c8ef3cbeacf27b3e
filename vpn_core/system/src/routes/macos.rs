//! The tunnel interface and its routes on macOS, by the programs of its base system.

use std::net::IpAddr;

use ipnet::IpNet;
use nix::{errno::Errno, ifaddrs::getifaddrs, net::if_::InterfaceFlags, sys::socket::SockaddrStorage};
use tracing::{info, warn};

use super::{
    InterfaceSetup, Link, RouteError,
    mac_plan::{link_state, plan_for_mac, routed_interface},
};
use crate::journal::{
    Change, CommandError, EntryId, InterfaceName, Journal, MacChange, MacRoute, add_route, mac::netmask, run,
};

const IFCONFIG: &str = "/sbin/ifconfig";
const ROUTE: &str = "/sbin/route";

/// Where routes lead that refuse.
const LOOPBACK: &str = "lo0";

impl InterfaceSetup {
    /// Sets the MTU, adds the addresses and brings the interface up. What is there already is left alone. Not journalled:
    /// all of it vanishes with the device.
    ///
    /// # Errors
    /// [`RouteError`], naming what failed.
    pub fn apply(&self) -> Result<(), RouteError> {
        self.check()?;
        let name = self.name.as_str();
        shape_interface(&self.name, self.mtu)?;
        for address in &self.addresses {
            let ip = address.addr().to_string();
            let mask = netmask(address.prefix_len()).to_string();
            let with_prefix = address.to_string();
            let arguments = match address {
                // A point-to-point interface has another end; it is never looked at, and so may be this one.
                IpNet::V4(_) => vec![name, "inet", &ip, &ip, "netmask", &mask, "alias"],
                IpNet::V6(_) => vec![name, "inet6", &with_prefix, "alias"],
            };
            program(IFCONFIG, &arguments, || format!("add {address} to {name}"))?;
        }
        program(IFCONFIG, &[name, "up"], || format!("bring {name} up")).map(drop)
    }
}

/// Sets the MTU of a new tunnel interface, and leaves the rest to somebody else.
///
/// # Errors
/// [`RouteError`].
pub fn shape_interface(interface: &InterfaceName, mtu: u16) -> Result<(), RouteError> {
    let action = || format!("set the MTU of {interface} to {mtu}");
    program(IFCONFIG, &[interface.as_str(), "mtu", &mtu.to_string()], action).map(drop)
}

/// The state of an interface; `None` when there is none of this name.
pub(super) fn link_of(interface: &InterfaceName) -> Option<Link> {
    link_state(&run(IFCONFIG, &[interface.as_str()], None).ok()?)
}

/// The networks of the addresses that interfaces other than `tunnel` have.
///
/// # Errors
/// [`RouteError`] with the system's answer.
pub fn on_link_networks(tunnel: &InterfaceName) -> Result<Vec<IpNet>, RouteError> {
    let failed = |errno: Errno| RouteError::Kernel { action: "list addresses".into(), source: errno.into() };
    let entries = getifaddrs().map_err(failed)?;
    let others = entries.filter(|entry| {
        entry.interface_name != tunnel.as_str()
            && !entry.flags.intersects(InterfaceFlags::IFF_LOOPBACK | InterfaceFlags::IFF_POINTOPOINT)
    });
    Ok(others.filter_map(|entry| network(entry.address?, entry.netmask?)).collect())
}

fn network(address: SockaddrStorage, mask: SockaddrStorage) -> Option<IpNet> {
    let ip = |storage: SockaddrStorage| {
        let v4 = storage.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| storage.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    IpNet::with_netmask(ip(address)?, ip(mask)?).ok().map(|network| network.trunc())
}

/// The routes in force, and their journal entries.
#[derive(Debug)]
pub struct MacRoutes {
    interface: InterfaceName,
    addresses: Vec<IpNet>,
    /// In the order in which they were made; undone in reverse.
    made: Vec<(EntryId, MacRoute)>,
}

impl MacRoutes {
    /// No routes yet, for an interface with these addresses.
    pub fn new(interface: &InterfaceName, addresses: &[IpNet]) -> Self {
        Self { interface: interface.clone(), addresses: addresses.to_owned(), made: Vec::new() }
    }

    /// Routes `allowed_ips` and nothing else into the tunnel: what is new is added, then what is no longer wanted is removed.
    ///
    /// # Errors
    /// [`RouteError`]; the additions are undone, and the routes before stay in force but for those in their way.
    pub fn replace(&mut self, allowed_ips: &[IpNet], journal: &mut Journal) -> Result<(), RouteError> {
        let wanted = plan_for_mac(&self.interface, &self.addresses, allowed_ips);
        let is_made = |route: &MacRoute| self.made.iter().any(|(_, made)| made == route);
        let new: Vec<MacRoute> = wanted.iter().filter(|route| !is_made(route)).cloned().collect();
        if new.is_empty() && self.made.len() == wanted.len() {
            return Ok(());
        }
        // A destination that was refused cannot have another route beside that one.
        let in_the_way = |made: &MacRoute| new.iter().any(|route| route.destination == made.destination);
        self.remove(in_the_way, journal)?;
        let changes = new.iter().cloned().map(|route| Change::Mac(MacChange::Route(route)));
        let ids = journal.record_all(changes)?;
        if let Err(error) = new.iter().try_for_each(add) {
            if let Err(undo) = journal.undo(&ids) {
                warn!(%undo, "routes that could not be applied left something behind");
            }
            return Err(error);
        }
        self.made.extend(ids.into_iter().zip(new));
        self.remove(|route| !wanted.contains(route), journal)?;
        info!(interface = %self.interface, routes = self.made.len(), "routes applied");
        Ok(())
    }

    fn remove(
        &mut self,
        is_stale: impl Fn(&MacRoute) -> bool,
        journal: &mut Journal,
    ) -> Result<(), RouteError> {
        let (stale, kept) =
            std::mem::take(&mut self.made).into_iter().partition(|(_, route)| is_stale(route));
        self.made = kept;
        let ids: Vec<EntryId> = Vec::into_iter(stale).map(|(id, _)| id).collect();
        Ok(journal.undo(&ids)?)
    }

    /// Adds the routes again that vanished. They are in the journal already.
    ///
    /// # Errors
    /// [`RouteError`]; the routes after the one that failed are missing.
    pub fn restore(&self) -> Result<(), RouteError> {
        self.made.iter().try_for_each(|(_, route)| add(route))
    }
}

fn add(route: &MacRoute) -> Result<(), RouteError> {
    match add_route(route) {
        Ok(()) => Ok(()),
        Err(CommandError::Failed { stderr, .. }) if stderr.contains("File exists") => {
            if is_ours(route) {
                Ok(())
            } else {
                Err(RouteError::Conflict { destination: route.destination })
            }
        }
        Err(error) => Err(refusal(error, || format!("add the route {route}"))),
    }
}

/// Whether the route that is in the way is the same one: the kernel brings that of an IPv6 network along itself.
fn is_ours(route: &MacRoute) -> bool {
    let family = if matches!(route.destination, IpNet::V4(_)) { "-inet" } else { "-inet6" };
    let destination = route.destination.to_string();
    let answer = run(ROUTE, &["-n", "get", family, &destination], None);
    let wanted = route.device.as_deref().unwrap_or(LOOPBACK);
    answer.is_ok_and(|output| routed_interface(&output) == Some(wanted))
}

fn program(name: &str, arguments: &[&str], action: impl FnOnce() -> String) -> Result<String, RouteError> {
    run(name, arguments, None).map_err(|error| refusal(error, action))
}

fn refusal(error: CommandError, action: impl FnOnce() -> String) -> RouteError {
    match error {
        CommandError::Failed { stderr, .. }
            if stderr.contains("must be root")
                || stderr.contains("ermission denied")
                || stderr.contains("not permitted") =>
        {
            RouteError::NotPermitted { action: action() }
        }
        error => error.into(),
    }
}
