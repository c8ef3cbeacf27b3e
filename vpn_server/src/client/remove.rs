//! `client remove`.

use super::{apply, load, lock_peers, peers_folder};
use anyhow::{Context as _, bail};
use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};
use vpn_core::{
    cli::GlobalArgs,
    config::{Config, PeerConfig, PeerName},
};

/// Removes a client that has a file of its own in peers.d; anything else is for an editor.
pub(super) fn remove(global: &GlobalArgs, file: &Path, name: &PeerName) -> anyhow::Result<()> {
    let lock = lock_peers(file)?;
    let config = load(file)?;
    let peer = config.peer(name.as_str()).with_context(|| format!("there is no peer {name}"))?;
    let folder = peers_folder(file);
    let neighbours = config.peers.iter().filter(|other| other.file == peer.file).count();
    if peer.file.parent() != Some(&folder) || neighbours > 1 {
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

/// The peer's preshared key file, if it lies in peers.d and no other peer uses it.
fn own_key_file<'a>(config: &Config, peer: &'a PeerConfig, folder: &Path) -> Option<&'a Path> {
    let key = peer.preshared_key_file.as_deref()?;
    let users = config.peers.iter().filter(|other| other.preshared_key_file.as_deref() == Some(key)).count();
    (key.parent() == Some(folder) && users == 1).then_some(key)
}
