//! Whether this host has an address of its own that is reached from everywhere.

use std::{collections::BTreeSet, net::IpAddr};

use rtnetlink::packet_route::{
    RouteNetlinkMessage,
    address::{AddressAttribute, AddressHeaderFlags, AddressMessage},
    link::{LinkLayerType, LinkMessage},
};

use super::RouteError;
use crate::journal::{InterfaceName, netlink::Netlink};

/// An address of this host that is reached from everywhere: none of private space, and on no tunnel.
///
/// IPv6 addresses of an interface with temporary ones do not count. Nearly every network gives out public ones, and whoever
/// changes his address to be less known does not serve others there.
///
/// # Errors
/// [`RouteError`] with the system's answer.
pub fn public_address(tunnel: &InterfaceName) -> Result<Option<IpAddr>, RouteError> {
    let failed = |source| RouteError::kernel("read the addresses".into(), tunnel.as_str(), source);
    let mut netlink = Netlink::open().map_err(failed)?;
    let addresses = netlink.addresses().map_err(failed)?;
    let public = |message: &AddressMessage| address(message).filter(|address| is_public(*address));
    let private_hosts: BTreeSet<u32> = addresses
        .iter()
        .filter(|message| is_temporary(message))
        .map(|message| message.header.index)
        .collect();
    Ok(addresses
        .iter()
        .filter_map(|message| public(message).map(|address| (address, message.header.index)))
        .filter(|(address, index)| address.is_ipv4() || !private_hosts.contains(index))
        .find(|(_, index)| !is_tunnel(&mut netlink, *index))
        .map(|(address, _)| address))
}

fn address(message: &AddressMessage) -> Option<IpAddr> {
    // With a peer, as of PPP, `Address` is the other end.
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

/// The bit means another thing of an IPv4 address.
fn is_temporary(message: &AddressMessage) -> bool {
    message.header.flags.contains(AddressHeaderFlags::Secondary)
        && address(message).is_some_and(|address| address.is_ipv6())
}

/// Documentation's ranges count: an address in use is one in use.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            let is_shared = a == 100 && (64..128).contains(&b); // 100.64.0.0/10: behind a provider's NAT
            !(a == 0 || a >= 224 || is_shared || v4.is_private() || v4.is_loopback() || v4.is_link_local())
        }
        IpAddr::V6(v6) => v6.segments()[0] & 0xe000 == 0x2000, // 2000::/3
    }
}

/// Whether it is a TUN device or WireGuard's: no link below it.
fn is_tunnel(netlink: &mut Netlink, index: u32) -> bool {
    let mut question = LinkMessage::default();
    question.header.index = index;
    let answers = netlink.request(RouteNetlinkMessage::GetLink(question), 0).unwrap_or_default();
    answers.iter().any(|answer| {
        matches!(answer, RouteNetlinkMessage::NewLink(link) if link.header.link_layer_type == LinkLayerType::None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_reached_from_everywhere_is_public() {
        for public in ["192.0.2.2", "203.0.113.7", "8.8.8.8", "100.128.0.1", "2001:db8::2", "2a00::1"] {
            assert!(is_public(public.parse().unwrap()), "{public}");
        }
        for private in [
            "0.0.0.0",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "fe80::1",
            "fd00::1",
        ] {
            assert!(!is_public(private.parse().unwrap()), "{private}");
        }
    }
}
