//! The resolver file: ours stands in its place, and is put there again when somebody else's takes it.

use super::DnsError;
use crate::journal::{
    Change, EntryId, InterfaceName, Journal, Kept, NameServersChange, belongs_to, kept_beside, made_beside,
    remove, tunnel_of, unfinished_beside,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

/// Everybody may read a resolver file.
const MODE: u32 = 0o644;

/// A resolver file that we have replaced.
#[derive(Debug)]
pub(super) struct ReplacedFile {
    path: PathBuf,
    interface: InterfaceName,
    entry: EntryId,
    /// What was in it, where it could only be written in place.
    inside: Option<String>,
}

impl ReplacedFile {
    /// Puts `text` in the place of the file at `path`, which may be a link, a mount point, or not there at all.
    pub(super) fn place(
        path: &Path,
        interface: &InterfaceName,
        text: &str,
        journal: &mut Journal,
    ) -> Result<Self, DnsError> {
        let entry = journal.record(change(path, interface, Kept::Beside))?;
        let replaced = if belongs_to(path, interface) {
            // Left by a run whose journal is lost: what it kept is still the one from before.
            put(path, interface, text)
        } else {
            remove(&kept_beside(path, interface)).and_then(|()| exchange(path, interface, text))
        };
        let Err(error) = replaced else {
            return Ok(Self { path: path.to_owned(), interface: interface.clone(), entry, inside: None });
        };
        tracing::debug!(path = %path.display(), %error, "cannot be renamed, so it is written in place");
        journal.undo(&[entry])?;
        let (entry, inside) = write_in_place(path, interface, text, journal)?;
        Ok(Self { path: path.to_owned(), interface: interface.clone(), entry, inside: Some(inside) })
    }

    /// Puts `text` there again if it is not what the file says. The file of somebody who is no tunnel of ours becomes the
    /// one that comes back at the end. Whether anything had to be done.
    pub(super) fn keep_up(&mut self, text: &str, journal: &mut Journal) -> Result<bool, DnsError> {
        let present = fs::read(&self.path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        if present.as_deref().is_ok_and(|present| present == text) {
            return Ok(false);
        }
        let owner = present.as_deref().ok().and_then(tunnel_of);
        if owner.as_ref().is_some_and(|owner| *owner != self.interface) {
            return Ok(false); // Another tunnel came later; when it goes it puts ours back.
        }
        let foreign = owner.is_none() && fs::symlink_metadata(&self.path).is_ok();
        match (&self.inside, foreign) {
            (None, true) => exchange(&self.path, &self.interface, text),
            (None, false) => put(&self.path, &self.interface, text),
            (Some(_), true) => {
                // Changes nothing, as the file is not ours; so the entry is done with.
                journal.undo(&[self.entry])?;
                let (entry, inside) = write_in_place(&self.path, &self.interface, text, journal)?;
                (self.entry, self.inside) = (entry, Some(inside));
                return Ok(true);
            }
            (Some(_), false) => overwrite(&self.path, text),
        }
        .map_err(DnsError::file("replace", &self.path))?;
        Ok(true)
    }

    /// The entry that undoes it.
    pub(super) fn entry(&self) -> EntryId {
        self.entry
    }

    /// What was in the file, where that is not kept beside it.
    pub(super) fn inside(&self) -> Option<&str> {
        self.inside.as_deref()
    }
}

fn change(path: &Path, interface: &InterfaceName, kept: Kept) -> Change {
    Change::NameServers(NameServersChange::File { path: path.to_owned(), interface: interface.clone(), kept })
}

/// Takes the place of what is at `path`, and keeps that beside it. At every moment there is a whole file.
fn exchange(path: &Path, interface: &InterfaceName, text: &str) -> io::Result<()> {
    let (made, kept) = (made_beside(path, interface), kept_beside(path, interface));
    fs::rename(make(path, interface, text)?, &made)?;
    match renameat_with(CWD, &made, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => fs::rename(&made, &kept)?,
        Err(rustix::io::Errno::NOENT) => fs::rename(&made, path)?,
        Err(error) => {
            remove(&made)?;
            return Err(error.into());
        }
    }
    sync_folder_of(path)
}

/// Puts the file at `path`, in place of one that is not to be kept.
fn put(path: &Path, interface: &InterfaceName, text: &str) -> io::Result<()> {
    fs::rename(make(path, interface, text)?, path)?;
    sync_folder_of(path)
}

/// Makes a new file beside the one at `path`, on disk when this returns, and says where.
fn make(path: &Path, interface: &InterfaceName, text: &str) -> io::Result<PathBuf> {
    let unfinished = unfinished_beside(path, interface);
    remove(&unfinished)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(&unfinished)?;
    // Whatever the umask.
    file.set_permissions(fs::Permissions::from_mode(MODE))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    Ok(unfinished)
}

/// Writes into the file, after its contents are in the journal. Gives the entry and the contents.
fn write_in_place(
    path: &Path,
    interface: &InterfaceName,
    text: &str,
    journal: &mut Journal,
) -> Result<(EntryId, String), DnsError> {
    let before = fs::read(path).map_err(DnsError::file("read", path))?;
    let inside = String::from_utf8_lossy(&before).into_owned();
    if let Some(owner) = tunnel_of(&inside).filter(|owner| owner != interface) {
        return Err(DnsError::Taken { path: path.to_owned(), interface: owner.to_string() });
    }
    let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
    let modified =
        modified.unwrap_or_else(|_| SystemTime::now()).duration_since(UNIX_EPOCH).unwrap_or_default();
    let kept = Kept::Inside {
        contents: STANDARD.encode(&before),
        modified: (modified.as_secs(), modified.subsec_nanos()),
    };
    let entry = journal.record(change(path, interface, kept))?;
    if let Err(error) = overwrite(path, text) {
        journal.undo(&[entry])?;
        return Err(DnsError::file("write", path)(error));
    }
    Ok((entry, inside))
}

fn overwrite(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    // Not truncated first: who reads at this moment finds servers.
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)?;
    file.sync_all()
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests;
