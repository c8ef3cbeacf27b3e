//! `down`.

use crate::profile;
use std::{
    io::{self, Write as _},
    path::Path,
    time::Duration,
};
use vpn_core::{
    cli::{GlobalArgs, NotConnected},
    control::ControlError,
    node::{self, KillSwitchLeft},
};

/// How long a client may take to put everything back.
const PATIENCE: Duration = Duration::from_secs(15);

/// Stops the running client. Without one, what a client that was killed has left behind is undone, its kill switch too;
/// where there is nothing, that is said but is no error.
pub(crate) fn down(global: &GlobalArgs, profile: Option<&Path>) -> anyhow::Result<()> {
    let stopped = profile::running(global, profile).and_then(|client| Ok(client.stop(PATIENCE)?));
    match stopped {
        Err(error) if is_not_running(&error) => undo_remains(global, profile),
        other => other,
    }
}

fn undo_remains(global: &GlobalArgs, profile: Option<&Path>) -> anyhow::Result<()> {
    let only = profile::interface(global, profile)?;
    let undone = node::cleanup(&global.node_options(), only.as_ref(), KillSwitchLeft::Lift)?;
    let mut said = "not running".to_owned();
    match undone.as_slice() {
        [] => said.push_str("; nothing to do"),
        names => names.iter().for_each(|name| said = format!("{said}; undone what was left of {name}")),
    }
    let _ = writeln!(io::stderr(), "{said}");
    Ok(())
}

/// Says what is still in force where `error` is that no client runs.
pub(crate) fn with_remains(global: &GlobalArgs, error: anyhow::Error) -> anyhow::Error {
    if !is_not_running(&error) {
        return error;
    }
    // Where this cannot be read, there is nothing to add to the error.
    let locked = node::locked_down(&global.node_options()).unwrap_or_default();
    let Some(interface) = locked.first() else { return error };
    NotConnected(format!(
        "not running, but the kill switch of {interface} is still in force, so nothing leaves this host: \
         `vpn-client up` connects again, `vpn-client down` lifts it"
    ))
    .into()
}

fn is_not_running(error: &anyhow::Error) -> bool {
    error.is::<NotConnected>() || matches!(error.downcast_ref(), Some(ControlError::NotRunning(_)))
}
