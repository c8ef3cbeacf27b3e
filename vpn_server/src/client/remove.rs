//! `client remove`.

use super::{
    apply, begin,
    files::{has_own_file, own_key_file},
    find, peers_folder,
};
use anyhow::{Context as _, bail};
use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};
use vpn_core::{cli::GlobalArgs, config::PeerName};

/// Removes a client that has a file of its own in peers.d; anything else is for an editor.
pub(super) fn remove(global: &GlobalArgs, file: &Path, name: &PeerName) -> anyhow::Result<()> {
    let (lock, config) = begin(file)?;
    let peer = find(&config, name)?;
    let folder = peers_folder(file);
    if !has_own_file(&config, peer, &folder) {
        let (file, line) = (peer.file.display(), peer.at.line);
        bail!("peer {name} has no file of its own; remove its [[peer]] table at {file}:{line} and reload");
    }
    // The peer first: without it the key is only litter, while a peer without its key is a broken configuration.
    fs::remove_file(&peer.file).with_context(|| format!("{} cannot be removed", peer.file.display()))?;
    if let Some(key) = own_key_file(&config, peer, &folder) {
        fs::remove_file(key).with_context(|| format!("{} cannot be removed", key.display()))?;
    }
    drop(lock);
    let _ = writeln!(io::stderr(), "removed {name}");
    apply(global, &config)
}
