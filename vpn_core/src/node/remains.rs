//! What nodes that have ended left on the system, and no journal names: it was lost, emptied, or cut.

use super::{PREDECESSOR_PATIENCE, PREDECESSOR_POLL};
use crate::{
    journal::{self, Change, InterfaceName, Journal, JournalError},
    routes::{self, Orphan},
};
use std::{collections::BTreeSet, io, path::Path, thread, time::Instant};

/// Opens the journal of `interface`, which undoes what an earlier run has left, and removes the rules and routes of that run which
/// the journal does not name. Also tells whether anything was undone.
///
/// # Errors
/// As [`Journal::open_keeping`].
pub(super) fn open_journal(
    folder: &Path,
    interface: &InterfaceName,
    keep: fn(&Change) -> bool,
) -> Result<(Journal, bool), JournalError> {
    // The table that knows the mark goes with what the journal undoes.
    let mark = routes::mark_of(interface);
    let journal = Journal::open_keeping(folder, interface, keep)?;
    let mut has_undone = journal.had_changes();
    for orphan in orphans(folder)? {
        if Some(orphan.mark()) == mark && matches!(wait_until_unused(&orphan), Ok(true)) {
            tracing::warn!(%interface, "removing {orphan}, which no journal names");
            orphan.remove()?;
            has_undone = true;
        }
    }
    Ok((journal, has_undone))
}

/// The rules and routes of marks that no journal in `folder` names. Their nodes may run.
///
/// # Errors
/// [`JournalError`].
pub(super) fn orphans(folder: &Path) -> Result<Vec<Orphan>, JournalError> {
    let held = Journal::held_in(folder)?.into_iter().filter_map(|change| match change {
        Change::Mark { mark } => Some(mark),
        _ => None,
    });
    routes::orphans(&held.collect::<Vec<_>>()).map_err(JournalError::Netlink)
}

/// The interfaces that firewall tables and the resolver file name, whether or not their nodes run.
///
/// # Errors
/// [`JournalError::Command`] where nft does not say.
pub(super) fn named_interfaces() -> Result<BTreeSet<InterfaceName>, JournalError> {
    journal::named_interfaces()
}

/// Waits for a process that was killed to be taken apart, its TUN device with it; whether nobody has the device any more.
pub(super) fn wait_until_free(interface: &InterfaceName) -> bool {
    let deadline = Instant::now() + PREDECESSOR_PATIENCE;
    while journal::has_device(interface) {
        if Instant::now() >= deadline {
            return false;
        }
        thread::sleep(PREDECESSOR_POLL);
    }
    true
}

/// Waits for a process that was killed to be taken apart, its sockets with it; whether none bears the mark of `orphan` any more.
fn wait_until_unused(orphan: &Orphan) -> io::Result<bool> {
    let deadline = Instant::now() + PREDECESSOR_PATIENCE;
    while routes::is_in_use(orphan.mark())? {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(PREDECESSOR_POLL);
    }
    Ok(true)
}

/// Whether a program that runs uses these rules and routes, or may use them.
pub(super) fn is_in_use(orphan: &Orphan) -> bool {
    routes::is_in_use(orphan.mark()).unwrap_or(true)
}

/// Removes `orphan`, which belongs to no interface that is known, where no program uses its mark. Otherwise says why it stays.
///
/// # Errors
/// [`JournalError::Netlink`].
pub(super) fn clean_orphan(orphan: &Orphan) -> Result<Option<String>, JournalError> {
    match wait_until_unused(orphan) {
        Ok(true) => {
            orphan.remove()?;
            Ok(None)
        }
        Ok(false) => Ok(Some(format!(
            "{orphan} are in use by a program that runs, and no journal here names them: left alone"
        ))),
        Err(error) => Ok(Some(format!(
            "{orphan} are left alone: the kernel does not say whether a program uses them ({error}); run `modprobe udp_diag` and \
             try again, or remove them with `ip rule del` and `ip route flush table`"
        ))),
    }
}
