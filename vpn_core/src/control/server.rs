//! The node's end of the control socket.

use super::{
    Access, Request, Response, Status,
    access::{Caller, give_socket},
    refusals::Refusals,
    seats::{Seats, Taken},
};
use crate::journal::{FolderError, make_own_folder};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io,
    os::unix::{
        fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
        net::UnixStream as BlockingStream,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
    time::timeout,
};

/// Most bytes of a request, with its newline; bounds memory per connection.
const MAX_REQUEST: u64 = 4096;
/// How long a connection may be silent, or slow to take its answer, before it is closed for the next one's sake.
const PATIENCE: Duration = Duration::from_secs(10);
/// After so many refusals a connection is closed: who goes on asking for what is not given costs a new connection each time.
const MAX_REFUSALS: usize = 3;

/// What a node does when asked.
pub trait Handler {
    /// Tells about the node.
    fn status(&self) -> Status;
    /// Begins to stop; returns at once.
    fn stop(&self);
    /// Reads the configuration again. `Ok` carries what is worth telling, `Err` why the old one stays in force.
    fn reload(&self) -> impl Future<Output = Result<Vec<String>, String>>;
    /// Who but root may ask, as configured now.
    fn access(&self) -> Access {
        Access::default()
    }
}

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// Another node has it.
    #[error("already running: a node answers at {}; stop it first, or use another interface name", .0.display())]
    AlreadyRunning(PathBuf),
    /// Others could put something of their own in the socket's place.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The group cannot be given the socket.
    #[error(
        "the control socket {} cannot be given to its group: run as root (a service needs CAP_CHOWN), or leave `group` \
         and `operators` out of [control]", path.display()
    )]
    Group {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The system refused.
    #[error("the control socket {} cannot be made", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// The bound socket. While it lives no other node of this name can start; dropped, it removes the socket, which is
/// what `stop` waits for: drop it after everything else is undone.
#[derive(Debug)]
pub struct ControlServer {
    listener: UnixListener,
    path: PathBuf,
    /// Locked for as long as this lives: decides between two that start at once, and dies with the process.
    _lock: File,
}

impl ControlServer {
    /// Makes the socket `interface.sock` in `run_folder`. A socket that nobody serves is replaced. Connections wait
    /// until [`ControlServer::serve`] runs, so that a first answer means that the node is ready.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`BindError`].
    pub fn bind(run_folder: &Path, interface: &str) -> Result<Self, BindError> {
        let path = super::socket_path(run_folder, interface);
        let system = |source| BindError::System { path: path.clone(), source };
        make_own_folder(run_folder, 0o755)?;
        let lock = lock(&path.with_extension("lock"), &path)?;
        if BlockingStream::connect(&path).is_ok() {
            return Err(BindError::AlreadyRunning(path));
        }
        match fs::remove_file(&path) {
            Ok(()) => tracing::debug!(socket = %path.display(), "replaced a socket that nobody served"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(system(error)),
        }
        let listener = bind_private(&path, 0o660).map_err(system)?;
        Ok(Self { listener, path, _lock: lock })
    }

    /// Lets the members of the group that `access` names open the socket. What they may ask then is decided for each request.
    ///
    /// # Errors
    /// [`BindError::Group`].
    pub fn open_to(&self, access: Access) -> Result<(), BindError> {
        let group = access.socket_group();
        give_socket(&self.path, group).map_err(|source| BindError::Group { path: self.path.clone(), source })
    }

    /// Answers until dropped. A connection's fault ends that connection only, and one that says nothing delays no other.
    pub async fn serve(&self, handler: &impl Handler) -> std::convert::Infallible {
        let (seats, refusals) = (Seats::default(), Refusals::default());
        let mut connections = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept() => match accepted.and_then(|(stream, _)| Ok((Caller::of(&stream)?, stream))) {
                    Ok((caller, stream)) => {
                        if let Some(seat) = seats.take(caller.uid, caller.is_privileged(), Instant::now()) {
                            connections.push(attend(stream, caller, seat, &refusals, handler));
                        } else {
                            tracing::debug!(uid = caller.uid, "a control connection too many was closed");
                        }
                    }
                    Err(error) => {
                        // Out of descriptors, most likely: accepting again at once would spin.
                        tracing::warn!(%error, "cannot accept a control connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(result) = connections.next(), if !connections.is_empty() => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "control connection ended");
                    }
                }
            }
        }
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        // The lock is still held here, so this cannot be a successor's socket. The lock file stays: removing it would
        // let two nodes lock different files of one name.
        let _ = fs::remove_file(&self.path);
    }
}

/// Binds `path` with `mode`. Made in a folder that only we can enter and moved from there: by its own name the socket
/// never has the mode that the umask leaves it, under which anybody might have connected, and so commanded the node.
pub(crate) fn bind_private(path: &Path, mode: u32) -> io::Result<UnixListener> {
    let folder = path.with_extension("new"); // short: the path of a socket has 107 bytes
    let inside = folder.join("s");
    // Of a start that was killed. The caller holds a lock, so nobody else is using it.
    let _ = fs::remove_file(&inside);
    let _ = fs::remove_dir(&folder);
    DirBuilder::new().mode(0o700).create(&folder)?;
    let bound = UnixListener::bind(&inside).and_then(|listener| {
        fs::set_permissions(&inside, Permissions::from_mode(mode))?;
        fs::rename(&inside, path)?;
        Ok(listener)
    });
    let _ = fs::remove_file(&inside);
    let _ = fs::remove_dir(&folder);
    bound
}

fn lock(path: &Path, socket: &Path) -> Result<File, BindError> {
    let system = |source| BindError::System { path: path.to_owned(), source };
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
    let file = options.open(path).map_err(system)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BindError::AlreadyRunning(socket.to_owned())),
        Err(TryLockError::Error(error)) => Err(system(error)),
    }
}

/// One connection, until it ends or somebody else needs its place.
async fn attend(
    stream: UnixStream,
    caller: Caller,
    seat: Taken<'_>,
    refusals: &Refusals,
    handler: &impl Handler,
) -> io::Result<()> {
    tokio::select! {
        outcome = converse(stream, &caller, &seat, refusals, handler) => outcome,
        () = seat.given_away() => Ok(()),
    }
}

/// Request, answer, and so on until the connection is closed, silent for too long, or was refused too often.
async fn converse(
    stream: UnixStream,
    caller: &Caller,
    seat: &Taken<'_>,
    refusals: &Refusals,
    handler: &impl Handler,
) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    let mut refused = 0;
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut reader).take(MAX_REQUEST);
        if timeout(PATIENCE, limited.read_until(b'\n', &mut line)).await?? == 0 {
            return Ok(());
        }
        let complete = line.ends_with(b"\n");
        seat.answers();
        let response = if complete {
            answer(&line, caller, refusals, handler).await
        } else {
            refusal("the request is too long")
        };
        refused += usize::from(!response.ok);
        let mut text = serde_json::to_vec(&response)?;
        text.push(b'\n');
        seat.waits();
        timeout(PATIENCE, writer.write_all(&text)).await??;
        if !complete || refused >= MAX_REFUSALS {
            return Ok(());
        }
    }
}

async fn answer(line: &[u8], caller: &Caller, refusals: &Refusals, handler: &impl Handler) -> Response {
    let fine = Response { ok: true, ..Response::default() };
    let Ok(request) = serde_json::from_slice::<Request>(line) else {
        return refusal("not a request; there are {\"command\":\"status\"}, \"stop\" and \"reload\"");
    };
    if let Err(error) = handler.access().check(caller, request) {
        if refusals.is_worth_a_warning(caller.uid, Instant::now()) {
            tracing::warn!(uid = caller.uid, ?request, "refused: not permitted; told once a minute at most");
        }
        return Response { denied: true, ..refusal(error) };
    }
    match request {
        Request::Status => Response { status: Some(handler.status()), ..fine },
        Request::Stop => {
            handler.stop();
            fine
        }
        Request::Reload => match handler.reload().await {
            Ok(notes) => Response { notes, ..fine },
            Err(error) => refusal(error),
        },
    }
}

fn refusal(error: impl Into<String>) -> Response {
    Response { error: Some(error.into()), ..Response::default() }
}
