//! A WireGuard client's own configuration, as `wg-quick` and the phone apps read it.

use super::{EndpointName, PeerName, write::CLIENT_KEEPALIVE};
use crate::{
    asymmetric::X25519PublicKey,
    base::{SecretBytes, encode_key},
};
use ipnet::IpNet;
use std::{
    fmt::{Display, Write as _},
    net::IpAddr,
};
use zeroize::Zeroizing;

/// Longest name of a network interface, in bytes, and so of a file that `wg-quick` takes, without its `.conf`.
const MAX_INTERFACE_NAME: usize = 15;

/// A WireGuard client's file. Every value is a validated type whose printed form needs no escaping.
#[derive(Debug)]
pub struct WireguardFile<'a> {
    /// The client's name, for the first line.
    pub name: &'a PeerName,
    /// Its private key; `None` where the client has made its own and puts it in by itself.
    pub private_key: Option<&'a SecretBytes<32>>,
    /// Its addresses: one host each.
    pub addresses: &'a [IpNet],
    /// MTU of the tunnel, in bytes.
    pub mtu: u16,
    /// DNS servers to use while connected.
    pub dns: &'a [IpAddr],
    /// The server's WireGuard key.
    pub server: X25519PublicKey,
    /// Where it is.
    pub endpoint: &'a EndpointName,
    /// The secret that both share.
    pub preshared_key: &'a SecretBytes<32>,
}

impl WireguardFile<'_> {
    /// The file's text, which holds secrets. Short, since it has to fit into a QR code.
    pub fn text(&self) -> Zeroizing<String> {
        // Room for everything at once: a String that grows leaves copies of the keys behind.
        let mut text =
            Zeroizing::new(String::with_capacity(2048 + 64 * (self.addresses.len() + self.dns.len())));
        // Writing to a String cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        writeln!(text, "# {}: keep private\n[Interface]", self.name)?;
        match self.private_key {
            Some(key) => writeln!(text, "PrivateKey = {}", *Zeroizing::new(encode_key(key.expose())))?,
            None => writeln!(text, "# PrivateKey = the key whose public half the server was given")?,
        }
        writeln!(text, "Address = {}", list(self.addresses))?;
        if !self.dns.is_empty() {
            writeln!(text, "DNS = {}", list(self.dns))?;
        }
        writeln!(text, "MTU = {}\n", self.mtu)?;
        let preshared = Zeroizing::new(encode_key(self.preshared_key.expose()));
        writeln!(text, "[Peer]\nPublicKey = {}", encode_key(&self.server.0))?;
        writeln!(text, "PresharedKey = {}\nAllowedIPs = 0.0.0.0/0, ::/0", *preshared)?;
        writeln!(text, "Endpoint = {}\nPersistentKeepalive = {CLIENT_KEEPALIVE}", self.endpoint)
    }

    /// Whether `wg-quick` takes a file of this name: it names the interface after it.
    pub fn suits_wg_quick(file_name: &str) -> bool {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_=+.-".contains(c);
        file_name.strip_suffix(".conf").is_some_and(|interface| {
            (1..=MAX_INTERFACE_NAME).contains(&interface.len()) && interface.chars().all(allowed)
        })
    }
}

fn list<T: Display>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    items.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_the_one_that_wireguard_documents() {
        let (name, endpoint) = ("alice".parse().expect("a name"), "[2001:db8::1]:51820".parse());
        let secret = SecretBytes::new([1; 32]);
        let addresses: Vec<IpNet> =
            ["10.66.0.2/32", "fd66::2/128"].iter().map(|text| text.parse().expect("a network")).collect();
        let mut file = WireguardFile {
            name: &name,
            private_key: Some(&secret),
            addresses: &addresses,
            mtu: 1420,
            dns: &["192.0.2.53".parse().expect("an address")],
            server: X25519PublicKey([2; 32]),
            endpoint: &endpoint.expect("an endpoint"),
            preshared_key: &secret,
        };
        let key = encode_key(&[1; 32]);
        let expected = format!(
            "# alice: keep private\n[Interface]\nPrivateKey = {key}\nAddress = 10.66.0.2/32, fd66::2/128\n\
             DNS = 192.0.2.53\nMTU = 1420\n\n[Peer]\nPublicKey = {}\nPresharedKey = {key}\n\
             AllowedIPs = 0.0.0.0/0, ::/0\nEndpoint = [2001:db8::1]:51820\nPersistentKeepalive = 25\n",
            encode_key(&[2; 32])
        );
        assert_eq!(*file.text(), expected);
        file.private_key = None;
        let own = "# PrivateKey = the key whose public half the server was given\n";
        assert_eq!(*file.text(), expected.replace(&format!("PrivateKey = {key}\n"), own));
    }

    #[test]
    fn a_file_name_suits_wg_quick_if_it_is_an_interface_name() {
        for (name, suits) in [
            ("alice.conf", true),
            ("a=b+c_d.e-f.conf", true),
            ("fifteen-letters.conf", true),
            ("sixteen-letters-.conf", false),
            ("alice.toml", false),
            (".conf", false),
            ("a b.conf", false),
        ] {
            assert_eq!(WireguardFile::suits_wg_quick(name), suits, "{name}");
        }
    }
}
