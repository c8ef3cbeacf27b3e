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

/// Nothing on a Mac is listed by the names of interfaces.
#[expect(clippy::unnecessary_wraps, reason = "as on Linux")]
pub(super) fn named_interfaces() -> Result<BTreeSet<InterfaceName>, JournalError> {
    Ok(BTreeSet::new())
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

/// There are none.
pub(super) fn is_in_use(orphan: &Orphan) -> bool {
    match *orphan {}
}

/// There are none.
pub(super) fn clean_orphan(orphan: &Orphan) -> Result<Option<String>, JournalError> {
    match *orphan {}
}
