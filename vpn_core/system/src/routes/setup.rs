//! How the tunnel interface is to be.

use std::net::IpAddr;

use ipnet::IpNet;

use super::RouteError;
use crate::{journal::InterfaceName, wire::ip::IPV6_MIN_MTU};

/// How the tunnel interface is to be.
#[derive(Clone, Debug)]
pub struct InterfaceSetup {
    /// The interface; it must exist.
    pub name: InterfaceName,
    /// Largest packet in bytes.
    pub mtu: u16,
    /// Addresses with the prefixes of their networks.
    pub addresses: Vec<IpNet>,
}

impl InterfaceSetup {
    pub(super) fn check(&self) -> Result<(), RouteError> {
        for &address in &self.addresses {
            let reason = match address.addr() {
                ip if ip.is_unspecified() => "it is unspecified",
                ip if ip.is_multicast() => "it is a multicast address",
                ip if ip.is_loopback() => "it is a loopback address",
                IpAddr::V4(ip) if ip.is_broadcast() => "it is the broadcast address",
                IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => "it is IPv4-mapped",
                IpAddr::V4(_) | IpAddr::V6(_) => continue,
            };
            return Err(RouteError::BadAddress { address, reason });
        }
        let has_ipv6 = self.addresses.iter().any(|address| address.addr().is_ipv6());
        if has_ipv6 && self.mtu < IPV6_MIN_MTU {
            return Err(RouteError::MtuTooSmall { mtu: self.mtu, minimum: IPV6_MIN_MTU });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setup(address: &str, mtu: u16) -> InterfaceSetup {
        InterfaceSetup {
            name: InterfaceName::new("vpn0").unwrap(),
            mtu,
            addresses: vec![address.parse().unwrap()],
        }
    }

    #[test]
    fn impossible_addresses_are_named_before_anything_is_changed() {
        for bad in ["0.0.0.0/8", "224.0.0.1/24", "127.0.0.1/8", "::/64", "ff02::1/64", "::ffff:10.0.0.1/120"]
        {
            let error = setup(bad, 1420).check().unwrap_err().to_string();
            assert!(error.contains(bad), "{error}");
        }
        assert!(setup("10.66.0.1/16", 576).check().is_ok());
        assert!(matches!(setup("fd66::1/64", 1200).check(), Err(RouteError::MtuTooSmall { .. })));
    }
}
