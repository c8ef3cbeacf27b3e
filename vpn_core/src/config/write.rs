//! The text of the files that the programs write. Every value is a validated type whose printed form needs no
//! escaping in TOML.

use super::{EndpointName, Mtu, PeerName};
use crate::{
    asymmetric::PublicKey,
    base::{SecretBytes, encode_key},
    handshake::{PeerKey, Protocol},
};
use ipnet::IpNet;
use jiff::civil::Date;
use std::{
    fmt::{Display, Write as _},
    net::IpAddr,
};
use zeroize::Zeroizing;

/// Seconds between a new client's keepalives: below the 30 s after which common NATs forget a UDP flow.
pub(super) const CLIENT_KEEPALIVE: u16 = 25;
/// Name of the file that holds a new server's WireGuard key, beside `server.toml`.
pub const WIREGUARD_KEY_FILE: &str = "wireguard.key";

/// A new `server.toml`.
#[derive(Debug)]
pub struct ServerFile<'a> {
    /// The server's addresses inside the tunnel.
    pub addresses: &'a [IpNet],
    /// Where clients reach it, when known already.
    pub endpoint: Option<&'a EndpointName>,
}

/// A new file in `peers.d`.
#[derive(Debug)]
pub struct PeerFile<'a> {
    /// The peer's name.
    pub name: &'a PeerName,
    /// Who it is, and which handshake it speaks.
    pub public_key: PeerKey,
    /// Name of the file beside this one that holds the preshared key.
    pub preshared_key_file: &'a str,
    /// Its addresses.
    pub allowed_ips: &'a [IpNet],
    /// Its last day.
    pub expires: Option<Date>,
}

/// A new client's own configuration.
#[derive(Debug)]
pub struct ClientFile<'a> {
    /// The client's name, for the first line.
    pub name: &'a PeerName,
    /// Its private key, or where it is to put it.
    pub identity: ClientIdentity<'a>,
    /// Its addresses: one host each.
    pub addresses: &'a [IpNet],
    /// The networks that these are from, which are the tunnel's: no local network may claim a part of them.
    pub networks: &'a [IpNet],
    /// How long packets in the tunnel may be.
    pub mtu: Mtu,
    /// DNS servers to use while connected.
    pub dns: &'a [IpAddr],
    /// The network key, where the server has one.
    pub network_key: Option<&'a SecretBytes<32>>,
    /// The server's identity.
    pub server: PublicKey,
    /// Where it is.
    pub endpoint: &'a EndpointName,
    /// The secret that both share.
    pub preshared_key: &'a SecretBytes<32>,
}

/// Where a client's private key is.
#[derive(Debug)]
pub enum ClientIdentity<'a> {
    /// In the client's file.
    Inline(&'a SecretBytes<32>),
    /// With the client, who made it: the file says where to put it.
    WithClient,
}

impl ServerFile<'_> {
    /// The file's text.
    pub fn text(&self) -> String {
        let endpoint = match self.endpoint {
            Some(endpoint) => format!("endpoint = \"{endpoint}\""),
            None => "# endpoint = \"vpn.example.org:51820\"".to_owned(),
        };
        format!(
            "\
# A VPN server. `vpn-server check` says what is wrong with it; `vpn-server reload` applies changes of peers.
# Clients are in peers.d; `vpn-server client add NAME` makes one.

[interface]
name = \"vpn0\"
identity_file = \"identity.key\"
# What WireGuard peers know this server by; leave it out where there are none.
wireguard_key_file = \"{WIREGUARD_KEY_FILE}\"
listen = \"[::]:51820\"
# This server's addresses; clients get theirs from the same networks.
addresses = {addresses}
# network_key_file = \"network.key\"    # a secret of all nodes, from `genpsk`: nobody without it gets an answer
# mtu = 1420                          # stated here: also written into the clients' files
# dns = [\"192.0.2.53\"]                # handed to new clients

[gateway]
nat = true
egress = \"auto\"                      # or the name of an interface
client_to_client = true
# Where clients reach this server; `client add` writes it into their files.
{endpoint}

# Without this table nobody but root may ask this server for anything.
# [control]
# group = \"vpn\"                       # its members see the status
",
            addresses = list(self.addresses),
        )
    }
}

impl PeerFile<'_> {
    /// The file's text.
    pub fn text(&self) -> String {
        let Self { name, public_key, preshared_key_file, .. } = self;
        let mut text = format!(
            "[[peer]]\nname = \"{name}\"\npublic_key = \"{public_key}\"\n\
             preshared_key_file = \"{preshared_key_file}\"\nallowed_ips = {}\n",
            list(self.allowed_ips)
        );
        match public_key.protocol() {
            Protocol::Hybrid => {}
            Protocol::Wireguard => text.push_str("handshake = \"wireguard\"\n"),
        }
        if let Some(expires) = self.expires {
            text.push_str("# The last day, in UTC, on which this peer is admitted.\n");
            // Writing to a String cannot fail.
            let _ = writeln!(text, "expires = {expires}");
        }
        text
    }
}

impl ClientFile<'_> {
    /// The file's text, which holds secrets.
    pub fn text(&self) -> Zeroizing<String> {
        // Room for everything at once: a String that grows leaves copies of the keys behind.
        let mut text =
            Zeroizing::new(String::with_capacity(4096 + 64 * (self.addresses.len() + self.dns.len())));
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "# VPN client {}. Keep this file private: it holds secret keys.", self.name)?;
        writeln!(text, "# Put it in /etc/vpn/clients/NAME.toml, chmod 600, and run: vpn-client up NAME\n")?;
        writeln!(text, "[interface]\nname = \"vpn0\"")?;
        match self.identity {
            ClientIdentity::Inline(key) => {
                writeln!(text, "identity = \"{}\"", *Zeroizing::new(encode_key(key.expose())))?;
            }
            ClientIdentity::WithClient => {
                writeln!(
                    text,
                    "# The private key whose public half the server was given; only you have it."
                )?;
                writeln!(text, "# Put it in this file beside this one, and chmod 600 it.")?;
                writeln!(text, "identity_file = \"identity.key\"")?;
            }
        }
        writeln!(text, "addresses = {}", list(self.addresses))?;
        match self.mtu {
            Mtu::Auto => {} // the client finds out what its own path takes
            Mtu::Fixed(mtu) => writeln!(text, "mtu = {mtu}")?,
        }
        if !self.dns.is_empty() {
            writeln!(text, "dns = {}", list(self.dns))?;
        }
        if let Some(key) = self.network_key {
            writeln!(text, "network_key = \"{}\"", *Zeroizing::new(encode_key(key.expose())))?;
        }
        let preshared = Zeroizing::new(encode_key(self.preshared_key.expose()));
        writeln!(text, "\n[[peer]]\nname = \"server\"\npublic_key = \"{}\"", self.server)?;
        writeln!(text, "endpoint = \"{}\"\npreshared_key = \"{}\"", self.endpoint, *preshared)?;
        let everything = ["0.0.0.0/0", "::/0"].iter().map(ToString::to_string);
        let allowed_ips: Vec<String> =
            everything.chain(self.networks.iter().map(|network| network.trunc().to_string())).collect();
        writeln!(text, "allowed_ips = {}\npersistent_keepalive = {CLIENT_KEEPALIVE}", list(&allowed_ips))
    }
}

/// A TOML list of strings.
fn list<T: Display>(items: &[T]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| format!("\"{item}\"")).collect();
    format!("[{}]", quoted.join(", "))
}
