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
};

/// How long a client may take to put everything back.
const PATIENCE: Duration = Duration::from_secs(15);

/// Stops the running client. Without one there is nothing to do, which is said but is no error.
pub(crate) fn down(global: &GlobalArgs, profile: Option<&Path>) -> anyhow::Result<()> {
    let stopped = profile::running(global, profile).and_then(|client| Ok(client.stop(PATIENCE)?));
    match stopped {
        Err(error) if is_not_running(&error) => {
            let _ = writeln!(io::stderr(), "not running; nothing to do");
            Ok(())
        }
        other => other,
    }
}

fn is_not_running(error: &anyhow::Error) -> bool {
    error.is::<NotConnected>() || matches!(error.downcast_ref(), Some(ControlError::NotRunning(_)))
}
