//! `genkey`, `pubkey` and `genpsk`, which work as `wg`'s do.

use super::print;
use crate::{
    asymmetric::{Identity, X25519SecretKey},
    base::{SecretBytes, decode_key, decode_text, encode_key},
};
use anyhow::Context as _;
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::{fd::AsFd as _, unix::fs::PermissionsExt as _},
};
use zeroize::{Zeroize as _, Zeroizing};

/// Most bytes read as a key: 44 and some white space.
const MAX_INPUT: u64 = 256;

/// Draws 32 secret bytes from the system.
pub fn random_secret() -> SecretBytes<32> {
    SecretBytes::random(&mut rand_core::UnwrapErr(getrandom::SysRng))
}

/// Draws a private X25519 key, clamped as `wg genkey` does it.
pub fn random_wireguard_key() -> SecretBytes<32> {
    let mut key = random_secret();
    X25519SecretKey::clamp(&mut key);
    key
}

/// Prints a new private key.
pub(super) fn generate_key(wireguard: bool) -> anyhow::Result<()> {
    print_secret(&if wireguard { random_wireguard_key() } else { random_secret() })
}

/// Prints a new preshared key.
pub(super) fn generate_preshared_key() -> anyhow::Result<()> {
    print_secret(&random_secret())
}

/// Reads a private key from the standard input and prints its public half.
pub(super) fn public_key(wireguard: bool) -> anyhow::Result<()> {
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_INPUT as usize + 1));
    io::stdin().lock().take(MAX_INPUT).read_to_end(&mut text).context("the standard input cannot be read")?;
    let text = decode_text(&text).context("the standard input is not a private key")?;
    let mut bytes = decode_key(text).context("the standard input is not a private key")?;
    let key = SecretBytes::take(&mut bytes);
    let public = if wireguard {
        encode_key(&X25519SecretKey::new(&key).public_key().0)
    } else {
        Identity::from_seed(&key).public_key().to_string()
    };
    print(format!("{public}\n"))?;
    Ok(())
}

fn print_secret(key: &SecretBytes<32>) -> anyhow::Result<()> {
    if stdout_is_open_to_all() {
        let warning = "warning: writing to a file that everyone can read; try again after `umask 077`";
        let _ = writeln!(io::stderr(), "{warning}");
    }
    let mut text = encode_key(key.expose());
    let printed = print(&text).and_then(|()| print("\n"));
    text.zeroize();
    Ok(printed?)
}

fn stdout_is_open_to_all() -> bool {
    let Ok(stdout) = io::stdout().as_fd().try_clone_to_owned() else { return false };
    let metadata = File::from(stdout).metadata();
    metadata.is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o007 != 0)
}
