//! What nodes that have ended left on the system: on a Mac only journals tell.

use crate::journal::{Change, InterfaceName, Journal, JournalError};
use std::{collections::BTreeSet, path::Path};

/// Opens the journal of `interface`, which undoes what an earlier run has left. Also tells whether anything was undone.
///
/// # Errors
/// As [`Journal::open_keeping`].
pub(super) fn open_journal(
    folder: &Path,
    interface: &InterfaceName,
    keep: fn(&Change) -> bool,
) -> Result<(Journal, bool), JournalError> {
    let journal = Journal::open_keeping(folder, interface, keep)?;
    let has_undone = journal.had_changes();
    Ok((journal, has_undone))
}

/// No rules and routes: those of a Mac go with the interface.
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
pub(super) fn orphans(_folder: &Path) -> Result<Vec<Orphan>, JournalError> {
    Ok(Vec::new())
}

/// What names interfaces apart from journals.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// The interfaces.
    pub(super) interfaces: BTreeSet<InterfaceName>,
    /// Why not all could be looked at.
    pub(super) unseen: Option<JournalError>,
}

/// Nothing on a Mac is listed by the names of interfaces.
pub(super) fn named_interfaces() -> Named {
    Named::default()
}

/// Nothing is found without a journal.
pub(super) fn left_in_place(_interface: &InterfaceName) -> Vec<String> {
    Vec::new()
}

/// There is no iptables.
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
pub(super) fn left_in_iptables(_journalled: &[InterfaceName]) -> Result<Vec<String>, JournalError> {
    Ok(Vec::new())
}

/// Nothing is found without a journal, so nothing waits for its owner.
pub(super) fn wait_until_free(_interface: &InterfaceName) -> bool {
    true
}

/// There are none.
#[derive(Debug)]
pub(super) enum Orphan {}

impl std::fmt::Display for Orphan {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match *self {}
    }
}

/// What is known of whether a program that runs uses an orphan.
#[expect(dead_code, reason = "there are no orphans")]
pub(super) enum Use {
    /// None does.
    Unused,
    /// One does.
    Used(String),
    /// It may be somebody else's, with what to do.
    Doubtful(String),
    /// The system does not say, with what to do.
    Unknown(String),
}

/// There are none.
pub(super) fn use_of(orphan: &Orphan) -> Use {
    match *orphan {}
}

/// There are none.
pub(super) fn clean_orphan(orphan: &Orphan) -> Result<Option<String>, JournalError> {
    match *orphan {}
}
