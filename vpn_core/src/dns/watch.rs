//! Waiting for what others do to a file.

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::{convert::Infallible, fs::File, io, os::fd::AsFd as _, path::Path, time::Duration};
use tokio::net::unix::pipe::Receiver;

/// Who writes a file in several steps is not to be met in the middle of them.
const SETTLE: Duration = Duration::from_millis(100);

/// Calls `changed` after something has happened to the file at `path` or in its folder, at first at once. It says how long
/// to wait before it can be called again.
///
/// # Errors
/// When the system has no inotify instance or watch left. Ends with errors only.
pub async fn watch_file(path: &Path, mut changed: impl FnMut() -> Duration) -> io::Result<Infallible> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    let named = AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_CLOSE_WRITE;
    inotify.add_watch(folder, named)?;
    // No pipe, but all that is asked of it is to say when it can be read, and to be read.
    let mut events = Receiver::from_file_unchecked(File::from(inotify.as_fd().try_clone_to_owned()?))?;
    loop {
        // The file itself as well: a mount point is written in other folders, too. Once for each new file; not being
        // there, or a watch too many, is no reason to stop.
        let _ = inotify.add_watch(path, AddWatchFlags::IN_CLOSE_WRITE);
        tokio::time::sleep(changed()).await;
        let _len = tokio::io::AsyncReadExt::read(&mut events, &mut [0; 4096]).await?;
        tokio::time::sleep(SETTLE).await;
        // What has happened does not matter, only that something has.
        while matches!(events.try_read(&mut [0; 4096]), Ok(1..)) {}
    }
}
