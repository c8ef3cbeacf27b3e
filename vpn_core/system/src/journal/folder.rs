//! Folders that we write to, or read from, as root, and that nobody else may turn into a way to somewhere else.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{self, Component, Path, PathBuf},
};

use nix::{
    sys::statvfs::{FsFlags, statvfs},
    unistd::{Gid, Uid, User},
};

/// Most symbolic links on the way to a folder, as in the kernel.
const MAX_LINKS: usize = 40;

/// Why a folder is not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FolderError {
    /// It is somebody else's, or others may write to it, or to a folder on the way to it.
    #[error("{} {why}, who could put something else in its place{}; {remedy}", path.display(), on_the_way(path, folder))]
    NotOwn {
        /// What others may change.
        path: PathBuf,
        /// The folder that was asked for.
        folder: PathBuf,
        /// In which way.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// It is a link, or a file.
    #[error("{} is no folder: remove it, or name another", .0.display())]
    NotFolder(PathBuf),
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

fn on_the_way(path: &Path, folder: &Path) -> String {
    if path == folder { String::new() } else { format!(" on the way to {}", folder.display()) }
}

/// Who may own, and write to, what is on the way to a file.
#[derive(Clone, Copy, Debug)]
pub struct Trust {
    /// Whether what belongs to this user is good.
    pub owner: fn(u32) -> bool,
    /// Whether the group of such a folder may write to it.
    pub group: fn(&Metadata) -> bool,
}

/// What a way leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// A folder of ours: no link, and written by nobody else.
    OwnFolder,
    /// Anything. Links are followed; a file is the caller's to check, and a folder may be sticky.
    Any,
}

/// Makes a folder with this mode where there is none, and sees to it that it is ours: it belongs to root or to the user of this
/// process, nobody else writes to it, and nobody else can put another, or a link, in its place.
///
/// # Errors
/// [`FolderError`].
pub fn make_own_folder(folder: &Path, mode: u32) -> Result<(), FolderError> {
    check_own_folder(folder)?;
    let failed = |action| move |source| FolderError::System { action, path: folder.to_owned(), source };
    DirBuilder::new().recursive(true).mode(mode).create(folder).map_err(failed("create"))?;
    check_own_folder(folder)
}

/// A log that begins anew, for its owner only (0600), in a folder of ours. A link in its place is refused.
///
/// # Errors
/// The system's answer.
pub fn new_log(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).write(true).truncate(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(path)
}

/// Sees to it that a folder, if it is there, is ours, see [`make_own_folder`].
///
/// # Errors
/// [`FolderError`].
pub fn check_own_folder(folder: &Path) -> Result<(), FolderError> {
    let own_group =
        |metadata: &Metadata| is_administrators(metadata) || metadata.gid() == Gid::effective().as_raw();
    walk(folder, Trust { owner: is_trusted_owner, group: own_group }, End::OwnFolder)
}

/// Sees to it that nobody whom `trust` leaves out can put something else in the place of `path`: looks at every folder and link
/// on the way to it, and to what it is a link to. Of what is there in the end only a folder or link is looked at.
///
/// # Errors
/// [`FolderError::NotOwn`] names the first folder or link that somebody else can change.
pub fn check_way(path: &Path, trust: Trust) -> Result<(), FolderError> {
    walk(path, trust, End::Any)
}

fn walk(folder: &Path, trust: Trust, end: End) -> Result<(), FolderError> {
    let check = |path: &Path, metadata: &Metadata, last: bool| {
        check(path, metadata, folder, trust, last && end == End::OwnFolder)
    };
    let failed = |source| FolderError::System { action: "find", path: folder.to_owned(), source };
    let absolute = path::absolute(folder).map_err(failed)?;
    let mut way: VecDeque<OsString> = names(&absolute);
    let mut here = PathBuf::from("/");
    let mut links = 0;
    check(&here, &read(&here)?, way.is_empty())?;
    while let Some(name) = way.pop_front() {
        if name == ".." {
            here.pop();
            continue;
        }
        let next = here.join(&name);
        let metadata = match fs::symlink_metadata(&next) {
            Ok(metadata) => metadata,
            // It will be made by us, in a folder that is in order.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(FolderError::System { action: "read", path: next, source }),
        };
        let may_be_link = !way.is_empty() || end == End::Any;
        if metadata.is_symlink() && may_be_link && links < MAX_LINKS {
            // One that others could not have made or exchanged, such as /var/run.
            check(&next, &metadata, false)?;
            let target = fs::read_link(&next).map_err(|source| FolderError::System {
                action: "read",
                path: next,
                source,
            })?;
            if target.is_absolute() {
                here = PathBuf::from("/");
            }
            names(&target).into_iter().rev().for_each(|name| way.push_front(name));
            links += 1;
            continue;
        }
        if way.is_empty() && end == End::Any && metadata.is_file() {
            return Ok(());
        }
        if !metadata.is_dir() {
            return Err(FolderError::NotFolder(next));
        }
        check(&next, &metadata, way.is_empty())?;
        here = next;
    }
    Ok(())
}

fn names(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn read(path: &Path) -> Result<Metadata, FolderError> {
    fs::symlink_metadata(path).map_err(|source| FolderError::System {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

/// Whether others can change what is at `path`: `last` is our own folder itself, everything else is on the way to something.
fn check(
    path: &Path,
    metadata: &Metadata,
    folder: &Path,
    trust: Trust,
    last: bool,
) -> Result<(), FolderError> {
    let not_own = |why: String, remedy: String| {
        Err(FolderError::NotOwn { path: path.to_owned(), folder: folder.to_owned(), why, remedy })
    };
    if !(trust.owner)(metadata.uid()) {
        return not_own(
            format!("belongs to {}", user(metadata.uid())),
            match home_of(path, metadata.uid()) {
                Some(_) => "leave it to that user, whose home folder it is or is in, and use a folder that is root's".to_owned(),
                None => "look at what is in it and who made it, and then take it over (chown) or use a folder that is root's, or \
                         yours"
                    .to_owned(),
            },
        );
    }
    if metadata.is_symlink() {
        return Ok(()); // Its mode says nothing.
    }
    // In a sticky folder everybody makes what he likes, and takes away only what is his.
    let sticky = metadata.mode() & 0o1000 != 0 && !last;
    let own_group = !last && (trust.group)(metadata);
    let writers = metadata.mode() & if own_group { 0o002 } else { 0o022 };
    if writers != 0 && !sticky {
        return not_own(
            format!("can be written by others (mode {:03o})", metadata.mode() & 0o7777),
            close_to_others(path),
        );
    }
    Ok(())
}

/// Whether a folder's group is the administrators', who may do everything anyway: root's, and on a Mac `admin`, to whom Homebrew
/// gives its folders.
pub fn is_administrators(metadata: &Metadata) -> bool {
    const ADMIN: u32 = 80;
    metadata.gid() == 0 || cfg!(target_os = "macos") && metadata.gid() == ADMIN
}

/// What to do about a folder that others write to: nothing can be changed where it is mounted read-only.
fn close_to_others(folder: &Path) -> String {
    let is_read_only = statvfs(folder).is_ok_and(|system| system.flags().contains(FsFlags::ST_RDONLY));
    if is_read_only {
        return "it is mounted read-only here, so chmod does not work: copy what is in it to a folder that only root writes to, such \
                as /etc/vpn, or, with Kubernetes, mount a Secret in place of the ConfigMap"
            .to_owned();
    }
    format!("look at what is in it, then run: chmod go-w {}", folder.display())
}

/// The user `owner` where `path` is that user's home folder or in it: to take it over would shut its user out.
pub fn home_of(path: &Path, owner: u32) -> Option<User> {
    let user = User::from_uid(Uid::from_raw(owner)).ok()??;
    is_in_home(path, &user.dir).then_some(user)
}

/// Whether `path` is a home folder, or in it. Programs' users have none, or the top of everything.
fn is_in_home(path: &Path, home: &Path) -> bool {
    home.components().count() > 1 && path.starts_with(home)
}

/// Whether what belongs to `uid` is as good as ours: root's, the user's of this process, and his to whom `/` belongs (root, as
/// seen from a user namespace).
pub fn is_trusted_owner(uid: u32) -> bool {
    uid == 0
        || uid == Uid::effective().as_raw()
        || fs::symlink_metadata("/").is_ok_and(|root| root.uid() == uid)
}

/// A user for people: name and number.
pub fn user(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => format!("{} (uid {uid})", user.name),
        Ok(None) | Err(_) => format!("uid {uid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("allowed");
    }

    #[test]
    fn a_folder_is_made_with_those_above_it_and_found_again() {
        let top = tempfile::tempdir().expect("a folder");
        let folder = top.path().join("a/b");
        make_own_folder(&folder, 0o700).expect("made");
        make_own_folder(&folder, 0o700).expect("found");
        assert_eq!(fs::metadata(&folder).expect("there").permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn what_others_can_write_is_refused_and_a_sticky_folder_above_is_not() {
        let top = tempfile::tempdir().expect("a folder");
        let (above, folder) = (top.path().join("above"), top.path().join("above/run"));
        make_own_folder(&folder, 0o755).expect("made");
        set_mode(&above, 0o1777);
        check_own_folder(&folder).expect("as in /tmp");
        set_mode(&above, 0o777);
        assert!(matches!(check_own_folder(&folder), Err(FolderError::NotOwn { path, .. }) if path == above));
        set_mode(&above, 0o755);
        for mode in [0o775, 0o777, 0o1777] {
            set_mode(&folder, mode);
            let error = check_own_folder(&folder).expect_err("refused").to_string();
            assert!(error.contains("chmod go-w"), "{error}");
        }
    }

    #[test]
    fn the_group_of_root_may_write_to_a_folder_on_the_way_and_any_other_may_not() {
        if !Uid::effective().is_root() {
            return; // Nothing can be given away.
        }
        let top = tempfile::tempdir().expect("a folder");
        let (above, folder) = (top.path().join("above"), top.path().join("above/run"));
        make_own_folder(&folder, 0o755).expect("made");
        set_mode(&above, 0o775);
        check_own_folder(&folder).expect("root's");
        chown(&above, None, Some(4711)).expect("given away");
        check_own_folder(&folder).expect_err("refused");
    }

    #[test]
    fn a_folder_of_a_user_is_not_to_be_taken_over_where_it_is_home() {
        let home = Path::new("/home/u");
        assert!(is_in_home(home, home) && is_in_home(Path::new("/home/u/vpn"), home));
        assert!(!is_in_home(Path::new("/home/user"), home) && !is_in_home(Path::new("/home"), home));
        assert!(!is_in_home(home, Path::new("/")) && !is_in_home(home, Path::new("")));
        let Ok(Some(root)) = User::from_uid(Uid::from_raw(0)) else { return };
        assert!(home_of(&root.dir.join("vpn"), 0).is_some());
        assert!(home_of(Path::new("/opt/vpn"), 0).is_none());
    }

    #[test]
    fn a_read_only_folder_is_not_to_be_closed_by_chmod() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(close_to_others(folder.path()).contains("chmod go-w"));
        // Read-only in every container, and nowhere else.
        let sysfs = Path::new("/sys");
        if statvfs(sysfs).is_ok_and(|system| system.flags().contains(FsFlags::ST_RDONLY)) {
            assert!(close_to_others(sysfs).contains("Secret"));
        }
    }

    #[test]
    fn a_link_in_its_place_is_refused_and_one_of_ours_on_the_way_is_followed() {
        let top = tempfile::tempdir().expect("a folder");
        let real = top.path().join("real/run");
        make_own_folder(&real, 0o755).expect("made");
        symlink("real", top.path().join("way")).expect("linked");
        symlink(&real, top.path().join("run")).expect("linked");
        check_own_folder(&top.path().join("way/run")).expect("ours");
        let error = check_own_folder(&top.path().join("run"));
        assert!(matches!(error, Err(FolderError::NotFolder(_))), "{error:?}");
        symlink("loop", top.path().join("loop")).expect("linked");
        assert!(check_own_folder(&top.path().join("loop/run")).is_err());
    }

    #[test]
    fn a_folder_or_link_of_somebody_else_on_the_way_is_refused() {
        if !Uid::effective().is_root() {
            return; // Nothing can be given away.
        }
        let top = tempfile::tempdir().expect("a folder");
        let (theirs, folder) = (top.path().join("theirs"), top.path().join("theirs/run"));
        make_own_folder(&folder, 0o755).expect("made");
        chown(&theirs, Some(4711), None).expect("given away");
        let error = make_own_folder(&folder, 0o755).expect_err("refused").to_string();
        assert!(error.contains("belongs to uid 4711") && error.contains("on the way"), "{error}");
        symlink("/", top.path().join("link")).expect("linked");
        std::os::unix::fs::lchown(top.path().join("link"), Some(4711), None).expect("given away");
        assert!(make_own_folder(&top.path().join("link/tmp/run"), 0o755).is_err());
    }
}
