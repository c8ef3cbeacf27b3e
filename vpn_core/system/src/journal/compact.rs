//! Putting a shorter text in the place of a journal that is open and locked.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Puts `text` in the place of the journal at `path`, whose lock the caller holds. The file that is returned is locked, and was
/// so before it had the journal's name: at no moment is there a journal of that name that somebody else could take. After a
/// crash the old or the new one is there, whole.
pub(super) fn replace(path: &Path, text: &str) -> io::Result<File> {
    remove_unfinished(path)?;
    let beside = beside(path);
    let mut options = OpenOptions::new();
    let mut file = options.read(true).append(true).create_new(true).mode(0o600).open(&beside)?;
    let written = file.try_lock().map_err(io::Error::from).and_then(|()| {
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    });
    if let Err(error) = written {
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    // From here on the new one is the journal, so this must not fail. Which of the two a power cut leaves makes no difference to
    // what is outstanding now, but entries that follow are only in the new one.
    if let Some(directory) = path.parent() {
        let _ = File::open(directory).and_then(|directory| directory.sync_all());
    }
    Ok(file)
}

/// Removes what a crash has left half written. Nobody else makes one while the caller holds the journal at `path`.
pub(super) fn remove_unfinished(path: &Path) -> io::Result<()> {
    match fs::remove_file(beside(path)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// No journal's name, so nobody reads it as one.
fn beside(path: &Path) -> PathBuf {
    path.with_extension("journal-shortened")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Change, InterfaceName, Journal, JournalError};

    fn mark(mark: u32) -> Change {
        Change::Mark { mark }
    }

    #[test]
    fn a_journal_of_a_long_life_stays_short_locked_and_complete() {
        let folder = tempfile::tempdir().unwrap();
        let interface: InterfaceName = "vpn0".parse().unwrap();
        let path = folder.path().join("vpn0.journal");
        let mut journal = Journal::open(folder.path(), &interface).unwrap();
        let first = journal.record(mark(1)).unwrap();
        let mut longest = 0;
        for _ in 0..30 {
            let ids = journal.record_all((0..2000).map(mark)).unwrap();
            longest = longest.max(fs::metadata(&path).unwrap().len());
            journal.undo(&ids).unwrap();
        }
        assert!((1 << 20..2 << 20).contains(&longest), "{longest}");
        assert!(!beside(&path).exists());
        let second = Journal::open(folder.path(), &interface);
        assert!(
            matches!(second, Err(JournalError::InUse { .. })),
            "the new file is locked as the old one was"
        );
        let last = journal.record(mark(2)).unwrap();
        let outstanding: Vec<_> = journal.outstanding().map(|(id, _)| id).collect();
        assert_eq!(outstanding, [first, last]);
        journal.abandon();
        let left = Journal::left_behind(folder.path(), &interface).unwrap();
        assert_eq!(left, [mark(1), mark(2)], "in the file under the journal's name");
        Journal::open(folder.path(), &interface).unwrap().close().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_crash_while_it_is_shortened_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let interface: InterfaceName = "vpn0".parse().unwrap();
        let mut journal = Journal::open(folder.path(), &interface).unwrap();
        journal.record(mark(1)).unwrap();
        journal.abandon();
        fs::write(beside(&folder.path().join("vpn0.journal")), "half of a he").unwrap();
        assert_eq!(Journal::left_behind(folder.path(), &interface).unwrap(), [mark(1)]);
        Journal::open(folder.path(), &interface).unwrap().close().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
