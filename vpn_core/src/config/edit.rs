//! Changes to files that people have written: comments, order and everything not concerned stay as they are.

use super::{
    PeerName,
    new_files::{sync_folder, write_temporary},
    write::WIREGUARD_KEY_FILE,
};
use crate::handshake::PeerKey;
use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::{MetadataExt as _, fchown},
    path::Path,
};
use toml_edit::{ArrayOfTables, DocumentMut, Table, value};
use zeroize::Zeroizing;

/// Why a file was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// It is not TOML. What the parser says would quote the line, which may hold a key.
    #[error("the file is not TOML; `check` says where")]
    Syntax,
    /// What is to be changed is not there, or is written in a form that is left to its author, such as
    /// `peer = [{ … }]`.
    #[error("there is no {0} in the file, or it is written in an unusual form; change it with an editor")]
    Missing(String),
    /// The system refused.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// What becomes of one `[[peer]]` table; `None` leaves a value alone.
#[derive(Debug, Default)]
pub struct PeerEdit<'a> {
    /// Another name.
    pub name: Option<&'a PeerName>,
    /// Another key, of the same handshake.
    pub public_key: Option<PeerKey>,
    /// Another file for the preshared key, in place of a key that is inline, too.
    pub preshared_key_file: Option<&'a str>,
    /// Admitted or not.
    pub enabled: Option<bool>,
}

/// The text of a configuration that names [`WIREGUARD_KEY_FILE`], from one that names no WireGuard key.
///
/// # Errors
/// [`EditError`].
pub fn add_wireguard_key_file(text: &str) -> Result<Zeroizing<String>, EditError> {
    let mut document = parse(text)?;
    let missing = || EditError::Missing("[interface]".to_owned());
    let interface = document.get_mut("interface").and_then(|item| item.as_table_mut()).ok_or_else(missing)?;
    interface.insert("wireguard_key_file", value(WIREGUARD_KEY_FILE));
    Ok(Zeroizing::new(document.to_string()))
}

/// The text of a configuration with `edit` done to the peer called `name`.
///
/// # Errors
/// [`EditError`].
pub fn edit_peer(text: &str, name: &PeerName, edit: &PeerEdit<'_>) -> Result<Zeroizing<String>, EditError> {
    let mut document = parse(text)?;
    let missing = || EditError::Missing(format!("[[peer]] named {name}"));
    let peers = document.get_mut("peer").and_then(|item| item.as_array_of_tables_mut());
    let peer = peers.and_then(|peers| find(peers, name)).ok_or_else(missing)?;
    if let Some(name) = edit.name {
        set(peer, "name", name.as_str());
    }
    if let Some(key) = edit.public_key {
        set(peer, "public_key", key.to_string());
    }
    if let Some(file) = edit.preshared_key_file {
        peer.remove("preshared_key");
        set(peer, "preshared_key_file", file);
    }
    if let Some(enabled) = edit.enabled {
        set(peer, "enabled", enabled);
    }
    Ok(Zeroizing::new(document.to_string()))
}

/// Puts `text` in place of what `path` holds, at once and on the disk: whoever reads it sees all of the old or all of
/// the new. Owner and mode stay. A symbolic link stays one, and the file behind it is replaced.
///
/// # Errors
/// When the system refuses; the old text stays.
pub fn replace_file(path: &Path, text: &str) -> Result<(), EditError> {
    let path = fs::canonicalize(path)?;
    let old = fs::metadata(&path)?;
    let (temporary, file) = write_temporary(&path, text)?;
    let replaced = fchown(&file, Some(old.uid()), Some(old.gid()))
        .and_then(|()| file.set_permissions(old.permissions()))
        .and_then(|()| fs::rename(&temporary, &path));
    if replaced.is_err() {
        // Best effort: the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    Ok(replaced.and_then(|()| sync_folder(&path))?)
}

/// The text of a configuration or key file; it may be secret.
///
/// # Errors
/// When it cannot be read, or is no text.
pub fn read_file(path: &Path) -> io::Result<Zeroizing<String>> {
    let mut file = fs::File::open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    // Room for everything at once: a String that grows leaves copies of the keys behind.
    let mut text = Zeroizing::new(String::with_capacity(length + 1));
    file.read_to_string(&mut text)?;
    Ok(text)
}

fn parse(text: &str) -> Result<DocumentMut, EditError> {
    text.parse().map_err(|_| EditError::Syntax)
}

fn find<'p>(peers: &'p mut ArrayOfTables, name: &PeerName) -> Option<&'p mut Table> {
    peers.iter_mut().find(|peer| peer.get("name").and_then(|item| item.as_str()) == Some(name.as_str()))
}

/// Replaces a value, and keeps the comment behind it.
fn set(table: &mut Table, key: &str, new: impl Into<toml_edit::Value>) {
    let mut new = new.into();
    if let Some(old) = table.get(key).and_then(|item| item.as_value()) {
        *new.decor_mut() = old.decor().clone();
    }
    table.insert(key, toml_edit::Item::Value(new));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    const TWO: &str = "# clients\n[[peer]]\nname = \"a\" # the first\nenabled = false # on leave\n\n\
                       # the second\n[[peer]]\nname = \"b\"\npreshared_key = \"k\"\n# end\n";

    fn name(text: &str) -> PeerName {
        text.parse().expect("a name")
    }

    #[test]
    fn an_edited_peer_keeps_its_comments_and_its_neighbour() {
        let edit = PeerEdit { enabled: Some(true), name: Some(&name("c")), ..PeerEdit::default() };
        let edited = edit_peer(TWO, &name("a"), &edit).expect("edited");
        assert_eq!(*edited, TWO.replace("\"a\"", "\"c\"").replace("false", "true"));
        let edit = PeerEdit { preshared_key_file: Some("b.psk"), ..PeerEdit::default() };
        let edited = edit_peer(TWO, &name("b"), &edit).expect("edited");
        assert_eq!(*edited, TWO.replace("preshared_key = \"k\"", "preshared_key_file = \"b.psk\""));
    }

    #[test]
    fn a_key_line_joins_the_interface_and_comments_stay_where_they_are() {
        let text = "# mine\n[interface] # this\nname = \"vpn0\"\n# mtu = 1\n\n[gateway] # that\nnat = true\n";
        let edited = add_wireguard_key_file(text).expect("edited");
        let line = "name = \"vpn0\"\nwireguard_key_file = \"wireguard.key\"\n";
        assert_eq!(*edited, text.replace("name = \"vpn0\"\n", line));
    }

    #[test]
    fn what_cannot_be_edited_is_refused_without_quoting_it() {
        let edit = PeerEdit { enabled: Some(true), ..PeerEdit::default() };
        for text in ["", "peer = [{ name = \"a\" }]\n", "[[peer]]\nname = \"other\"\n"] {
            assert!(matches!(edit_peer(text, &name("a"), &edit), Err(EditError::Missing(_))), "{text}");
        }
        let error = add_wireguard_key_file("identity = \"secret").expect_err("no TOML").to_string();
        assert!(!error.contains("secret"), "{error}");
        assert!(matches!(add_wireguard_key_file("[gateway]\n"), Err(EditError::Missing(_))));
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_a_link_stays_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (path, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&path, "old").expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("allowed");
        symlink(&path, &link).expect("linked");
        replace_file(&link, "new").expect("replaced");
        assert_eq!(fs::read_to_string(&path).expect("readable"), "new");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o640);
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(folder.path()).expect("readable").count(), 2, "nothing is left behind");
    }
}
