//! Which node a command is about that names none.

use super::{NotConnected, Usage};
use crate::control::{ControlClient, ControlError};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The only node of this `role`, `client` or `server`, that runs and has its control socket in `run_folder`.
///
/// # Errors
/// [`NotConnected`] where there is none, [`Usage`] where there are several, [`ControlError`] where one may be such a node and
/// does not say so.
pub fn running_node(run_folder: &Path, role: &str) -> anyhow::Result<ControlClient> {
    let mut silent = None;
    let mut nodes = Vec::new();
    for socket in sockets(run_folder) {
        let node = ControlClient::new(socket);
        match node.status() {
            Ok(status) if status.role == role => nodes.push(node),
            Err(
                error @ (ControlError::NotPermitted(_)
                | ControlError::Denied(_)
                | ControlError::Unresponsive { .. }),
            ) => silent = Some(error),
            // Of the other role, a socket that nobody serves, or one of somebody who is about to end.
            Ok(_)
            | Err(
                ControlError::NotRunning(_)
                | ControlError::Ended(_)
                | ControlError::Refused(_)
                | ControlError::Answer(_)
                | ControlError::System { .. },
            ) => {}
        }
    }
    match (nodes.len(), silent) {
        (0, Some(error)) => Err(error.into()),
        (0, None) => Err(NotConnected(format!("not running: there is no {role}")).into()),
        (1, _) => Ok(nodes.remove(0)),
        (count, _) => Err(Usage(format!("{count} {role}s are running; say which, by -c FILE")).into()),
    }
}

/// The control sockets in the run folder, in the order of their names.
fn sockets(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut sockets: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|extension| extension == "sock")).collect();
    sockets.sort();
    sockets
}
