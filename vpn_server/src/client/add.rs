//! `client add`.

use super::{apply, load, lock_peers, peers_folder};
use crate::address::next_free;
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use ipnet::IpNet;
use jiff::{Span, Zoned, civil::Date, tz::TimeZone};
use std::{
    io::{self, Write as _},
    path::{Path, PathBuf},
    str::FromStr,
};
use vpn_core::{
    asymmetric::{Identity, PublicKey},
    base::{SecretBytes, encode_key},
    cli::{self, GlobalArgs},
    config::{ClientFile, ClientIdentity, Config, EndpointName, NewFiles, PeerFile, PeerName},
};
use zeroize::Zeroizing;

/// The new client.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// A name for it: letters, digits, `.`, `_` and `-`
    name: PeerName,
    /// Where to write the client's file; `-` for the standard output [default: NAME.toml]
    #[arg(long, env = "VPN_OUT", value_name = "FILE")]
    out: Option<PathBuf>,
    /// The client's public key, when it has made its own key: the server then never knows the private one
    #[arg(long, env = "VPN_PUBLIC_KEY", value_name = "KEY", value_parser = parse_public_key)]
    public_key: Option<PublicKey>,
    /// Last day of the client: a number of days, as in 90d, or a date, as in 2027-01-31
    #[arg(long, env = "VPN_EXPIRES", value_name = "90d|DATE")]
    expires: Option<Expiry>,
}

/// When a client's access ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    Days(i32),
    On(Date),
}

/// Makes everything or nothing: the client's file, its preshared key and its entry in peers.d.
pub(super) fn add(global: &GlobalArgs, file: &Path, args: &AddArgs) -> anyhow::Result<()> {
    let lock = lock_peers(file)?;
    let config = load(file)?;
    let endpoint = check_request(&config, args)?;
    let expires = args.expires.map(|expiry| expiry.last_day(today())).transpose()?;
    let addresses = allocate(&config)?;
    let key = cli::random_secret();
    let (public_key, identity) = match args.public_key {
        Some(public_key) => (public_key, ClientIdentity::WithClient),
        None => (Identity::from_seed(&key).public_key(), ClientIdentity::Inline(&key)),
    };
    let preshared_key = cli::random_secret();
    let text = ClientFile {
        name: &args.name,
        identity,
        addresses: &addresses,
        mtu: config.interface.mtu,
        dns: &config.interface.dns,
        network_key: config.interface.network_key.as_ref(),
        server: config.interface.identity.public_key(),
        endpoint,
        preshared_key: &preshared_key,
    }
    .text();
    let mut files = NewFiles::new();
    let out = args.out.clone().unwrap_or_else(|| format!("{}.toml", args.name).into());
    let to_stdout = out.as_os_str() == "-";
    if !to_stdout {
        files.write(&out, &text)?;
    }
    write_peer(&mut files, file, args, public_key, &addresses, expires, &preshared_key)?;
    if to_stdout {
        // The only copy of the client's key: if nobody took it, there is no client.
        cli::print(text.as_bytes())?;
    }
    files.keep();
    drop(lock);
    let shown: Vec<String> = addresses.iter().map(|address| address.addr().to_string()).collect();
    let place = if to_stdout { String::new() } else { format!("; its file is {}", out.display()) };
    let _ = writeln!(io::stderr(), "added {} ({}){place}", args.name, shown.join(", "));
    apply(global, &config)
}

/// Refuses what would make an invalid configuration; returns the endpoint that the client is to use.
fn check_request<'a>(config: &'a Config, args: &AddArgs) -> anyhow::Result<&'a EndpointName> {
    if let Some(peer) = config.peer(args.name.as_str()) {
        bail!("there is a peer {} already, at {}:{}", args.name, peer.file.display(), peer.at.line);
    }
    if let Some(key) = args.public_key {
        if let Some(peer) = config.peers.iter().find(|peer| peer.public_key == key.into()) {
            bail!("peer {} has this public key already; each client has a key of its own", peer.name);
        }
        ensure!(key != config.interface.identity.public_key(), "this is the server's own public key");
    }
    config.gateway.as_ref().and_then(|gateway| gateway.endpoint.as_ref()).with_context(|| {
        let file = config.file.display();
        format!("{file}: [gateway] has no `endpoint`, which the client needs; add endpoint = \"HOST:PORT\"")
    })
}

/// One free host address from each of the server's networks.
fn allocate(config: &Config) -> anyhow::Result<Vec<IpNet>> {
    let mut taken: Vec<IpNet> =
        config.peers.iter().flat_map(|peer| peer.allowed_ips.iter().copied()).collect();
    taken.extend(config.interface.addresses.iter().map(|own| IpNet::from(own.addr())));
    let networks = config.interface.addresses.iter().filter(|own| own.prefix_len() < own.max_prefix_len());
    let mut addresses = Vec::new();
    for network in networks {
        let free = next_free(network, &taken).with_context(|| {
            let (file, network) = (config.file.display(), network.trunc());
            format!(
                "no address is free in {network}; remove a client, or give `addresses` in {file} a shorter prefix \
                 and restart the server"
            )
        })?;
        addresses.push(IpNet::from(free));
        taken.push(IpNet::from(free));
    }
    let file = config.file.display();
    ensure!(
        !addresses.is_empty(),
        "{file}: `addresses` has no network with room for clients; add one, as in \"10.66.0.1/16\""
    );
    Ok(addresses)
}

fn write_peer(
    files: &mut NewFiles,
    file: &Path,
    args: &AddArgs,
    public_key: PublicKey,
    addresses: &[IpNet],
    expires: Option<Date>,
    preshared_key: &SecretBytes<32>,
) -> anyhow::Result<()> {
    let folder = peers_folder(file);
    let key_file = format!("{}.psk", args.name);
    let key_text = Zeroizing::new(encode_key(preshared_key.expose()) + "\n");
    files.write(&folder.join(&key_file), &key_text)?;
    let peer = PeerFile {
        name: &args.name,
        public_key,
        preshared_key_file: &key_file,
        allowed_ips: addresses,
        expires,
    };
    // Last: with this file the client exists.
    files.write(&folder.join(format!("{}.toml", args.name)), &peer.text())?;
    Ok(())
}

fn parse_public_key(text: &str) -> Result<PublicKey, String> {
    let key = PublicKey::from_text(text).map_err(|error| error.to_string())?;
    if key.is_acceptable() { Ok(key) } else { Err("not a usable Ed25519 public key".to_owned()) }
}

fn today() -> Date {
    Zoned::now().with_time_zone(TimeZone::UTC).date()
}

impl Expiry {
    fn last_day(self, today: Date) -> anyhow::Result<Date> {
        let day = match self {
            Self::Days(days) => {
                today.checked_add(Span::new().try_days(days)?).context("that is too far away")?
            }
            Self::On(day) => day,
        };
        ensure!(day >= today, "{day} is over already (it is {today} in UTC)");
        Ok(day)
    }
}

impl FromStr for Expiry {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Some(days) = text.strip_suffix('d').and_then(|days| days.parse::<u16>().ok()) {
            return Ok(Self::Days(days.into()));
        }
        text.parse()
            .map(Self::On)
            .map_err(|_| "write a number of days, as in 90d, or a date, as in 2027-01-31")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_days_from_today_or_a_date_that_is_not_over() {
        let today = Date::constant(2026, 11, 21);
        let day = |text: &str| text.parse::<Expiry>().expect(text).last_day(today);
        assert_eq!(day("90d").expect("valid"), Date::constant(2027, 2, 19));
        assert_eq!(day("2026-11-21").expect("valid"), today);
        assert!(day("2026-11-20").is_err());
        for bad in ["90", "d", "-1d", "2026-02-30", "90w", ""] {
            assert!(bad.parse::<Expiry>().is_err(), "{bad}");
        }
    }
}
