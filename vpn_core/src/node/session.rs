//! The SSH session that a command comes from: it must not be cut without a word.

use crate::{
    config::{Config, Inbound, Lan as LanKey, Routes},
    routes::{Lan, on_link_networks, takes_default_route},
};
use std::{env, fmt, net::SocketAddr};

/// What sshd tells the programs of a session: the client's address and port, its own address and port.
pub const SSH_VARIABLE: &str = "SSH_CONNECTION";
/// So many ancestors are asked at the most. `sudo` and `tmux` are one or two.
#[cfg(target_os = "linux")]
const MAX_ANCESTORS: usize = 32;

/// An SSH session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SshSession {
    /// Where it comes from.
    pub remote: SocketAddr,
    /// Where it came in.
    pub local: SocketAddr,
}

impl SshSession {
    /// The session that this process runs in, if it is one: by its own environment or an ancestor's, since `sudo` drops what
    /// it does not know.
    pub fn current() -> Option<Self> {
        let own = env::var(SSH_VARIABLE).ok().and_then(|text| Self::parse(&text));
        own.or_else(of_ancestors)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let mut end = || {
            let address = words.next()?.split('%').next()?.parse::<std::net::IpAddr>().ok()?;
            Some(SocketAddr::new(address.to_canonical(), words.next()?.parse().ok()?))
        };
        Some(Self { remote: end()?, local: end()? })
    }
}

impl fmt::Display for SshSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { remote, local } = self;
        write!(f, "{} {} {} {}", remote.ip(), remote.port(), local.ip(), local.port())
    }
}

/// The session that a start by `config` cuts.
pub fn session_cut_by(config: &Config) -> Option<SshSession> {
    let interface = &config.interface;
    let stays = cfg!(target_os = "linux")
        && match interface.inbound {
            Inbound::Allow => true,
            Inbound::Auto => !interface.kill_switch,
            Inbound::Refuse => false,
        };
    let allowed_ips: Vec<ipnet::IpNet> =
        config.peers.iter().flat_map(|peer| peer.allowed_ips.iter().copied()).collect();
    let is_full = interface.routes == Routes::Auto && takes_default_route(&allowed_ips);
    if stays || !(is_full || interface.kill_switch) {
        return None;
    }
    SshSession::current().filter(|session| {
        let remote = session.remote.ip();
        let on_link = on_link_networks(&interface.name).unwrap_or_default();
        let is_near = interface.lan == LanKey::Allow
            && Lan::allow(&on_link, &interface.addresses).private().iter().any(|near| near.contains(&remote));
        !(remote.is_loopback() || is_near)
    })
}

/// What to say of it.
pub fn cut_warning(session: &SshSession) -> String {
    let remedy = if cfg!(target_os = "linux") { "; inbound = \"allow\" in [interface] keeps it" } else { "" };
    format!(
        "this cuts the SSH session from {}: what comes from outside is not answered beside the tunnel{remedy}",
        session.remote
    )
}

#[cfg(target_os = "linux")]
fn of_ancestors() -> Option<SshSession> {
    let mut process = parent("self")?;
    for _ in 0..MAX_ANCESTORS {
        let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let found = environment
            .split(|byte| *byte == 0)
            .filter_map(|entry| str::from_utf8(entry).ok()?.strip_prefix(SSH_VARIABLE)?.strip_prefix('='))
            .find_map(SshSession::parse);
        if found.is_some() {
            return found;
        }
        process = parent(&process).filter(|parent| parent != "0")?;
    }
    None
}

#[cfg(target_os = "linux")]
fn parent(process: &str) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The second field is the program's name, which may hold anything: `PID (NAME) STATE PARENT …`.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1).map(str::to_owned)
}

#[cfg(not(target_os = "linux"))]
const fn of_ancestors() -> Option<SshSession> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sshd_tells_is_understood_and_anything_else_is_no_session() {
        let session = SshSession::parse("203.0.113.9 40000 192.0.2.2 22").unwrap();
        assert_eq!((session.remote, session.local.port()), ("203.0.113.9:40000".parse().unwrap(), 22));
        assert_eq!(SshSession::parse(&session.to_string()), Some(session));
        let zone = SshSession::parse("fe80::9%eth0 40000 fe80::2%eth0 22").unwrap();
        assert_eq!(zone.remote, "[fe80::9]:40000".parse().unwrap());
        for other in ["", "203.0.113.9", "203.0.113.9 40000 192.0.2.2", "a b c d"] {
            assert_eq!(SshSession::parse(other), None, "{other}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_process_has_a_parent_until_there_is_none() {
        assert_eq!(parent("self"), Some(std::os::unix::process::parent_id().to_string()));
        assert_eq!(parent("1").as_deref(), Some("0"));
    }
}
