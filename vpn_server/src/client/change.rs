//! `client enable`, `disable` and `rename`.

use super::{
    apply, begin,
    files::{change_file, free_name, has_own_file, own_key_file},
    find, peers_folder,
};
use anyhow::{Context as _, ensure};
use clap::Args;
use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    time::SystemTime,
};
use vpn_core::{
    cli::GlobalArgs,
    config::{NewFiles, PeerEdit, PeerName, edit_peer, read_file},
};

/// From which name to which.
#[derive(Debug, Args)]
pub(crate) struct RenameArgs {
    /// The client's name
    name: PeerName,
    /// Its new name
    new: PeerName,
}

/// Admits a client, or refuses it until it is admitted again.
pub(super) fn set_enabled(
    global: &GlobalArgs,
    file: &Path,
    name: &PeerName,
    enabled: bool,
) -> anyhow::Result<()> {
    let (lock, mut config) = begin(file)?;
    let path = find(&config, name)?.file.clone();
    if find(&config, name)?.enabled != enabled {
        let edit = PeerEdit { enabled: Some(enabled), ..PeerEdit::default() };
        config = change_file(file, &path, |text| edit_peer(text, name, &edit))?;
    }
    drop(lock);
    let _ = writeln!(io::stderr(), "{name} is {}", if enabled { "enabled" } else { "disabled" });
    if enabled && find(&config, name)?.has_expired(SystemTime::now()) {
        let _ = writeln!(
            io::stderr(),
            "warning: its last day is over; set a later `expires` in {}",
            path.display()
        );
    }
    apply(global, &config)
}

/// Renames a client, and the files that carry its name. Whatever ends this half-way, the configuration is valid: first
/// the key exists twice, then the peer changes at once, then the old names go.
pub(super) fn rename(global: &GlobalArgs, file: &Path, args: &RenameArgs) -> anyhow::Result<()> {
    let RenameArgs { name, new } = args;
    let (lock, config) = begin(file)?;
    let peer = find(&config, name)?;
    if let Some(other) = config.peer(new.as_str()) {
        anyhow::bail!("there is a peer {new} already, at {}:{}", other.file.display(), other.at.line);
    }
    let folder = peers_folder(file);
    let (old_file, new_file) = (folder.join(format!("{name}.toml")), folder.join(format!("{new}.toml")));
    let own = has_own_file(&config, peer, &folder) && peer.file == old_file;
    ensure!(!own || !new_file.exists(), "{} exists already; nothing was changed", new_file.display());
    let old_key = folder.join(format!("{name}.psk"));
    let key = own_key_file(&config, peer, &folder).filter(|key| own && *key == old_key);
    let new_key = key.map(|_| free_name(&folder, new, "psk"));
    let mut files = NewFiles::recorded_in(&folder);
    if let (Some(key), Some(new_key)) = (key, &new_key) {
        let text = read_file(key).with_context(|| format!("{} cannot be read", key.display()))?;
        files.write(&folder.join(new_key), &text)?;
    }
    let edit = PeerEdit { name: Some(new), preshared_key_file: new_key.as_deref(), ..PeerEdit::default() };
    let changed = change_file(file, &peer.file, |text| edit_peer(text, name, &edit))?;
    files.keep();
    if own {
        fs::rename(&old_file, &new_file)
            .with_context(|| format!("{} cannot be renamed", old_file.display()))?;
    }
    if let Some(key) = key {
        fs::remove_file(key).with_context(|| format!("{} cannot be removed", key.display()))?;
    }
    drop(lock);
    let _ = writeln!(io::stderr(), "{name} is now {new}");
    apply(global, &changed)
}
