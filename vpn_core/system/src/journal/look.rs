//! Looking into journals that others own, or nobody any more. Changes nothing.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use tracing::warn;

use super::{
    Change, InterfaceName, Journal, JournalError, damage,
    format::{self, Contents, SystemId},
    log::read,
};

impl Journal {
    /// What a run that has ended has left outstanding in this boot and network namespace, by its journal or by the interface's
    /// name. Changes nothing. Nothing where its owner runs.
    ///
    /// # Errors
    /// [`JournalError::File`].
    pub fn left_behind(directory: &Path, interface: &InterfaceName) -> Result<Vec<Change>, JournalError> {
        let path = directory.join(format!("{interface}.journal"));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(damage::suspects(&Contents::default(), interface));
            }
            Err(source) => return Err(JournalError::File { action: "open", path, source }),
        };
        // Shared, and only for a moment: an owner that starts in it tries again.
        if file.try_lock_shared().is_err() {
            return Ok(Vec::new());
        }
        let mut contents = format::parse(&read(&file, &path)?);
        if !is_of(&contents, &SystemId::current()) {
            contents.outstanding.clear();
        }
        let suspects = damage::suspects(&contents, interface);
        Ok(contents.outstanding.into_iter().map(|(_, change)| change).chain(suspects).collect())
    }

    /// What all journals of `directory` hold outstanding in this boot and network namespace; nothing where there is no such folder.
    ///
    /// # Errors
    /// As [`Journal::held_by_others`].
    pub fn held_in(directory: &Path) -> Result<Vec<Change>, JournalError> {
        if matches!(directory.try_exists(), Ok(false)) {
            return Ok(Vec::new());
        }
        held(directory, None, &SystemId::current())
    }

    /// The journals of `directory` that could not be read in full, and were set aside for somebody to look at.
    pub fn set_aside_in(directory: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let is_damaged = |path: &PathBuf| {
            path.extension()
                .and_then(|extension| extension.to_str())
                .is_some_and(|extension| extension.starts_with("damaged-"))
        };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_damaged).collect();
        paths.sort();
        paths
    }
}

/// What the journals of `directory` hold, but for that at `except`.
pub(super) fn held(
    directory: &Path,
    except: Option<&Path>,
    system: &SystemId,
) -> Result<Vec<Change>, JournalError> {
    let failed = |source| JournalError::File { action: "read", path: directory.to_owned(), source };
    let mut changes = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if Some(path.as_path()) == except || path.extension().is_none_or(|extension| extension != "journal") {
            continue;
        }
        match fs::read(&path).map(|bytes| format::parse(&bytes)) {
            Ok(contents) if is_of(&contents, system) => {
                changes.extend(contents.outstanding.into_iter().map(|(_, change)| change));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warn!(path = %path.display(), %error, "unreadable journal ignored"),
        }
    }
    Ok(changes)
}

/// Whether a journal was written in this boot and network namespace. One whose first line cannot be read is taken for one of
/// them: undoing what is gone does no harm.
pub(super) fn is_of(contents: &Contents, system: &SystemId) -> bool {
    match &contents.system {
        Some(written) => written == system,
        None => !contents.damage.is_empty(),
    }
}
