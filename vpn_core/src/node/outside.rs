//! Whether connections from outside to this host's own addresses are answered there, while all else takes the tunnel.

use super::session::SshSession;
use crate::{
    config::{self, InterfaceConfig},
    control::InterfaceStatus,
    journal::{InterfaceName, sysctl},
    routes::{Inbound, Lan, UdpService, public_address, services_on_all_addresses},
};
use std::{collections::BTreeSet, fs, net::IpAddr, ops::RangeInclusive};

const SSH_PORT: u16 = 22;
/// So many ports are named in a warning.
const MAX_NAMED: usize = 5;
/// The kernel's own choice where it does not say which ports clients get.
const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;
/// Programs that answer UDP from the address that they were asked at, by their mark: other instances of this one.
const OUR_PROGRAMS: [&str; 2] = ["vpn-client", "vpn-server"];

/// The wish, what speaks for it, and what was connected before.
#[derive(Debug)]
pub(super) struct Outside {
    interface: InterfaceName,
    wish: config::Inbound,
    kill_switch: bool,
    /// Whether there is a tunnel that would take the answers.
    is_captured: bool,
    /// Where SSH sessions came from when this node started.
    sessions: Vec<IpAddr>,
    before: Inbound,
    /// Why they are answered; `None` where they are not.
    reason: Option<String>,
}

impl Outside {
    pub(super) fn new(config: &InterfaceConfig) -> Self {
        let mut outside = Self {
            interface: config.name.clone(),
            wish: config.inbound,
            kill_switch: config.kill_switch,
            is_captured: config.kill_switch,
            sessions: Vec::new(),
            before: Inbound::default(),
            reason: None,
        };
        outside.look();
        outside
    }

    /// Another wish, after a reload.
    pub(super) fn set_wish(&mut self, wish: config::Inbound) {
        if wish != self.wish {
            self.wish = wish;
            self.look();
        }
    }

    /// Looks at who is connected, where that matters.
    fn look(&mut self) {
        if self.is_refused() {
            return;
        }
        let tables = ["tcp", "tcp6", "udp", "udp6"].map(socket_table);
        self.before = Inbound::read(&[&tables[0], &tables[1]], &[&tables[2], &tables[3]]);
        let by_port = self.before.accepted.iter().filter(|each| each.local.port() == SSH_PORT);
        let own = SshSession::current().map(|session| session.remote);
        self.sessions =
            own.into_iter().chain(by_port.map(|each| each.remote)).map(|remote| remote.ip()).collect();
        self.sessions.retain(|remote| !remote.is_loopback());
    }

    const fn is_refused(&self) -> bool {
        match self.wish {
            config::Inbound::Allow => false,
            config::Inbound::Auto => self.kill_switch,
            config::Inbound::Refuse => true,
        }
    }

    /// Decides anew: `is_captured` says whether there is a tunnel that would take the answers, `lan` what is reached anyway.
    pub(super) fn update(&mut self, is_captured: bool, lan: Option<&Lan>) {
        self.is_captured = is_captured;
        let reason = if is_captured { self.speaks_for_it(lan) } else { None };
        if reason == self.reason {
            return;
        }
        let interface = &self.interface;
        match &reason {
            Some(reason) => {
                tracing::info!(%interface, reason, "connections from outside are answered beside the tunnel");
            }
            None => {
                tracing::info!(%interface, "connections from outside are not answered beside the tunnel any more");
            }
        }
        self.reason = reason;
    }

    fn speaks_for_it(&self, lan: Option<&Lan>) -> Option<String> {
        if self.is_refused() {
            return None;
        }
        if self.wish == config::Inbound::Allow {
            return Some("inbound = \"allow\"".to_owned());
        }
        let is_near = |remote: &IpAddr| {
            lan.is_some_and(|lan| lan.private().iter().any(|network| network.contains(remote)))
        };
        if let Some(remote) = self.sessions.iter().find(|remote| !is_near(remote)) {
            return Some(format!("an SSH session from {remote} when the tunnel came up"));
        }
        let address = public_address(&self.interface).inspect_err(|error| {
            tracing::debug!(%error, "whether this host has a public address is not known");
        });
        address.ok().flatten().map(|address| format!("this host has the public address {address}"))
    }

    /// What was connected before, where answers leave beside the tunnel.
    pub(super) fn allowed(&self) -> Option<&Inbound> {
        self.reason.as_ref().map(|_| &self.before)
    }

    /// `in_force`: the system does as it was told.
    pub(super) fn report(&self, in_force: bool, status: &mut InterfaceStatus) {
        if self.is_captured {
            let word = if in_force { "allow" } else { "refuse" };
            status.inbound = Some(word.to_owned());
            status.inbound_reason = self.reason.clone().filter(|_| in_force);
        }
    }
}

/// What a full tunnel that answers connections from outside does not answer, and what to do about it: UDP services on all
/// addresses. `None` where there are none.
pub(super) fn unanswered_services() -> Option<String> {
    let tables = ["udp", "udp6"].map(socket_table);
    let mut services = services_on_all_addresses(&[&tables[0], &tables[1]], &ephemeral_ports());
    if !services.is_empty() {
        let ours = sockets_of_ours();
        services.retain(|service| !ours.contains(&service.inode));
    }
    unanswered_text(&services)
}

fn unanswered_text(services: &[UdpService]) -> Option<String> {
    let ports: BTreeSet<u16> = services.iter().map(|service| service.port).collect();
    let named: Vec<String> = ports.iter().take(MAX_NAMED).map(u16::to_string).collect();
    let more = match ports.len().saturating_sub(MAX_NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!ports.is_empty()).then(|| {
        format!(
            "who asks this host's own address by UDP may get no answer from services on all addresses, as these \
             answer by the tunnel: port {}{more}: bind each of them to the host's address (see `ss -lunp`)",
            named.join(", ")
        )
    })
}

/// A table of `/proc/net`; empty where the kernel lacks the family.
fn socket_table(name: &str) -> String {
    fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default()
}

fn ephemeral_ports() -> RangeInclusive<u16> {
    let range = sysctl::read("net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut words = range.split_whitespace().map_while(|word| word.parse().ok());
    match (words.next(), words.next()) {
        (Some(first), Some(last)) => first..=last,
        _ => EPHEMERAL,
    }
}

/// The numbers of the sockets of this process, and of other instances of ours.
fn sockets_of_ours() -> BTreeSet<u64> {
    let mut sockets = BTreeSet::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let is_ours = |folder: &std::path::PathBuf| {
        let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
        folder.ends_with("self") || OUR_PROGRAMS.contains(&name.trim_end())
    };
    for folder in processes.filter(is_ours) {
        for file in fs::read_dir(folder.join("fd")).into_iter().flatten().flatten() {
            let target = fs::read_link(file.path()).unwrap_or_default();
            let number = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
            sockets.extend(number.and_then(|number| number.parse::<u64>().ok()));
        }
    }
    sockets
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn some_ports_are_named_and_the_others_counted() {
        let service = |port| UdpService { port, inode: u64::from(port) };
        assert_eq!(unanswered_text(&[]), None);
        let text = unanswered_text(&[service(53), service(53), service(123)]).unwrap();
        assert!(text.contains("port 53, 123: bind each"), "{text}");
        let text = unanswered_text(&(1..=7).map(service).collect::<Vec<_>>()).unwrap();
        assert!(text.contains("port 1, 2, 3, 4, 5 and 2 more: bind each"), "{text}");
    }

    #[test]
    fn the_sockets_of_this_process_are_ours() {
        use std::os::fd::AsRawFd as _;
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let ours = sockets_of_ours();
        assert!(ours.iter().any(|inode| target.to_str() == Some(&format!("socket:[{inode}]"))), "{target:?}");
    }
}
