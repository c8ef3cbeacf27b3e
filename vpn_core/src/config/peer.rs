//! One `[[peer]]` table.

use super::{
    EndpointName, PeerName,
    fault::{Complaint, Position},
    key::take_secret,
    table::{Source, Table, Value},
};
use crate::{
    asymmetric::{PublicKey, X25519PublicKey},
    base::{KeyTextError, SecretBytes, decode_key},
    handshake::{PeerKey, Protocol},
};
use ipnet::IpNet;
use jiff::civil::Date;
use std::{
    collections::HashSet,
    net::IpAddr,
    path::PathBuf,
    time::{Duration, SystemTime},
};

/// Another node, and what it may do.
#[derive(Debug)]
pub struct PeerConfig {
    /// What people call it; unique.
    pub name: PeerName,
    /// Who it is, and thereby which handshake it speaks; unique.
    pub public_key: PeerKey,
    /// A secret shared with this peer only.
    pub preshared_key: Option<SecretBytes<32>>,
    /// The file that the preshared key came from, when it was not inline.
    pub preshared_key_file: Option<PathBuf>,
    /// What it may send from, and what is sent to it.
    pub allowed_ips: Vec<IpNet>,
    /// Where it is reached, tried in turn; empty when it comes to us.
    pub endpoints: Vec<EndpointName>,
    /// Interval of keepalives even when nothing is to be sent; `None` for never.
    pub persistent_keepalive: Option<Duration>,
    /// Switched off by the administrator when false.
    pub enabled: bool,
    /// The last day, in UTC, on which it is admitted.
    pub expires: Option<Date>,
    /// The file that names it.
    pub file: PathBuf,
    /// Where in that file its table begins.
    pub at: Position,
}

impl PeerConfig {
    /// The handshake that it speaks, as the configuration calls it.
    pub const fn handshake(&self) -> &'static str {
        match self.public_key.protocol() {
            Protocol::Hybrid => "hybrid",
            Protocol::Wireguard => "wireguard",
        }
    }

    /// The moment from which an expiring peer is refused: the end of its last day, in UTC.
    pub fn expires_at(&self) -> Option<SystemTime> {
        let end = self.expires?.tomorrow().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(end.timestamp().into())
    }

    /// Whether it is admitted at `now`: enabled and not expired.
    pub fn is_admitted(&self, now: SystemTime) -> bool {
        self.enabled && !self.has_expired(now)
    }

    /// Whether its last day is over at `now`.
    pub fn has_expired(&self, now: SystemTime) -> bool {
        self.expires_at().is_some_and(|end| now >= end)
    }
}

/// A peer with the places that the checks across peers point at.
pub(super) struct ReadPeer {
    pub(super) peer: PeerConfig,
    pub(super) name_at: Position,
    /// Of `handshake`, or of the table where that is left out.
    pub(super) handshake_at: Position,
    pub(super) public_key_at: Position,
    /// One for each of the allowed IPs.
    pub(super) allowed_ips_at: Vec<Position>,
    /// One for each of the endpoints.
    pub(super) endpoints_at: Vec<Position>,
    pub(super) expires_at: Option<Position>,
}

pub(super) fn read_peer<'t>(source: &mut Source<'t>, mut table: Table<'t>) -> Option<ReadPeer> {
    let at = source.position(table.span());
    let name_value = table.require(source, "name", "\"alice\"");
    let name = name_value.as_ref().and_then(|value| source.parsed::<PeerName>(value));
    let handshake = table.take("handshake");
    let handshake_at = handshake.as_ref().map_or(at, |value| source.position(&value.span));
    let protocol = handshake.map_or(Some(Protocol::Hybrid), |value| read_handshake(source, &value));
    let key_value = table.require(source, "public_key", "\"…\" (the peer runs `pubkey` to show it)");
    let public_key = key_value.as_ref().zip(protocol);
    let public_key = public_key.and_then(|(value, protocol)| read_public_key(source, value, protocol));
    let preshared = take_secret(source, &mut table, "preshared_key", "preshared_key_file");
    let allowed_value = table.require(source, "allowed_ips", "[\"10.66.0.2/32\"]");
    let allowed_ips = allowed_value.map(|value| read_allowed_ips(source, &value));
    let endpoints = table.take("endpoint").map(|value| read_endpoints(source, &value)).unwrap_or_default();
    let keepalive = table.take("persistent_keepalive").and_then(|value| source.number(&value, 0..=65535));
    let enabled = table.take("enabled").map_or(Some(true), |value| source.boolean(&value));
    let expires_value = table.take("expires");
    let expires = expires_value.as_ref().and_then(|value| source.date(value));
    let expires_at = expires_value.as_ref().map(|value| source.position(&value.span));
    table.finish(source);
    let preshared = preshared.ok()?;
    let (preshared_key, preshared_key_file) =
        preshared.map_or((None, None), |secret| (Some(secret.key), secret.file));
    let (allowed_ips, allowed_ips_at) = allowed_ips?.into_iter().unzip();
    let (endpoints, endpoints_at) = endpoints.into_iter().unzip();
    Some(ReadPeer {
        peer: PeerConfig {
            name: name?,
            public_key: public_key?,
            preshared_key,
            preshared_key_file,
            allowed_ips,
            endpoints,
            persistent_keepalive: keepalive
                .and_then(|seconds| u64::try_from(seconds).ok())
                .filter(|seconds| *seconds > 0)
                .map(Duration::from_secs),
            enabled: enabled?,
            expires,
            file: source.file.to_owned(),
            at,
        },
        handshake_at,
        name_at: source.position(&name_value?.span),
        public_key_at: source.position(&key_value?.span),
        allowed_ips_at,
        endpoints_at,
        expires_at,
    })
}

/// Reads an allowed IP: a network without host bits, or one address.
pub(super) fn parse_allowed_ip(text: &str) -> Result<IpNet, Complaint> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet = text.parse().map_err(|_| {
        Complaint::new(
            format!("{text:?} is not a network"),
            "write one such as \"10.66.0.2/32\" or \"fd66::2/128\"",
        )
    })?;
    if network.trunc() != network {
        let remedy = format!(
            "write \"{}\" for the network, or \"{}/{}\" for the one address",
            network.trunc(),
            network.addr(),
            network.max_prefix_len()
        );
        return Err(Complaint::new(format!("{text:?} has bits set behind its prefix"), remedy));
    }
    Ok(network)
}

fn read_public_key<'t>(source: &mut Source<'t>, value: &Value<'t>, protocol: Protocol) -> Option<PeerKey> {
    let text = source.string(value)?;
    source.accept(&value.span, parse_public_key(text, protocol))
}

/// Reads a peer's public key. The text is not repeated: it may be a private key that was pasted by mistake.
fn parse_public_key(text: &str, protocol: Protocol) -> Result<PeerKey, Complaint> {
    let remedy = match protocol {
        Protocol::Hybrid => "copy the 44 characters that the peer's `pubkey` prints",
        Protocol::Wireguard => "copy the 44 characters that the peer's `wg pubkey` prints",
    };
    let bytes = decode_key(text).map_err(|error: KeyTextError| Complaint::new(error.to_string(), remedy))?;
    match protocol {
        Protocol::Hybrid if PublicKey(bytes).is_acceptable() => Ok(PublicKey(bytes).into()),
        Protocol::Hybrid => Err(Complaint::new("this is not a usable Ed25519 public key", remedy)),
        Protocol::Wireguard if X25519PublicKey(bytes).is_acceptable() => Ok(X25519PublicKey(bytes).into()),
        Protocol::Wireguard => Err(Complaint::new("this is not a usable X25519 public key", remedy)),
    }
}

fn read_allowed_ips<'t>(source: &mut Source<'t>, value: &Value<'t>) -> Vec<(IpNet, Position)> {
    let mut networks = Vec::new();
    let mut seen = HashSet::new();
    for item in source.strings(value) {
        let Some(text) = source.string(&item) else { continue };
        let at = source.position(&item.span);
        let network = parse_allowed_ip(text).and_then(|network| {
            if !seen.insert(network) {
                return Err(Complaint::new(format!("{network} is given twice"), "remove one"));
            }
            Ok(network)
        });
        networks.extend(source.accept(&item.span, network).map(|network| (network, at)));
    }
    networks
}

fn read_endpoints<'t>(source: &mut Source<'t>, value: &Value<'t>) -> Vec<(EndpointName, Position)> {
    let items = source.one_or_more_strings(value);
    items.iter().filter_map(|item| Some((source.parsed(item)?, source.position(&item.span)))).collect()
}

fn read_handshake<'t>(source: &mut Source<'t>, value: &Value<'t>) -> Option<Protocol> {
    match source.string(value)? {
        "hybrid" => Some(Protocol::Hybrid),
        "wireguard" => Some(Protocol::Wireguard),
        other => {
            let message = format!("handshake = {other:?} is unknown");
            source.fault(&value.span, Complaint::new(message, "write \"hybrid\" or \"wireguard\""));
            None
        }
    }
}
