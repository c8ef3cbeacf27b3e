//! What nodes that crashed, or failed with the kill switch in force, have left behind.

use super::{NodeError, NodeOptions};
use crate::journal::{Change, InterfaceName, Journal, JournalError};
use std::{fs, io, path::Path};

/// What is to become of a kill switch that is still in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillSwitchLeft {
    /// It is lifted: the user said so.
    Lift,
    /// It stays.
    Keep,
}

/// Undoes what nodes that crashed have left behind, all or that of one interface. Returns the names of the interfaces that
/// there was something to undo for; nodes that run are left alone.
///
/// # Errors
/// [`NodeError::Journal`], after all others were tried.
pub fn cleanup(
    options: &NodeOptions,
    only: Option<&InterfaceName>,
    kill_switch: KillSwitchLeft,
) -> Result<Vec<InterfaceName>, NodeError> {
    let mut cleaned = Vec::new();
    let mut failure = None;
    let wanted = |name: &InterfaceName| only.is_none_or(|only| only == name);
    for interface in journalled_interfaces(&options.state_folder)?.into_iter().filter(wanted) {
        match clean(&options.state_folder, &interface, kill_switch) {
            Ok(()) => cleaned.push(interface),
            Err(JournalError::InUse { .. }) => tracing::debug!(%interface, "still running, left alone"),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(cleaned),
    }
}

fn clean(folder: &Path, interface: &InterfaceName, kill_switch: KillSwitchLeft) -> Result<(), JournalError> {
    match kill_switch {
        KillSwitchLeft::Lift => Journal::open(folder, interface)?.close(),
        KillSwitchLeft::Keep => {
            let journal = Journal::open_keeping(folder, interface, Change::is_kill_switch)?;
            if journal.outstanding().next().is_none() {
                return journal.close();
            }
            journal.abandon();
            Ok(())
        }
    }
}

/// Undoes everything that is in a running node's journal.
pub(super) fn undo_all(mut journal: Journal) -> Result<(), NodeError> {
    journal.undo_all()?;
    Ok(journal.close()?)
}

/// Undoes everything after `error`, which is what the user should read; a second one is only logged. A kill switch that
/// outlives failures, as `is_locked_down` says, stays, and the error says so.
pub(super) fn undo_after(error: NodeError, mut journal: Journal, is_locked_down: bool) -> NodeError {
    const LEFT: &str = "after the failure something could not be undone";
    if !is_locked_down {
        if let Err(second) = undo_all(journal) {
            tracing::error!(%error, %second, "{LEFT}");
        }
        return error;
    }
    if let Err(second) = journal.undo_all_but(Change::is_kill_switch) {
        tracing::error!(%error, %second, "{LEFT}");
    }
    let interface = journal.interface().clone();
    journal.abandon();
    NodeError::LockedDown { interface, source: Box::new(error) }
}

/// The interfaces whose kill switch is in force without a node that runs.
///
/// # Errors
/// [`NodeError::Journal`] where the journals cannot be read.
pub fn locked_down(options: &NodeOptions) -> Result<Vec<InterfaceName>, NodeError> {
    let folder = &options.state_folder;
    let mut locked = Vec::new();
    for interface in journalled_interfaces(folder)? {
        if Journal::left_behind(folder, &interface)?.iter().any(Change::is_kill_switch) {
            locked.push(interface);
        }
    }
    Ok(locked)
}

pub(super) fn journalled_interfaces(state_folder: &Path) -> Result<Vec<InterfaceName>, JournalError> {
    let entries = match fs::read_dir(state_folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => {
            return Err(JournalError::File { action: "read", path: state_folder.to_owned(), source });
        }
    };
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.strip_suffix(".journal")?.parse().ok()
    });
    Ok(names.collect())
}
