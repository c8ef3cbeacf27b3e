//! From errors to exit statuses.

use super::OutputError;
use crate::{config::ConfigError, control::ControlError, node::NodeError};
use std::{
    io::{self, Write as _},
    process::ExitCode,
};

/// The exit statuses that scripts rely on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// 0: done.
    Done = 0,
    /// 1: failed.
    Failed = 1,
    /// 2: wrong usage (clap's own status as well).
    Usage = 2,
    /// 3: the node is not running, or not connected.
    NotConnected = 3,
    /// 4: not permitted.
    NotPermitted = 4,
}

/// The command line does not say what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Usage(pub String);

/// The node runs, but reached nobody; or it does not run.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotConnected(pub String);

/// Privileges are missing, by the account of another process.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotPermitted(pub String);

/// Runs a program's commands and tells the shell how it went. Errors are printed with their causes.
pub fn run(commands: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    forbid_core_dumps();
    let status = match commands() {
        Ok(()) => ExitStatus::Done,
        Err(error) => {
            let status = ExitStatus::of(&error);
            if status != ExitStatus::Done {
                // Nobody is left to tell if this fails.
                let _ = writeln!(io::stderr(), "error: {}", with_causes(&error));
            }
            status
        }
    };
    ExitCode::from(status as u8)
}

/// A core dump would hold every key, and a release build aborts on a panic. On Linux nobody but root attaches a debugger either.
fn forbid_core_dumps() {
    // Keys are as safe without it as in any other program.
    #[cfg(target_os = "linux")]
    let _ = nix::sys::prctl::set_dumpable(false);
    #[cfg(target_os = "macos")]
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
}

/// The error and its causes, each once: some errors name their cause themselves.
fn with_causes(error: &anyhow::Error) -> String {
    error.chain().skip(1).fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

impl ExitStatus {
    /// What an error means for the shell.
    pub fn of(error: &anyhow::Error) -> Self {
        for cause in error.chain() {
            if let Some(OutputError::Closed) = cause.downcast_ref() {
                // `| head` has seen enough.
                return Self::Done;
            }
            if cause.is::<Usage>() {
                return Self::Usage;
            }
            if cause.is::<NotConnected>() || matches!(cause.downcast_ref(), Some(ControlError::NotRunning(_)))
            {
                return Self::NotConnected;
            }
            let denied = |error: &io::Error| error.kind() == io::ErrorKind::PermissionDenied;
            if matches!(cause.downcast_ref(), Some(ControlError::NotPermitted(_) | ControlError::Denied(_)))
                || cause.downcast_ref().is_some_and(NodeError::is_not_permitted)
                || cause.downcast_ref().is_some_and(ConfigError::is_not_permitted)
                || cause.is::<NotPermitted>()
                || cause.downcast_ref::<io::Error>().is_some_and(denied)
            {
                return Self::NotPermitted;
            }
        }
        Self::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn a_cause_that_an_error_names_itself_is_not_repeated() {
        let cause = io::Error::other("disk full");
        let error =
            anyhow::Error::from(cause).context("cannot write x: disk full").context("the key is not kept");
        assert_eq!(with_causes(&error), "the key is not kept: cannot write x: disk full");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn commands_run_in_a_process_that_leaves_no_core_dump() {
        assert!(nix::sys::prctl::get_dumpable().expect("asked"));
        run(|| {
            assert!(!nix::sys::prctl::get_dumpable()?);
            Ok(())
        });
        assert!(!nix::sys::prctl::get_dumpable().expect("asked"), "and stays so");
    }

    #[test]
    fn every_kind_of_error_has_its_exit_status_behind_any_context() {
        let status =
            |error: anyhow::Error| ExitStatus::of(&Err::<(), _>(error).context("while").expect_err("error"));
        assert_eq!(status(anyhow::anyhow!("x")), ExitStatus::Failed);
        assert_eq!(status(Usage("x".into()).into()), ExitStatus::Usage);
        assert_eq!(status(NotConnected("x".into()).into()), ExitStatus::NotConnected);
        assert_eq!(status(ControlError::NotRunning("x".into()).into()), ExitStatus::NotConnected);
        assert_eq!(status(ControlError::NotPermitted("x".into()).into()), ExitStatus::NotPermitted);
        assert_eq!(status(ControlError::Denied("x".into()).into()), ExitStatus::NotPermitted);
        assert_eq!(status(NotPermitted("x".into()).into()), ExitStatus::NotPermitted);
        let denied = crate::routes::RouteError::NotPermitted { action: "add a route".into() };
        assert_eq!(status(NodeError::from(denied).into()), ExitStatus::NotPermitted);
        assert_eq!(status(io::Error::from(io::ErrorKind::PermissionDenied).into()), ExitStatus::NotPermitted);
        assert_eq!(status(OutputError::Closed.into()), ExitStatus::Done);
    }
}
