//! `client list` and `client show`.

use super::find;
use serde_json::{Value, json};
use std::{fmt::Write as _, time::SystemTime};
use vpn_core::{
    cli::{self, GlobalArgs},
    config::{Config, PeerConfig, PeerName},
};

/// Prints a line for each peer, or a JSON list.
pub(super) fn list(global: &GlobalArgs, config: &Config) -> anyhow::Result<()> {
    let now = SystemTime::now();
    if global.json {
        let peers: Vec<Value> = config.peers.iter().map(|peer| description(peer, now)).collect();
        cli::print(Value::from(peers).to_string() + "\n")?;
        return Ok(());
    }
    let width = config.peers.iter().map(|peer| peer.name.as_str().len()).max().unwrap_or(0);
    let mut text = String::new();
    for peer in &config.peers {
        let (name, state, key) = (&peer.name, state(peer, now), peer.public_key);
        let handshake = peer.handshake();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name:width$}  {state:8}  {handshake:9}  {key}  {}", addresses(peer));
    }
    cli::print(text)?;
    Ok(())
}

/// Prints one peer.
pub(super) fn show(global: &GlobalArgs, config: &Config, name: &PeerName) -> anyhow::Result<()> {
    let peer = find(config, name)?;
    let now = SystemTime::now();
    if global.json {
        cli::print(description(peer, now).to_string() + "\n")?;
        return Ok(());
    }
    let endpoints: Vec<String> = peer.endpoints.iter().map(ToString::to_string).collect();
    let preshared = if peer.preshared_key.is_some() { "yes" } else { "no" };
    let expires = peer.expires.map_or_else(|| "never".to_owned(), |day| format!("after {day} (UTC)"));
    let fields = [
        ("name", peer.name.to_string()),
        ("public key", peer.public_key.to_string()),
        ("handshake", peer.handshake().to_owned()),
        ("state", state(peer, now).to_owned()),
        ("allowed ips", addresses(peer)),
        ("endpoint", if endpoints.is_empty() { "(it comes to us)".to_owned() } else { endpoints.join(", ") }),
        ("preshared key", preshared.to_owned()),
        ("expires", expires),
        ("defined at", format!("{}:{}", peer.file.display(), peer.at.line)),
    ];
    let lines: Vec<String> = fields.iter().map(|(field, value)| format!("{field:<14} {value}")).collect();
    cli::print(lines.join("\n") + "\n")?;
    Ok(())
}

fn state(peer: &PeerConfig, now: SystemTime) -> &'static str {
    match (peer.enabled, peer.has_expired(now)) {
        (false, _) => "disabled",
        (true, true) => "expired",
        (true, false) => "enabled",
    }
}

fn addresses(peer: &PeerConfig) -> String {
    let addresses: Vec<String> = peer.allowed_ips.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}

fn description(peer: &PeerConfig, now: SystemTime) -> Value {
    json!({
        "name": peer.name,
        "public_key": peer.public_key.to_string(),
        "handshake": peer.handshake(),
        "enabled": peer.enabled,
        "expired": peer.has_expired(now),
        "expires": peer.expires.map(|day| day.to_string()),
        "allowed_ips": peer.allowed_ips,
        "endpoint": peer.endpoints.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "preshared_key": peer.preshared_key.is_some(),
        "file": peer.file,
        "line": peer.at.line,
    })
}
