//! Layer 5: the tunnel interface's addresses and the routes into it.
//!
//! **Ordinary prefixes** of the peers' allowed IPs become routes to the device in the main table.
//!
//! **A prefix that covers a peer's endpoint** (a default route always counts) would send our own encrypted datagrams
//! back into the tunnel. It is routed by policy, as wg-quick does for default routes, here for every prefix length: the
//! UDP sockets carry a firewall mark; for each length `L` in use, longest first, two rules stand before main:
//!
//! ```text
//! fwmark TUNNELS goto END                           datagrams of any tunnel, ours included, pass over what follows
//! from all lookup main suppress_prefixlength L      main decides, if it has something longer than L
//! not from all fwmark MARK lookup MARK+L            our routes of length L, for everything but our datagrams
//! ```
//!
//! So the longest prefix of both tables wins, as if all were in one; on a tie the tunnel does; and a marked datagram
//! falls through to main, whether its endpoint is on-link, behind a gateway, IPv4 or IPv6, and wherever it roams.
//! Nothing pins the endpoint's address, so a changed uplink needs no attention.
//!
//! **A client's default route** is more than a long prefix among others: nothing may leave beside it. What the rules are
//! then, and why, says `full.rs`; what of the local network stays reachable, `lan.rs`.
//!
//! **Strict reverse path filtering** (`rp_filter = 1`) looks up the way back to an arriving datagram's source, finds the
//! tunnel, and drops it. A small nftables table saves the mark into the connection and restores it on what belongs to
//! that connection (ICMP errors too), and `src_valid_mark = 1` makes the filter look at the mark.
//!
//! Rules, routes, the table and the sysctl are journalled. The routes are too: they vanish with a TUN device that its
//! process closes, but not with one that somebody made persistent.
//!
//! Planning ([`plan`]) is pure. Applying is synchronous: netlink answers at once, and undoing must work in `Drop`.

#[cfg(target_os = "linux")]
mod apply;
mod full;
#[cfg(target_os = "linux")]
mod guard;
mod inbound;
#[cfg(target_os = "linux")]
mod interface;
mod lan;
#[cfg(target_os = "linux")]
mod loop_guard;
#[cfg(any(test, target_os = "macos"))]
mod mac_plan;
#[cfg(target_os = "macos")]
mod macos;
mod mark;
mod marks;
#[cfg(target_os = "linux")]
mod on_link;
#[cfg(target_os = "linux")]
mod past;
#[cfg(target_os = "linux")]
mod path_mtu;
mod plan;
#[cfg(target_os = "linux")]
mod public_address;
#[cfg(target_os = "linux")]
mod remains;
#[cfg(target_os = "linux")]
mod route_table;
#[cfg(target_os = "linux")]
mod rule_text;
#[cfg(target_os = "linux")]
mod services;
mod setup;
#[cfg(target_os = "linux")]
mod tables;
#[cfg(target_os = "linux")]
mod walk;
#[cfg(target_os = "linux")]
mod watch;
#[cfg(target_os = "macos")]
#[path = "watch_macos.rs"]
mod watch;

use std::{io, net::IpAddr};

use ipnet::IpNet;

use crate::journal::{CommandError, JournalError};

#[cfg(target_os = "linux")]
pub use apply::Routes;
#[cfg(target_os = "linux")]
pub use guard::watch_routing;
pub use inbound::{Connection, Inbound};
#[cfg(target_os = "linux")]
pub use interface::{set_interface_mtu, shape_interface};
pub use lan::Lan;
#[cfg(target_os = "linux")]
pub use loop_guard::LoopGuard;
#[cfg(target_os = "macos")]
pub use macos::{MacRoutes, on_link_networks, shape_interface};
pub use mark::RoutingMark;
#[cfg(target_os = "linux")]
pub use mark::reserve_mark;
#[cfg(target_os = "linux")]
pub use on_link::{networks_into, on_link_networks};
#[cfg(target_os = "linux")]
pub use past::{Exempt, Past, Told, rules_before_tunnels, traffic_past};
#[cfg(target_os = "linux")]
pub use path_mtu::route_mtu;
pub use plan::{DefaultRoute, RoutePlan, RouteRequest, plan, takes_default_route, tunnel_networks};
#[cfg(target_os = "linux")]
pub use public_address::public_address;
#[cfg(target_os = "linux")]
pub use remains::{Orphan, is_in_use, orphans};
#[cfg(target_os = "linux")]
pub use services::{UdpService, services_on_all_addresses};
pub use setup::InterfaceSetup;
#[cfg(target_os = "linux")]
pub use tables::watch_tables;
pub use watch::watch_link;

/// The state of an interface, as far as we follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Set up by its administrator. Otherwise its routes and IPv6 addresses are gone, and traffic goes beside the tunnel.
    pub is_up: bool,
    /// Its MTU, in bytes.
    pub mtu: u32,
}

/// The longest IP packets that a route takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteMtu {
    /// By its own `mtu`, or by that of its interface.
    pub configured: u32,
    /// By an ICMP message, true or forged, for as long as the kernel remembers it.
    pub remembered: Option<u32>,
}

/// Why an interface or its routes could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The interface does not exist.
    #[error("there is no interface {interface}: create the TUN device first")]
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// We may not.
    #[error("not permitted to {action}: run as root, or give the service CAP_NET_ADMIN")]
    NotPermitted {
        /// What was tried.
        action: String,
    },
    /// An address that no interface can have.
    #[error("{address} cannot be an interface's address ({reason}): correct `addresses`")]
    BadAddress {
        /// The address.
        address: IpNet,
        /// Why not.
        reason: &'static str,
    },
    /// There are only IPv6 addresses, and IPv6 is off.
    #[error(
        "IPv6 is disabled on this host, and {interface} has IPv6 addresses only: \
         set net.ipv6.conf.all.disable_ipv6 = 0, or configure an IPv4 address"
    )]
    Ipv6Disabled {
        /// The interface.
        interface: String,
    },
    /// IPv6 does not work on such an interface.
    #[error(
        "an MTU of {mtu} bytes is too small for IPv6: set `mtu` to {minimum} or more, or leave out IPv6 addresses"
    )]
    MtuTooSmall {
        /// What was configured.
        mtu: u16,
        /// IPv6's minimum.
        minimum: u16,
    },
    /// A peer is to be reached through the tunnel to itself.
    #[error(
        "the endpoint {endpoint} lies inside the tunnel's own network {network}: \
         give the interface a longer prefix, or the peer another endpoint"
    )]
    EndpointInsideTunnel {
        /// The peer's address.
        endpoint: IpAddr,
        /// The connected network of one of our addresses.
        network: IpNet,
    },
    /// Somebody else routes this prefix.
    #[error(
        "{destination} is routed elsewhere already (see `ip route show {destination}`): remove that route, \
         narrow the peer's allowed_ips, or set routes = \"off\""
    )]
    Conflict {
        /// The prefix.
        destination: IpNet,
    },
    /// The kernel refused for another reason.
    #[error("cannot {action}: {source}")]
    Kernel {
        /// What was tried.
        action: String,
        /// Its answer.
        source: io::Error,
    },
    /// The journal refused, or a sysctl could not be set.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// nft failed.
    #[error(transparent)]
    Command(#[from] CommandError),
}

#[cfg(target_os = "linux")]
impl RouteError {
    fn kernel(action: String, interface: &str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::EPERM) => Self::NotPermitted { action },
            Some(libc::ENODEV) => Self::NoInterface { interface: interface.to_owned() },
            _ => Self::Kernel { action, source },
        }
    }
}
