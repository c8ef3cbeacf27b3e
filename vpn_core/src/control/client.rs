//! Asking a running node, without an async runtime: the commands that do this live for one question.

use super::{Request, Response, Status};
use std::{
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long a node may take to answer; a reload reads files and resolves nothing.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
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
    #[error("not permitted to open {}; run as root, or as a member of the socket's group", .0.display())]
    NotPermitted(PathBuf),
    /// The node answered no.
    #[error("{0}")]
    Refused(String),
    /// The node answered something else than asked.
    #[error("the answer from {} was not understood", .0.display())]
    Answer(PathBuf),
    /// The system failed, or the node did not answer in time.
    #[error("asking {} failed", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
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
        self.ask(Request::Status)?.status.ok_or_else(|| ControlError::Answer(self.path.clone()))
    }

    /// Has the node read its configuration again; returns what it has to say about it.
    ///
    /// # Errors
    /// [`ControlError::Refused`] when the new configuration is not valid: the old one stays in force.
    pub fn reload(&self) -> Result<Vec<String>, ControlError> {
        Ok(self.ask(Request::Reload)?.notes)
    }

    /// Has the node stop, and waits up to `patience` until it is gone.
    ///
    /// # Errors
    /// [`ControlError::System`] of kind `TimedOut` when it is still there then.
    pub fn stop(&self, patience: Duration) -> Result<(), ControlError> {
        self.ask(Request::Stop)?;
        let deadline = Instant::now() + patience;
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
                return Err(self.system(io::ErrorKind::TimedOut.into()));
            }
            stream.set_read_timeout(Some(left)).map_err(|error| self.system(error))?;
            let _ = stream.read(&mut [0]);
        }
    }

    fn ask(&self, request: Request) -> Result<Response, ControlError> {
        let mut line = serde_json::to_string(&request).map_err(|error| self.system(error.into()))?;
        line.push('\n');
        let mut stream = self.connect()?;
        let answer = (|| {
            stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
            stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
            stream.write_all(line.as_bytes())?;
            let mut answer = String::new();
            BufReader::new((&stream).take(MAX_ANSWER)).read_line(&mut answer)?;
            Ok(answer)
        })()
        .map_err(|error| self.system(error))?;
        let response: Response =
            serde_json::from_str(&answer).map_err(|_| ControlError::Answer(self.path.clone()))?;
        if response.ok {
            return Ok(response);
        }
        Err(ControlError::Refused(response.error.unwrap_or_else(|| "refused without a reason".to_owned())))
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
