//! Whose word a configuration is: files and folders that others can write are refused, as keys that others can read are.
//!
//! A file is good if it belongs to root or to the user of this process, and nobody else writes to it, or to a folder or link on the
//! way to it. Root who was called by `sudo` takes the caller's own files as well, as wg-quick takes anybody's: a rule of
//! sudo that leaves the file to the caller leaves this host's traffic to him (docs/security.md).

use super::fault::Complaint;
use crate::journal::{FolderError, Trust, check_way, home_of, is_administrators, is_trusted_owner, user};
use nix::unistd::Uid;
use std::{
    env,
    fs::{self, Metadata},
    os::unix::fs::MetadataExt as _,
    path::Path,
};

/// Refuses a file that others can change. `metadata` is of the open file.
pub(super) fn check_file(path: &Path, metadata: &Metadata) -> Result<(), Complaint> {
    let shown = path.display();
    if !is_trusted(metadata.uid()) {
        let message = format!("{shown} belongs to {}, who can change it at will", user(metadata.uid()));
        let remedy = instead_of_home(path, metadata.uid())
            .unwrap_or_else(|| format!("look through it, then run: chown root {shown}"));
        return Err(Complaint::new(message, remedy));
    }
    if metadata.mode() & 0o020 != 0 && !is_own_group(metadata) || metadata.mode() & 0o002 != 0 {
        let mode = metadata.mode() & 0o7777;
        return Err(Complaint::new(
            format!("{shown} can be written by others (mode {mode:03o})"),
            format!("look through it, then run: chmod go-w {shown}"),
        ));
    }
    Ok(())
}

/// Refuses a way to `path`, a file or a folder, on which others can put something else in its place. A folder may be sticky: there
/// nobody takes away or exchanges what is not his.
pub(super) fn check_way_to(path: &Path) -> Result<(), Complaint> {
    match check_way(
        path,
        Trust { owner: is_trusted, group: |folder| is_own_group(folder) || is_administrators(folder) },
    ) {
        Err(FolderError::NotOwn { path: at, why, remedy, .. }) => {
            let whose = if at == path { "" } else { ", on the way to the configuration" };
            let message =
                format!("{} {why}{whose}: others could put something else in its place", at.display());
            let owner = fs::symlink_metadata(&at).ok().map(|metadata| metadata.uid());
            let instead =
                owner.filter(|owner| !is_trusted(*owner)).and_then(|owner| instead_of_home(&at, owner));
            Err(Complaint::new(message, instead.unwrap_or(remedy)))
        }
        // What cannot be looked at is told by whoever opens it.
        Ok(()) | Err(_) => Ok(()),
    }
}

/// What to do where somebody's home folder is on the way, as after `su`, `doas` or `pkexec`.
fn instead_of_home(path: &Path, owner: u32) -> Option<String> {
    let user = home_of(path, owner)?;
    Some(format!(
        "call this program by sudo from the account {}, whose files it then takes, or copy what it is to read to /etc/vpn, as root",
        user.name
    ))
}

fn is_trusted(uid: u32) -> bool {
    is_trusted_owner(uid) || Some(uid) == sudo_caller()
}

/// The group of the same number as the user is the user's own, on systems that give new files to it to write. Root's is not: a file
/// is nobody's to change but root's. Folders on the way may be root's group's to write, as those of journals and sockets may.
fn is_own_group(metadata: &Metadata) -> bool {
    metadata.gid() == metadata.uid() && metadata.uid() != 0
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
        os::unix::fs::{PermissionsExt as _, chown, lchown, symlink},
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
            assert!(check_way_to(&path).is_ok());
        }
        for (mode, good) in [(0o755, true), (0o777, false), (0o1777, true)] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).expect("allowed");
            assert_eq!(check_way_to(&folder.path().join("file")).is_ok(), good, "{mode:o}");
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
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o775)).expect("allowed");
        assert!(check_way_to(&path).is_ok(), "a folder that root's group writes to");
        chown(folder.path(), None, Some(4711)).expect("given away");
        assert!(check_way_to(&path).is_err(), "a folder that another group writes to");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("allowed");
        chown(folder.path(), Some(4711), None).expect("given away");
        assert!(check_way_to(&path).is_err());
    }

    #[test]
    fn a_folder_or_link_of_somebody_else_anywhere_on_the_way_is_refused() {
        if !Uid::effective().is_root() {
            return; // Nothing can be given away.
        }
        let top = tempfile::tempdir().expect("a folder");
        let (theirs, own) = (top.path().join("theirs"), top.path().join("theirs/own"));
        fs::create_dir_all(&own).expect("made");
        let (path, _) = file(&own, 0o600);
        let links = [top.path().join("link.toml"), top.path().join("linked")];
        symlink(&path, &links[0]).expect("linked");
        symlink(&own, &links[1]).expect("linked");
        let ways = [path.clone(), links[0].clone(), links[1].join("file"), own.join("peers.d")];
        assert!(ways.iter().all(|way| check_way_to(way).is_ok()), "all is root's");
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o1777)).expect("allowed");
        assert!(ways.iter().all(|way| check_way_to(way).is_ok()), "as in /tmp");
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o777)).expect("allowed");
        assert!(ways.iter().all(|way| check_way_to(way).is_err()), "others exchange what is in it");
        fs::set_permissions(&theirs, fs::Permissions::from_mode(0o755)).expect("allowed");
        chown(&theirs, Some(4711), None).expect("given away");
        for way in &ways {
            let complaint = check_way_to(way).expect_err("refused");
            assert!(complaint.message.contains("theirs belongs to uid 4711, on the way"), "{complaint:?}");
        }
        chown(&theirs, Some(0), None).expect("taken back");
        lchown(&links[0], Some(4711), None).expect("given away");
        assert!(check_way_to(&links[0]).is_err(), "its owner lets it lead elsewhere");
    }

    #[test]
    fn somebodys_home_folder_is_not_to_be_taken_over() {
        let user = nix::unistd::User::from_uid(Uid::effective()).ok().flatten();
        let Some(user) = user.filter(|user| user.dir.components().count() > 1) else { return };
        let remedy =
            instead_of_home(&user.dir.join("laptop.toml"), user.uid.as_raw()).expect("a home folder");
        assert!(
            remedy.contains("sudo") && remedy.contains("/etc/vpn") && !remedy.contains("chown"),
            "{remedy}"
        );
        assert_eq!(instead_of_home(Path::new("/opt/laptop.toml"), user.uid.as_raw()), None);
    }

    #[test]
    fn a_planted_folder_is_to_be_looked_through_before_it_is_taken_over() {
        if !Uid::effective().is_root() {
            return; // Nothing can be given away.
        }
        let folder = tempfile::tempdir().expect("a folder");
        let planted = folder.path().join("peers.d");
        fs::create_dir(&planted).expect("made");
        chown(&planted, Some(4711), None).expect("given away");
        let complaint = check_way_to(&planted).expect_err("refused");
        let (at_first, then) = (complaint.remedy.find("who made it"), complaint.remedy.find("chown"));
        assert!(at_first.is_some() && at_first < then, "{complaint:?}");
    }
}
