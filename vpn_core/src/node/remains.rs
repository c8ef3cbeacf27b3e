//! What nodes that have ended left on the system, and no journal names: it was lost, emptied, or cut.

use super::{PREDECESSOR_PATIENCE, PREDECESSOR_POLL};
pub(super) use crate::routes::Orphan;
use crate::{
    gateway,
    journal::{self, Change, InterfaceName, Journal, JournalError, Named},
    routes,
};
use std::{io, path::Path, thread, time::Instant};

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
    let mark = journal::mark_of(interface);
    // A process that was killed may have lost its device and not yet its sockets: then nothing of it would be undone.
    if !journal::has_device(interface) {
        wait_until_free(interface);
    }
    let journal = Journal::open_keeping(folder, interface, keep)?;
    let mut has_undone = journal.had_changes();
    for orphan in orphans(folder)? {
        let is_of_interface = Some(orphan.mark().value()) == mark && orphan.doubt().is_none();
        if is_of_interface && matches!(wait_until_unused(&orphan), Ok(true)) {
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
pub(super) fn named_interfaces() -> Named {
    journal::named_interfaces()
}

/// What there is of `interface` that is left alone, each with the reason and what to do.
pub(super) fn left_in_place(interface: &InterfaceName) -> Vec<String> {
    journal::left_in_place(interface)
}

/// Rules in iptables of interfaces that are not there and not among `journalled`, each with what to do.
///
/// # Errors
/// [`JournalError::Command`] where iptables does not say: only root is told.
pub(super) fn left_in_iptables(journalled: &[InterfaceName]) -> Result<Vec<String>, JournalError> {
    gateway::left_in_iptables(|interface| journal::has_device(interface) || journalled.contains(interface))
}

/// Waits for a process that was killed to be taken apart, its TUN device and sockets with it; whether nobody has them any more.
pub(super) fn wait_until_free(interface: &InterfaceName) -> bool {
    let deadline = Instant::now() + PREDECESSOR_PATIENCE;
    while journal::has_device(interface) || journal::has_sockets(interface) {
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

/// What is known of whether a program that runs uses an orphan.
pub(super) enum Use {
    /// None does.
    Unused,
    /// One does.
    Used(String),
    /// It may be somebody else's, with what to do.
    Doubtful(String),
    /// The kernel does not say, with what to do.
    Unknown(String),
}

/// Whether `orphan` is ours and no program that runs uses it.
pub(super) fn use_of(orphan: &Orphan) -> Use {
    if let Some(doubt) = orphan.doubt() {
        return Use::Doubtful(format!("{orphan} are left alone: {doubt}"));
    }
    match routes::is_in_use(orphan.mark()) {
        Ok(false) => Use::Unused,
        Ok(true) => Use::Used(format!(
            "{orphan} are in use by a program that runs, and no journal here names them: left alone"
        )),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Use::Unknown(format!(
            "{orphan} are left alone: whether a program uses them is not known ({error})"
        )),
        Err(error) => Use::Unknown(format!(
            "{orphan} are left alone: the kernel does not say whether a program uses them ({error}); run `modprobe udp_diag` and \
             try again, or remove them with `ip rule del` and `ip route flush table`"
        )),
    }
}

/// Removes `orphan`, which belongs to no interface that is known, where it is ours and no program uses its mark. Otherwise says why
/// it stays.
///
/// # Errors
/// [`JournalError::Netlink`].
pub(super) fn clean_orphan(orphan: &Orphan) -> Result<Option<String>, JournalError> {
    if orphan.doubt().is_none() {
        // A process that was killed has its sockets for a moment.
        let _ = wait_until_unused(orphan);
    }
    match use_of(orphan) {
        Use::Unused => orphan.remove().map(|()| None),
        Use::Used(why) | Use::Doubtful(why) | Use::Unknown(why) => Ok(Some(why)),
    }
}
