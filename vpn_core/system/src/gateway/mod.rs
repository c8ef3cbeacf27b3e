//! Layer 5: the gateway's part of the operating system: forwarding, masquerade, segment sizes.
//!
//! [`Gateway::start`] makes three kinds of change, each written to the [`Journal`](crate::journal::Journal) first, so
//! that [`Gateway::stop`], or the next start after a crash, leaves the system as it was:
//!
//! - **Forwarding sysctls.** `net.ipv4.ip_forward`, and `net.ipv6.conf.all.forwarding` where there are IPv6 pools.
//!   The global ones: which interfaces take part is the routing table's business and changes at run time.
//!   With IPv6 forwarding on, the kernel ignores router advertisements on interfaces with `accept_ra = 1` and drops
//!   the default routes learned from them; those interfaces get `accept_ra = 2` first.
//! - **One nftables table of ours**, `inet vpn_NAME`, replaced in one batch. iptables chains where nft is missing.
//! - **Accept rules in iptables' FORWARD chain**, only where its policy is DROP (Docker and ufw set that): an accept
//!   in our own table cannot override a drop elsewhere, and FORWARD is where programs insert such rules.
//!   An administrator's own nftables table with a drop policy is never edited; a warning names the rule to add.
//!
//! The rule text is pure ([`nft_text`], [`iptables_text`]) and compiles anywhere; applying it is Linux only.
//!
//! On macOS there are two sysctls and an anchor of pf instead: the gateway of `macos`, the text of `pf`.

#[cfg(target_os = "linux")]
mod apply;
#[cfg(any(test, target_os = "linux"))]
mod foreign;
mod iptables;
#[cfg(target_os = "macos")]
mod macos;
mod nft;
#[cfg(any(test, target_os = "macos"))]
mod pf;
#[cfg(target_os = "linux")]
mod remains;

use ipnet::IpNet;

use crate::journal::{CommandError, Family, InterfaceName, JournalError};

#[cfg(target_os = "linux")]
pub use apply::{Gateway, detect_egress};
pub use iptables::iptables_text;
#[cfg(target_os = "macos")]
pub use macos::Gateway;
pub use nft::{nft_text, table_name};
#[cfg(target_os = "linux")]
pub use remains::left_in_iptables;

/// Where masqueraded traffic leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Egress {
    /// Every interface but the tunnel and loopback. The rule names no interface, so it holds when the default route
    /// moves to another uplink, when there are several, and before there is one.
    Auto,
    /// This interface only; what leaves elsewhere keeps its tunnel address.
    Interface(InterfaceName),
}

/// What a gateway is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayConfig {
    /// The tunnel interface.
    pub interface: InterfaceName,
    /// Masquerade traffic from `pools` that leaves through the egress. Off where the other networks have routes back.
    pub nat: bool,
    /// Where masqueraded traffic leaves.
    pub egress: Egress,
    /// The tunnel's networks. IPv6 is forwarded where one of them is IPv6.
    pub pools: Vec<IpNet>,
    /// Whether packets may be forwarded from the tunnel back into it: from one client to another.
    pub client_to_client: bool,
}

impl GatewayConfig {
    /// The pools of one family, without host bits and overlaps.
    fn pools_of(&self, family: Family) -> Vec<IpNet> {
        let pools: Vec<IpNet> =
            self.pools.iter().map(IpNet::trunc).filter(|pool| Family::of(pool) == family).collect();
        // Overlapping networks are an error inside an nftables set.
        IpNet::aggregate(&pools)
    }

    /// The families that have a pool.
    #[cfg(target_os = "linux")]
    fn families(&self) -> Vec<Family> {
        [Family::V4, Family::V6].into_iter().filter(|family| !self.pools_of(*family).is_empty()).collect()
    }
}

/// Why the gateway could not be set up. What had been changed is undone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The system or the journal refused.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A firewall program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// There is nothing to write firewall rules with.
    #[error(
        "neither nft nor iptables is found in PATH: install the package nftables (or iptables), add /usr/sbin to PATH, \
         or set nat = false"
    )]
    NoFirewall,
    /// There is no IPv6 NAT or iptables for a configured IPv6 pool.
    #[error("{program} is not installed, but {pool} is a pool: install the package iptables (or nftables)")]
    MissingFamily {
        /// The program that is needed.
        program: &'static str,
        /// The first pool that needs it.
        pool: IpNet,
    },
}
