//! Which files a peer has to itself, and changes to files that leave a valid configuration or none at all.

use super::load;
use anyhow::Context as _;
use std::path::Path;
use vpn_core::{
    base::{SecretBytes, encode_key},
    config::{Config, EditError, PeerConfig, PeerName, read_file, replace_file},
};
use zeroize::Zeroizing;

/// The text of a key file: the key and a newline.
pub(crate) fn key_file_text(key: &SecretBytes<32>) -> Zeroizing<String> {
    Zeroizing::new(encode_key(key.expose()) + "\n")
}

/// Changes the text of `path`, one of the files of the configuration `main`. Returns the configuration that results; a
/// change that would make it invalid is taken back.
pub(super) fn change_file(
    main: &Path,
    path: &Path,
    edit: impl FnOnce(&str) -> Result<Zeroizing<String>, EditError>,
) -> anyhow::Result<Config> {
    let cannot = || format!("{} cannot be changed", path.display());
    let old = read_file(path).with_context(cannot)?;
    replace_file(path, &edit(&old).with_context(cannot)?).with_context(cannot)?;
    match load(main) {
        Ok(config) => Ok(config),
        Err(error) => {
            replace_file(path, &old).with_context(cannot)?;
            Err(error.context(format!("the change of {} was taken back", path.display())))
        }
    }
}

/// Whether `peer` alone is in a file of peers.d.
pub(super) fn has_own_file(config: &Config, peer: &PeerConfig, folder: &Path) -> bool {
    let neighbours = config.peers.iter().filter(|other| other.file == peer.file).count();
    peer.file.parent() == Some(folder) && neighbours == 1
}

/// The peer's preshared key file, if it lies in peers.d and no other peer uses it.
pub(super) fn own_key_file<'a>(config: &Config, peer: &'a PeerConfig, folder: &Path) -> Option<&'a Path> {
    let key = peer.preshared_key_file.as_deref()?;
    let users = config.peers.iter().filter(|other| other.preshared_key_file.as_deref() == Some(key)).count();
    (key.parent() == Some(folder) && users == 1).then_some(key)
}

/// A name in `folder` that no file has: the usual one, or with a number. What an interrupted command or an editor has left
/// under the usual one stays and is in nobody's way.
pub(super) fn free_name(folder: &Path, name: &PeerName, extension: &str) -> String {
    let numbered = (2_u32..).map(|number| format!("{name}.{number}.{extension}"));
    let mut names = std::iter::once(format!("{name}.{extension}")).chain(numbered);
    names.find(|name| !folder.join(name).exists()).expect("a folder cannot hold this many files")
}
