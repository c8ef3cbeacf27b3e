//! Firewall marks, and the routing tables and rule priorities that go with them.
#![cfg_attr(not(any(test, target_os = "linux")), expect(dead_code, reason = "no other system has marks"))]

pub(super) use crate::journal::TUNNEL_MARKS;
#[cfg(target_os = "linux")]
use crate::journal::{
    Change, Family, Journal, JournalError,
    netlink::{Netlink, table_of_route, table_of_rule},
};

/// The first mark. wg-quick uses 51820 and counts up.
const FIRST: u32 = 52_000;
/// Marks lie this far apart: one table for each prefix length, 0 to 128, in round numbers.
const RANGE: u32 = 200;
/// How many instances one host can have.
const RANGES: u32 = 64;
/// The first mark's rules have the priorities from here on; each later mark's stand before those of the earlier.
/// All before main (32766), and leaving the lower half to the administrator, whose rules so come first.
const FIRST_PRIORITY: u32 = 31_000;
/// Room for two rules per prefix length, 258, and for the places of a full tunnel's rules after them.
const PRIORITIES: u32 = 300;
/// The places of a full tunnel's rules, and after them the rule behind which the host's own ones go on.
const FULL_TUNNEL_PLACES: u32 = 7;
/// The first number behind the tables of a range: a table that stays empty, and a mark without tables.
const EMPTY_TABLE: u32 = 198;
const INBOUND: u32 = 199;
/// Above all marks of tunnels.
const UNACCEPTED: u32 = 1 << 16;

/// The mark (`SO_MARK`) of an instance's own UDP sockets. Set it on them before routes are applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RoutingMark(u32);

impl RoutingMark {
    /// The first instance's mark; [`reserve_mark`] finds a free one.
    pub const FIRST: Self = Self(FIRST);

    /// The number of the rule by which every host asks its main table.
    pub(super) const MAIN_PRIORITY: u32 = 32_766;

    /// The value for `SO_MARK`.
    pub fn value(self) -> u32 {
        self.0
    }

    /// The table for routes whose prefixes are this many bits long.
    pub(super) fn table(self, bits: u8) -> u32 {
        self.0 + u32::from(bits)
    }

    /// The priority of the first of the two rules for this prefix length: longer ones come first.
    pub(super) fn priority(self, bits: u8) -> u32 {
        let range = (self.0 - FIRST) / RANGE;
        FIRST_PRIORITY - PRIORITIES * range + 2 * (128 - u32::from(bits.min(128)))
    }

    /// The table of a full tunnel.
    pub(super) fn full_tunnel_table(self) -> u32 {
        self.table(0)
    }

    /// The table of a full tunnel that refuses. Behind those of the prefix lengths.
    pub(super) fn refusing_table(self) -> u32 {
        self.table(128) + 1
    }

    /// The table of the rule at [`Self::resume_priority`], which has nothing in it.
    pub(super) fn empty_table(self) -> u32 {
        self.0 + EMPTY_TABLE
    }

    /// The mark of answers to connections from outside.
    pub fn inbound(self) -> u32 {
        self.0 + INBOUND
    }

    /// What connection tracking has for a TCP connection from outside that this host has not accepted yet. No rule passes over
    /// it as a firewall mark.
    pub(super) fn unaccepted(self) -> u32 {
        self.inbound() | UNACCEPTED
    }

    /// The marks of the sockets of all other instances that there can be.
    pub(crate) fn others(self) -> impl Iterator<Item = Self> {
        Self::candidates().filter(move |other| *other != self)
    }

    /// The marks of this instance and of those whose marks were taken before.
    pub(super) fn not_later(self) -> impl Iterator<Item = Self> {
        Self::candidates().filter(move |other| other.0 <= self.0)
    }

    /// The priority before all rules of this instance. Beyond the places that those of the next mark take.
    pub(super) fn first_priority(self) -> u32 {
        self.priority(128) - 1
    }

    /// The priority after all rules of this instance, where the search goes on for what these are not for.
    pub(super) fn resume_priority(self) -> u32 {
        self.full_tunnel_priority() + FULL_TUNNEL_PLACES
    }

    /// The priority of the first of a full tunnel's rules; the rest follows at once.
    pub(super) fn full_tunnel_priority(self) -> u32 {
        self.priority(0) + 2
    }

    /// The instance whose sockets have a mark.
    pub(super) fn of_socket_mark(value: u32) -> Option<Self> {
        Self::candidates().find(|candidate| candidate.0 == value)
    }

    /// The instance whose routing table it is.
    pub(super) fn of_table(table: u32) -> Option<Self> {
        Self::candidates().find(|candidate| candidate.owns_table(table))
    }

    /// The instance whose rule one there may be.
    pub(super) fn at_priority(priority: u32) -> Option<Self> {
        Self::candidates()
            .find(|candidate| (candidate.first_priority()..=candidate.resume_priority()).contains(&priority))
    }

    fn candidates() -> impl Iterator<Item = Self> {
        (0..RANGES).map(|range| Self(FIRST + RANGE * range))
    }

    fn owns_table(self, table: u32) -> bool {
        (self.0..self.0 + RANGE).contains(&table)
    }
}

/// The first mark behind those of other instances, or the first of all, that no rule or route of anybody's uses: an instance that
/// starts later has a later mark. The journal keeps it: asking again gives the same.
///
/// # Errors
/// [`JournalError::NoFreeMark`]; [`JournalError::Netlink`]; [`JournalError::File`].
#[cfg(target_os = "linux")]
pub fn reserve_mark(journal: &mut Journal) -> Result<RoutingMark, JournalError> {
    let own = journal.outstanding().find_map(|(_, change)| match change {
        Change::Mark { mark } => RoutingMark::candidates().find(|candidate| candidate.0 == *mark),
        _ => None,
    });
    if let Some(own) = own {
        return Ok(own);
    }
    let _lock = journal.exclusive()?;
    let mut held = Vec::new();
    for change in journal.held_by_others()? {
        if let Change::Mark { mark } = change {
            held.push(mark);
        }
    }
    let mut tables = held.clone();
    let mut netlink = Netlink::open().map_err(JournalError::Netlink)?;
    for family in [Family::V4, Family::V6] {
        tables.extend(netlink.rules(family).map_err(JournalError::Netlink)?.iter().map(table_of_rule));
        tables.extend(netlink.routes(family).map_err(JournalError::Netlink)?.iter().map(table_of_route));
    }
    let mut free = RoutingMark::candidates()
        .filter(|candidate| !tables.iter().any(|table| candidate.owns_table(*table)))
        .peekable();
    let first = free.peek().copied();
    let free = free.find(|candidate| held.iter().all(|mark| *mark < candidate.0)).or(first);
    let free = free.ok_or(JournalError::NoFreeMark { tried: RANGES })?;
    journal.record(Change::Mark { mark: free.0 })?;
    Ok(free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_instances_share_tables_or_priorities_and_all_rules_stand_before_main() {
        let mut tables = Vec::new();
        let mut priorities = Vec::new();
        for mark in RoutingMark::candidates() {
            for bits in 0..=128 {
                tables.push(mark.table(bits));
                priorities.extend([mark.priority(bits), mark.priority(bits) + 1]);
            }
            tables.push(mark.refusing_table());
            tables.extend([mark.empty_table(), mark.inbound()]);
            priorities.extend((0..FULL_TUNNEL_PLACES).map(|place| mark.full_tunnel_priority() + place));
            priorities.extend([mark.first_priority(), mark.resume_priority()]);
        }
        let count = tables.len();
        tables.sort_unstable();
        tables.dedup();
        priorities.sort_unstable();
        priorities.dedup();
        let instances = RoutingMark::candidates().count();
        assert_eq!(tables.len(), count);
        assert_eq!(priorities.len(), (2 * 129 + 7 + 2) * instances);
        assert!(priorities[0] > 0 && *priorities.last().unwrap() < 32_766);
    }

    #[test]
    fn one_mask_covers_the_marks_of_all_instances_and_of_wg_quick() {
        let (mark, mask) = TUNNEL_MARKS;
        let covers = |value: u32| value & mask == mark;
        let ours = RoutingMark::candidates().flat_map(|each| [each.value(), each.inbound()]);
        assert!(ours.into_iter().all(covers) && covers(51_820));
        assert!(!covers(0) && !covers(0x80000) && !covers(0x8000) && !covers(0x4000));
        assert_eq!(RoutingMark::FIRST.others().count() + 1, RoutingMark::candidates().count());
    }
}
