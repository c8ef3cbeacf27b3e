//! The changes to a Mac, and the commands that make and undo them. Text only, so that it is tested on any system.

use core::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::InterfaceName;

/// A change to a Mac, with all that is needed to undo it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum MacChange {
    /// A route into the tunnel, or one that refuses.
    Route(MacRoute),
    /// A key of the dynamic store, such as `State:/Network/Service/vpn-utun66/DNS`.
    StoreKey {
        /// The key.
        key: String,
    },
    /// The rules in a pf anchor of ours.
    PfAnchor {
        /// Its path, such as `com.apple/vpn_utun66`.
        anchor: String,
        /// Whether it is a kill switch, which a crash leaves in force.
        lockdown: bool,
    },
    /// pf was switched on, which the kernel counts by tokens. The token is not known before, so that it is not here;
    /// the process that asks for it is.
    PfReference {
        /// The `pfctl -E` that holds the token.
        process: u32,
        /// Whether it is for a kill switch.
        lockdown: bool,
    },
}

impl MacChange {
    /// Whether it is part of a kill switch, which a crash leaves in force.
    pub const fn is_kill_switch(&self) -> bool {
        match self {
            Self::PfAnchor { lockdown, .. } | Self::PfReference { lockdown, .. } => *lockdown,
            Self::Route(_) | Self::StoreKey { .. } => false,
        }
    }
}

/// A route of ours.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MacRoute {
    /// Where to; no host bits.
    pub destination: IpNet,
    /// The interface's name; `None` for a route that refuses, at once and with an error.
    pub device: Option<String>,
}

impl MacRoute {
    /// The arguments of `route` that add it.
    pub fn add(&self) -> Vec<String> {
        let mut arguments = self.command("add");
        match &self.device {
            Some(device) => arguments.extend(["-interface".to_owned(), device.clone()]),
            // Such a route needs a gateway on the loopback interface.
            None => arguments.extend([self.loopback().to_owned(), "-reject".to_owned()]),
        }
        arguments
    }

    /// The arguments of `route` that remove it. It is ours only while it leads where we led it.
    pub fn delete(&self) -> Vec<String> {
        let mut arguments = self.command("delete");
        match &self.device {
            Some(device) => arguments.extend(["-interface".to_owned(), device.clone()]),
            None => arguments.push(self.loopback().to_owned()),
        }
        arguments
    }

    fn command(&self, verb: &str) -> Vec<String> {
        let family = if matches!(self.destination, IpNet::V4(_)) { "-inet" } else { "-inet6" };
        let destination = self.destination.to_string();
        ["-q", "-n", verb, family, &destination].map(str::to_owned).into()
    }

    fn loopback(&self) -> &'static str {
        if matches!(self.destination, IpNet::V4(_)) { "127.0.0.1" } else { "::1" }
    }
}

impl fmt::Display for MacRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.device {
            Some(device) => write!(f, "{} interface {device}", self.destination),
            None => write!(f, "{} refused", self.destination),
        }
    }
}

impl fmt::Display for MacChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Route(route) => write!(f, "route {route}"),
            Self::StoreKey { key } => write!(f, "dynamic store key {key}"),
            Self::PfAnchor { anchor, .. } => write!(f, "pf anchor {anchor}"),
            Self::PfReference { process, .. } => write!(f, "pf enabled by process {process}"),
        }
    }
}

/// The key of the dynamic store under which the name servers of the tunnel `interface` are set: those of a network service
/// that nobody else knows.
pub fn name_servers_key(interface: &InterfaceName) -> String {
    format!("State:/Network/Service/vpn-{interface}/DNS")
}

/// The script for `scutil` that makes `servers` the ones that every name is looked up at. The domain that matches is the empty
/// one, which is any; a low order puts them before those of other services.
pub fn name_servers_script(key: &str, servers: &[IpAddr]) -> String {
    let servers = servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    format!(
        "d.init\nd.add ServerAddresses * {servers}\nd.add SupplementalMatchDomains * \"\"\nd.add SearchOrder # 1\nset {key}\nquit\n"
    )
}

/// The script for `scutil` that removes `key`; that there is none is no error to it but a line of output.
pub fn remove_key_script(key: &str) -> String {
    format!("remove {key}\nquit\n")
}

/// Whether `scutil` has done what a script asked: it answers with output to what it could not do, and never by its exit
/// status. What is to be removed may be gone already.
pub fn scutil_succeeded(output: &str) -> bool {
    matches!(output.trim(), "" | "No such key")
}

/// The token that `process` holds, in the output of `pfctl -s References`. Its columns are the process, the program's
/// name, the token, and a time of three words.
pub fn pf_token(references: &str, process: u32) -> Option<u64> {
    references.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [first, .., token, _, _, _] = words.as_slice() else { return None };
        (first.parse() == Ok(process)).then(|| token.parse().ok())?
    })
}

/// Whether `route delete` failed because there is no such route.
pub fn route_is_missing(stderr: &str) -> bool {
    stderr.contains("not in table") || stderr.contains("No such process")
}

/// Whether pf's main ruleset, as `pfctl -s rules` or `pfctl -s nat` shows it, comes to anchors below `com.apple`; `kind` is
/// `anchor`, `nat-anchor` or `scrub-anchor`.
pub fn has_apple_anchor(rules: &str, kind: &str) -> bool {
    rules.lines().any(|line| line.trim_start().starts_with(&format!("{kind} \"com.apple/*\"")))
}

/// The mask of an IPv4 network, as `ifconfig` wants it.
pub fn netmask(prefix_len: u8) -> Ipv4Addr {
    Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(prefix_len.min(32))).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(destination: &str, device: Option<&str>) -> MacRoute {
        MacRoute { destination: destination.parse().unwrap(), device: device.map(str::to_owned) }
    }

    #[test]
    fn routes_are_added_and_removed_by_the_interface_or_by_the_loopback_address() {
        let tunnel = route("0.0.0.0/1", Some("utun66"));
        assert_eq!(tunnel.add().join(" "), "-q -n add -inet 0.0.0.0/1 -interface utun66");
        assert_eq!(tunnel.delete().join(" "), "-q -n delete -inet 0.0.0.0/1 -interface utun66");
        let refused = route("8000::/1", None);
        assert_eq!(refused.add().join(" "), "-q -n add -inet6 8000::/1 ::1 -reject");
        assert_eq!(refused.delete().join(" "), "-q -n delete -inet6 8000::/1 ::1");
    }

    #[test]
    fn the_token_of_a_process_is_found_in_the_table_of_references() {
        let table = "TOKENS:\n\
            PID      Process Name                 TOKEN                    TIMESTAMP\n\
            618      socketfilterfw               9813589183660731843      0 days 00:03:31\n\
            4063     some helper                  15053025338191571182     0 days 00:00:00\n";
        assert_eq!(pf_token(table, 4063), Some(15_053_025_338_191_571_182));
        assert_eq!(pf_token(table, 618), Some(9_813_589_183_660_731_843));
        assert_eq!(pf_token(table, 0), None);
        assert_eq!(pf_token("No pf starter references held\n", 4063), None);
    }

    #[test]
    fn a_journal_line_of_a_mac_is_read_again_as_it_was_written() {
        for change in [
            MacChange::Route(route("::/1", None)),
            MacChange::StoreKey { key: "State:/Network/Service/vpn-utun66/DNS".into() },
            MacChange::PfAnchor { anchor: "com.apple/vpn_utun66".into(), lockdown: true },
            MacChange::PfReference { process: 4063, lockdown: false },
        ] {
            let change = super::super::Change::Mac(change);
            let text = serde_json::to_string(&change).unwrap();
            assert_eq!(serde_json::from_str::<super::super::Change>(&text).unwrap(), change, "{text}");
        }
    }

    #[test]
    fn name_servers_of_both_families_are_set_for_every_domain() {
        let servers = ["10.66.0.1", "fd66::1"].map(|server| server.parse().unwrap());
        let key = name_servers_key(&InterfaceName::new("utun66").unwrap());
        let expected = "d.init\n\
            d.add ServerAddresses * 10.66.0.1 fd66::1\n\
            d.add SupplementalMatchDomains * \"\"\n\
            d.add SearchOrder # 1\n\
            set State:/Network/Service/vpn-utun66/DNS\n\
            quit\n";
        assert_eq!(name_servers_script(&key, &servers), expected);
        assert_eq!(remove_key_script(&key), "remove State:/Network/Service/vpn-utun66/DNS\nquit\n");
    }

    #[test]
    fn scutil_says_nothing_when_it_has_done_what_it_was_told() {
        assert!(scutil_succeeded("") && scutil_succeeded("\n") && scutil_succeeded("  No such key\n"));
        assert!(!scutil_succeeded("  Permission denied\n"));
    }

    #[test]
    fn only_a_wildcard_anchor_of_the_right_kind_leads_to_ours() {
        let rules = "scrub-anchor \"com.apple/*\" all fragment reassemble\nanchor \"com.apple/*\" all\n";
        assert!(has_apple_anchor(rules, "anchor") && has_apple_anchor(rules, "scrub-anchor"));
        assert!(!has_apple_anchor(rules, "nat-anchor"));
        assert!(!has_apple_anchor("anchor \"com.example/*\" all\n", "anchor"));
    }

    #[test]
    fn masks_have_as_many_bits_as_the_prefix() {
        assert_eq!(netmask(0).to_string(), "0.0.0.0");
        assert_eq!(netmask(16).to_string(), "255.255.0.0");
        assert_eq!(netmask(31).to_string(), "255.255.255.254");
        assert_eq!(netmask(32).to_string(), "255.255.255.255");
    }
}
