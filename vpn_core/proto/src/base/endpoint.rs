//! Where a peer is reached.

use std::net::{IpAddr, SocketAddr};

/// A peer's UDP address, and the local address that its datagrams arrive on, so that answers leave a host with
/// several addresses from the right one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The peer's address; IPv4 is never written as IPv4-mapped IPv6 here.
    pub remote: SocketAddr,
    /// Our own address on that path; `None` lets the kernel choose.
    pub local: Option<IpAddr>,
}

impl Endpoint {
    /// An endpoint from configuration: the kernel chooses our address.
    pub fn to(remote: SocketAddr) -> Self {
        let remote = match remote.ip().to_canonical() {
            ip @ IpAddr::V4(_) => SocketAddr::new(ip, remote.port()),
            IpAddr::V6(_) => remote, // As it is: a link-local address is none without its scope.
        };
        Self { remote, local: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_ipv4_is_ipv4_and_a_scope_stays() {
        let of = |text: &str| Endpoint::to(text.parse().expect("an address")).remote;
        assert_eq!(of("[::ffff:192.0.2.1]:7"), of("192.0.2.1:7"));
        assert_eq!(of("[fe80::1%3]:7").to_string(), "[fe80::1%3]:7");
    }
}
