//! Following what others do to rules and routes: removing ours, joining other networks.

use super::{RouteError, on_link::on_link};
use crate::journal::{MAIN_TABLE, netlink::table_of_route};
use futures_util::StreamExt as _;
use rtnetlink::{
    MulticastGroup, new_multicast_connection,
    packet_core::NetlinkPayload,
    packet_route::{RouteNetlinkMessage, route::RouteMessage},
};
use std::{convert::Infallible, io, time::Duration};

/// Others' changes come in rows. The first of them is answered at once, the rest together after this time.
pub(super) const ROW: Duration = Duration::from_millis(100);

/// The table of the host's own addresses.
const LOCAL_TABLE: u32 = 255;

const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link, // The kernel removes the routes of an interface that is set down without a word.
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// Calls `changed` when rules or routes of ours may be missing, or this host may be on other networks than before. What
/// `changed` adds by itself ends in one more call.
///
/// Ends only with an error. Must be called inside a tokio runtime.
///
/// # Errors
/// When the system gives no netlink socket, or closes it.
pub async fn watch_routing(mut changed: impl FnMut()) -> Result<Infallible, RouteError> {
    let failed = |source| RouteError::kernel("watch rules and routes".into(), "", source);
    let (connection, _handle, mut messages) = new_multicast_connection(&GROUPS).map_err(failed)?;
    tokio::pin!(connection);
    loop {
        let message = tokio::select! {
            () = &mut connection => None,
            message = messages.next() => message,
        };
        let Some((message, _)) = message else { return Err(failed(io::ErrorKind::ConnectionAborted.into())) };
        if !concerns_us(&message.payload) {
            continue;
        }
        changed();
        let mut again = false;
        let over = tokio::time::sleep(ROW);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => break,
                () = &mut connection => return Err(failed(io::ErrorKind::ConnectionAborted.into())),
                Some((message, _)) = messages.next() => again |= concerns_us(&message.payload),
            }
        }
        if again {
            changed();
        }
    }
}

fn concerns_us(payload: &NetlinkPayload<RouteNetlinkMessage>) -> bool {
    let message = match payload {
        NetlinkPayload::InnerMessage(message) => message,
        // Messages were lost: the socket's buffer was full.
        NetlinkPayload::Overrun(_) => return true,
        _ => return false,
    };
    match message {
        RouteNetlinkMessage::NewLink(_)
        | RouteNetlinkMessage::DelLink(_)
        | RouteNetlinkMessage::DelRule(_) => true,
        RouteNetlinkMessage::NewRoute(route) => on_link(route).is_some(),
        RouteNetlinkMessage::DelRoute(route) => on_link(route).is_some() || is_in_table_of_somebody(route),
        // Addresses come with routes; new rules take nothing away.
        _ => false,
    }
}

fn is_in_table_of_somebody(route: &RouteMessage) -> bool {
    ![MAIN_TABLE, LOCAL_TABLE].contains(&table_of_route(route))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_messages_may_have_been_about_us() {
        assert!(concerns_us(&NetlinkPayload::Overrun(Vec::new())));
        assert!(!concerns_us(&NetlinkPayload::Noop));
    }
}
