//! Following what others do to the tunnel interface: setting it down and up, changing its MTU, taking it away.

use super::{Link, RouteError};
use crate::journal::InterfaceName;
use futures_util::{StreamExt as _, TryStreamExt as _};
use rtnetlink::{
    Error, LinkGetRequest, MulticastGroup, new_multicast_connection,
    packet_core::NetlinkPayload,
    packet_route::{
        RouteNetlinkMessage,
        link::{LinkAttribute, LinkFlags, LinkMessage},
    },
};
use std::io;

impl Link {
    fn of(message: &LinkMessage) -> Self {
        let mtu = |attribute: &LinkAttribute| match attribute {
            LinkAttribute::Mtu(mtu) => Some(*mtu),
            _ => None,
        };
        Self {
            is_up: message.header.flags.contains(LinkFlags::Up),
            mtu: message.attributes.iter().find_map(mtu).unwrap_or(0),
        }
    }
}

/// Calls `changed` with the state of `interface`, now and whenever that is another one. Somebody else changes it: a user, a
/// network manager. `None`: it is not to be seen from here any more, because it is gone, or in another network namespace.
///
/// Ends only with an error. Must be called inside a tokio runtime.
///
/// # Errors
/// When there is no such interface, or the system gives no netlink socket, or closes it.
pub async fn watch_link(
    interface: &InterfaceName,
    mut changed: impl FnMut(Option<Link>),
) -> Result<std::convert::Infallible, RouteError> {
    let failed = |source| RouteError::kernel("watch network interfaces".into(), interface.as_str(), source);
    // Listening comes before asking, so that nothing is missed in between.
    let (connection, handle, mut messages) =
        new_multicast_connection(&[MulticastGroup::Link]).map_err(failed)?;
    tokio::pin!(connection);
    let closed = || failed(io::ErrorKind::ConnectionAborted.into());
    let first = tokio::select! {
        () = &mut connection => return Err(closed()),
        answer = ask(handle.link().get().match_name(interface.to_string())) => answer.map_err(failed)?,
    };
    // By number from here on: somebody may give it another name.
    let index = first.header.index;
    let mut known = Some(Link::of(&first));
    changed(known);
    loop {
        let message = tokio::select! {
            () = &mut connection => None,
            message = messages.next() => message,
        };
        let (message, _) = message.ok_or_else(closed)?;
        let now = match message.payload {
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link))
                if link.header.index == index =>
            {
                Some(Link::of(&link))
            }
            NetlinkPayload::InnerMessage(RouteNetlinkMessage::DelLink(link))
                if link.header.index == index =>
            {
                None
            }
            // Messages were lost: the socket's buffer was full.
            NetlinkPayload::Overrun(_) => tokio::select! {
                () = &mut connection => return Err(closed()),
                answer = ask(handle.link().get().match_index(index)) => match answer {
                    Ok(link) => Some(Link::of(&link)),
                    Err(error) if error.raw_os_error() == Some(libc::ENODEV) => None,
                    Err(error) => return Err(failed(error)),
                },
            },
            _ => continue,
        };
        if now != known {
            known = now;
            changed(now);
        }
    }
}

async fn ask(request: LinkGetRequest) -> io::Result<LinkMessage> {
    let mut answers = request.execute();
    match answers.try_next().await {
        Ok(Some(link)) => Ok(link),
        Ok(None) => Err(io::Error::from_raw_os_error(libc::ENODEV)),
        Err(Error::NetlinkError(error)) => Err(error.to_io()),
        Err(error) => Err(io::Error::other(error)),
    }
}
