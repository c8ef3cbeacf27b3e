//! Files that appear whole or not at all, together or not at all, and never in place of another.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

/// Why a new file or folder could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NewFileError {
    /// It is there already, and is left as it is.
    #[error("{} exists already; nothing was changed", .0.display())]
    Exists(PathBuf),
    /// The system refused.
    #[error("{} cannot be written", path.display())]
    System {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Files and folders made for one purpose. Dropped without [`NewFiles::keep`], it removes them again.
#[derive(Debug, Default)]
pub struct NewFiles {
    files: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

impl NewFiles {
    /// No files yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Makes a folder that only its owner can enter (0700). One that exists is left as it is.
    ///
    /// # Errors
    /// [`NewFileError::System`].
    pub fn folder(&mut self, path: &Path) -> Result<(), NewFileError> {
        match DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => self.folders.push(path.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(source) => return Err(NewFileError::System { path: path.to_owned(), source }),
        }
        Ok(())
    }

    /// Writes a file that only its owner can read (0600): first under a temporary name and to the disk, then under
    /// its own, so that no reader ever sees half of it.
    ///
    /// # Errors
    /// [`NewFileError`]; nothing is left behind.
    pub fn write(&mut self, path: &Path, text: &str) -> Result<(), NewFileError> {
        let system = |source| NewFileError::System { path: path.to_owned(), source };
        let (temporary, _) = write_temporary(path, text).map_err(system)?;
        // A link and not a rename: it fails where a file exists.
        let linked = fs::hard_link(&temporary, path);
        let removed = fs::remove_file(&temporary);
        linked.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => NewFileError::Exists(path.to_owned()),
            _ => system(error),
        })?;
        self.files.push(path.to_owned());
        removed.and_then(|()| sync_folder(path)).map_err(system)
    }

    /// Leaves everything in place.
    pub fn keep(mut self) {
        self.files.clear();
        self.folders.clear();
    }
}

impl Drop for NewFiles {
    fn drop(&mut self) {
        // Best effort, in the reverse order: this runs while another error is on its way to the user.
        for file in self.files.drain(..).rev() {
            let _ = fs::remove_file(file);
        }
        for folder in self.folders.drain(..).rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// A name that no other process and no other thread uses at this time.
fn temporary_name(path: &Path) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}.{number}.new", process::id()))
}

/// Writes `text` into a new private file beside `path`, to the disk; returns its name and the open file.
pub(super) fn write_temporary(path: &Path, text: &str) -> io::Result<(PathBuf, File)> {
    let temporary = temporary_name(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    Ok((temporary, file))
}

/// Puts the names in the folder of `path` on the disk.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("readable");
        let mut names: Vec<_> =
            entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_kept_file_is_private_and_whole_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.toml");
        let mut files = NewFiles::new();
        files.write(&path, "text").expect("written");
        files.keep();
        assert_eq!(fs::read_to_string(&path).expect("readable"), "text");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        assert_eq!(names(folder.path()), ["a.toml"]);
    }

    #[test]
    fn an_existing_file_is_never_overwritten_and_the_others_are_taken_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        fs::write(&second, "precious").expect("written");
        let mut files = NewFiles::new();
        files.write(&first, "new").expect("written");
        assert!(matches!(files.write(&second, "new"), Err(NewFileError::Exists(path)) if path == second));
        drop(files);
        assert_eq!(names(folder.path()), ["second"]);
        assert_eq!(fs::read_to_string(&second).expect("readable"), "precious");
    }

    #[test]
    fn of_many_that_write_one_name_at_once_exactly_one_succeeds() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a");
        let wins = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|number| {
                    let path = &path;
                    scope.spawn(move || {
                        let mut files = NewFiles::new();
                        let won = files.write(path, &number.to_string()).is_ok();
                        files.keep();
                        won
                    })
                })
                .collect();
            threads.into_iter().map(|thread| usize::from(thread.join().expect("no panic"))).sum::<usize>()
        });
        assert_eq!(wins, 1);
        assert_eq!(names(folder.path()), ["a"]);
    }
}
