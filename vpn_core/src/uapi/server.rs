//! The socket that `wg` talks to.

use super::{DeviceState, MAX_LINE, MAX_REQUEST, Request, SetRequest, UapiError, answer, parse_request};
use crate::{
    control::bind_private,
    journal::{FolderError, make_own_folder},
    network::zone_index,
};
use futures_util::{StreamExt as _, stream::FuturesUnordered};
use nix::{
    sys::inotify::{AddWatchFlags, InitFlags, Inotify},
    unistd::Uid,
};
use std::{
    fs::{self, File, OpenOptions, Permissions},
    io,
    os::{
        fd::OwnedFd,
        unix::{
            fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _},
            net::UnixStream as BlockingStream,
        },
    },
    path::{self, Path, PathBuf},
    time::Duration,
};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream, unix::pipe::Receiver},
    time::timeout,
};
use zeroize::Zeroizing;

/// Where `wg` looks for the sockets of userspace implementations.
pub const UAPI_FOLDER: &str = "/var/run/wireguard";

/// Most connections served at once; more wait in the kernel's queue. Below the 1,024 descriptors that a process usually has.
const MAX_CONNECTIONS: usize = 512;
/// How long a connection may be silent, take for one request, or be slow to take its answer, before it is closed for the
/// next one's sake.
const PATIENCE: Duration = Duration::from_secs(30);
/// Room for a request at first, in bytes.
const FIRST_ROOM: usize = 4096;

/// What is configured over the socket.
pub trait Configurable {
    /// Tells configuration and state.
    fn state(&self) -> DeviceState;
    /// Changes the configuration.
    ///
    /// # Errors
    /// [`UapiError`]; nothing has changed then.
    fn change(&self, request: SetRequest) -> Result<(), UapiError>;
}

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UapiBindError {
    /// Another process serves it.
    #[error("already running: another process answers at {}; stop it first, or use another interface name", .0.display())]
    InUse(PathBuf),
    /// Others could put something of their own in the socket's place.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The system refused.
    #[error("the socket {} cannot be made", path.display())]
    System {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The bound socket; removed when dropped.
#[derive(Debug)]
pub struct UapiServer {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: a socket of this name may be a successor's.
    identity: (u64, u64),
}

impl UapiServer {
    /// Makes the socket `interface.sock` in `folder`, for its owner only. A socket that nobody serves is replaced.
    /// Connections wait until [`UapiServer::serve`] runs.
    ///
    /// Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// [`UapiBindError`].
    pub fn bind(folder: &Path, interface: &str) -> Result<Self, UapiBindError> {
        let path = folder.join(format!("{interface}.sock"));
        // The working folder may change.
        let path = path::absolute(&path).map_err(|source| UapiBindError::System { path, source })?;
        let system = |source| UapiBindError::System { path: path.clone(), source };
        close_to_others(folder).map_err(system)?;
        make_own_folder(folder, 0o755)?;
        // Decides between two that start at once. Other implementations do not look at it.
        let _lock = lock(&path).map_err(system)?;
        if BlockingStream::connect(&path).is_ok() {
            return Err(UapiBindError::InUse(path));
        }
        match fs::remove_file(&path) {
            Ok(()) => tracing::debug!(socket = %path.display(), "replaced a socket that nobody served"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(system(error)),
        }
        let listener = bind_private(&path, 0o600).map_err(system)?;
        let identity = identity(&path).map_err(system)?;
        Ok(Self { listener, path, identity })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers until dropped. Each connection is served beside the others; its fault ends that connection only.
    pub async fn serve(&self, device: &impl Configurable) -> std::convert::Infallible {
        let mut connections = FuturesUnordered::new();
        loop {
            tokio::select! {
                accepted = self.listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                    Ok((stream, _)) => connections.push(converse(stream, device)),
                    Err(error) => {
                        // Out of descriptors, most likely: accepting again at once would spin.
                        tracing::warn!(%error, "cannot accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
                Some(result) = connections.next(), if !connections.is_empty() => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "connection ended");
                    }
                }
            }
        }
    }

    /// Waits until somebody removes the socket, which is how users tell a userspace implementation to stop.
    ///
    /// # Errors
    /// When the system has no inotify instance left.
    pub async fn removed(&self) -> io::Result<()> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        // While we listen the socket lives on without its name, so its removal is a changed attribute.
        let events = AddWatchFlags::IN_ATTRIB | AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF;
        let watched = inotify.add_watch(&self.path, events).map(drop);
        // No pipe, but all that is asked of it is to say when it can be read, and to be read.
        let mut events = Receiver::from_file_unchecked(File::from(OwnedFd::from(inotify)))?;
        while self.is_ours() {
            watched?;
            // What has happened does not matter, only that something has.
            let _len = events.read(&mut [0; 4096]).await?;
        }
        Ok(())
    }

    fn is_ours(&self) -> bool {
        identity(&self.path).is_ok_and(|identity| identity == self.identity)
    }
}

impl Drop for UapiServer {
    fn drop(&mut self) {
        let _lock = lock(&self.path);
        if self.is_ours() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Takes the right to write to the sockets' folder from others, if the folder is ours: a file system that was mounted there, as
/// containers do, lets everybody write.
fn close_to_others(folder: &Path) -> io::Result<()> {
    const OTHERS_WRITE: u32 = 0o022;
    let Ok(metadata) = fs::symlink_metadata(folder) else { return Ok(()) }; // It is made next, or its fault is told.
    let mode = metadata.mode() & 0o7777;
    if !metadata.is_dir() || metadata.uid() != Uid::effective().as_raw() || mode & OTHERS_WRITE == 0 {
        return Ok(());
    }
    tracing::info!(folder = %folder.display(), mode = format!("{mode:o}"), "nobody else may write here from now on");
    fs::set_permissions(folder, Permissions::from_mode(mode & !OTHERS_WRITE))
}

/// A locked file beside a socket, there for as long as it is locked.
struct Lock {
    path: PathBuf,
    /// Keeps it locked.
    _file: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Locks a file beside `socket`. Not the folder: whoever may look into that could lock it, and hold us up for ever.
fn lock(socket: &Path) -> io::Result<Lock> {
    let path = socket.with_extension("lock");
    loop {
        let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path)?;
        file.lock()?;
        // Whoever had it before us has removed it: a lock on what has no name keeps nobody out.
        let metadata = file.metadata()?;
        if identity(&path).is_ok_and(|identity| identity == (metadata.dev(), metadata.ino())) {
            return Ok(Lock { path, _file: file });
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// One connection: request, answer, and so on until it is closed or silent for too long.
async fn converse(stream: UnixStream, device: &impl Configurable) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    while let Some(request) = timeout(PATIENCE, read_request(&mut reader)).await?? {
        let outcome = request.and_then(|text| perform(&text, device));
        if let Err(error) = &outcome {
            tracing::warn!(%error, "a request was refused");
        }
        timeout(PATIENCE, writer.write_all(answer(&outcome).as_bytes())).await??;
    }
    Ok(())
}

/// The next request without the empty line at its end. `None` at the end of the connection, also in the middle of a
/// request, which is then not carried out, and for an empty request.
async fn read_request(
    reader: &mut (impl AsyncBufRead + Unpin),
) -> io::Result<Option<Result<Zeroizing<Vec<u8>>, UapiError>>> {
    let mut request = Zeroizing::new(Vec::with_capacity(FIRST_ROOM));
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE + 1));
    let (mut too_long, mut is_tail) = (false, false);
    loop {
        line.clear();
        let len = reader.take(MAX_LINE as u64 + 1).read_until(b'\n', &mut line).await?;
        if len == 0 {
            return Ok(None);
        }
        let is_whole = line.ends_with(b"\n");
        if is_whole && len == 1 && !is_tail {
            break;
        }
        too_long |= !is_whole || request.len() + len > MAX_REQUEST;
        is_tail = !is_whole;
        if !too_long {
            append(&mut request, &line);
        }
    }
    Ok(match (too_long, request.is_empty()) {
        (true, _) => Some(Err(UapiError::TooLong)),
        (false, true) => None,
        (false, false) => Some(Ok(request)),
    })
}

/// Grows without leaving a copy of what may be a key behind.
fn append(request: &mut Zeroizing<Vec<u8>>, line: &[u8]) {
    let len = request.len() + line.len();
    if len > request.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(2 * len));
        larger.extend_from_slice(request);
        *request = larger;
    }
    request.extend_from_slice(line);
}

fn perform(request: &[u8], device: &impl Configurable) -> Result<Option<DeviceState>, UapiError> {
    match parse_request(request, &zone_index)? {
        Request::Get => Ok(Some(device.state())),
        Request::Set(request) => device.change(request).map(|()| None),
    }
}
