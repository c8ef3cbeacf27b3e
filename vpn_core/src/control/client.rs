//! Asking a running node, without an async runtime: the commands that do this live for one question.

use super::{Request, Response, Status};
use nix::sys::socket::{getsockopt, sockopt};
use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

/// How long a node may take to answer: a reload reads files and resolves nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at whether a node that stops is gone.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Most bytes of an answer: a status of about a hundred thousand peers.
const MAX_ANSWER: u64 = 64 << 20;

/// Why a node could not be asked, or what it refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Nobody listens there.
    #[error("not running: nobody answers at {}", .0.display())]
    NotRunning(PathBuf),
    /// The socket is somebody else's.
    #[error(
        "not permitted to open {}; run as root, or to see the status as a member of the group that `group` in [control] names",
        .0.display()
    )]
    NotPermitted(PathBuf),
    /// The node knows who asks, and that is not enough.
    #[error("{0}")]
    Denied(String),
    /// The node went away before it had answered.
    #[error("the node at {} ended before it answered", .0.display())]
    Ended(PathBuf),
    /// The node is there and says nothing: it is starting, suspended (SIGSTOP), or stuck.
    #[error("no answer at {} within {} s: {}", path.display(), waited.as_secs(), unresponsive(*pid))]
    Unresponsive {
        /// The socket.
        path: PathBuf,
        /// The process that listens there, where the system tells.
        pid: Option<i32>,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The node answered no.
    #[error("{0}")]
    Refused(String),
    /// The node answered something else than asked.
    #[error("the answer from {} was not understood", .0.display())]
    Answer(PathBuf),
    /// The system failed.
    #[error("asking {} failed", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

fn unresponsive(pid: Option<i32>) -> String {
    let Some(pid) = pid else {
        return "the node is starting, suspended or stuck; nothing is known about what it has in force"
            .to_owned();
    };
    format!(
        "process {pid} is starting, suspended or stuck, and what it has changed is still in force; wait, or `kill -CONT {pid}`, \
         or end it with `kill -9 {pid}`, and try again"
    )
}

/// A node's control socket, seen from outside. Every question is a connection of its own.
#[derive(Clone, Debug)]
pub struct ControlClient {
    path: PathBuf,
}

impl ControlClient {
    /// For the socket at `path`; nothing is opened yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The socket.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the node tells about itself.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn status(&self) -> Result<Status, ControlError> {
        self.status_within(ANSWER_TIMEOUT)
    }

    /// The same, from a node that may be about to end.
    ///
    /// # Errors
    /// As [`Self::status`].
    pub fn status_within(&self, patience: Duration) -> Result<Status, ControlError> {
        self.ask(Request::Status, patience)?.status.ok_or_else(|| ControlError::Answer(self.path.clone()))
    }

    /// Has the node read its configuration again; returns what it has to say about it.
    ///
    /// # Errors
    /// [`ControlError::Refused`] when the new configuration is not valid: the old one stays in force.
    pub fn reload(&self) -> Result<Vec<String>, ControlError> {
        Ok(self.ask(Request::Reload, ANSWER_TIMEOUT)?.notes)
    }

    /// Has the node stop, and waits up to `patience` until it is gone. Whether it has undone everything then, only its journal
    /// tells: it may have been killed meanwhile.
    ///
    /// # Errors
    /// [`ControlError::Unresponsive`] when it is still there then.
    pub fn stop(&self, patience: Duration) -> Result<(), ControlError> {
        let deadline = Instant::now() + patience;
        self.ask(Request::Stop, patience.min(ANSWER_TIMEOUT))?;
        loop {
            let mut stream = match self.connect() {
                Ok(stream) => stream,
                Err(ControlError::NotRunning(_)) => return Ok(()),
                Err(error) => return Err(error),
            };
            // A connection that nobody serves any more is closed when the node exits: waiting on it is waiting for
            // that, without asking again and again.
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(self.unresponsive(&stream, patience));
            }
            stream.set_read_timeout(Some(left)).map_err(|error| self.system(error))?;
            let _ = stream.read(&mut [0]);
            thread::sleep(POLL_INTERVAL);
        }
    }

    fn ask(&self, request: Request, patience: Duration) -> Result<Response, ControlError> {
        let mut line = serde_json::to_string(&request).map_err(|error| self.system(error.into()))?;
        line.push('\n');
        let mut stream = self.connect()?;
        let answer = (|| {
            stream.set_read_timeout(Some(patience))?;
            stream.set_write_timeout(Some(patience))?;
            stream.write_all(line.as_bytes())?;
            let mut answer = String::new();
            BufReader::new((&stream).take(MAX_ANSWER)).read_line(&mut answer)?;
            Ok(answer)
        })();
        let answer = answer.map_err(|error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => self.unresponsive(&stream, patience),
            // The kernel closes the connections of a process that was killed.
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
                ControlError::Ended(self.path.clone())
            }
            _ => self.system(error),
        })?;
        if !answer.ends_with('\n') {
            return Err(ControlError::Ended(self.path.clone()));
        }
        let response: Response =
            serde_json::from_str(&answer).map_err(|_| ControlError::Answer(self.path.clone()))?;
        if response.ok {
            return Ok(response);
        }
        let error = response.error.unwrap_or_else(|| "refused without a reason".to_owned());
        Err(if response.denied { ControlError::Denied(error) } else { ControlError::Refused(error) })
    }

    fn unresponsive(&self, stream: &UnixStream, waited: Duration) -> ControlError {
        ControlError::Unresponsive { path: self.path.clone(), pid: process_of(stream), waited }
    }

    fn connect(&self) -> Result<UnixStream, ControlError> {
        UnixStream::connect(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                ControlError::NotRunning(self.path.clone())
            }
            io::ErrorKind::PermissionDenied => ControlError::NotPermitted(self.path.clone()),
            _ => self.system(error),
        })
    }

    fn system(&self, source: io::Error) -> ControlError {
        ControlError::System { path: self.path.clone(), source }
    }
}

/// The process that listens at the other end; none where the system does not say, or cannot from here.
fn process_of(stream: &UnixStream) -> Option<i32> {
    #[cfg(target_os = "linux")]
    let pid = getsockopt(stream, sockopt::PeerCredentials).map(|credentials| credentials.pid());
    #[cfg(target_os = "macos")]
    let pid = getsockopt(stream, sockopt::LocalPeerPid);
    pid.ok().filter(|pid| *pid > 0)
}
