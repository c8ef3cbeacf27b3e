//! Names that a configuration gives: of peers, interfaces and endpoints.

use super::fault::Complaint;
use crate::journal::{InterfaceName, InterfaceNameError};
use serde::Serialize;
use std::{fmt, net::IpAddr, net::Ipv6Addr, str::FromStr};

/// Longest name of a peer, in bytes: it names files too, which may be 255 bytes with their suffixes.
const MAX_PEER_NAME: usize = 64;
/// Longest name in the DNS, in characters (RFC 1035).
const MAX_HOST_NAME: usize = 253;

/// Why a text is not a name of the wanted kind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}; {remedy}")]
pub struct NameError {
    message: String,
    remedy: String,
}

impl NameError {
    fn new(message: String, remedy: impl Into<String>) -> Self {
        Self { message, remedy: remedy.into() }
    }
}

impl From<NameError> for Complaint {
    fn from(error: NameError) -> Self {
        Self::new(error.message, error.remedy)
    }
}

impl From<InterfaceNameError> for Complaint {
    fn from(error: InterfaceNameError) -> Self {
        Self::new(error.to_string(), "choose a short one, such as \"vpn0\"")
    }
}

/// What a person calls a peer: letters, digits, `.`, `_` and `-`, so that it can also name a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct PeerName(String);

/// Where a peer is reached, as written: a host name or address with a port. Resolved when it is used, since the
/// answer may change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndpointName {
    /// A name for the DNS, or an address (IPv6 without brackets).
    pub host: String,
    /// The interface whose link a link-local address is on, by its name or number. It may be missing for now.
    pub zone: Option<String>,
    /// The UDP port; never 0.
    pub port: u16,
}

impl PeerName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PeerName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
        if starts_well && text.len() <= MAX_PEER_NAME && text.chars().all(allowed) {
            return Ok(Self(text.to_owned()));
        }
        let remedy = format!(
            "use up to {MAX_PEER_NAME} letters, digits, `.`, `_` and `-`, beginning with a letter or digit"
        );
        Err(NameError::new(format!("{text:?} cannot name a peer"), remedy))
    }
}

impl FromStr for EndpointName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if text.parse::<Ipv6Addr>().is_ok() {
            let remedy = format!("write \"[{text}]:51820\"");
            return Err(NameError::new(format!("endpoint {text:?} has no port"), remedy));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            let remedy = format!("write \"{text}:51820\"");
            return Err(NameError::new(format!("endpoint {text:?} has no port"), remedy));
        };
        let Some(port) = port.parse::<u16>().ok().filter(|port| *port != 0) else {
            let remedy = "end it with a port from 1 to 65535, as in \"vpn.example.org:51820\"";
            return Err(NameError::new(format!("endpoint {text:?} has no valid port"), remedy));
        };
        let invalid = || {
            let remedy = "write a host name, an IPv4 address or an IPv6 address in brackets, then a port";
            NameError::new(format!("endpoint {text:?} has no valid host"), remedy)
        };
        let (host, zone) = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(inside) => {
                let (host, zone) =
                    inside.split_once('%').map_or((inside, None), |(host, zone)| (host, Some(zone)));
                let address: Ipv6Addr = host.parse().map_err(|_| invalid())?;
                check_zone(address, zone, port)?;
                (host, zone)
            }
            None if is_host(host) => (host, None),
            None => return Err(invalid()),
        };
        Ok(Self { host: host.to_owned(), zone: zone.map(str::to_owned), port })
    }
}

/// Refuses a link-local address without the link that it is on, and any other address with one.
fn check_zone(address: Ipv6Addr, zone: Option<&str>, port: u16) -> Result<(), NameError> {
    match zone {
        None if address.is_unicast_link_local() => {
            let message =
                format!("endpoint {address} is a link-local address, of which every link has its own");
            let remedy = format!("name the interface to that link, as in \"[{address}%eth0]:{port}\"");
            Err(NameError::new(message, remedy))
        }
        Some(zone) if !address.is_unicast_link_local() => {
            let message = format!("endpoint {address} is no link-local address, so {zone:?} says nothing");
            Err(NameError::new(message, format!("write \"[{address}]:{port}\"")))
        }
        Some(zone) => match InterfaceName::new(zone) {
            Ok(_) => Ok(()),
            Err(error) => {
                let remedy = format!("name an interface, as in \"[{address}%eth0]:{port}\"");
                Err(NameError::new(error.to_string(), remedy))
            }
        },
        None => Ok(()),
    }
}

/// Whether `text` is an IPv4 address or could be a name in the DNS.
fn is_host(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    // Digits and dots only are meant as an address; a resolver would read "10.1" as 10.0.0.1.
    if text.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return text.parse::<IpAddr>().is_ok();
    }
    text.len() <= MAX_HOST_NAME && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for EndpointName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.zone {
            Some(zone) => write!(f, "[{}%{zone}]:{}", self.host, self.port),
            None if self.host.contains(':') => write!(f, "[{}]:{}", self.host, self.port),
            None => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_name_can_always_name_a_file_in_peers_d() {
        for good in ["alice", "Bob-2", "site.paris", "_x"] {
            assert!(good.parse::<PeerName>().is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "-rf", "a/b", "a b", "ü", &"x".repeat(65), "a\n"] {
            assert!(bad.parse::<PeerName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn endpoints_are_host_and_port_and_survive_printing() {
        let good = ["vpn.example.org:51820", "192.0.2.1:1", "[2001:db8::1]:65535", "gw_1.local.:7"];
        for good in good.into_iter().chain(["[fe80::1%eth0]:51820", "[fe80::1%7]:1", "[fe80::1%wlan0.5]:1"]) {
            assert_eq!(good.parse::<EndpointName>().expect(good).to_string(), good);
        }
        let bad =
            ["vpn.example.org", "2001:db8::1", "a:0", "a:70000", ":5", "[x]:5", "10.1:5", "a b:5", "-a:5"];
        for bad in bad {
            assert!(bad.parse::<EndpointName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_link_local_address_names_its_link_and_no_other_address_does() {
        let remedy = |text: &str| text.parse::<EndpointName>().expect_err(text).to_string();
        let missing = remedy("[fe80::1]:51820");
        assert!(missing.contains("as in \"[fe80::1%eth0]:51820\""), "{missing}");
        let needless = remedy("[2001:db8::1%eth0]:51820");
        assert!(needless.contains("write \"[2001:db8::1]:51820\""), "{needless}");
        for bad in [
            "[fe80::1%]:1",
            "[fe80::1%a/b]:1",
            "[fe80::1%eth0%1]:1",
            "[fe80::1%no-such-long-name]:1",
            "fe80::1%eth0:1",
        ] {
            assert!(bad.parse::<EndpointName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_ipv6_address_without_port_is_told_how_to_write_it() {
        let error = "2001:db8::1".parse::<EndpointName>().expect_err("no port");
        assert!(error.to_string().contains("write \"[2001:db8::1]:51820\""), "{error}");
    }
}
