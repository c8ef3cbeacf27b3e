//! Bringing the tunnel interface up.

use std::io;

use ipnet::IpNet;
use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        RouteNetlinkMessage,
        address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope},
        link::{LinkAttribute, LinkFlags, LinkMessage},
    },
};
use tracing::{debug, warn};

use super::{InterfaceSetup, RouteError};
use crate::journal::{
    Family, InterfaceName,
    netlink::{Netlink, address_family},
    sysctl,
};

/// Packets that wait in the TUN queue while the engine is busy; Linux gives a TUN 500.
const TX_QUEUE_PACKETS: u32 = 1000;
/// Segments the kernel may put into one TUN read: what fits one UDP GSO send of full-sized datagrams (64 KiB).
const GSO_MAX_SEGMENTS: u32 = 45;

/// `addr_gen_mode` without an automatic link-local address.
const ADDR_GEN_MODE_NONE: &str = "1";

impl InterfaceSetup {
    /// Sets the MTU, adds the addresses and brings the link up. What is there already is left alone. Queue length and
    /// segment limit are set where the kernel lets us. Not journalled: all of it vanishes with the device.
    ///
    /// # Errors
    /// [`RouteError`], naming what failed. IPv6 addresses on a host without IPv6 are passed over with a warning where
    /// there is an IPv4 address.
    pub fn apply(&self) -> Result<(), RouteError> {
        self.check()?;
        let name = self.name.as_str();
        let mut netlink = Netlink::open()
            .map_err(|source| RouteError::kernel("open a netlink socket".into(), name, source))?;
        let index = netlink
            .interface_index(name)
            .map_err(|source| RouteError::kernel(format!("look up interface {name}"), name, source))?;
        let addresses = self.usable_addresses()?;

        shape(&mut netlink, index, name, self.mtu)?;
        for address in addresses {
            match add_address(&mut netlink, index, address) {
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {}
                Err(error) if error.raw_os_error() == Some(libc::EADDRNOTAVAIL) => {
                    return Err(RouteError::BadAddress { address, reason: "the kernel refuses it" });
                }
                result => result
                    .map_err(|source| RouteError::kernel(format!("add {address} to {name}"), name, source))?,
            }
        }
        bring_up(&mut netlink, index)
            .map_err(|source| RouteError::kernel(format!("bring {name} up"), name, source))
    }

    fn usable_addresses(&self) -> Result<Vec<IpNet>, RouteError> {
        let (v6, v4): (Vec<IpNet>, Vec<IpNet>) =
            self.addresses.iter().copied().partition(|address| address.addr().is_ipv6());
        if v6.is_empty() || ipv6_is_on(&self.name) {
            return Ok(self.addresses.clone());
        }
        if v4.is_empty() {
            return Err(RouteError::Ipv6Disabled { interface: self.name.to_string() });
        }
        warn!(interface = %self.name, "IPv6 is disabled on this host: the tunnel's IPv6 addresses are left out");
        Ok(v4)
    }
}

/// Whether the interface can have IPv6 addresses and routes.
pub(super) fn ipv6_is_on(interface: &InterfaceName) -> bool {
    sysctl::read(&format!("net/ipv6/conf/{interface}/disable_ipv6")).is_ok_and(|value| value == "0")
}

/// Sets the MTU of a new tunnel interface, and what [`InterfaceSetup::apply`] sets beside it, and leaves the rest to
/// somebody else: it stays down and without addresses.
///
/// # Errors
/// [`RouteError`].
pub fn shape_interface(interface: &InterfaceName, mtu: u16) -> Result<(), RouteError> {
    let name = interface.as_str();
    let mut netlink =
        Netlink::open().map_err(|source| RouteError::kernel("open a netlink socket".into(), name, source))?;
    let index = netlink
        .interface_index(name)
        .map_err(|source| RouteError::kernel(format!("look up interface {name}"), name, source))?;
    shape(&mut netlink, index, name, mtu)
}

/// Sets the MTU of a tunnel interface that is up already.
///
/// # Errors
/// [`RouteError`].
pub fn set_interface_mtu(interface: &InterfaceName, mtu: u16) -> Result<(), RouteError> {
    let name = interface.as_str();
    let set = || {
        let mut netlink = Netlink::open()?;
        let index = netlink.interface_index(name)?;
        set_link(&mut netlink, index, LinkAttribute::Mtu(mtu.into()))
    };
    set().map_err(|source| RouteError::kernel(format!("set the MTU of {name} to {mtu}"), name, source))
}

fn shape(netlink: &mut Netlink, index: u32, name: &str, mtu: u16) -> Result<(), RouteError> {
    set_link(netlink, index, LinkAttribute::Mtu(mtu.into()))
        .map_err(|source| RouteError::kernel(format!("set the MTU of {name} to {mtu}"), name, source))?;
    for wish in [LinkAttribute::TxQueueLen(TX_QUEUE_PACKETS), LinkAttribute::GsoMaxSegs(GSO_MAX_SEGMENTS)] {
        if let Err(error) = set_link(netlink, index, wish.clone()) {
            debug!(interface = name, ?wish, %error, "not set; only throughput depends on it");
        }
    }
    leave_out_link_local(name);
    Ok(())
}

/// Nothing in the tunnel uses a link-local address, and the router solicitations sent from one would be dropped by
/// the other end's source check, once in a while, for ever.
fn leave_out_link_local(interface: &str) {
    let key = format!("net/ipv6/conf/{interface}/addr_gen_mode");
    if let Err(error) = sysctl::write(&key, ADDR_GEN_MODE_NONE) {
        debug!(interface, %error, "a link-local address stays"); // No IPv6 here, most likely.
    }
}

fn set_link(netlink: &mut Netlink, index: u32, attribute: LinkAttribute) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(attribute);
    netlink.request(RouteNetlinkMessage::SetLink(message), 0).map(drop)
}

fn bring_up(netlink: &mut Netlink, index: u32) -> io::Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
    netlink.request(RouteNetlinkMessage::SetLink(message), 0).map(drop)
}

fn add_address(netlink: &mut Netlink, index: u32, address: IpNet) -> io::Result<()> {
    let mut message = AddressMessage::default();
    message.header.family = address_family(Family::of(&address));
    message.header.prefix_len = address.prefix_len();
    message.header.index = index;
    message.header.scope = AddressScope::Universe;
    message.attributes.push(AddressAttribute::Local(address.addr()));
    message.attributes.push(AddressAttribute::Address(address.addr()));
    if address.addr().is_ipv6() {
        // A tunnel has no neighbours that could have the same address; without this it is unusable for a second.
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    netlink.request(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL).map(drop)
}
