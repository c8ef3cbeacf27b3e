//! What this host has for a tunnel and what it lacks, without a tunnel.
//!
//! Nothing stays changed: the one thing that is made is a TUN device, which is down and gone again before the answer is
//! there. That is the only way to learn which offloads the kernel has.

use super::{
    NodeOptions,
    lockdown::{journalled_interfaces, locked_down},
};
use crate::{
    control::{ControlClient, ControlError, socket_path},
    engine::{OffloadSet, supported_suites},
    journal::{Family, installed, netlink::Netlink, sysctl},
    local_tun::{Tun, TunError},
    network::PathFinder,
    udp::UdpSocket,
    wire::hybrid::SuiteSet,
};
use nix::net::if_::if_nametoindex;
use serde::Serialize;
use std::net::{IpAddr, SocketAddr};

/// Addresses of the documentation ranges (RFC 5737, RFC 3849): routed like any other, and nobody's.
const SOMEWHERE: [(Family, IpAddr); 2] = [
    (Family::V4, IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 1))),
    (Family::V6, IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))),
];
/// What a socket's buffer should hold at least, in bytes as the kernel counts them: twice what was asked for.
const SMALL_BUFFER: usize = 2 << 20;

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// A tunnel works, and something about it could be better.
    Warning,
    /// No tunnel without this.
    Bad,
    /// Not to be seen without privileges.
    NotPermitted,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at, in a word or two.
    pub subject: &'static str,
    /// How it is to be taken.
    pub verdict: Verdict,
    /// How it is.
    pub text: String,
    /// What to do about it, where the text does not say that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn good(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Good, text: text.into(), remedy: None }
    }

    fn warning(subject: &'static str, text: impl Into<String>, remedy: &str) -> Self {
        Self { subject, verdict: Verdict::Warning, text: text.into(), remedy: Some(remedy.to_owned()) }
    }

    /// `text` says what to do as well.
    fn bad(subject: &'static str, text: impl Into<String>) -> Self {
        Self { subject, verdict: Verdict::Bad, text: text.into(), remedy: None }
    }

    fn not_permitted(subject: &'static str, text: impl Into<String>) -> Self {
        let remedy = Some("run this as root".to_owned());
        Self { subject, verdict: Verdict::NotPermitted, text: text.into(), remedy }
    }
}

/// Looks at everything.
pub fn examine(options: &NodeOptions) -> Vec<Finding> {
    let mut findings = vec![tun(), udp(), cipher(), policy_routing(), firewall(), ipv6()];
    findings.extend(SOMEWHERE.map(|(family, address)| way_out(family, address)));
    findings.extend(left_behind(options));
    findings
}

fn tun() -> Finding {
    const SUBJECT: &str = "TUN device";
    // At most 15 bytes: process numbers have 7 digits. No other process has this one.
    let name = format!("vpnprobe{}", std::process::id());
    match Tun::create(&OffloadSet::AUTO.tun_config(name)) {
        Ok(tun) => {
            let in_force = OffloadSet { tun: tun.offloads(), ..OffloadSet::OFF };
            Finding::good(SUBJECT, format!("offloads: {in_force}"))
        }
        Err(error @ TunError::NotPermitted { .. }) => Finding::not_permitted(SUBJECT, error.to_string()),
        Err(error) => Finding::bad(SUBJECT, error.to_string()),
    }
}

fn udp() -> Finding {
    const SUBJECT: &str = "UDP";
    let any = SocketAddr::from(([0_u16; 8], 0));
    let socket = match UdpSocket::bind(&OffloadSet::AUTO.udp_config(any)) {
        Ok(socket) => socket,
        Err(error) => return Finding::bad(SUBJECT, error.to_string()),
    };
    let in_force = OffloadSet { gso: socket.gso(), gro: socket.gro(), ..OffloadSet::OFF };
    let (receive, send) = socket.buffer_sizes().unwrap_or_default();
    let text = format!("offloads: {in_force}; buffers of {} and {} KiB", receive >> 10, send >> 10);
    if receive.min(send) < SMALL_BUFFER {
        let remedy = "run it as root, or raise net.core.rmem_max and net.core.wmem_max";
        return Finding::warning(SUBJECT, text, remedy);
    }
    Finding::good(SUBJECT, text)
}

fn cipher() -> Finding {
    let aes = supported_suites() == SuiteSet::WITH_AES_256_GCM;
    let text = if aes { "AES-256-GCM in hardware" } else { "ChaCha20-Poly1305; no AES in hardware" };
    Finding::good("cipher", text)
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

/// What is in journals of nodes that do not run.
fn left_behind(options: &NodeOptions) -> Vec<Finding> {
    const SUBJECT: &str = "left behind";
    let interfaces = match journalled_interfaces(&options.state_folder) {
        Ok(interfaces) => interfaces,
        Err(error) => {
            return vec![Finding::not_permitted(SUBJECT, error.to_string())];
        }
    };
    let crashed = interfaces.into_iter().filter(|name| {
        let node = ControlClient::new(socket_path(&options.run_folder, name.as_str()));
        matches!(node.status(), Err(ControlError::NotRunning(_)))
    });
    let locked = locked_down(options).unwrap_or_default();
    let findings: Vec<Finding> = crashed
        .map(|name| {
            let device =
                if if_nametoindex(name.as_str()).is_ok() { ", and its device is still there" } else { "" };
            let switch = if locked.contains(&name) { ", and its kill switch is in force" } else { "" };
            let text = format!("{name} ended without undoing what it had changed{device}{switch}");
            Finding::warning(SUBJECT, text, "run `vpn-client cleanup`, or start it again")
        })
        .collect();
    if findings.is_empty() { vec![Finding::good(SUBJECT, "nothing")] } else { findings }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn options(folder: &Path) -> NodeOptions {
        NodeOptions { run_folder: folder.join("run"), state_folder: folder.join("state"), offload: None }
    }

    #[test]
    fn a_journal_without_a_node_is_named_and_none_is_good() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = options(folder.path());
        assert_eq!(left_behind(&options), [Finding::good("left behind", "nothing")]);
        std::fs::create_dir_all(&options.state_folder).expect("made");
        std::fs::write(options.state_folder.join("nosuch0.journal"), "").expect("written");
        let found = left_behind(&options);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].verdict, Verdict::Warning);
        assert!(found[0].text.starts_with("nosuch0 ended"), "{found:?}");
        assert!(options.state_folder.join("nosuch0.journal").exists(), "looking undoes nothing");
    }

    #[test]
    fn every_warning_says_what_to_do_and_nothing_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        for finding in examine(&options(folder.path())) {
            let says = finding.remedy.is_some();
            assert!(says || matches!(finding.verdict, Verdict::Good | Verdict::Bad), "{finding:?}");
        }
        let device = format!("vpnprobe{}", std::process::id());
        assert!(if_nametoindex(device.as_str()).is_err(), "{device} is still there");
    }
}
