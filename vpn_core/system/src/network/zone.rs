//! Zones: which link a link-local IPv6 address is on, an interface's name in text and its number in a socket address
//! (RFC 4007, section 11).

use nix::net::if_::{if_indextoname, if_nametoindex};
use std::net::SocketAddr;

/// The number of the interface that `zone` names, or is; `None` while there is no such interface.
pub fn zone_index(zone: &str) -> Option<u32> {
    if_nametoindex(zone).ok().or_else(|| zone.parse().ok().filter(|index| *index != 0))
}

/// `endpoint` as text, the zone of a link-local address by its interface's name: `[fe80::1%eth0]:51820`.
pub fn endpoint_text(endpoint: SocketAddr) -> String {
    let SocketAddr::V6(v6) = endpoint else { return endpoint.to_string() };
    let name = match v6.scope_id() {
        0 => None,
        index => if_indextoname(index).ok().and_then(|name| name.into_string().ok()),
    };
    match name {
        Some(name) if !name.is_empty() => format!("[{}%{name}]:{}", v6.ip(), v6.port()),
        Some(_) | None => endpoint.to_string(), // An interface that is gone has its number only.
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv6Addr, SocketAddrV6};

    #[test]
    fn a_zone_is_an_interfaces_name_and_survives_the_number() {
        let loopback = if cfg!(target_os = "macos") { "lo0" } else { "lo" };
        let index = zone_index(loopback).expect("every host has it");
        assert_eq!(zone_index(&index.to_string()), Some(index));
        assert_eq!((zone_index("0"), zone_index("no-such-link")), (None, None));
        let address = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
        let text = |scope| endpoint_text(SocketAddrV6::new(address, 51820, 0, scope).into());
        assert_eq!(text(index), format!("[fe80::1%{loopback}]:51820"));
        assert_eq!(
            (text(0), text(u32::MAX)),
            ("[fe80::1]:51820".into(), "[fe80::1%4294967295]:51820".into())
        );
        assert_eq!(endpoint_text("192.0.2.1:7".parse().unwrap()), "192.0.2.1:7");
    }
}
