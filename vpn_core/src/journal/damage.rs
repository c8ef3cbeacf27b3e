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

/// What the journal does not name, and is known to be ours by its name: above all the kill switch, which must neither be
/// forgotten while it is in force nor stay for ever. The journal may be cut, emptied or lost without showing it.
pub(super) fn suspects(contents: &Contents, interface: &InterfaceName) -> Vec<Change> {
    // On a Mac nobody says whether an anchor is in force.
    if cfg!(target_os = "macos") && contents.damage.is_empty() {
        return Vec::new();
    }
    let known = |change: &Change| contents.outstanding.iter().any(|(_, made)| made == change);
    let suspects = by_name(interface).into_iter().filter(|change| !known(change)).collect();
    without_those_in_use(suspects, interface)
}

/// Leaves out what may be that of a node which has another folder for its journals, or has lost its own.
#[cfg(target_os = "linux")]
fn without_those_in_use(mut suspects: Vec<Change>, interface: &InterfaceName) -> Vec<Change> {
    if !suspects.is_empty() && super::has_device(interface) {
        suspects.clear();
    }
    // The file may be that of a node in another network namespace, which does not show otherwise.
    suspects.retain(|change| {
        !matches!(change, Change::NameServers(_)) || !super::remains::is_held_beside(interface)
    });
    suspects
}

/// On a Mac a journal that somebody can open has no owner.
#[cfg(target_os = "macos")]
fn without_those_in_use(suspects: Vec<Change>, _interface: &InterfaceName) -> Vec<Change> {
    suspects
}

/// The tables of `interface` that are there; none where nft does not say.
#[cfg(target_os = "linux")]
fn by_name(interface: &InterfaceName) -> Vec<Change> {
    use super::{Kept, NameServersChange, belongs_to, installed, kept_beside, run};

    let table = format!("vpn_{}", interface.to_identifier());
    let nft_table =
        |family: &str, part: &str| Change::NftTable { family: family.into(), name: format!("{table}{part}") };
    let kill_switch = Change::KillSwitch { table: format!("{table}_kill_switch") };
    let ours = [
        ("inet", "_kill_switch", kill_switch),
        ("inet", "_marks", nft_table("inet", "_marks")),
        ("arp", "_marks", nft_table("arp", "_marks")),
        ("inet", "_inbound", nft_table("inet", "_inbound")),
        ("inet", "_loop", nft_table("inet", "_loop")),
        ("inet", "", nft_table("inet", "")),
    ];
    let tables = if installed("nft") { run("nft", &["list", "tables"], None) } else { Ok(String::new()) };
    let tables =
        tables.inspect_err(|error| warn!(%error, "which tables are there is not known")).unwrap_or_default();
    let is_there = |family: &str, part: &str| {
        tables.lines().any(|line| line.trim() == format!("table {family} {table}{part}"))
    };
    let found = ours.into_iter().filter(|(family, part, _)| is_there(family, part));
    let mut suspects: Vec<Change> = found.map(|(_, _, change)| change).collect();
    let path = Path::new("/etc/resolv.conf");
    if belongs_to(path, interface) && kept_beside(path, interface).exists() {
        let (path, interface) = (path.to_owned(), interface.clone());
        suspects.push(Change::NameServers(NameServersChange::File { path, interface, kept: Kept::Beside }));
    }
    suspects
}

/// The kill switch of `interface`, whether or not it is there: flushing an empty anchor changes nothing.
#[cfg(target_os = "macos")]
fn by_name(interface: &InterfaceName) -> Vec<Change> {
    let anchor = format!("com.apple/vpn_{}_kill_switch", interface.to_identifier());
    vec![Change::Mac(super::MacChange::PfAnchor { anchor, lockdown: true })]
}
