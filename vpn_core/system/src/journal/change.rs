//! The changes to the system that can be undone.

use core::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{MacChange, NameServersChange};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of `network`.
    pub fn of(network: &IpNet) -> Self {
        match network {
            IpNet::V4(_) => Self::V4,
            IpNet::V6(_) => Self::V6,
        }
    }

    /// The program that edits this family's iptables rules.
    pub fn iptables(self) -> &'static str {
        match self {
            Self::V4 => "iptables",
            Self::V6 => "ip6tables",
        }
    }
}

/// A sysctl and its value. The key is the path below `/proc/sys`, with slashes: interface names may hold dots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SysctlValue {
    /// For example `net/ipv4/ip_forward`.
    pub key: String,
    /// The value without surrounding space.
    pub value: String,
}

/// What a policy rule of ours looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleSelector {
    /// `not fwmark MARK`: everything but our own encrypted datagrams.
    NotMark(u32),
    /// `from all … suppress_prefixlength N`: results with a prefix of N bits or fewer are passed over.
    SuppressPrefixLength(u8),
    /// `fwmark MARK`: our own encrypted datagrams.
    Mark(u32),
    /// `fwmark MARK/MASK`: every mark whose bits under the mask are these.
    Marks {
        /// The bits.
        mark: u32,
        /// Which bits count.
        mask: u32,
    },
    /// `to NETWORK`.
    To(IpNet),
    /// `to NETWORK … suppress_prefixlength N`, N one bit less than the network's: only by a route to it or to a part of it. Not
    /// of a network of no bits.
    Within(IpNet),
    /// `ipproto udp sport SOURCE dport DESTINATION`.
    UdpPorts {
        /// The port that it is sent from.
        source: u16,
        /// The port that it is sent to.
        destination: u16,
    },
    /// `from all`.
    All,
}

impl RuleSelector {
    /// Results with a prefix of this many bits or fewer are passed over.
    pub(super) fn suppressed_bits(self) -> Option<u8> {
        match self {
            Self::SuppressPrefixLength(bits) => Some(bits),
            Self::Within(network) => network.prefix_len().checked_sub(1),
            Self::NotMark(_)
            | Self::Mark(_)
            | Self::Marks { .. }
            | Self::To(_)
            | Self::UdpPorts { .. }
            | Self::All => None,
        }
    }
}

/// A policy routing rule, as `ip rule add` makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PolicyRule {
    /// The family that the rule is for.
    pub family: Family,
    /// The rule's place; lower numbers come first. Before main's 32766.
    pub priority: u32,
    /// What the rule matches or passes over.
    pub selector: RuleSelector,
    /// The table that it looks up. Without one, and without `goto`, what the rule matches is unreachable.
    pub table: Option<u32>,
    /// The priority of the rule at which the search goes on, in place of a table. Behind this rule's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goto: Option<u32>,
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.priority)?;
        match self.selector {
            RuleSelector::NotMark(mark) => write!(f, "not from all fwmark {mark}")?,
            RuleSelector::Mark(mark) => write!(f, "from all fwmark {mark}")?,
            RuleSelector::Marks { mark, mask } => write!(f, "from all fwmark {mark:#x}/{mask:#x}")?,
            RuleSelector::To(network) | RuleSelector::Within(network) => {
                write!(f, "from all to {network}")?;
            }
            RuleSelector::UdpPorts { source, destination } => {
                write!(f, "from all ipproto udp sport {source} dport {destination}")?;
            }
            RuleSelector::SuppressPrefixLength(_) | RuleSelector::All => f.write_str("from all")?,
        }
        match (self.table, self.goto) {
            (Some(table), _) => write!(f, " lookup {table}")?,
            (None, Some(goto)) => write!(f, " goto {goto}")?,
            (None, None) => f.write_str(" unreachable")?,
        }
        self.selector.suppressed_bits().map_or(Ok(()), |bits| write!(f, " suppress_prefixlength {bits}"))
    }
}

/// The main routing table's number.
pub const MAIN_TABLE: u32 = 254;

/// One mask for the marks of all instances, and for what wg-quick and NetworkManager give to their tunnels (51820 and
/// somewhat above): 49152 to 65535. What carries one of these is a tunnel's own datagram, or an answer that belongs beside it.
pub const TUNNEL_MARKS: (u32, u32) = (0xc000, 0xffff_c000);

/// A route to a device without a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeviceRoute {
    /// Where to; no host bits.
    pub destination: IpNet,
    /// The interface's name.
    pub device: String,
    /// The routing table.
    pub table: u32,
}

impl fmt::Display for DeviceRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} dev {} table {}", self.destination, self.device, self.table)
    }
}

/// An IPv4 routing table that holds nothing but `unreachable default`: what is looked up there is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RefusingTable {
    /// The routing table.
    pub table: u32,
}

impl fmt::Display for RefusingTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unreachable 0.0.0.0/0 table {}", self.table)
    }
}

/// A change to the system, with all that is needed to undo it.
///
/// Interface addresses are absent: they vanish with the TUN device, and that with the process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Change {
    /// A sysctl was set. Undone only where it still has our value and no other instance holds it.
    Sysctl {
        /// What we set.
        set: SysctlValue,
        /// The value before us (before all instances that hold the key).
        previous: String,
        /// Sysctls that the kernel changes along with this one, and their values before.
        dependents: Vec<SysctlValue>,
    },
    /// An nftables table of ours.
    NftTable {
        /// The table's family: `inet`.
        family: String,
        /// The table's name.
        name: String,
    },
    /// The kill switch: an nftables table of ours in family `inet`. Apart from other tables, because a crash does not
    /// end it.
    KillSwitch {
        /// The table's name.
        table: String,
    },
    /// A rule in an iptables chain that is not ours.
    IptablesRule {
        /// iptables or ip6tables.
        family: Family,
        /// `filter`, `nat`, `mangle` or `raw`.
        table: String,
        /// The chain that holds the rule.
        chain: String,
        /// The rule's arguments.
        rule: Vec<String>,
    },
    /// An iptables chain of ours. Undone after the rules that jump to it.
    IptablesChain {
        /// iptables or ip6tables.
        family: Family,
        /// `filter`, `nat`, `mangle` or `raw`.
        table: String,
        /// The chain's name.
        chain: String,
    },
    /// A policy routing rule.
    PolicyRule(PolicyRule),
    /// A route to our device.
    Route(DeviceRoute),
    /// A table that refuses.
    RefusingTable(RefusingTable),
    /// A firewall mark and the routing tables that go with it were taken by this instance: nothing to undo, but other
    /// instances look for it.
    Mark {
        /// The mark.
        mark: u32,
    },
    /// The system was told to ask other name servers.
    NameServers(NameServersChange),
    /// A change to a Mac.
    Mac(MacChange),
}

impl Change {
    /// Whether the change is still there when the computer has been started again.
    pub(super) fn survives_reboot(&self) -> bool {
        match self {
            Self::NameServers(change) => change.survives_reboot(),
            Self::Sysctl { .. }
            | Self::NftTable { .. }
            | Self::KillSwitch { .. }
            | Self::IptablesRule { .. }
            | Self::IptablesChain { .. }
            | Self::PolicyRule(_)
            | Self::Route(_)
            | Self::RefusingTable(_)
            | Self::Mark { .. }
            | Self::Mac(_) => false,
        }
    }
}

impl Change {
    /// Whether it is the kill switch.
    pub fn is_kill_switch(&self) -> bool {
        match self {
            Self::KillSwitch { .. } => true,
            Self::Mac(change) => change.is_kill_switch(),
            Self::Sysctl { .. }
            | Self::NftTable { .. }
            | Self::IptablesRule { .. }
            | Self::IptablesChain { .. }
            | Self::PolicyRule(_)
            | Self::Route(_)
            | Self::RefusingTable(_)
            | Self::Mark { .. }
            | Self::NameServers(_) => false,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sysctl { set, previous, .. } => {
                write!(f, "sysctl {} = {} (was {previous})", set.key, set.value)
            }
            Self::NftTable { family, name } => write!(f, "nftables table {family} {name}"),
            Self::KillSwitch { table } => write!(f, "kill switch {table}"),
            Self::IptablesRule { family, table, chain, rule } => {
                write!(f, "{} -t {table} -A {chain} {}", family.iptables(), rule.join(" "))
            }
            Self::IptablesChain { family, table, chain } => {
                write!(f, "{} -t {table} -N {chain}", family.iptables())
            }
            Self::PolicyRule(rule) => write!(f, "policy rule {rule}"),
            Self::Route(route) => write!(f, "route {route}"),
            Self::RefusingTable(table) => write!(f, "route {table}"),
            Self::Mark { mark } => write!(f, "firewall mark {mark}"),
            Self::NameServers(change) => write!(f, "{change}"),
            Self::Mac(change) => change.fmt(f),
        }
    }
}
