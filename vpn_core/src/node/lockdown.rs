//! What nodes that crashed, or failed with the kill switch in force, have left behind.

use super::{NodeError, NodeOptions, PREDECESSOR_POLL};
use crate::{
    control::{ControlClient, ControlError, socket_path},
    journal::{Change, InterfaceName, Journal, JournalError},
};
use std::{
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How long a journal that somebody holds is waited for: a process that was killed keeps its locks until the kernel has taken it
/// apart, and a node that stops holds them until everything is undone.
const CLEANUP_PATIENCE: Duration = Duration::from_secs(15);

/// What is to become of a kill switch that is still in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillSwitchLeft {
    /// It is lifted: the user said so.
    Lift,
    /// It stays.
    Keep,
}

/// What was found of nodes that are not ours to ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cleaned {
    /// Interfaces of which something was left behind, and is undone.
    pub undone: Vec<InterfaceName>,
    /// Interfaces whose node runs. It is left alone.
    pub running: Vec<InterfaceName>,
}

/// Undoes what nodes that crashed have left behind, all or that of one interface. A journal that somebody holds is waited for,
/// unless the node answers: then it runs, and is left alone.
///
/// # Errors
/// [`NodeError::Journal`]; [`NodeError::Held`] where a journal is still held after 15 s. Both after all others were tried.
pub fn cleanup(
    options: &NodeOptions,
    only: Option<&InterfaceName>,
    kill_switch: KillSwitchLeft,
) -> Result<Cleaned, NodeError> {
    let mut cleaned = Cleaned::default();
    let mut failure = None;
    let deadline = Instant::now() + CLEANUP_PATIENCE;
    let wanted = |name: &InterfaceName| only.is_none_or(|only| only == name);
    for interface in journalled_interfaces(&options.state_folder)?.into_iter().filter(wanted) {
        match clean_when_free(options, &interface, kill_switch, deadline) {
            Ok(Found::Undone) => cleaned.undone.push(interface),
            Ok(Found::Nothing) => {}
            Ok(Found::Running) => cleaned.running.push(interface),
            Err(error) => failure = Some(error),
        }
    }
    failure.map_or(Ok(cleaned), Err)
}

/// What one journal was.
enum Found {
    /// Of a node that has ended; undone.
    Undone,
    /// Gone before it was opened: its owner has undone everything.
    Nothing,
    /// That of a node that runs.
    Running,
}

fn clean_when_free(
    options: &NodeOptions,
    interface: &InterfaceName,
    kill_switch: KillSwitchLeft,
    deadline: Instant,
) -> Result<Found, NodeError> {
    let socket = socket_path(&options.run_folder, interface.as_str());
    let node = ControlClient::new(&socket);
    loop {
        match clean(&options.state_folder, interface, kill_switch) {
            Err(JournalError::InUse { .. }) => {}
            outcome => return Ok(outcome?),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let silence = match node.status_within(left.max(PREDECESSOR_POLL)) {
            // Each of these is an answer of somebody who lives.
            Ok(_)
            | Err(
                ControlError::Refused(_)
                | ControlError::Denied(_)
                | ControlError::NotPermitted(_)
                | ControlError::Answer(_),
            ) => return Ok(Found::Running),
            Err(
                error @ (ControlError::NotRunning(_)
                | ControlError::Ended(_)
                | ControlError::Unresponsive { .. }
                | ControlError::System { .. }),
            ) => error,
        };
        if left.is_zero() {
            return Err(NodeError::Held { interface: interface.clone(), source: silence });
        }
        thread::sleep(PREDECESSOR_POLL);
    }
}

fn clean(
    folder: &Path,
    interface: &InterfaceName,
    kill_switch: KillSwitchLeft,
) -> Result<Found, JournalError> {
    let keep = match kill_switch {
        KillSwitchLeft::Lift => |_: &Change| false,
        KillSwitchLeft::Keep => Change::is_kill_switch,
    };
    if !folder.join(format!("{interface}.journal")).exists() {
        return Ok(Found::Nothing);
    }
    let journal = Journal::open_keeping(folder, interface, keep)?;
    let found = if journal.was_there() { Found::Undone } else { Found::Nothing };
    if journal.outstanding().next().is_none() {
        journal.close()?;
    } else {
        journal.abandon();
    }
    Ok(found)
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
