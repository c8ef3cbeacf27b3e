//! The networks that this host reaches without a gateway.

use ipnet::IpNet;
use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteType};

use super::RouteError;
use crate::journal::{
    Family, InterfaceName, MAIN_TABLE,
    netlink::{Netlink, table_of_route},
};

/// The loopback interface's number, in every network namespace.
const LOOPBACK: u32 = 1;

/// The networks that main routes to an interface other than `tunnel`, without a gateway.
///
/// # Errors
/// [`RouteError`] with the system's answer.
pub fn on_link_networks(tunnel: &InterfaceName) -> Result<Vec<IpNet>, RouteError> {
    networks_by(tunnel, |device, tunnel| device != LOOPBACK && Some(device) != tunnel)
}

/// The networks that main routes to `tunnel` itself, whoever has made these routes. Not the link-local one: every link has that.
///
/// # Errors
/// [`RouteError`] with the system's answer.
pub fn networks_into(tunnel: &InterfaceName) -> Result<Vec<IpNet>, RouteError> {
    let mut networks = networks_by(tunnel, |device, tunnel| Some(device) == tunnel)?;
    networks
        .retain(|network| !matches!(network, IpNet::V6(network) if network.addr().is_unicast_link_local()));
    Ok(networks)
}

/// The networks that main routes without a gateway to an interface of a wanted number; the other number is that of `tunnel`.
fn networks_by(
    tunnel: &InterfaceName,
    is_wanted: impl Fn(u32, Option<u32>) -> bool,
) -> Result<Vec<IpNet>, RouteError> {
    let failed = |source| RouteError::kernel("read the routing tables".into(), tunnel.as_str(), source);
    let mut netlink = Netlink::open().map_err(failed)?;
    let index = match netlink.interface_index(tunnel.as_str()) {
        Ok(index) => Some(index),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => None,
        Err(error) => return Err(failed(error)),
    };
    let mut networks = Vec::new();
    for family in [Family::V4, Family::V6] {
        let routes = netlink.routes(family).map_err(failed)?;
        let wanted =
            routes.iter().filter(|route| outgoing(route).is_some_and(|device| is_wanted(device, index)));
        networks.extend(wanted.filter_map(on_link));
    }
    Ok(networks)
}

/// Where a route of main leads without a gateway.
fn on_link(route: &RouteMessage) -> Option<IpNet> {
    let has_gateway = route.attributes.iter().any(|attribute| {
        matches!(
            attribute,
            RouteAttribute::Gateway(_) | RouteAttribute::Via(_) | RouteAttribute::MultiPath(_)
        )
    });
    if has_gateway || route.header.kind != RouteType::Unicast || table_of_route(route) != MAIN_TABLE {
        return None;
    }
    let length = route.header.destination_prefix_length;
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet(address)) => {
            IpNet::new((*address).into(), length).ok()
        }
        RouteAttribute::Destination(RouteAddress::Inet6(address)) => {
            IpNet::new((*address).into(), length).ok()
        }
        _ => None,
    })
}

fn outgoing(route: &RouteMessage) -> Option<u32> {
    route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => Some(*index),
        _ => None,
    })
}
