//! Whether connections from outside to this host's own addresses are answered there, while all else takes the tunnel.

use super::session::SshSession;
use crate::{
    config::{self, InterfaceConfig},
    control::InterfaceStatus,
    journal::{InterfaceName, sysctl},
    routes::{Inbound, Lan, Told, UdpService, public_address, services_on_all_addresses},
};
use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::RangeInclusive,
    path::Path,
};

const SSH_PORT: u16 = 22;
/// So many ports are named in a note.
const MAX_NAMED: usize = 5;
/// The kernel's own choice where it does not say which ports clients get.
const EPHEMERAL: RangeInclusive<u16> = 32768..=60999;
/// Programs whose sockets need no note: other instances of this one answer by their mark, and Podman's only keep a container's port.
const PROGRAMS_WITHOUT: [&str; 3] = ["vpn-client", "vpn-server", "conmon"];
/// The program that listens at a port that Docker publishes: what arrives there goes to the container, and is answered rightly.
const DOCKER_PROXY: &str = "docker-proxy";
/// Addresses of the documentation ranges (RFC 5737, RFC 3849), routed like any other: by which of its own this host is asked.
const SOMEWHERE: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1)), IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))];

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

/// The UDP services that a full tunnel, which answers connections from outside, may leave unanswered.
#[derive(Debug, Default)]
pub(super) struct UnansweredServices {
    /// What was there at the last look: while there is nothing to note, who holds the sockets is looked at anew only with others.
    seen: Vec<UdpService>,
    note: Option<String>,
}

impl UnansweredServices {
    /// Which ports these are, and what to do about it; `None` where there are none. `own_address` tells from which of this host's
    /// addresses datagrams leave beside the tunnel.
    pub(super) fn note(&mut self, own_address: impl FnMut(IpAddr) -> Option<IpAddr>) -> Option<Told> {
        let tables = ["udp", "udp6"].map(socket_table);
        let ways_out: Vec<IpAddr> = SOMEWHERE.into_iter().filter_map(own_address).collect();
        let seen = services_on_all_addresses(&[&tables[0], &tables[1]], &ephemeral_ports(), &ways_out);
        if seen != self.seen || self.note.is_some() {
            let holders = if seen.is_empty() { Holders::default() } else { Holders::read() };
            let services: Vec<UdpService> =
                seen.iter().copied().filter(|service| holders.may_be_unanswered(service)).collect();
            self.note = unanswered_text(&services);
            self.seen = seen;
        }
        self.note.clone().map(|text| Told { cause: text.clone(), text })
    }
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
            "who asks this host's own address by UDP may get no answer from services on all addresses, as some \
             answer by the tunnel: port {}{more}: nothing is to be done where it is answered; else bind it to \
             the host's address (see `ss -lunp`)",
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

/// Which processes hold this host's sockets, as far as this process may see it.
#[derive(Debug, Default)]
struct Holders {
    /// The numbers of all sockets.
    held: BTreeSet<u64>,
    /// Those of programs that need no note.
    without: BTreeSet<u64>,
    /// The ports that Docker publishes.
    published: BTreeSet<u16>,
    /// Whether every process could be seen.
    are_all: bool,
}

impl Holders {
    fn read() -> Self {
        let mut holders = Self { are_all: true, ..Self::default() };
        for folder in fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path()) {
            let is_process = |name: &str| name == "self" || name.bytes().all(|byte| byte.is_ascii_digit());
            if !folder.file_name().and_then(OsStr::to_str).is_some_and(is_process) {
                continue;
            }
            holders.published.extend(published_port(&fs::read(folder.join("cmdline")).unwrap_or_default()));
            let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
            let is_without = folder.ends_with("self") || PROGRAMS_WITHOUT.contains(&name.trim_end());
            match sockets_of(&folder) {
                Ok(sockets) if is_without => holders.without.extend(sockets),
                Ok(sockets) => holders.held.extend(sockets),
                // It has ended meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => holders.are_all = false,
            }
        }
        holders
    }

    /// What no process holds is the kernel's own, such as a kernel tunnel's.
    fn may_be_unanswered(&self, service: &UdpService) -> bool {
        !self.without.contains(&service.inode)
            && !self.published.contains(&service.port)
            && (self.held.contains(&service.inode) || !self.are_all)
    }
}

/// The numbers of the sockets of a process, by its folder in `/proc`.
fn sockets_of(folder: &Path) -> io::Result<Vec<u64>> {
    let files = fs::read_dir(folder.join("fd"))?;
    let number = |target: &Path| target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok();
    Ok(files.flatten().filter_map(|file| number(&fs::read_link(file.path()).ok()?)).collect())
}

/// The port that a process publishes by its command line, where it is Docker's: `docker-proxy -proto udp … -host-port 5300 …`.
fn published_port(command_line: &[u8]) -> Option<u16> {
    let mut words = command_line.split(|byte| *byte == 0).filter_map(|word| str::from_utf8(word).ok());
    let program = Path::new(words.next()?).file_name()?;
    (program == DOCKER_PROXY).then_some(())?;
    words.find(|word| *word == "-host-port")?;
    words.next()?.parse().ok()
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
        assert!(text.contains("port 53, 123: nothing is to be done"), "{text}");
        let text = unanswered_text(&(1..=7).map(service).collect::<Vec<_>>()).unwrap();
        assert!(text.contains("port 1, 2, 3, 4, 5 and 2 more: nothing"), "{text}");
    }

    #[test]
    fn the_sockets_of_this_process_need_no_note() {
        use std::os::fd::AsRawFd as _;
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let target = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let holders = Holders::read();
        let is_it = |inode: &u64| target.to_str() == Some(&format!("socket:[{inode}]"));
        assert!(holders.without.iter().any(is_it), "{target:?}");
    }

    #[test]
    fn what_nobody_holds_is_the_kernels_and_what_cannot_be_seen_may_be_anybodys() {
        let service = UdpService { port: 53, inode: 7 };
        let mut holders = Holders { are_all: true, ..Holders::default() };
        assert!(!holders.may_be_unanswered(&service));
        holders.are_all = false;
        assert!(holders.may_be_unanswered(&service));
        holders.held.insert(7);
        assert!(holders.may_be_unanswered(&service));
        holders.published.insert(53);
        assert!(!holders.may_be_unanswered(&service));
        let without = BTreeSet::from([7]);
        assert!(!Holders { without, ..Holders::default() }.may_be_unanswered(&service));
    }

    #[test]
    fn the_port_that_docker_publishes_is_in_its_proxys_command_line() {
        let line =
            b"/usr/bin/docker-proxy\0-proto\0udp\0-host-ip\x000.0.0.0\0-host-port\x005300\0-use-listen-fd\0";
        assert_eq!(published_port(line), Some(5300));
        for other in
            [&b""[..], b"docker-proxy\0", b"docker-proxy\0-host-port\0", b"other\0-host-port\x0053\0"]
        {
            assert_eq!(published_port(other), None);
        }
    }
}
