//! What becomes of a journal that cannot be read in full.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use tracing::{error, warn};

use super::{
    Change, InterfaceName,
    format::{Contents, Damage},
};

/// Most damaged journals of one interface that are kept; bounds what a disk that goes bad can fill.
const MAX_KEPT: u32 = 8;

/// Tells what cannot be read of the journal at `path`, and keeps its `bytes` beside it.
pub(super) fn set_aside(path: &Path, bytes: &[u8], damage: &[Damage]) {
    for Damage { line, reason, text } in damage {
        error!(
            path = %path.display(), line, reason, text,
            "this line of the journal cannot be read: if the change that it names is still in force, undo it by hand"
        );
    }
    match keep(path, bytes) {
        Ok(kept) => {
            warn!(kept = %kept.display(), "the damaged journal is kept for you to look at; remove it when done");
        }
        Err(error) => warn!(path = %path.display(), %error, "the damaged journal could not be kept"),
    }
}

fn keep(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let name = |number| path.with_extension(format!("journal.damaged-{number}"));
    let free = (1..=MAX_KEPT).map(name).find(|name| !name.exists());
    let kept = free.unwrap_or_else(|| name(MAX_KEPT));
    match fs::remove_file(&kept) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&kept)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(kept)
}

/// What the journal does not name, and is known to be ours without it: above all the kill switch, which must neither be
/// forgotten while it is in force nor stay for ever. The journal may be cut, emptied or lost without showing it.
pub(super) fn suspects(contents: &Contents, interface: &InterfaceName) -> Vec<Change> {
    // On a Mac nobody says whether an anchor is in force.
    if cfg!(target_os = "macos") && contents.damage.is_empty() {
        return Vec::new();
    }
    let known = |change: &Change| contents.outstanding.iter().any(|(_, made)| made == change);
    found(interface).into_iter().filter(|change| !known(change)).collect()
}

/// What is certainly that of `interface`, and of no node that may live.
#[cfg(target_os = "linux")]
fn found(interface: &InterfaceName) -> Vec<Change> {
    super::remains::remains_of(interface).ours
}

/// The kill switch of `interface`, whether or not it is there: flushing an empty anchor changes nothing. A journal that somebody
/// can open has no owner on a Mac.
#[cfg(target_os = "macos")]
fn found(interface: &InterfaceName) -> Vec<Change> {
    let anchor = format!("com.apple/vpn_{}_kill_switch", interface.to_identifier());
    vec![Change::Mac(super::MacChange::PfAnchor { anchor, lockdown: true })]
}
