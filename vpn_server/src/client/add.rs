//! `client add`.

use super::{
    apply, begin,
    files::{free_name, key_file_text},
    handover::{ClientKey, Handover, OutputArgs, parse_key, server_endpoint},
    peers_folder,
    wireguard_key::ensure_wireguard_key,
};
use crate::address::next_free;
use anyhow::{Context as _, bail, ensure};
use clap::{Args, builder::BoolishValueParser};
use ipnet::IpNet;
use jiff::{Span, Zoned, civil::Date, tz::TimeZone};
use std::{
    io::{self, Write as _},
    path::Path,
    str::FromStr,
};
use vpn_core::{
    cli::{self, GlobalArgs},
    config::{Config, NewFiles, PeerFile, PeerName},
    handshake::Protocol,
};

/// The new client.
#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// A name for it: letters, digits, `.`, `_` and `-`
    name: PeerName,
    #[command(flatten)]
    output: OutputArgs,
    /// For a WireGuard app or wg-quick: writes a standard .conf
    #[arg(long, env = "VPN_WIREGUARD", value_parser = BoolishValueParser::new())]
    wireguard: bool,
    /// The client's public key, when it has made its own key: the server then never knows the private one
    #[arg(long, env = "VPN_PUBLIC_KEY", value_name = "KEY", value_parser = parse_key)]
    public_key: Option<[u8; 32]>,
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
    let AddArgs { name, .. } = args;
    let protocol = if args.wireguard { Protocol::Wireguard } else { Protocol::Hybrid };
    let (lock, mut config) = begin(file)?;
    if let Some(peer) = config.peer(name.as_str()) {
        bail!("there is a peer {name} already, at {}:{}", peer.file.display(), peer.at.line);
    }
    server_endpoint(&config)?;
    let destination = args.output.destination(name, protocol, args.public_key.is_some())?;
    let key = ClientKey::new(protocol, args.public_key)?;
    key.check_unused(&config)?;
    let expires = args.expires.map(|expiry| expiry.last_day(today())).transpose()?;
    let addresses = allocate(&config)?;
    match protocol {
        Protocol::Hybrid => {}
        // Stays even if the rest fails: it changes nothing for anybody.
        Protocol::Wireguard => config = ensure_wireguard_key(file, config)?,
    }
    let preshared_key = cli::random_secret();
    let text =
        Handover { config: &config, name, key: &key, preshared_key: &preshared_key, addresses: &addresses }
            .text()?;
    let folder = peers_folder(file);
    let mut files = NewFiles::recorded_in(&folder);
    destination.write(&mut files, &text)?;
    let key_file = free_name(&folder, name, "psk");
    files.write(&folder.join(&key_file), &key_file_text(&preshared_key))?;
    // If nobody took it, there is no client.
    destination.print(global, &text)?;
    let peer = PeerFile {
        name,
        public_key: key.public,
        preshared_key_file: &key_file,
        allowed_ips: &addresses,
        expires,
    };
    // Last: with this file the client exists.
    files.write(&folder.join(free_name(&folder, name, "toml")), &peer.text())?;
    files.keep();
    drop(lock);
    let shown: Vec<String> = addresses.iter().map(|address| address.addr().to_string()).collect();
    let _ = writeln!(io::stderr(), "added {name} ({}){}", shown.join(", "), destination.note());
    apply(global, &config)
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
