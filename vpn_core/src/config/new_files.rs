//! Files that appear whole or not at all, together or not at all, and never in place of another.

use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{self, Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

/// Name of the record, in the folder of the peers. Hidden, and so no peer's file.
pub(super) const RECORD: &str = ".unfinished";

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
    /// Where it is written down what is made.
    record: Option<PathBuf>,
}

/// One line of the record.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Made {
    pub(super) path: PathBuf,
    /// Device and inode; none of a temporary file, which is known by its name.
    pub(super) file: Option<(u64, u64)>,
}

impl NewFiles {
    /// No files yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, with a record in `folder` of what is made, so that even after `kill -9` it can be taken back: by
    /// [`remove_leftovers`](super::remove_leftovers), unless the configuration uses one of the files by then. For one command
    /// at a time.
    pub fn recorded_in(folder: &Path) -> Self {
        Self { files: Vec::new(), folders: Vec::new(), record: Some(folder.join(RECORD)) }
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
        let temporary = temporary_name(path);
        self.note(&temporary, None).map_err(system)?;
        let file = write_to(&temporary, text).map_err(system)?;
        let metadata = file.metadata().map_err(system)?;
        self.note(path, Some((metadata.dev(), metadata.ino()))).map_err(system)?;
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

    /// Writes down what is about to be made, to the disk.
    fn note(&self, path: &Path, file: Option<(u64, u64)>) -> io::Result<()> {
        let Some(record) = &self.record else { return Ok(()) };
        let mut line = serde_json::to_string(&Made { path: path::absolute(path)?, file })?;
        line.push('\n');
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let mut record = options.open(record)?;
        record.write_all(line.as_bytes())?;
        record.sync_all()
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
        if let Some(record) = self.record.take() {
            let _ = fs::remove_file(record);
        }
    }
}

/// What a record says. A last line that is torn was about a file that was not made yet.
pub(super) fn read_record(record: &Path) -> io::Result<Vec<Made>> {
    match fs::read_to_string(record) {
        Ok(text) => Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A name that no other process and no other thread uses at this time.
fn temporary_name(path: &Path) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}.{number}.new", process::id()))
}

/// Whether a file has a name of that kind.
pub(super) fn is_temporary(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return false };
    let Some(name) = name.strip_prefix('.').and_then(|name| name.strip_suffix(".new")) else { return false };
    let mut parts = name.rsplitn(3, '.');
    let is_number = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    is_number(parts.next()) && is_number(parts.next()) && parts.next().is_some_and(|name| !name.is_empty())
}

/// Writes `text` into a new private file beside `path`, to the disk; returns its name and the open file.
pub(super) fn write_temporary(path: &Path, text: &str) -> io::Result<(PathBuf, File)> {
    let temporary = temporary_name(path);
    let file = write_to(&temporary, text)?;
    Ok((temporary, file))
}

fn write_to(temporary: &Path, text: &str) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if let Err(error) = written {
        let _ = fs::remove_file(temporary);
        return Err(error);
    }
    Ok(file)
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
    fn temporary_names_are_known_and_no_others() {
        assert!(is_temporary(&temporary_name(Path::new("x/a.b.toml"))));
        for other in
            [".a.toml.new", ".a.toml.1.new", "a.toml.1.2.new", ".a.toml.x.1.new", "..1.2.new", ".1.2.new"]
        {
            assert!(!is_temporary(Path::new(other)), "{other}");
        }
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
