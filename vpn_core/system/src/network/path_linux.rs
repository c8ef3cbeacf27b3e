//! Asking Linux which way it would send.

use super::Path;
use crate::journal::netlink::Netlink;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkFlags, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType, RouteVia},
};
use std::{io, net::IpAddr};

/// No route; the kinds of route that forbid: unreachable, prohibit, blackhole; a kernel without the family.
const NO_WAY: [i32; 6] =
    [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EACCES, libc::EINVAL, libc::EAFNOSUPPORT, libc::EOPNOTSUPP];

/// A socket to ask through.
#[derive(Debug)]
pub struct PathFinder {
    netlink: Netlink,
    mark: u32,
}

impl PathFinder {
    /// Asks for the way that datagrams with the firewall mark `mark` take: not that into the tunnel.
    ///
    /// # Errors
    /// When the system gives no netlink socket.
    pub fn new(mark: u32) -> io::Result<Self> {
        Ok(Self { netlink: Netlink::open()?, mark })
    }

    /// The way to `remote`; `None` when there is none. The kernel answers from its own tables, at once. Where it does not
    /// answer the question there may be a way.
    pub fn path_to(&mut self, remote: IpAddr) -> Option<Path> {
        let question = RouteNetlinkMessage::GetRoute(question(remote, self.mark));
        match self.netlink.request(question, 0) {
            Ok(answers) => {
                let path = answers.iter().find_map(|answer| match answer {
                    RouteNetlinkMessage::NewRoute(route) => path(route),
                    _ => None,
                })?;
                // The route to a link-local address says nothing of the link that is meant.
                let is_known = !matches!(remote, IpAddr::V6(v6) if v6.is_unicast_link_local());
                Some(Path { has_carrier: !is_known || self.has_carrier(path.interface), ..path })
            }
            Err(error) if error.raw_os_error().is_some_and(|code| NO_WAY.contains(&code)) => None,
            Err(error) => {
                tracing::debug!(%remote, %error, "the system does not say which way it would send");
                Some(Path::UNKNOWN)
            }
        }
    }

    /// Asks for the carrier of an interface: routes out of it stay when the cable is pulled, and packets are lost. True where the
    /// system does not say.
    fn has_carrier(&mut self, interface: u32) -> bool {
        let mut message = LinkMessage::default();
        message.header.index = interface;
        let answers = self.netlink.request(RouteNetlinkMessage::GetLink(message), 0).unwrap_or_default();
        let flags = answers.iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(link.header.flags),
            _ => None,
        });
        flags.is_none_or(|flags| flags.contains(LinkFlags::LowerUp))
    }
}

fn question(remote: IpAddr, mark: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (family, bits, address) = match remote.to_canonical() {
        IpAddr::V4(v4) => (AddressFamily::Inet, 32, RouteAddress::Inet(v4)),
        IpAddr::V6(v6) => (AddressFamily::Inet6, 128, RouteAddress::Inet6(v6)),
    };
    message.header.address_family = family;
    message.header.destination_prefix_length = bits;
    message.attributes = vec![RouteAttribute::Destination(address), RouteAttribute::Mark(mark)];
    message
}

fn path(route: &RouteMessage) -> Option<Path> {
    // IPv6 answers with the route that forbids, where IPv4 answers with an error.
    if !matches!(route.header.kind, RouteType::Unicast | RouteType::Local) {
        return None;
    }
    let mut path = Path::UNKNOWN;
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Oif(interface) => path.interface = *interface,
            RouteAttribute::PrefSource(address) => path.source = ip(address),
            RouteAttribute::Gateway(address) => path.gateway = ip(address),
            // An IPv4 route through an IPv6 router (RFC 8950).
            RouteAttribute::Via(RouteVia::Inet6(address)) => path.gateway = Some(IpAddr::V6(*address)),
            _ => {}
        }
    }
    Some(path)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some(IpAddr::V4(*v4)),
        RouteAddress::Inet6(v6) => Some(IpAddr::V6(*v6)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_to_this_host_is_known_and_the_way_to_nowhere_is_none() {
        let mut finder = PathFinder::new(0).expect("netlink answers everybody");
        let local = finder.path_to(IpAddr::from([127, 0, 0, 1])).expect("loopback");
        assert_eq!(local.source, Some(IpAddr::from([127, 0, 0, 1])));
        assert!(local.interface > 0 && local.has_carrier);
        assert_eq!(finder.path_to(IpAddr::from([255, 255, 255, 255])), None, "a broadcast is no path");
    }
}
