//! `mtu` of the `[interface]` table.

use super::{
    fault::Complaint,
    table::{Source, Value},
};
use crate::{tunnel::DEFAULT_TUNNEL_MTU, wire::ip::IPV6_MIN_MTU};
use ipnet::IpNet;

/// From the least that every IPv4 host takes (RFC 791) to a jumbo frame, in bytes.
const RANGE: std::ops::RangeInclusive<i64> = 576..=9000;

/// How long packets in the tunnel may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mtu {
    /// As long as the paths to the peers take them.
    #[default]
    Auto,
    /// As long as this, in bytes.
    Fixed(u16),
}

impl Mtu {
    /// What the interface begins with, in bytes.
    pub const fn initial(self) -> u16 {
        match self {
            Self::Auto => DEFAULT_TUNNEL_MTU,
            Self::Fixed(mtu) => mtu,
        }
    }
}

pub(super) fn read_mtu<'t>(
    source: &mut Source<'t>,
    value: Option<Value<'t>>,
    addresses: &[IpNet],
) -> Option<Mtu> {
    let Some(value) = value else { return Some(Mtu::Auto) };
    if value.is_string() {
        let text = source.string(&value)?;
        if text == "auto" {
            return Some(Mtu::Auto);
        }
        let remedy = format!("write \"auto\", or a whole number from {} to {}", RANGE.start(), RANGE.end());
        source.fault(&value.span, Complaint::new(format!("mtu = {text:?}"), remedy));
        return None;
    }
    let mtu = u16::try_from(source.number(&value, RANGE)?).ok()?;
    if mtu < IPV6_MIN_MTU && addresses.iter().any(|address| address.addr().is_ipv6()) {
        let message = format!("an MTU of {mtu} is too small for the IPv6 addresses of this interface");
        let remedy = format!("use {IPV6_MIN_MTU} or more, or remove the IPv6 addresses");
        source.fault(&value.span, Complaint::new(message, remedy));
        return None;
    }
    Some(Mtu::Fixed(mtu))
}
