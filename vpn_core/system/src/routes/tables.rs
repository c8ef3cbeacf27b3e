//! Following what others do to our nftables tables: `nft flush ruleset`, with which most firewalls begin, takes them away.

use super::{RouteError, guard::ROW};
use crate::journal::netlink_message::{HEADER, attribute, messages, u16_at};
use rtnetlink::sys::{
    AsyncSocket as _, AsyncSocketExt as _, SocketAddr, TokioSocket, protocols::NETLINK_NETFILTER,
};
use std::{convert::Infallible, io};
use tokio::time::{Instant, timeout_at};

/// The multicast group of nftables' changes (`NFNLGRP_NFTABLES`).
const GROUP: u32 = 7;
/// The upper byte of a message's type (`NFNL_SUBSYS_NFTABLES`).
const SUBSYSTEM: u8 = 10;
/// The lower byte: `NFT_MSG_NEWTABLE`, `…_DELTABLE`, `…_DELCHAIN`, `…_DELRULE`.
const NEW_TABLE: u8 = 0;
const REMOVALS: [u8; 3] = [2, 5, 8];
/// Bytes of what nfnetlink puts behind the header (`nfgenmsg`).
const GENERIC: usize = 4;
/// The attribute with the table's name, in all four.
const NAME: u16 = 1;

/// What happened to a table.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TableEvent {
    /// It was made.
    Made(Table),
    /// It, or a part of it, was removed.
    Removed(Table),
}

/// nftables' number of a family, and a table's name.
type Table = (u8, String);

/// Calls `removed` when somebody has removed a table that `is_ours`, or a part of one, and has not made it again at once, as
/// we do ourselves to change one.
///
/// Ends only with an error. Must be called inside a tokio runtime.
///
/// # Errors
/// When the system gives no netlink socket, or closes it.
pub async fn watch_tables(
    is_ours: impl Fn(&str) -> bool,
    mut removed: impl FnMut(),
) -> Result<Infallible, RouteError> {
    let failed = |source| RouteError::kernel("watch the firewall".into(), "", source);
    let socket = open().map_err(failed)?;
    let mut missing = Missing::default();
    loop {
        let Some(received) = next_until(missing.due, &socket).await else {
            missing = Missing::default();
            removed();
            continue;
        };
        match received {
            Ok((bytes, _)) => {
                let now = Instant::now();
                events(&bytes, |event| missing.note(event, &is_ours, now));
            }
            // More happened than the socket could hold; what, nobody knows.
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => removed(),
            Err(error) => return Err(failed(error)),
        }
    }
}

/// Tables of ours that were removed and not made again.
#[derive(Debug, Default)]
struct Missing {
    tables: Vec<Table>,
    /// [`ROW`] after the first of them was removed, whatever happens to tables since.
    due: Option<Instant>,
}

impl Missing {
    fn note(&mut self, event: TableEvent, is_ours: impl Fn(&str) -> bool, now: Instant) {
        match event {
            TableEvent::Made(table) => self.tables.retain(|other| *other != table),
            TableEvent::Removed(table) if is_ours(&table.1) => self.tables.push(table),
            TableEvent::Removed(_) => {}
        }
        self.due = if self.tables.is_empty() { None } else { self.due.or(Some(now + ROW)) };
    }
}

/// `None` from `due` on, even where there is more to read: a timeout looks at the clock only where there is nothing.
async fn next_until(due: Option<Instant>, socket: &TokioSocket) -> Option<io::Result<(Vec<u8>, SocketAddr)>> {
    let Some(due) = due else { return Some(socket.recv_from_full().await) };
    if due <= Instant::now() {
        return None;
    }
    timeout_at(due, socket.recv_from_full()).await.ok()
}

fn open() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
    socket.socket_mut().bind_auto()?;
    socket.socket_mut().add_membership(GROUP)?;
    Ok(socket)
}

/// Reads a datagram of netlink messages.
fn events(bytes: &[u8], handle: impl FnMut(TableEvent)) {
    messages(bytes).filter_map(event).for_each(handle);
}

fn event(message: &[u8]) -> Option<TableEvent> {
    let [kind, subsystem] = u16_at(message, 4)?.to_le_bytes();
    if subsystem != SUBSYSTEM {
        return None;
    }
    let table = (*message.get(HEADER)?, name(message.get(HEADER + GENERIC..)?)?);
    match kind {
        NEW_TABLE => Some(TableEvent::Made(table)),
        kind if REMOVALS.contains(&kind) => Some(TableEvent::Removed(table)),
        _ => None,
    }
}

fn name(attributes: &[u8]) -> Option<String> {
    attribute(attributes, NAME).map(|value| String::from_utf8_lossy(value).trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::netlink_message::ALIGNMENT;

    fn message(kind: u8, table: &str) -> Vec<u8> {
        let mut attributes = vec![8, 0, 4, 0, 1, 2, 3, 4]; // another attribute first
        attributes
            .extend([u16::try_from(4 + table.len() + 1).unwrap().to_ne_bytes(), NAME.to_ne_bytes()].concat());
        attributes.extend(table.as_bytes());
        attributes.push(0);
        attributes.resize(attributes.len().next_multiple_of(ALIGNMENT), 0);
        let length = u32::try_from(HEADER + GENERIC + attributes.len()).unwrap();
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend(u16::from_le_bytes([kind, SUBSYSTEM]).to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend([1, 0, 0, 0]);
        [bytes, attributes].concat()
    }

    #[test]
    fn a_removed_table_is_due_a_moment_after_the_first_removal_however_much_happens_then() {
        let start = Instant::now();
        let table = |name: &str| (1, name.to_owned());
        let is_ours = |name: &str| name.starts_with("vpn_");
        let mut missing = Missing::default();
        missing.note(TableEvent::Removed(table("other")), is_ours, start);
        assert_eq!(missing.due, None);
        for step in 0..10 {
            let now = start + step * ROW / 2;
            missing.note(TableEvent::Removed(table("vpn_a")), is_ours, now);
            missing.note(TableEvent::Removed(table("other")), is_ours, now);
            assert_eq!(missing.due, Some(start + ROW));
        }
        missing.note(TableEvent::Made(table("vpn_a")), is_ours, start + ROW);
        assert_eq!(missing.due, None, "as we do ourselves");
        missing.note(TableEvent::Removed(table("vpn_a")), is_ours, start + 9 * ROW);
        assert_eq!(missing.due, Some(start + 10 * ROW));
    }

    #[test]
    fn tables_and_what_is_removed_from_them_are_told_in_order_and_nothing_cut_off_panics() {
        let bytes =
            [message(8, "a"), message(6, "a"), message(2, "vpn_vpn0_marks"), message(0, "b")].concat();
        let mut seen = Vec::new();
        events(&bytes, |event| seen.push(event));
        let table = |name: &str| (1, name.to_owned());
        assert_eq!(
            seen,
            [
                TableEvent::Removed(table("a")),
                TableEvent::Removed(table("vpn_vpn0_marks")),
                TableEvent::Made(table("b"))
            ]
        );
        for cut in 0..bytes.len() {
            events(&bytes[..cut], |_| {});
        }
        events(&[0; 64], |event| panic!("{event:?}"));
    }
}
