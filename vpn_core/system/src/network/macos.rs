//! The network that a Mac is on: where its default route leads, and what the kernel tells of changes.

use super::{
    NetworkEvent, Path,
    netstat::{DefaultRoute, default_route},
};
use crate::journal::{InterfaceName, RoutingEvent, RoutingSocket, run};
use nix::{
    ifaddrs::getifaddrs,
    net::if_::{if_indextoname, if_nametoindex},
};
use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::IpAddr,
    num::NonZeroU32,
    time::{Duration, Instant},
};

const NETSTAT: &str = "/usr/sbin/netstat";

/// Where our datagrams go while there is no way to the network: nowhere, and not into the tunnel.
const LOOPBACK: &str = "lo0";

/// How long one reading of the routing table is good for: it is asked for every endpoint in turn.
const READING_AGE: Duration = Duration::from_millis(200);

/// The number of the interface that our datagrams are to leave through: the one that the system's own default route leads
/// to, over IPv4 or else over IPv6; the loopback interface while there is none. A socket has one scope for both families.
///
/// # Errors
/// When the routing table cannot be read.
pub fn uplink() -> io::Result<NonZeroU32> {
    let number = |name: &str| if_nametoindex(name).ok().and_then(NonZeroU32::new);
    // It may have gone since the table was read.
    let found = read()?.and_then(|route| number(&route.interface));
    found.or_else(|| number(LOOPBACK)).ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// The name of the interface with this number; `None` for the loopback interface, through which nothing leaves.
pub fn uplink_name(number: NonZeroU32) -> Option<String> {
    let name = if_indextoname(number.get()).ok()?.into_string().ok()?;
    (name != LOOPBACK).then_some(name)
}

fn read() -> io::Result<Option<DefaultRoute>> {
    for family in ["inet", "inet6"] {
        let table = run(NETSTAT, &["-n", "-r", "-f", family], None).map_err(io::Error::other)?;
        if let Some(route) = default_route(&table) {
            return Ok(Some(route));
        }
    }
    Ok(None)
}

/// Tells which way our datagrams take: all through the uplink.
#[derive(Debug, Default)]
pub struct PathFinder {
    reading: Option<(Instant, Option<Path>)>,
}

impl PathFinder {
    /// The way to any address; `None` when there is none.
    pub fn path_to(&mut self, _remote: IpAddr) -> Option<Path> {
        if let Some((at, path)) = self.reading
            && at.elapsed() < READING_AGE
        {
            return path;
        }
        let path = path();
        self.reading = Some((Instant::now(), path));
        path
    }
}

fn path() -> Option<Path> {
    let route = read().ok()??;
    let interface = if_nametoindex(route.interface.as_str()).ok()?;
    // The system takes the routes of an interface away with its carrier.
    Some(Path { interface, source: address_of(&route.interface), gateway: route.gateway, has_carrier: true })
}

/// The first address of an interface, IPv4 before IPv6.
fn address_of(interface: &str) -> Option<IpAddr> {
    let addresses = getifaddrs().ok()?.filter(|entry| entry.interface_name == interface);
    let mut addresses: Vec<IpAddr> = addresses
        .filter_map(|entry| {
            let address = entry.address?;
            let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect();
    addresses.sort();
    addresses.first().copied()
}

/// Calls `changed` for everything that may change a path of ours. What concerns `tunnel`, our own interface, is our own
/// doing.
///
/// Ends only with an error. Must be called inside a tokio runtime.
///
/// # Errors
/// When there is no such interface, or the system gives no routing socket, or closes it.
pub async fn watch_network(
    tunnel: &InterfaceName,
    mut changed: impl FnMut(NetworkEvent),
) -> io::Result<Infallible> {
    let tunnel = if_nametoindex(tunnel.as_str())?;
    let socket = RoutingSocket::open()?;
    // The kernel repeats itself.
    let mut carriers: HashMap<u32, bool> = HashMap::new();
    loop {
        let event = match socket.next().await? {
            RoutingEvent::Link { interface, .. }
            | RoutingEvent::Address { interface }
            | RoutingEvent::Route { interface }
                if interface == tunnel =>
            {
                continue;
            }
            RoutingEvent::Link { interface, has_carrier } => {
                if carriers.insert(interface, has_carrier) == Some(has_carrier) {
                    continue;
                }
                if has_carrier { NetworkEvent::CarrierUp { interface } } else { NetworkEvent::Other }
            }
            RoutingEvent::Address { .. } | RoutingEvent::Route { .. } | RoutingEvent::Lost => {
                NetworkEvent::Other
            }
        };
        changed(event);
    }
}
