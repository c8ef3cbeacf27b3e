//! Waiting for what others do to a file.

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use std::{convert::Infallible, fs::File, io, os::fd::AsFd as _, path::Path, time::Duration};
use tokio::net::unix::pipe::Receiver;

/// Who writes a file in several steps is not to be met in the middle of them.
const SETTLE: Duration = Duration::from_millis(100);
/// How often it is looked where the system does not tell.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Calls `changed` after something has happened to the file at `path` or in its folder, at first at once. It says how long
/// to wait before it can be called again. Where the system has no inotify instance or watch left it is called every few
/// seconds instead.
pub async fn watch_file(path: &Path, changed: impl FnMut() -> Duration) -> Infallible {
    watch_or_look(path, LOOK_AGAIN, changed).await
}

async fn watch_or_look(
    path: &Path,
    look_again: Duration,
    mut changed: impl FnMut() -> Duration,
) -> Infallible {
    let mut said = false;
    loop {
        let error = match watch(path, &mut changed).await {
            Ok(never) => match never {},
            Err(error) => error,
        };
        if !said {
            tracing::warn!(path = %path.display(), %error, pause = ?look_again, "not watched, only looked at");
            said = true;
        }
        tokio::time::sleep(changed().max(look_again)).await;
    }
}

/// Ends with errors only.
async fn watch(path: &Path, changed: &mut impl FnMut() -> Duration) -> io::Result<Infallible> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    #[tokio::test]
    async fn a_file_that_cannot_be_watched_is_looked_at_again_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no such folder/file");
        let (sender, mut looks) = mpsc::unbounded_channel();
        let looking = watch_or_look(&path, Duration::from_millis(1), || {
            sender.send(()).unwrap();
            Duration::ZERO
        });
        let three = async {
            for _ in 0..3 {
                looks.recv().await.unwrap();
            }
        };
        tokio::select! {
            never = looking => match never {},
            () = three => {}
        }
    }
}
