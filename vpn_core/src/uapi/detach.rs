//! Going into the background: the program starts itself again, and returns when that process is ready.
//!
//! No process is forked that has threads, and whatever fails before it is ready is still said on the caller's terminal.

use nix::unistd::{dup2_stderr, dup2_stdout, setsid};
use std::{
    env,
    fs::OpenOptions,
    io::{self, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    process::{Command, ExitStatus, Stdio},
};

/// Set in the process that goes into the background, for it alone.
const DETACHED: &str = "VPN_DETACHED";
/// What that process says when it is ready.
const READY: &[u8] = b"ready\n";

/// Why there is no process in the background.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DetachError {
    /// It could not be started.
    #[error("the program cannot be started again for the background")]
    System(#[from] io::Error),
    /// It ended before it was ready, and has said why.
    #[error("the process in the background ended before it was ready")]
    Ended(ExitStatus),
}

/// This process is to go into the background.
#[derive(Debug)]
pub struct Detached {
    keep_stderr: bool,
}

impl Detached {
    /// In the process that [`detach`] started: leaves the terminal's session. `None` in any other.
    ///
    /// # Errors
    /// When the system refuses a session.
    pub fn begin(keep_stderr: bool) -> io::Result<Option<Self>> {
        if env::var_os(DETACHED).is_none() {
            return Ok(None);
        }
        setsid()?;
        Ok(Some(Self { keep_stderr }))
    }

    /// Lets the process that waits go, and then go of its terminal.
    pub fn ready(self) {
        let mut stdout = io::stdout().lock();
        let told = stdout.write_all(READY).and_then(|()| stdout.flush());
        let released = OpenOptions::new().write(true).open("/dev/null").and_then(|null| {
            dup2_stdout(&null)?;
            env::set_current_dir("/")?; // No file system is kept from being unmounted.
            if !self.keep_stderr {
                dup2_stderr(&null)?;
            }
            Ok(())
        });
        if let Err(error) = told.and(released) {
            tracing::warn!(%error, "not wholly in the background"); // The tunnel works all the same.
        }
    }
}

/// Starts this program again with the same arguments and descriptors, and returns when it is ready.
///
/// # Errors
/// [`DetachError`].
pub fn detach() -> Result<(), DetachError> {
    let mut arguments = env::args_os();
    let own_name = arguments.next().unwrap_or_default();
    let mut child = Command::new(env::current_exe()?)
        .arg0(own_name)
        .args(arguments)
        .env(DETACHED, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut said = [0; READY.len()];
    let told = child.stdout.take().is_some_and(|mut stdout| stdout.read_exact(&mut said).is_ok());
    if told && said == READY { Ok(()) } else { Err(DetachError::Ended(child.wait()?)) }
}
