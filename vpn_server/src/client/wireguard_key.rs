//! The server's WireGuard key, made when the first WireGuard client is added.

use super::files::{change_file, key_file_text};
use std::{
    io::{self, Write as _},
    path::Path,
};
use vpn_core::{
    cli,
    config::{Config, NewFileError, NewFiles, WIREGUARD_KEY_FILE, add_wireguard_key_file},
};

/// Makes a key where the configuration `file` names none, and returns the configuration that names it. A key file that
/// is there already is used and never overwritten.
pub(super) fn ensure_wireguard_key(file: &Path, config: Config) -> anyhow::Result<Config> {
    if config.interface.wireguard_key.is_some() {
        return Ok(config);
    }
    let path = file.with_file_name(WIREGUARD_KEY_FILE);
    let mut files = NewFiles::new();
    match files.write(&path, &key_file_text(&cli::random_wireguard_key())) {
        Ok(()) | Err(NewFileError::Exists(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let config = change_file(file, file, add_wireguard_key_file)?;
    files.keep();
    let _ = writeln!(io::stderr(), "{} now names {} as its WireGuard key", file.display(), path.display());
    Ok(config)
}
