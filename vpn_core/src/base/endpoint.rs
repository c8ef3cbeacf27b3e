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
        Self { remote: SocketAddr::new(remote.ip().to_canonical(), remote.port()), local: None }
    }
}
