//! Whose word a configuration is: files and folders that others can write are refused, as keys that others can read are.
//!
//! A file is good if it belongs to root or to the user of this process, and nobody else writes to it or to its folder. Root who
//! was called by `sudo` takes the caller's own files as well: whoever may do that can be root anyway.

use super::fault::Complaint;
use crate::journal::{is_trusted_owner, user};
use nix::unistd::Uid;
use std::{env, fs, fs::Metadata, os::unix::fs::MetadataExt as _, path, path::Path};

/// Refuses a file that others can change. `metadata` is of the open file.
pub(super) fn check_file(path: &Path, metadata: &Metadata) -> Result<(), Complaint> {
    check(path, metadata, false)
}

/// Refuses the folder of `path`, where others can put another file in the place of that one.
pub(super) fn check_folder_of(path: &Path) -> Result<(), Complaint> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    check_folder(&path::absolute(folder).unwrap_or_else(|_| folder.to_owned()))?;
    // A link: the file is elsewhere.
    if path.is_symlink()
        && let Ok(real) = fs::canonicalize(path)
        && let Some(folder) = real.parent()
    {
        check_folder(folder)?;
    }
    Ok(())
}

/// Refuses a folder to which others can add files, or exchange them.
pub(super) fn check_folder(folder: &Path) -> Result<(), Complaint> {
    // What cannot be looked at is told by whoever opens what is in it.
    fs::metadata(folder).map_or(Ok(()), |metadata| check(folder, &metadata, true))
}

fn check(path: &Path, metadata: &Metadata, is_folder: bool) -> Result<(), Complaint> {
    let shown = path.display();
    if !is_trusted_owner(metadata.uid()) && Some(metadata.uid()) != sudo_caller() {
        let message = format!("{shown} belongs to {}, who can change it at will", user(metadata.uid()));
        let remedy = if is_folder { "move the files to a folder of root" } else { "look through it, then" };
        return Err(Complaint::new(message, format!("{remedy} run: chown root {shown}")));
    }
    // The group of the same number as the user is the user's own, on systems that give new files to it to write. Root's is not:
    // others may be in it.
    let own_group = metadata.gid() == metadata.uid() && metadata.uid() != 0;
    let writers = metadata.mode() & if own_group { 0o002 } else { 0o022 };
    // In a sticky folder, /tmp, nobody takes away or exchanges what is not his.
    let is_sticky = is_folder && metadata.mode() & 0o1000 != 0;
    if writers == 0 || is_sticky {
        return Ok(());
    }
    let mode = metadata.mode() & 0o7777;
    Err(Complaint::new(
        format!("{shown} can be written by others (mode {mode:03o})"),
        format!("look through it, then run: chmod go-w {shown}"),
    ))
}

/// Who has called root by `sudo`. Nobody but root sets the environment of a process of root.
fn sudo_caller() -> Option<u32> {
    if !Uid::effective().is_root() {
        return None;
    }
    env::var("SUDO_UID").ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::fs::{PermissionsExt as _, chown},
        path::PathBuf,
    };

    fn file(folder: &Path, mode: u32) -> (PathBuf, Metadata) {
        let path = folder.join("file");
        fs::write(&path, "").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("allowed");
        let metadata = fs::metadata(&path).expect("there");
        (path, metadata)
    }

    #[test]
    fn a_file_or_folder_that_others_write_is_refused_and_a_sticky_folder_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        for (mode, good) in [(0o600, true), (0o644, true), (0o646, false), (0o666, false)] {
            let (path, metadata) = file(folder.path(), mode);
            assert_eq!(check_file(&path, &metadata).is_ok(), good, "{mode:o}");
            assert!(check_folder_of(&path).is_ok());
        }
        for (mode, good) in [(0o755, true), (0o777, false), (0o1777, true)] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).expect("allowed");
            assert_eq!(check_folder_of(&folder.path().join("file")).is_ok(), good, "{mode:o}");
        }
    }

    #[test]
    fn a_file_of_another_user_is_refused_and_the_group_of_root_is_others() {
        if !Uid::effective().is_root() {
            return; // Nothing can be given away.
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (path, metadata) = file(folder.path(), 0o664);
        assert!(check_file(&path, &metadata).expect_err("refused").remedy.contains("chmod go-w"));
        let (path, _) = file(folder.path(), 0o600);
        chown(&path, Some(4711), Some(4711)).expect("given away");
        let complaint = check_file(&path, &fs::metadata(&path).expect("there")).expect_err("refused");
        assert!(complaint.message.contains("belongs to uid 4711"), "{complaint:?}");
        chown(folder.path(), Some(4711), None).expect("given away");
        assert!(check_folder_of(&path).is_err());
    }
}
