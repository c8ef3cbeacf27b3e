//! Following the tunnel interface going down and up.

use super::RouteError;
use crate::journal::InterfaceName;
use futures_util::StreamExt as _;
use rtnetlink::{
    MulticastGroup, new_multicast_connection,
    packet_core::NetlinkPayload,
    packet_route::{
        RouteNetlinkMessage,
        link::{LinkAttribute, LinkFlags, LinkMessage},
    },
};

/// Calls `changed` with `false` when `interface` was set down, with `true` when it is up again. Somebody else does that:
/// a user, a network manager. Its routes and IPv6 addresses are then gone, and traffic goes beside the tunnel.
///
/// Ends only with an error. Must be called inside a tokio runtime.
///
/// # Errors
/// When the system gives no netlink socket, or closes it.
pub async fn watch_link(
    interface: &InterfaceName,
    mut changed: impl FnMut(bool),
) -> Result<std::convert::Infallible, RouteError> {
    let failed = |source| RouteError::kernel("watch network interfaces".into(), interface.as_str(), source);
    let (connection, _handle, mut messages) =
        new_multicast_connection(&[MulticastGroup::Link]).map_err(failed)?;
    tokio::pin!(connection);
    let mut was_up = true;
    loop {
        let message = tokio::select! {
            () = &mut connection => None,
            message = messages.next() => message,
        };
        let Some((message, _)) = message else {
            return Err(failed(std::io::ErrorKind::ConnectionAborted.into()));
        };
        if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = message.payload
            && is_named(&link, interface)
        {
            let is_up = link.header.flags.contains(LinkFlags::Up);
            if is_up != was_up {
                was_up = is_up;
                changed(is_up);
            }
        }
    }
}

fn is_named(link: &LinkMessage, interface: &InterfaceName) -> bool {
    let name = |attribute: &LinkAttribute| matches!(attribute, LinkAttribute::IfName(name) if name == interface.as_str());
    link.attributes.iter().any(name)
}
