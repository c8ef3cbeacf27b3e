//! What the route to a peer's endpoint takes.

use super::{RouteMtu, RoutingMark};
use crate::journal::{
    Family,
    netlink::{Netlink, address_family},
};
use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    link::{LinkAttribute, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric},
};
use std::{io, net::IpAddr};

/// Asks for the route to `endpoint` that packets with `mark` take.
///
/// # Errors
/// When there is no route, or the kernel does not say.
pub fn route_mtu(endpoint: IpAddr, mark: RoutingMark) -> io::Result<RouteMtu> {
    let mut netlink = Netlink::open()?;
    let mut question = RouteMessage::default();
    let (family, destination, bits) = match endpoint.to_canonical() {
        IpAddr::V4(ip) => (Family::V4, RouteAddress::Inet(ip), 32),
        IpAddr::V6(ip) => (Family::V6, RouteAddress::Inet6(ip), 128),
    };
    question.header.address_family = address_family(family);
    question.header.destination_prefix_length = bits;
    question.attributes.push(RouteAttribute::Destination(destination));
    question.attributes.push(RouteAttribute::Mark(mark.value()));
    let answers = netlink.request(RouteNetlinkMessage::GetRoute(question), 0)?;
    let attributes = answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewRoute(route) => Some(route.attributes),
        _ => None,
    });
    let (mut interface, mut metric, mut passes) = (None, None, false);
    for attribute in attributes.unwrap_or_default() {
        match attribute {
            RouteAttribute::Metrics(metrics) => metric = metrics.iter().find_map(mtu_of_metric),
            RouteAttribute::Oif(index) => interface = Some(index),
            // A route to one address that the kernel forgets by itself.
            RouteAttribute::CacheInfo(info) => passes = info.expires != 0,
            _ => {}
        }
    }
    let of_interface = interface_mtu(&mut netlink, interface.ok_or(io::ErrorKind::NotFound)?)?;
    Ok(match metric {
        Some(mtu) if passes => RouteMtu { configured: of_interface, remembered: Some(mtu) },
        Some(mtu) => RouteMtu { configured: mtu, remembered: None },
        None => RouteMtu { configured: of_interface, remembered: None },
    })
}

fn mtu_of_metric(metric: &RouteMetric) -> Option<u32> {
    match metric {
        RouteMetric::Mtu(mtu) if *mtu > 0 => Some(*mtu),
        _ => None,
    }
}

fn interface_mtu(netlink: &mut Netlink, index: u32) -> io::Result<u32> {
    let mut question = LinkMessage::default();
    question.header.index = index;
    let answers = netlink.request(RouteNetlinkMessage::GetLink(question), 0)?;
    let mtu = answers.into_iter().find_map(|answer| match answer {
        RouteNetlinkMessage::NewLink(link) => {
            link.attributes.into_iter().find_map(|attribute| match attribute {
                LinkAttribute::Mtu(mtu) => Some(mtu),
                _ => None,
            })
        }
        _ => None,
    });
    mtu.ok_or_else(|| io::ErrorKind::NotFound.into())
}
