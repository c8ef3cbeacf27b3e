//! What of the findings is Linux's.

use super::Finding;
use crate::{
    journal::{Family, installed, netlink::Netlink, sysctl},
    network::PathFinder,
    routes::rules_before_tunnels,
};
use std::net::IpAddr;

/// Addresses of the documentation ranges (RFC 5737, RFC 3849): routed like any other, and nobody's.
const SOMEWHERE: [(Family, IpAddr); 2] = [
    (Family::V4, IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1))),
    (Family::V6, IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))),
];
/// How a socket's buffers become larger.
pub(super) const LARGER_BUFFERS: &str = "run it as root, or raise net.core.rmem_max and net.core.wmem_max";

/// The name of a device to try.
pub(super) fn probe_name() -> String {
    // At most 15 bytes: process numbers have 7 digits. No other process has this one.
    format!("vpnprobe{}", std::process::id())
}

/// Looks at everything.
pub(super) fn examine() -> Vec<Finding> {
    let mut findings = vec![policy_routing(), firewall(), ipv6()];
    findings.extend(foreign_rules());
    findings.extend(SOMEWHERE.map(|(family, address)| way_out(family, address)));
    findings
}

fn policy_routing() -> Finding {
    const SUBJECT: &str = "policy routing";
    let rules = Netlink::open().and_then(|mut netlink| netlink.rules(Family::V4));
    match rules {
        Ok(rules) if rules.is_empty() => {
            let text =
                "this kernel has none: use one with CONFIG_IP_MULTIPLE_TABLES, or set routes = \"off\"";
            Finding::bad(SUBJECT, text)
        }
        Ok(rules) => Finding::good(SUBJECT, format!("{} rules for IPv4", rules.len())),
        Err(error) => Finding::bad(SUBJECT, error.to_string()),
    }
}

/// Other programs' rules that a full tunnel does not come before.
fn foreign_rules() -> Vec<Finding> {
    let rules = rules_before_tunnels().unwrap_or_default();
    let finding = |rule| Finding::notice("foreign rule", format!("comes before a tunnel's: {rule}"));
    rules.into_iter().map(finding).collect()
}

fn firewall() -> Finding {
    const SUBJECT: &str = "firewall";
    if installed("nft") {
        return Finding::good(SUBJECT, "nft is installed");
    }
    let strict = sysctl::each("net/ipv4/conf", "rp_filter")
        .iter()
        .any(|key| sysctl::read(key).is_ok_and(|value| value == "1"));
    let text = if strict {
        "nft is not installed: no kill switch, and the strict reverse path filter of this host drops what peers send"
    } else {
        "nft is not installed: no kill switch"
    };
    Finding::warning(SUBJECT, text, "install the package nftables")
}

fn ipv6() -> Finding {
    const SUBJECT: &str = "IPv6";
    match sysctl::read("net/ipv6/conf/default/disable_ipv6").as_deref() {
        Ok("0") => Finding::good(SUBJECT, "on"),
        Ok(_) => {
            let text = "off for new interfaces: IPv6 addresses of the tunnel will be left out";
            Finding::warning(SUBJECT, text, "set net.ipv6.conf.default.disable_ipv6 = 0")
        }
        Err(_) => Finding::good(SUBJECT, "this kernel has none"),
    }
}

/// Where traffic that takes no tunnel leaves.
fn way_out(family: Family, address: IpAddr) -> Finding {
    let subject = match family {
        Family::V4 => "way out, IPv4",
        Family::V6 => "way out, IPv6",
    };
    let path = PathFinder::new(0).ok().and_then(|mut finder| finder.path_to(address));
    let text = match path {
        Some(path) => {
            let name =
                interface_name(path.interface).unwrap_or_else(|| format!("interface {}", path.interface));
            path.gateway.map_or_else(|| name.clone(), |gateway| format!("{name}, by {gateway}"))
        }
        None => "none".to_owned(),
    };
    Finding::good(subject, text)
}

fn interface_name(number: u32) -> Option<String> {
    Netlink::open().ok()?.interface_name(number).ok()
}
