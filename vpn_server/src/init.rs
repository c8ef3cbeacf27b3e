//! `init`: keys and a configuration to start from.

use crate::{address::first_host, client::key_file_text};
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use ipnet::IpNet;
use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
};
use vpn_core::{
    asymmetric::Identity,
    base::{SecretBytes, decode_key},
    cli,
    config::{EndpointName, NewFileError, NewFiles, PEERS_FOLDER, ServerFile, WIREGUARD_KEY_FILE, read_file},
};

/// What to start with.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Folder for the files
    #[arg(long, env = "VPN_DIR", value_name = "DIR", default_value = "/etc/vpn")]
    dir: PathBuf,
    /// Where clients reach this server
    #[arg(long, env = "VPN_ENDPOINT", value_name = "HOST:PORT")]
    endpoint: Option<EndpointName>,
    /// Network to give clients addresses from; may be given for IPv4 and IPv6
    #[arg(long = "pool", env = "VPN_POOL", value_name = "CIDR", value_delimiter = ',')]
    #[arg(default_values = ["10.66.0.0/16", "fd66::/64"])]
    pools: Vec<IpNet>,
}

/// Makes all files or none.
pub(crate) fn init(args: &InitArgs) -> anyhow::Result<()> {
    let mut addresses = Vec::new();
    for (number, pool) in args.pools.iter().enumerate() {
        ensure!(pool.trunc() == *pool, "pool {pool} has bits set behind its prefix; write {}", pool.trunc());
        let overlaps = |other: &IpNet| other.contains(pool) || pool.contains(other);
        if let Some(other) = args.pools[..number].iter().find(|other| overlaps(other)) {
            bail!("pools {other} and {pool} overlap; give one of them");
        }
        addresses.push(first_host(pool).with_context(|| format!("pool {pool} has no room for clients"))?);
    }
    let mut files = NewFiles::new();
    files.folder(&args.dir)?;
    files.folder(&args.dir.join(PEERS_FOLDER))?;
    let config = args.dir.join("server.toml");
    // Without a configuration they are of an `init` that was interrupted, or of somebody who brought them along.
    let may_be_there = !config.exists();
    let identity = write_key(&mut files, &args.dir.join("identity.key"), cli::random_secret(), may_be_there)?;
    let wireguard_key = args.dir.join(WIREGUARD_KEY_FILE);
    write_key(&mut files, &wireguard_key, cli::random_wireguard_key(), may_be_there)?;
    let server = ServerFile { addresses: &addresses, endpoint: args.endpoint.as_ref() };
    files.write(&config, &server.text())?;
    files.keep();
    let public = Identity::from_seed(&identity).public_key();
    let mut report = format!("{} is ready; this server's public key is {public}\n", config.display());
    if args.endpoint.is_none() {
        report += "next: write the server's `endpoint` into it, then run `vpn-server client add NAME`\n";
    } else {
        report += "next: vpn-server client add NAME\n";
    }
    cli::print(report)?;
    Ok(())
}

/// Writes a key, or takes the one that is there where it `may_be_there`.
fn write_key(
    files: &mut NewFiles,
    path: &Path,
    key: SecretBytes<32>,
    may_be_there: bool,
) -> anyhow::Result<SecretBytes<32>> {
    match files.write(path, &key_file_text(&key)) {
        Ok(()) => Ok(key),
        Err(NewFileError::Exists(_)) if may_be_there => {
            let text = read_file(path).with_context(|| format!("{} cannot be read", path.display()))?;
            let mut bytes = decode_key(&text)
                .with_context(|| format!("{} exists already and is no key; move it away", path.display()))?;
            let _ = writeln!(io::stderr(), "{} is there already, and is used", path.display());
            Ok(SecretBytes::take(&mut bytes))
        }
        Err(error) => Err(error.into()),
    }
}
