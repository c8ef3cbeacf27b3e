//! Putting a resolver file back.
//!
//! Several tunnels may have replaced it one after the other: then each keeps what it found, and what the later found is
//! the earlier one's file. Whoever goes takes its own out of that chain, at whichever place it stands.

use super::{InterfaceName, JournalError, Kept, kept_beside, made_beside, tunnel_of, unfinished_beside};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{
    fs::{self, File, FileTimes, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Duration, UNIX_EPOCH},
};
use tracing::{info, warn};

/// Puts the file from before back where ours is, or where nothing is. Somebody else's that has come in between stays.
pub(super) fn restore(path: &Path, interface: &InterfaceName, kept: &Kept) -> Result<(), JournalError> {
    let done = match kept {
        Kept::Beside => rename_back(path, interface),
        Kept::Inside { contents, modified } => write_back(path, interface, contents, *modified),
    };
    done.map_err(|source| JournalError::File { action: "restore", path: path.to_owned(), source })
}

fn rename_back(path: &Path, interface: &InterfaceName) -> io::Result<()> {
    let (kept, made) = (kept_beside(path, interface), made_beside(path, interface));
    let unfinished = unfinished_beside(path, interface);
    // After a crash between the two steps of a replacement the newest is still under the name of the new file.
    let from_before = [&made, &kept].into_iter().find(|file| exists(file) && !belongs_to(file, interface));
    let leftovers = [&unfinished, &made, &kept];
    let place = place_in_chain(path, interface)?;
    if place.is_none() && !leftovers.iter().any(|file| exists(file)) {
        return Ok(()); // Nothing was changed, which a read-only folder must not make an error.
    }
    match (place, from_before) {
        (Some(place), Some(file)) => fs::rename(file, place)?,
        // Somebody has removed ours, and with the one from before there would be none at all.
        (None, Some(file)) if !exists(path) => fs::rename(file, path)?,
        // There was none before.
        (Some(place), None) => fs::remove_file(place)?,
        (None, Some(_)) => {
            info!(path = %path.display(), "written by somebody else meanwhile: left as it is");
        }
        (None, None) => {}
    }
    for leftover in leftovers {
        remove(leftover)?;
    }
    sync_folder_of(path)
}

/// Where the file of `interface` is: in force, or kept by a tunnel that came later.
fn place_in_chain(path: &Path, interface: &InterfaceName) -> io::Result<Option<PathBuf>> {
    if belongs_to(path, interface) {
        return Ok(Some(path.to_owned()));
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(None);
    };
    let own = kept_beside(path, interface);
    let prefix = format!("{name}.before-");
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let candidate = entry.path();
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(&prefix))
            && candidate != own
            && belongs_to(&candidate, interface)
        {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

fn write_back(
    path: &Path,
    interface: &InterfaceName,
    contents: &str,
    modified: (u64, u32),
) -> io::Result<()> {
    let Ok(present) = fs::read(path) else { return Ok(()) };
    if tunnel_of(&String::from_utf8_lossy(&present)).as_ref() != Some(interface) {
        info!(path = %path.display(), "written by somebody else meanwhile: left as it is");
        return Ok(());
    }
    let contents = STANDARD.decode(contents).map_err(io::Error::other)?;
    let mut file = OpenOptions::new().write(true).open(path)?;
    file.write_all(&contents)?;
    file.set_len(contents.len() as u64)?;
    let modified = UNIX_EPOCH + Duration::new(modified.0, modified.1);
    if let Err(error) = file.set_times(FileTimes::new().set_modified(modified)) {
        warn!(path = %path.display(), %error, "its time of change could not be put back");
    }
    file.sync_all()
}

/// Whether the regular file at `path` is the one that `interface` wrote. A link to such a file is not.
pub fn belongs_to(path: &Path, interface: &InterfaceName) -> bool {
    fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file())
        && fs::read(path)
            .is_ok_and(|text| tunnel_of(&String::from_utf8_lossy(&text)).as_ref() == Some(interface))
}

/// Removes a file; that there is none is no error.
///
/// # Errors
/// The system's answer.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}
