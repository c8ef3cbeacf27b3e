//! Linux's messages about links, addresses and routes, and which of them may be about our paths.

use super::NetworkEvent;
use crate::journal::InterfaceName;
use futures_util::StreamExt as _;
use nix::net::if_::if_nametoindex;
use rtnetlink::{
    MulticastGroup, new_multicast_connection,
    packet_core::NetlinkPayload,
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        link::{LinkFlags, LinkMessage},
        route::{RouteAttribute, RouteFlags, RouteMessage, RouteType},
    },
};
use std::{collections::HashMap, io};

const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv6Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// Calls `changed` for everything that may change a path of ours. What concerns `tunnel`, our own interface, is our own
/// doing.
///
/// Ends only with an error. Must be called inside a tokio runtime.
///
/// # Errors
/// When there is no such interface, or the system gives no netlink socket, or closes it.
pub async fn watch_network(
    tunnel: &InterfaceName,
    mut changed: impl FnMut(NetworkEvent),
) -> io::Result<std::convert::Infallible> {
    // By number: somebody may give it another name.
    let tunnel = if_nametoindex(tunnel.as_str())?;
    let (connection, _handle, mut messages) = new_multicast_connection(&GROUPS)?;
    tokio::pin!(connection);
    let mut filter = Filter::new(tunnel);
    loop {
        let message = tokio::select! {
            () = &mut connection => None,
            message = messages.next() => message,
        };
        let Some((message, _)) = message else { return Err(io::ErrorKind::ConnectionAborted.into()) };
        let event = match message.payload {
            NetlinkPayload::InnerMessage(message) => filter.event(&message),
            // Messages were lost: the socket's buffer was full.
            NetlinkPayload::Overrun(_) => Some(NetworkEvent::Other),
            _ => None,
        };
        if let Some(event) = event {
            changed(event);
        }
    }
}

/// Tells what may matter from noise.
#[derive(Debug)]
struct Filter {
    tunnel: u32,
    /// The interfaces that were heard of, and whether they had a carrier: the system repeats itself.
    carriers: HashMap<u32, bool>,
}

impl Filter {
    fn new(tunnel: u32) -> Self {
        Self { tunnel, carriers: HashMap::new() }
    }

    fn event(&mut self, message: &RouteNetlinkMessage) -> Option<NetworkEvent> {
        match message {
            RouteNetlinkMessage::NewLink(link) => self.link(link),
            RouteNetlinkMessage::DelLink(link) if is_of_bridge(link) => None,
            RouteNetlinkMessage::DelLink(link) => {
                self.carriers.remove(&link.header.index);
                self.other(Some(link.header.index))
            }
            RouteNetlinkMessage::NewAddress(address) | RouteNetlinkMessage::DelAddress(address) => {
                self.other(Some(address.header.index))
            }
            RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => self.route(route),
            _ => None,
        }
    }

    fn link(&mut self, link: &LinkMessage) -> Option<NetworkEvent> {
        if is_of_bridge(link) || link.header.index == self.tunnel {
            return None;
        }
        let (interface, flags) = (link.header.index, link.header.flags);
        let has_carrier = flags.contains(LinkFlags::Up | LinkFlags::LowerUp);
        match self.carriers.insert(interface, has_carrier) {
            // Wireless statistics, a counter, another MTU.
            Some(before) if before == has_carrier => None,
            // One that was not heard of before has just come, or has had its carrier all along.
            None | Some(_) if has_carrier => Some(NetworkEvent::CarrierUp { interface }),
            None | Some(_) => Some(NetworkEvent::Other),
        }
    }

    fn route(&self, route: &RouteMessage) -> Option<NetworkEvent> {
        let is_cached = route.header.flags.contains(RouteFlags::Cloned);
        // Routes of an address are told of with the address.
        let is_path = !matches!(
            route.header.kind,
            RouteType::Local | RouteType::Broadcast | RouteType::Anycast | RouteType::Multicast
        );
        let interface = route.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Oif(interface) => Some(*interface),
            _ => None,
        });
        (is_path && !is_cached).then(|| self.other(interface)).flatten()
    }

    fn other(&self, interface: Option<u32>) -> Option<NetworkEvent> {
        (interface != Some(self.tunnel)).then_some(NetworkEvent::Other)
    }
}

/// A bridge tells of its ports by messages of its own family, which are about the bridge.
fn is_of_bridge(link: &LinkMessage) -> bool {
    link.header.interface_family == AddressFamily::Bridge
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::address::AddressMessage;

    const TUNNEL: u32 = 9;

    fn link(index: u32, flags: LinkFlags) -> RouteNetlinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = flags;
        RouteNetlinkMessage::NewLink(message)
    }

    fn address(index: u32) -> RouteNetlinkMessage {
        let mut message = AddressMessage::default();
        message.header.index = index;
        RouteNetlinkMessage::NewAddress(message)
    }

    fn route(index: u32, kind: RouteType, flags: RouteFlags) -> RouteNetlinkMessage {
        let mut message = RouteMessage::default();
        message.header.kind = kind;
        message.header.flags = flags;
        message.attributes.push(RouteAttribute::Oif(index));
        RouteNetlinkMessage::DelRoute(message)
    }

    #[test]
    fn addresses_and_routes_of_other_interfaces_matter_and_those_of_the_tunnel_do_not() {
        let mut filter = Filter::new(TUNNEL);
        let other = Some(NetworkEvent::Other);
        assert_eq!(filter.event(&address(2)), other);
        assert_eq!(filter.event(&address(TUNNEL)), None);
        assert_eq!(filter.event(&route(2, RouteType::Unicast, RouteFlags::empty())), other);
        assert_eq!(filter.event(&route(2, RouteType::Unreachable, RouteFlags::empty())), other);
        assert_eq!(filter.event(&route(TUNNEL, RouteType::Unicast, RouteFlags::empty())), None);
    }

    #[test]
    fn cached_routes_and_routes_of_own_addresses_are_noise() {
        let mut filter = Filter::new(TUNNEL);
        for kind in [RouteType::Local, RouteType::Broadcast, RouteType::Anycast, RouteType::Multicast] {
            assert_eq!(filter.event(&route(2, kind, RouteFlags::empty())), None, "{kind:?}");
        }
        assert_eq!(filter.event(&route(2, RouteType::Unicast, RouteFlags::Cloned)), None);
    }

    #[test]
    fn a_link_matters_when_its_carrier_comes_or_goes() {
        let mut filter = Filter::new(TUNNEL);
        let up = LinkFlags::Up | LinkFlags::LowerUp;
        let came_up = Some(NetworkEvent::CarrierUp { interface: 2 });
        assert_eq!(filter.event(&link(2, LinkFlags::Up)), Some(NetworkEvent::Other), "no carrier yet");
        assert_eq!(filter.event(&link(2, up)), came_up);
        assert_eq!(filter.event(&link(2, up | LinkFlags::Promisc)), None, "wireless statistics and the like");
        assert_eq!(filter.event(&link(2, LinkFlags::LowerUp)), Some(NetworkEvent::Other), "set down");
        assert_eq!(filter.event(&link(2, up)), came_up);
        assert_eq!(filter.event(&link(TUNNEL, up)), None);
    }

    #[test]
    fn a_bridge_is_not_heard_twice() {
        let mut message = LinkMessage::default();
        message.header.index = 2;
        message.header.interface_family = AddressFamily::Bridge;
        let mut filter = Filter::new(TUNNEL);
        assert_eq!(filter.event(&RouteNetlinkMessage::NewLink(message.clone())), None);
        assert_eq!(filter.event(&RouteNetlinkMessage::DelLink(message)), None);
    }
}
