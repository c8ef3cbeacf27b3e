//! `down`.

use crate::profile;
use std::{
    io::{self, Write as _},
    path::Path,
    time::Duration,
};
use vpn_core::{
    cli::{GlobalArgs, NotConnected},
    config::InterfaceName,
    control::{ControlClient, ControlError},
    node::{self, Cleaned, KillSwitchLeft},
};

/// How long a client may take to put everything back.
const PATIENCE: Duration = Duration::from_secs(15);

/// Stops the running client. Without one, what a client that was killed has left behind is undone, its kill switch too;
/// where there is nothing, that is said but is no error.
pub(crate) fn down(global: &GlobalArgs, profile: Option<&Path>) -> anyhow::Result<()> {
    let stopped = profile::running(global, profile).and_then(|client| {
        client.stop(PATIENCE)?;
        Ok(client)
    });
    match stopped {
        Ok(client) => finish(global, &client),
        Err(error) if is_gone(&error) => undo_remains(global, profile),
        Err(error) => Err(error),
    }
}

/// Undoes what a client that has stopped did not get to: it may have been killed on the way.
fn finish(global: &GlobalArgs, client: &ControlClient) -> anyhow::Result<()> {
    let name = client.path().file_stem().and_then(|name| name.to_str());
    let Some(interface) = name.and_then(|name| name.parse::<InterfaceName>().ok()) else { return Ok(()) };
    let cleaned = node::cleanup(&global.node_options(), Some(&interface), KillSwitchLeft::Lift)?;
    if !cleaned.undone.is_empty() {
        let _ = writeln!(io::stderr(), "it ended early; undone what was left of {interface}");
    }
    Ok(())
}

fn undo_remains(global: &GlobalArgs, profile: Option<&Path>) -> anyhow::Result<()> {
    let only = profile::interface(global, profile)?;
    let cleaned = match node::cleanup(&global.node_options(), only.as_ref(), KillSwitchLeft::Lift) {
        Err(error) if error.is_not_permitted() => {
            let _ = writeln!(
                io::stderr(),
                "not running; whether something was left behind is shown to root only"
            );
            return Ok(());
        }
        cleaned => cleaned?,
    };
    let Cleaned { undone, running, nameless, .. } = &cleaned;
    let mut said = "not running".to_owned();
    for name in undone {
        said = format!("{said}; undone what was left of {name}");
    }
    for what in nameless {
        said = format!("{said}; removed {what}, of no interface that is known");
    }
    for name in running {
        said = format!("{said}; {name} is in use by a node that runs, left alone");
    }
    if cleaned.is_nothing() {
        said.push_str("; nothing to do");
    }
    for what in cleaned.to_look_at() {
        said = format!("{said}\n{what}");
    }
    let _ = writeln!(io::stderr(), "{said}");
    Ok(())
}

/// Says what is still in force where `error` is that no client runs.
pub(crate) fn with_remains(global: &GlobalArgs, error: anyhow::Error) -> anyhow::Error {
    if !is_gone(&error) {
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

/// Also one that went away while it was asked: somebody else stops it, or it was killed.
fn is_gone(error: &anyhow::Error) -> bool {
    is_not_running(error) || matches!(error.downcast_ref(), Some(ControlError::Ended(_)))
}
