//! Making the gateway's changes on macOS.

use tracing::{info, warn};

use super::{
    Egress, GatewayConfig, GatewayError,
    pf::{pf_anchor, pf_text},
};
use crate::journal::{Family, Journal, PfRules};

const IPV4_FORWARDING: &str = "net.inet.ip.forwarding";
const IPV6_FORWARDING: &str = "net.inet6.ip6.forwarding";

/// A running gateway. What it changed is undone with the rest of the journal.
#[derive(Debug)]
pub struct Gateway {
    config: GatewayConfig,
    mtu: u16,
    rules: PfRules,
}

impl Gateway {
    /// Turns this Mac into a gateway for the tunnel, whose MTU is `mtu` bytes; `uplink` is the interface that its default
    /// route leads to. Clients are kept from each other by the tunnel itself.
    ///
    /// # Errors
    /// [`GatewayError`]; what had been changed is in the journal.
    pub fn start(
        config: &GatewayConfig,
        uplink: Option<&str>,
        mtu: u16,
        journal: &mut Journal,
    ) -> Result<Self, GatewayError> {
        if uplink.is_none() {
            warn!("no default route yet: the gateway forwards as soon as there is one");
        }
        let has_ipv6 = !config.pools_of(Family::V6).is_empty();
        if config.nat && has_ipv6 {
            warn!(
                "IPv6 is forwarded, but its addresses are not translated on macOS: the networks beyond need routes back"
            );
        }
        if has_ipv6 {
            journal.set_sysctl(IPV6_FORWARDING, "1", &[])?;
        }
        journal.set_sysctl(IPV4_FORWARDING, "1", &[])?;
        let text = pf_text(config, egress(config, uplink), mtu);
        let kinds = ["scrub-anchor", "nat-anchor"];
        let rules = PfRules::load(pf_anchor(&config.interface), text, &kinds, false, journal)?;
        info!(interface = %config.interface, nat = config.nat, uplink, "gateway started");
        Ok(Self { config: config.clone(), mtu, rules })
    }

    /// Follows the default route to another interface.
    ///
    /// # Errors
    /// [`GatewayError`]; the rules before stay in force.
    pub fn refresh(&mut self, uplink: Option<&str>) -> Result<(), GatewayError> {
        Ok(self.rules.replace(pf_text(&self.config, egress(&self.config, uplink), self.mtu))?)
    }

    /// Puts back what somebody else has removed of the rules; whether that was so.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn restore(&mut self, journal: &mut Journal) -> Result<bool, GatewayError> {
        Ok(self.rules.restore(journal)?)
    }
}

/// Where translated packets leave.
fn egress<'a>(config: &'a GatewayConfig, uplink: Option<&'a str>) -> Option<&'a str> {
    match &config.egress {
        Egress::Auto => uplink,
        Egress::Interface(name) => Some(name.as_str()),
    }
}
