//! What commands that were killed have left in the folders of a configuration: told by `check`, removed by the next command that
//! changes something, and in nobody's way meanwhile.

use super::{
    Config,
    fault::{Complaint, Fault},
    load::PEERS_FOLDER,
    new_files::{Made, RECORD, is_temporary, read_record},
    peer::ReadPeer,
};
use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Warns of what was left, and of preshared keys that no peer uses.
pub(super) fn warn_of_leftovers(main: &Path, peers: &[ReadPeer], warnings: &mut Vec<Fault>) {
    let (own, folder) = folders(main);
    let record = Some(folder.join(RECORD)).filter(|record| record.exists());
    let interrupted = files_in(&own).into_iter().chain(files_in(&folder)).filter(|path| is_temporary(path));
    warnings.extend(interrupted.chain(record).map(|path| {
        let message = format!("{} is of a command that runs, or was interrupted", path.display());
        let remedy = "the next `vpn-server client` command that changes something tidies up";
        Complaint::new(message, remedy).at(&path, None)
    }));
    let used: BTreeSet<&Path> =
        peers.iter().filter_map(|read| read.peer.preshared_key_file.as_deref()).collect();
    let is_used = |path: &Path| {
        used.contains(path)
            || fs::canonicalize(path).is_ok_and(|path| {
                used.iter().any(|used| fs::canonicalize(used).is_ok_and(|used| used == path))
            })
    };
    let keys = files_in(&folder).into_iter();
    let keys = keys.filter(|path| path.extension().is_some_and(|extension| extension == "psk"));
    warnings.extend(keys.filter(|path| !is_used(path)).map(|path| {
        let message = format!("no peer uses {}", path.display());
        let remedy = format!("name it as a peer's `preshared_key_file`, or run: rm {}", path.display());
        Complaint::new(message, remedy).at(&path, None)
    }));
}

/// Removes what commands that were killed have left, and gives their names. Files that `config` uses stay: the command had come
/// far enough. For whoever keeps other commands from changing the configuration meanwhile.
///
/// # Errors
/// When a file cannot be removed.
pub fn remove_leftovers(config: &Config) -> io::Result<Vec<PathBuf>> {
    let (own, folder) = folders(&config.file);
    let record = folder.join(RECORD);
    let made = read_record(&record)?;
    let is_committed = made.iter().any(|made| is_used(config, &made.path));
    let recorded = made.into_iter().filter(|made| match made.file {
        // A temporary name, which no other file ever has.
        None => true,
        Some(file) => !is_committed && identity(&made.path) == Some(file),
    });
    let recorded = recorded.map(|made: Made| made.path);
    let temporary = files_in(&own).into_iter().chain(files_in(&folder)).filter(|path| is_temporary(path));
    let mut removed = Vec::new();
    for path in recorded.chain(temporary) {
        match fs::remove_file(&path) {
            Ok(()) => removed.push(path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    // Last: until here the next command would do the same again.
    match fs::remove_file(&record) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(removed),
    }
}

fn is_used(config: &Config, path: &Path) -> bool {
    let same = |used: &Path| used == path || fs::canonicalize(used).ok() == fs::canonicalize(path).ok();
    config.peers.iter().any(|peer| {
        (peer.file.file_name() == path.file_name() && same(&peer.file))
            || peer
                .preshared_key_file
                .as_deref()
                .is_some_and(|key| key.file_name() == path.file_name() && same(key))
    })
}

/// Device and inode of the file itself, not of what it links to.
fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The folder of the main file and that of the peers.
fn folders(main: &Path) -> (PathBuf, PathBuf) {
    let own = main.parent().filter(|own| !own.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // As `load` writes it, so that the paths of peers are the same.
    (own.to_owned(), main.parent().unwrap_or(Path::new("")).join(PEERS_FOLDER))
}

/// What is in a folder, in the order of the names; nothing where that cannot be read.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    paths
}
