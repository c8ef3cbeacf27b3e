//! Following what others do to rules and routes: removing ours, joining other networks.

use super::RouteError;
use crate::journal::netlink::table_of_route;
use futures_util::StreamExt as _;
use rtnetlink::{
    MulticastGroup, new_multicast_connection, packet_core::NetlinkPayload, packet_route::RouteNetlinkMessage,
};
use std::{
    convert::Infallible,
    io,
    time::{Duration, Instant},
};

/// Others' changes come in rows. The first of them is answered at once, the rest together after this time.
pub(super) const ROW: Duration = Duration::from_millis(100);
/// Where they do not end, each row takes twice as long as the one before, and this at most: anybody on the link can advertise
/// networks without pause, and to look at all routes takes time.
const LONGEST_ROW: Duration = Duration::from_secs(2);

/// The table of the host's own addresses.
const LOCAL_TABLE: u32 = 255;

const GROUPS: [MulticastGroup; 5] = [
    MulticastGroup::Link, // The kernel removes the routes of an interface that is set down without a word.
    MulticastGroup::Ipv4Rule,
    MulticastGroup::Ipv6Rule,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv6Route,
];

/// Calls `changed` when rules or routes of ours may be missing, others may come before them, or this host may be on other
/// networks than before. What
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
    let mut row = ROW;
    let mut last = Instant::now();
    loop {
        let message = tokio::select! {
            () = &mut connection => None,
            message = messages.next() => message,
        };
        let Some((message, _)) = message else { return Err(failed(io::ErrorKind::ConnectionAborted.into())) };
        if !concerns_us(&message.payload) {
            continue;
        }
        row = next_row(row, last.elapsed());
        changed();
        let mut again = false;
        let over = tokio::time::sleep(row);
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
        last = Instant::now();
    }
}

/// How long the next row lasts: as long as the first, after at least that much rest.
fn next_row(row: Duration, rest: Duration) -> Duration {
    if rest < row { LONGEST_ROW.min(2 * row) } else { ROW }
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
        | RouteNetlinkMessage::DelRule(_)
        // It may come before ours.
        | RouteNetlinkMessage::NewRule(_) => true,
        // Also by a gateway: it may have taken the place of one without, of which nothing else tells. And in any table: it may be
        // looked up before ours.
        RouteNetlinkMessage::NewRoute(route) | RouteNetlinkMessage::DelRoute(route) => {
            table_of_route(route) != LOCAL_TABLE
        }
        // Addresses come with routes.
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtnetlink::packet_route::route::{RouteAddress, RouteAttribute, RouteMessage};

    #[test]
    fn lost_messages_may_have_been_about_us() {
        assert!(concerns_us(&NetlinkPayload::Overrun(Vec::new())));
        assert!(!concerns_us(&NetlinkPayload::Noop));
    }

    #[test]
    fn a_route_by_a_gateway_may_have_replaced_one_to_the_link() {
        let mut route = RouteMessage::default();
        route.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet([192, 0, 2, 1].into())));
        route.header.table = 254;
        let new =
            |route: &RouteMessage| NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route.clone()));
        assert!(concerns_us(&new(&route)));
        route.header.table = 100;
        assert!(concerns_us(&new(&route)), "a table that a rule before ours looks up");
        route.header.table = 255;
        assert!(!concerns_us(&new(&route)), "the host's own addresses");
    }

    #[test]
    fn rows_without_rest_grow_to_a_bound_and_begin_anew_after_one() {
        let mut row = ROW;
        for _ in 0..10 {
            row = next_row(row, Duration::ZERO);
        }
        assert_eq!(row, LONGEST_ROW);
        assert_eq!(next_row(row, LONGEST_ROW), ROW);
        assert_eq!(next_row(ROW, ROW / 2), 2 * ROW);
    }
}
