//! The text of a resolver file (resolv.conf(5)).
#![cfg_attr(
    not(any(test, target_os = "linux")),
    expect(dead_code, reason = "no other system has its name servers told by a file")
)]

use crate::journal::{InterfaceName, marker};
use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv6Addr},
};

/// A name server as a resolver file names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Server {
    /// Its address.
    pub address: IpAddr,
    /// The interface behind which a link-local address is meant, `eth0` in `fe80::1%eth0`.
    pub zone: Option<String>,
}

/// What a resolver file says, as far as we need it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// The servers in order.
    pub servers: Vec<Server>,
    /// Domains in which short names are looked for.
    pub search: Vec<String>,
}

impl ResolvConf {
    /// Reads `text`; what is not understood is passed over, as the C library does.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => found.servers.extend(words.next().and_then(Server::parse)),
                // The last of these lines counts.
                Some("search" | "domain") => found.search = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        found
    }
}

impl Server {
    fn parse(text: &str) -> Option<Self> {
        match text.split_once('%') {
            Some((address, zone)) => {
                let address = address.parse::<Ipv6Addr>().ok()?;
                Some(Self { address: address.into(), zone: Some(zone.to_owned()) })
            }
            None => Some(Self { address: text.parse().ok()?, zone: None }),
        }
    }
}

/// The lines that name `servers`.
pub(super) fn server_lines(servers: &[IpAddr]) -> String {
    servers.iter().fold(String::new(), |mut text, server| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "nameserver {server}");
        text
    })
}

/// The file that `interface` puts in place: its servers and no others.
pub(super) fn file_text(interface: &InterfaceName, servers: &[IpAddr]) -> String {
    format!("{}\n{}", marker(interface), server_lines(servers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_of_both_families_with_zones_and_comments_are_read() {
        let text = "# nameserver 192.0.2.9\ndomain old.test\nnameserver\t192.0.2.1 # router\n\
                    nameserver fe80::1%eth0\nnameserver nonsense\nsearch a.test b.test\noptions edns0\n";
        let found = ResolvConf::parse(text);
        let server = |address: &str, zone: Option<&str>| Server {
            address: address.parse().unwrap(),
            zone: zone.map(str::to_owned),
        };
        assert_eq!(found.servers, [server("192.0.2.1", None), server("fe80::1", Some("eth0"))]);
        assert_eq!(found.search, ["a.test", "b.test"]);
    }

    #[test]
    fn our_file_lists_our_servers_and_no_others() {
        let servers: Vec<IpAddr> = ["10.66.0.1", "fd66::1"].map(|server| server.parse().unwrap()).to_vec();
        let text = file_text(&"vpn0".parse().unwrap(), &servers);
        let listed: Vec<IpAddr> =
            ResolvConf::parse(&text).servers.iter().map(|server| server.address).collect();
        assert_eq!(listed, servers);
    }
}
