//! What nodes that crashed, or failed with the kill switch in force, have left behind.

use super::{
    NodeError, NodeOptions, PREDECESSOR_POLL,
    remains::{
        Use, clean_orphan, left_in_iptables, left_in_place, named_interfaces, open_journal, orphans, use_of,
        wait_until_free,
    },
};
use crate::{
    control::{ControlClient, ControlError, socket_path},
    journal::{Change, InterfaceName, Journal, JournalError},
};
use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
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
    /// Rules and routes of interfaces that nothing names any more, which were removed.
    pub nameless: Vec<String>,
    /// What is left as it is, with the reason and what to do.
    pub left: Vec<String>,
    /// Journals that could not be read in full, kept for somebody to look at.
    pub set_aside: Vec<PathBuf>,
}

impl Cleaned {
    /// Whether there was nothing to do, and nothing to tell.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// What is left for somebody to look at, each with what to do about it.
    pub fn to_look_at(&self) -> impl Iterator<Item = String> + '_ {
        let kept = |path: &PathBuf| {
            format!(
                "{} is a journal that could not be read in full: see whether what its lines name is still in force, undo that \
                 by hand, and remove the file",
                path.display()
            )
        };
        self.left.iter().cloned().chain(self.set_aside.iter().map(kept))
    }
}

/// Undoes what nodes that crashed have left behind, all or that of one interface: what their journals name, and what is known to
/// be ours without one. A journal that somebody holds is waited for, unless the node answers: then it runs, and is left alone.
///
/// # Errors
/// [`NodeError::Journal`], also where only root is shown what there is; [`NodeError::Held`] where a journal is still held after
/// 15 s. Both after all others were tried.
pub fn cleanup(
    options: &NodeOptions,
    only: Option<&InterfaceName>,
    kill_switch: KillSwitchLeft,
) -> Result<Cleaned, NodeError> {
    let mut cleaned = Cleaned::default();
    let mut failure = None;
    let deadline = Instant::now() + CLEANUP_PATIENCE;
    let wanted = |name: &InterfaceName| only.is_none_or(|only| only == name);
    let Interfaces { names, unseen } = interfaces(&options.state_folder)?;
    for interface in names.into_iter().filter(wanted) {
        match clean_when_free(options, &interface, kill_switch, deadline) {
            Ok(Found::Undone) => cleaned.undone.push(interface),
            Ok(Found::Nothing) => {}
            Ok(Found::Running) => cleaned.running.push(interface),
            Ok(Found::Left { why, has_undone }) => {
                cleaned.left.extend(why);
                cleaned.undone.extend(has_undone.then_some(interface));
            }
            Err(error) => failure = Some(error),
        }
    }
    match unseen {
        Some(error) if error.is_not_permitted() => failure = failure.or(Some(error.into())),
        Some(error) => cleaned.left.push(unseen_tables(&error)),
        None => {}
    }
    // Last: what the journals know is undone by now.
    match orphans(&options.state_folder) {
        Ok(orphans) => {
            for orphan in orphans {
                // Of which interface they are, nothing says.
                if only.is_some() {
                    match use_of(&orphan) {
                        Use::Unused => cleaned.left.push(format!(
                            "{orphan} are in force and no program uses them: run `vpn-client cleanup`"
                        )),
                        Use::Used(_) | Use::Doubtful(_) => {}
                        Use::Unknown(why) => cleaned.left.push(why),
                    }
                    continue;
                }
                match clean_orphan(&orphan) {
                    Ok(None) => cleaned.nameless.push(orphan.to_string()),
                    Ok(Some(why)) => cleaned.left.push(why),
                    Err(error) => failure = Some(error.into()),
                }
            }
        }
        Err(error) => failure = failure.or(Some(error.into())),
    }
    if only.is_none() {
        cleaned.left.extend(match left_in_iptables(&journalled_interfaces(&options.state_folder)?) {
            Ok(left) => left,
            Err(error) => vec![unseen_iptables(&error)],
        });
    }
    cleaned.set_aside = Journal::set_aside_in(&options.state_folder);
    failure.map_or(Ok(cleaned), Err)
}

/// Says that firewall tables are not to be seen, although the caller may see them.
pub(super) fn unseen_tables(error: &JournalError) -> String {
    format!(
        "whether firewall tables were left behind is not known: {error}. Where the kernel has no nftables there are none; otherwise \
         see to it that `nft list tables` works, and try again"
    )
}

/// Says that rules of iptables are not to be seen.
pub(super) fn unseen_iptables(error: &JournalError) -> String {
    format!("whether rules of iptables were left behind is not known: {error}. As root, see `iptables-save`")
}

/// What one journal was.
enum Found {
    /// Of a node that has ended; undone.
    Undone,
    /// Gone before it was opened: its owner has undone everything.
    Nothing,
    /// That of a node that runs.
    Running,
    /// Left as it is, in part at least, for reasons and with remedies.
    Left {
        /// What, why, and what to do.
        why: Vec<String>,
        /// Whether something else was undone.
        has_undone: bool,
    },
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
    let mut has_undone = false;
    if folder.join(format!("{interface}.journal")).exists() {
        has_undone = clean_once(folder, interface, keep)?;
    }
    if kill_switch == KillSwitchLeft::Lift && named_interfaces().interfaces.contains(interface) {
        // The journal is not there, or was opened before the process that was killed had lost its device.
        if wait_until_free(interface) {
            has_undone |= clean_once(folder, interface, keep)?;
        }
        let why = left_in_place(interface);
        if !why.is_empty() {
            return Ok(Found::Left { why, has_undone });
        }
    }
    Ok(if has_undone { Found::Undone } else { Found::Nothing })
}

/// Undoes what is to be undone of `interface`, and removes its journal where nothing is left in it; whether there was anything.
fn clean_once(
    folder: &Path,
    interface: &InterfaceName,
    keep: fn(&Change) -> bool,
) -> Result<bool, JournalError> {
    let (journal, has_undone) = open_journal(folder, interface, keep)?;
    if journal.outstanding().next().is_none() {
        journal.close()?;
    } else {
        journal.abandon();
    }
    Ok(has_undone)
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
    for interface in interfaces(folder)?.names {
        if Journal::left_behind(folder, &interface)?.iter().any(Change::is_kill_switch) {
            locked.push(interface);
        }
    }
    Ok(locked)
}

/// The interfaces of which something may be there.
pub(super) struct Interfaces {
    /// By their journals, and by what is theirs on the system.
    pub(super) names: BTreeSet<InterfaceName>,
    /// Why the system was not looked at in full.
    pub(super) unseen: Option<JournalError>,
}

/// The interfaces of which something may be there.
///
/// # Errors
/// [`JournalError::File`] where the journals cannot be listed.
pub(super) fn interfaces(state_folder: &Path) -> Result<Interfaces, JournalError> {
    let named = named_interfaces();
    let mut names = named.interfaces;
    names.extend(journalled_interfaces(state_folder)?);
    Ok(Interfaces { names, unseen: named.unseen })
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
