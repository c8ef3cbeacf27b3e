//! The journal on disk.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use tracing::{debug, info, warn};

use super::{
    Change, FolderError, InterfaceName, JournalError, compact, damage,
    format::{self, Contents, EntryId, SystemId},
    look::{held, is_of},
    make_own_folder,
};

/// Bytes; some thousand entries.
const COMPACT_FROM: u64 = 1 << 20;

/// The list of what one interface's instance has changed on this system.
///
/// Dropping a journal undoes what is outstanding, but for the kill switch, and logs failures; [`Journal::close`] undoes
/// everything and returns them.
#[derive(Debug)]
pub struct Journal {
    interface: InterfaceName,
    directory: PathBuf,
    path: PathBuf,
    file: File,
    system: SystemId,
    /// Bytes of complete lines in the file.
    length: u64,
    /// The length from which on it is written anew without what is undone.
    compact_from: u64,
    next: u64,
    outstanding: Vec<(EntryId, Change)>,
    /// Whether an earlier run has left something.
    had_changes: bool,
    /// Leave everything as it is on drop.
    abandoned: bool,
}

/// While this lives no other instance compares or changes what the journals of a directory share.
#[derive(Debug)]
pub struct DirectoryLock(#[expect(dead_code, reason = "held for its lock")] File);

impl Journal {
    /// Opens `directory/interface.journal`, creating both (0700, 0600), takes its lock, and undoes what a crashed
    /// instance left.
    ///
    /// # Errors
    /// [`JournalError::InUse`] where another instance has the interface; [`JournalError::NotPrivate`] where others could write
    /// the file; [`JournalError::Undo`] where left changes could not be undone. What cannot be read of the file is logged.
    pub fn open(directory: &Path, interface: &InterfaceName) -> Result<Self, JournalError> {
        Self::open_keeping(directory, interface, |_| false)
    }

    /// [`Journal::open`], except that the changes that `keep` picks stay made and outstanding.
    ///
    /// # Errors
    /// As [`Journal::open`].
    pub fn open_keeping(
        directory: &Path,
        interface: &InterfaceName,
        keep: fn(&Change) -> bool,
    ) -> Result<Self, JournalError> {
        make_private_directory(directory)?;
        let path = directory.join(format!("{interface}.journal"));
        let file = lock_file(&path, interface)?;
        let bytes = read(&file, &path)?;
        let contents = format::parse(&bytes);
        if let Err(error) = compact::remove_unfinished(&path) {
            warn!(path = %path.display(), %error, "what an earlier run left half written stays");
        }
        let system = SystemId::current();
        let mut journal = Self {
            interface: interface.clone(),
            directory: directory.to_owned(),
            path,
            file,
            system,
            length: contents.complete as u64,
            compact_from: COMPACT_FROM,
            next: contents.next,
            outstanding: Vec::new(),
            had_changes: false,
            abandoned: true,
        };
        if !contents.damage.is_empty() {
            damage::set_aside(&journal.path, &bytes, &contents.damage);
        }
        journal.recover(contents, keep)?;
        journal.abandoned = false;
        Ok(journal)
    }

    /// The interface that this journal is for.
    pub fn interface(&self) -> &InterfaceName {
        &self.interface
    }

    /// Whether an earlier run had left something that this journal names, or that was found by the interface's name.
    pub fn had_changes(&self) -> bool {
        self.had_changes
    }

    /// What is made and not undone, oldest first.
    pub fn outstanding(&self) -> impl Iterator<Item = (EntryId, &Change)> {
        self.outstanding.iter().map(|(id, change)| (*id, change))
    }

    /// Writes down a change that is about to be made. It is on disk when this returns.
    ///
    /// # Errors
    /// [`JournalError::File`]; the change must then not be made.
    pub fn record(&mut self, change: Change) -> Result<EntryId, JournalError> {
        let id = EntryId(self.next);
        self.record_all([change])?;
        Ok(id)
    }

    /// [`Journal::record`] for many changes with one write and one sync.
    ///
    /// # Errors
    /// [`JournalError::File`]; none of the changes must then be made.
    pub fn record_all(
        &mut self,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<Vec<EntryId>, JournalError> {
        let entries: Vec<(EntryId, Change)> = (self.next..).map(EntryId).zip(changes).collect();
        let text: String = entries.iter().map(|(id, change)| format::made(*id, change)).collect();
        self.append(&text)?;
        self.sync()?;
        self.next += entries.len() as u64;
        let ids = entries.iter().map(|(id, _)| *id).collect();
        self.outstanding.extend(entries);
        Ok(ids)
    }

    /// Undoes these entries, the newest first; those that are not outstanding are passed over.
    ///
    /// # Errors
    /// [`JournalError::Undo`] names what could not be undone; it stays in the journal, the rest is undone.
    pub fn undo(&mut self, ids: &[EntryId]) -> Result<(), JournalError> {
        let mut kept = Vec::new();
        let mut failures = Vec::new();
        let mut undone = String::new();
        while let Some((id, change)) = self.outstanding.pop() {
            if !ids.contains(&id) {
                kept.push((id, change));
                continue;
            }
            match self.undo_change(&change) {
                Ok(()) => {
                    debug!(interface = %self.interface, %change, "undone");
                    undone.push_str(&format::undone(id));
                }
                Err(error) => {
                    failures.push(format!("{change}: {error}"));
                    kept.push((id, change));
                }
            }
        }
        kept.reverse();
        self.outstanding = kept;
        // Not synced: an entry that reappears after a power cut is undone again, which does no harm.
        self.append(&undone)?;
        self.compact_if_long();
        if failures.is_empty() {
            return Ok(());
        }
        Err(JournalError::Undo { path: self.path.clone(), failures: failures.join("; ") })
    }

    /// Undoes everything.
    ///
    /// # Errors
    /// As [`Journal::undo`].
    pub fn undo_all(&mut self) -> Result<(), JournalError> {
        self.undo_all_but(|_| false)
    }

    /// Undoes everything but what `keep` picks.
    ///
    /// # Errors
    /// As [`Journal::undo`].
    pub fn undo_all_but(&mut self, keep: fn(&Change) -> bool) -> Result<(), JournalError> {
        let undone = self.outstanding.iter().filter(|(_, change)| !keep(change));
        let ids: Vec<EntryId> = undone.map(|(id, _)| *id).collect();
        self.undo(&ids)
    }

    /// Undoes everything and removes the file.
    ///
    /// # Errors
    /// As [`Journal::undo`]; the file then stays, and the next [`Journal::open`] tries again.
    pub fn close(mut self) -> Result<(), JournalError> {
        self.abandoned = true;
        self.finish(|_| false)
    }

    /// Lets go of the file and changes nothing, as a crash would: the next [`Journal::open`] undoes everything.
    pub fn abandon(mut self) {
        self.abandoned = true;
    }

    /// Keeps other instances from comparing or changing what journals of this directory share.
    ///
    /// # Errors
    /// [`JournalError::File`].
    pub fn exclusive(&self) -> Result<DirectoryLock, JournalError> {
        let failed = |source| JournalError::File { action: "lock", path: self.directory.clone(), source };
        let directory = File::open(&self.directory).map_err(failed)?;
        directory.lock().map_err(failed)?;
        Ok(DirectoryLock(directory))
    }

    /// What the other journals of this directory hold outstanding in this boot and network namespace. Their owners may
    /// be running or crashed. Hold [`Journal::exclusive`] while acting on the answer.
    ///
    /// # Errors
    /// [`JournalError::File`] where the directory cannot be read. What cannot be read of a journal is passed over.
    pub fn held_by_others(&self) -> Result<Vec<Change>, JournalError> {
        held(&self.directory, Some(&self.path), &self.system)
    }

    fn recover(&mut self, contents: Contents, keep: fn(&Change) -> bool) -> Result<(), JournalError> {
        let path = self.path.clone();
        let failed = |source| JournalError::File { action: "truncate", path, source };
        let same_system = is_of(&contents, &self.system);
        let suspects = damage::suspects(&contents, &self.interface);
        let has_suspects = !suspects.is_empty();
        let suspects = (contents.next..).map(EntryId).zip(suspects);
        // A setting that was made in an earlier boot may be what the administrator wants by now; all else is known to be ours.
        let claimed = contents.claimed.filter(|claimed| *claimed != self.system);
        let is_doubtful = |change: &Change| claimed.is_some() && matches!(change, Change::Sysctl { .. });
        let (mut left, gone): (Vec<_>, Vec<_>) = contents
            .outstanding
            .into_iter()
            .partition(|(_, change)| (same_system && !is_doubtful(change)) || change.survives_reboot());
        left.extend(suspects);
        self.had_changes = !left.is_empty();
        self.next = left.iter().map(|(id, _)| id.0 + 1).fold(self.next, u64::max);
        if !left.is_empty() || same_system {
            self.outstanding = left;
            if has_suspects || (contents.is_stale && same_system) {
                self.write_anew().map_err(failed.clone())?;
            } else {
                // A torn last line must not become the beginning of the next one.
                self.file.set_len(self.length).map_err(failed.clone())?;
            }
            let changes = self.outstanding.iter().filter(|(_, change)| !keep(change)).count();
            if changes > 0 {
                info!(interface = %self.interface, changes, "undoing what an earlier run left behind");
            }
            self.undo_all_but(keep)?;
        }
        if same_system {
            for (_, change) in &gone {
                warn!(interface = %self.interface, %change, "perhaps of an earlier boot: left as it is");
            }
        }
        if same_system || has_suspects {
            return Ok(());
        }
        if !gone.is_empty() {
            let changes = gone.len();
            info!(interface = %self.interface, changes, "an earlier boot's or network namespace's changes are gone");
        }
        self.file.set_len(0).map_err(failed)?;
        self.length = 0;
        self.next = 0;
        self.append(&format::header(&self.system))?;
        self.sync()?;
        sync_directory(&self.directory)
    }

    /// A tunnel that is up for months, in ever new networks, must not fill the disk with what is undone.
    fn compact_if_long(&mut self) {
        if self.length < self.compact_from {
            return;
        }
        if let Err(error) = self.write_anew() {
            warn!(path = %self.path.display(), %error, "the journal could not be shortened");
        }
        self.compact_from = COMPACT_FROM.max(self.length * 2);
    }

    /// Puts a file with what is outstanding in the place of the file.
    fn write_anew(&mut self) -> io::Result<()> {
        let entries = self.outstanding.iter().map(|(id, change)| format::made(*id, change));
        let text = format::header(&self.system) + &entries.collect::<String>();
        let file = compact::replace(&self.path, &text)?;
        (self.file, self.length) = (file, text.len() as u64);
        Ok(())
    }

    fn append(&mut self, text: &str) -> Result<(), JournalError> {
        if let Err(source) = self.file.write_all(text.as_bytes()) {
            // Half a line must not spoil the next one.
            let _ = self.file.set_len(self.length);
            return Err(JournalError::File { action: "write", path: self.path.clone(), source });
        }
        self.length += text.len() as u64;
        Ok(())
    }

    fn sync(&self) -> Result<(), JournalError> {
        let failed = |source| JournalError::File { action: "sync", path: self.path.clone(), source };
        self.file.sync_data().map_err(failed)
    }

    /// Undoes everything but what `keep` picks, and removes the file where nothing is left in it.
    fn finish(&mut self, keep: fn(&Change) -> bool) -> Result<(), JournalError> {
        self.undo_all_but(keep)?;
        if !self.outstanding.is_empty() {
            return Ok(());
        }
        // Still locked: an instance that waits for this file sees another inode afterwards and starts over.
        match fs::remove_file(&self.path) {
            // Somebody else has removed it, perhaps with its folder.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            removed => removed.map_err(|source| JournalError::File {
                action: "remove",
                path: self.path.clone(),
                source,
            })?,
        }
        sync_directory(&self.directory)
    }
}

impl Journal {
    /// Sets a sysctl after writing down its present value; `dependents` are keys that the kernel changes along with
    /// it and that are put back too. A value that is already in force is still recorded, so that another instance
    /// that stops does not take it away.
    ///
    /// # Errors
    /// [`JournalError::Sysctl`] where it cannot be read or set.
    pub fn set_sysctl(
        &mut self,
        key: &str,
        value: &str,
        dependents: &[String],
    ) -> Result<EntryId, JournalError> {
        use super::{SysctlValue, sysctl};

        let failed = |action| move |source| JournalError::Sysctl { action, key: key.to_owned(), source };
        let _lock = self.exclusive()?;
        let current = sysctl::read(key).map_err(failed("read"))?;
        let inherited = self.held_by_others()?.into_iter().find_map(|change| match change {
            Change::Sysctl { set, previous, dependents } if set.key == key && set.value == value => {
                Some((previous, dependents))
            }
            _ => None,
        });
        let (previous, dependents) = inherited.unwrap_or_else(|| {
            let present =
                |key: &String| sysctl::read(key).ok().map(|value| SysctlValue { key: key.clone(), value });
            (current.clone(), dependents.iter().filter_map(present).collect())
        });
        let set = SysctlValue { key: key.to_owned(), value: value.to_owned() };
        let id = self.record(Change::Sysctl { set, previous, dependents })?;
        if current != value {
            sysctl::write(key, value).map_err(failed("set"))?;
            info!(key, value, previous = current, "sysctl set");
        }
        Ok(id)
    }

    fn undo_change(&self, change: &Change) -> Result<(), JournalError> {
        let Change::Sysctl { set, previous, dependents } = change else {
            return super::undo::undo(change);
        };
        let _lock = self.exclusive()?;
        let held = self
            .held_by_others()?
            .iter()
            .any(|other| matches!(other, Change::Sysctl { set: theirs, .. } if theirs.key == set.key));
        if held {
            debug!(key = set.key, "another instance still needs this sysctl");
            return Ok(());
        }
        super::restore::restore_sysctl(set, previous, dependents)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.abandoned {
            return;
        }
        // Whatever ends an instance without its saying so is no reason to lift the kill switch.
        if let Err(error) = self.finish(Change::is_kill_switch) {
            warn!(interface = %self.interface, %error, "the system is not as it was before");
        }
    }
}

/// Whoever owns the folder, or may write to it, can put a journal there, and with it have us change sysctls and firewall rules
/// as root.
fn make_private_directory(directory: &Path) -> Result<(), JournalError> {
    make_own_folder(directory, 0o700).map_err(|error| match error {
        FolderError::System { action, path, source } => JournalError::File { action, path, source },
        source => JournalError::NotPrivate { path: directory.to_owned(), source },
    })?;
    if let Some(parent) = directory.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_directory(parent)?;
    }
    Ok(())
}

/// Opens and locks the file at `path`. The loop is for a file that its owner removes between our opening and locking
/// it: the lock of a file without a name keeps nobody out.
fn lock_file(path: &Path, interface: &InterfaceName) -> Result<File, JournalError> {
    let failed = |action| move |source| JournalError::File { action, path: path.to_owned(), source };
    loop {
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let file = options.open(path).map_err(failed("open"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::InUse { interface: interface.clone(), path: path.to_owned() });
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock")(source)),
        }
        let ours = file.metadata().map_err(failed("read"))?;
        match fs::metadata(path) {
            Ok(named) if (named.dev(), named.ino()) == (ours.dev(), ours.ino()) => return Ok(file),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed("read")(error)),
        }
    }
}

pub(super) fn read(mut file: &File, path: &Path) -> Result<Vec<u8>, JournalError> {
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).map_err(|source| JournalError::File {
        action: "read",
        path: path.to_owned(),
        source,
    })?;
    Ok(bytes)
}

fn sync_directory(directory: &Path) -> Result<(), JournalError> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(|source| JournalError::File {
        action: "sync",
        path: directory.to_owned(),
        source,
    })
}
