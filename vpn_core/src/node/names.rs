//! Names in the life of a node: which servers the system asks while it is up, and where its peers' endpoint names are
//! looked up.

use super::{NodeError, system::System};
use crate::{
    config::{Config, EndpointName, Role, Routes},
    control::InterfaceStatus,
    dns::{Lookup, NameServers, ResolvConf, Surroundings, Upstreams, watch_file},
    network::zone_index,
};
use ipnet::IpNet;
use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    io,
    net::{IpAddr, SocketAddr, SocketAddrV6},
    os::fd::BorrowedFd,
    time::{Duration, Instant},
};

/// How long a name may take to resolve; a resolver that hangs must not hold up the others.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A resolver file that is overwritten again so soon may be fought over by somebody.
const FIGHT: Duration = Duration::from_secs(10);
/// Rounds without a pause: NetworkManager writes it several times when a connection changes.
const FREE_ROUNDS: u32 = 4;
/// The longest pause in a fight. The first is a second.
const MAX_FIGHT_PAUSE: Duration = Duration::from_secs(30);

/// The system's name servers and our own way to them.
#[derive(Debug)]
pub(super) struct Names {
    surroundings: Surroundings,
    lookup: Lookup,
    in_force: RefCell<Option<NameServers>>,
}

/// What of this host's traffic takes the tunnel.
#[derive(Clone, Debug)]
pub(super) struct Captured {
    /// All of it, or at least nothing passes beside it.
    everything: bool,
    networks: Vec<IpNet>,
}

/// Where a name is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// By the system, with all that it knows (mDNS, caches, DNS over TLS): nothing of ours is in its way.
    System,
    /// Beside the tunnel; the system's way would lead into it, and wait there for the answer to itself.
    Outside,
    /// Beside the tunnel, and if that finds nothing by the system.
    OutsideThenSystem,
}

/// By the mark that policy routing and kill switch look for.
#[cfg(target_os = "linux")]
fn lead_outside(socket: BorrowedFd<'_>, _to: SocketAddr, mark: u32) -> io::Result<()> {
    use nix::sys::socket::{setsockopt, sockopt};

    Ok(setsockopt(&socket, sockopt::Mark, &mark)?)
}

/// By the interface that it is bound to.
#[cfg(target_os = "macos")]
fn lead_outside(socket: BorrowedFd<'_>, to: SocketAddr, _mark: u32) -> io::Result<()> {
    crate::udp::scope_to(socket, to.is_ipv6(), Some(crate::network::uplink()?))
}

impl Captured {
    /// Before anything is routed: the system's own way is open, but for the kill switch.
    pub(super) fn at_start(config: &Config) -> Self {
        Self { everything: config.interface.kill_switch, networks: Vec::new() }
    }

    /// What `config` routes into the tunnel, or stops.
    pub(super) fn by(config: &Config) -> Self {
        let networks: Vec<IpNet> = match config.interface.routes {
            Routes::Auto => config.peers.iter().flat_map(|peer| peer.allowed_ips.clone()).collect(),
            Routes::Off => Vec::new(),
        };
        // A half of the address space is meant as one of two.
        let everything =
            config.interface.kill_switch || networks.iter().any(|network| network.prefix_len() <= 1);
        Self { everything, networks }
    }

    fn takes(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    fn way(&self, tunnel_has_dns: bool, upstreams: &ResolvConf) -> Way {
        if self.everything {
            Way::Outside
        } else if tunnel_has_dns || upstreams.servers.iter().any(|server| self.takes(server.address)) {
            Way::OutsideThenSystem
        } else {
            Way::System
        }
    }
}

impl Names {
    /// Lookups from sockets with `mark`; the system keeps its servers for now.
    pub(super) fn new(mark: u32) -> Self {
        let surroundings = Surroundings::default();
        let lookup = Lookup::new(mark, lead_outside, surroundings.hosts.clone());
        Self { surroundings, lookup, in_force: RefCell::new(None) }
    }

    /// Has the system ask the servers that a client is configured with; again, after a reload. A server's are for its
    /// clients.
    pub(super) fn apply(&self, config: &Config, role: Role, system: &mut System) -> Result<(), NodeError> {
        let wanted: &[IpAddr] = match role {
            Role::Client => &config.interface.dns,
            Role::Server => &[],
        };
        let mut in_force = self.in_force.borrow_mut();
        match in_force.as_mut() {
            Some(set) if set.servers() == wanted => {}
            Some(set) if !wanted.is_empty() => set.change(wanted, system.journal())?,
            Some(_) => {
                if let Some(set) = in_force.take() {
                    set.unset(system.journal())?;
                }
            }
            None if wanted.is_empty() => {}
            None => {
                let name = &config.interface.name;
                *in_force = Some(NameServers::set(name, wanted, &self.surroundings, system.journal())?);
            }
        }
        Ok(())
    }

    /// Gives the system its own servers back. What fails is tried again when the rest is undone.
    pub(super) fn undo(&self, system: &mut System) {
        let set = self.in_force.take();
        if let Some(Err(error)) = set.map(|set| set.unset(system.journal())) {
            tracing::debug!(%error, "name servers not put back at the first attempt");
        }
    }

    /// Puts the resolver file back in place whenever somebody else overwrites it, such as a DHCP client.
    pub(super) async fn follow(&self, system: &RefCell<System>) -> Infallible {
        let fight = Fight::default();
        let changed = || match self.keep_up(&mut system.borrow_mut()) {
            Ok(false) => Duration::ZERO,
            Ok(true) => {
                let pause = fight.pause(Instant::now());
                if pause.is_zero() {
                    tracing::info!("the resolver file was overwritten, and is replaced again");
                } else {
                    tracing::warn!(?pause, "another program keeps overwriting the resolver file");
                }
                pause
            }
            Err(error) => {
                tracing::error!(%error, "the resolver file was overwritten: names are not asked for in the tunnel");
                MAX_FIGHT_PAUSE
            }
        };
        watch_file(&self.surroundings.resolv_conf, changed).await
    }

    fn keep_up(&self, system: &mut System) -> Result<bool, crate::dns::DnsError> {
        self.in_force.borrow_mut().as_mut().map_or(Ok(false), |set| set.keep_up(system.journal()))
    }

    /// The addresses of an endpoint, while the tunnel takes what is `captured`.
    pub(super) async fn resolve(
        &self,
        name: &EndpointName,
        captured: &Captured,
    ) -> Result<Vec<SocketAddr>, String> {
        if let Ok(address) = name.host.parse::<IpAddr>() {
            return address_of(address, name).map(|address| vec![address]);
        }
        let source = self.in_force.borrow().as_ref().map(NameServers::upstreams);
        let tunnel_has_dns = source.is_some();
        let source = source.unwrap_or_else(|| Upstreams::of_system(&self.surroundings));
        // It reads files and may run a program, which may hang.
        let upstreams = in_time(tokio::task::spawn_blocking(move || source.read()))
            .await
            .map_err(|silence| format!("the network's name servers: {silence}"))?
            .map_err(|error| error.to_string())?;
        match captured.way(tunnel_has_dns, &upstreams) {
            Way::System => by_system(name).await,
            Way::Outside => self.outside(name, &upstreams).await,
            Way::OutsideThenSystem => match self.outside(name, &upstreams).await {
                Ok(found) => Ok(found),
                Err(error) => by_system(name).await.map_err(|second| format!("{error}; then {second}")),
            },
        }
    }

    async fn outside(&self, name: &EndpointName, upstreams: &ResolvConf) -> Result<Vec<SocketAddr>, String> {
        let addresses = self.lookup.addresses(&name.host, upstreams);
        let found = in_time(Box::pin(addresses)).await?.map_err(|error| error.to_string())?;
        Ok(found.into_iter().map(|address| (address, name.port).into()).collect())
    }

    /// Says which servers are in force.
    pub(super) fn report(&self, status: &mut InterfaceStatus) {
        if let Some(set) = self.in_force.borrow().as_ref() {
            status.dns = set.servers().iter().map(ToString::to_string).collect();
            status.dns_backend = Some(set.backend_names());
        }
    }
}

/// An endpoint that is an address already; a zone is looked up each time, because interfaces come and go.
fn address_of(address: IpAddr, name: &EndpointName) -> Result<SocketAddr, String> {
    match (address, &name.zone) {
        (IpAddr::V6(address), Some(zone)) => {
            let index = zone_index(zone).ok_or_else(|| format!("there is no interface {zone}"))?;
            Ok(SocketAddrV6::new(address, name.port, 0, index).into())
        }
        (address, _) => Ok((address, name.port).into()),
    }
}

async fn by_system(name: &EndpointName) -> Result<Vec<SocketAddr>, String> {
    let lookup = tokio::net::lookup_host((name.host.as_str(), name.port));
    let addresses: Vec<SocketAddr> = in_time(lookup).await?.map_err(|error| error.to_string())?.collect();
    if addresses.is_empty() { Err("no address".to_owned()) } else { Ok(addresses) }
}

/// Waits for an answer, but not for longer than others can wait.
async fn in_time<T>(answer: impl Future<Output = T>) -> Result<T, String> {
    let silence = |_elapsed| format!("no answer within {} s", RESOLVE_TIMEOUT.as_secs());
    tokio::time::timeout(RESOLVE_TIMEOUT, answer).await.map_err(silence)
}

/// Two programs that overwrite each other's file must not do so without end at full speed.
#[derive(Debug, Default)]
struct Fight {
    last: Cell<Option<Instant>>,
    rounds: Cell<u32>,
}

impl Fight {
    /// How long to wait after the file was replaced at `now`.
    fn pause(&self, now: Instant) -> Duration {
        let since = self.last.replace(Some(now)).map(|last| now.saturating_duration_since(last));
        let goes_on = since.is_some_and(|since| since < FIGHT + pause_after(self.rounds.get()));
        self.rounds.set(if goes_on { self.rounds.get().saturating_add(1) } else { 1 });
        pause_after(self.rounds.get())
    }
}

fn pause_after(rounds: u32) -> Duration {
    let paused = rounds.saturating_sub(FREE_ROUNDS);
    if paused == 0 {
        Duration::ZERO
    } else {
        Duration::from_secs(1 << (paused - 1).min(5)).min(MAX_FIGHT_PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::Server;

    fn upstreams(address: &str) -> ResolvConf {
        let server = Server { address: address.parse().unwrap(), zone: None };
        ResolvConf { servers: vec![server], search: Vec::new() }
    }

    fn captured(networks: &[&str]) -> Captured {
        let networks: Vec<IpNet> = networks.iter().map(|network| network.parse().unwrap()).collect();
        Captured { everything: networks.iter().any(|network| network.prefix_len() <= 1), networks }
    }

    #[test]
    fn names_are_looked_up_beside_a_tunnel_that_would_take_the_question() {
        let router = upstreams("192.168.1.1");
        assert_eq!(captured(&[]).way(false, &router), Way::System);
        assert_eq!(captured(&["10.66.0.0/16"]).way(false, &router), Way::System);
        assert_eq!(captured(&["10.66.0.0/16"]).way(true, &router), Way::OutsideThenSystem);
        assert_eq!(captured(&["192.168.0.0/16"]).way(false, &router), Way::OutsideThenSystem);
        for everything in ["0.0.0.0/0", "::/0", "128.0.0.0/1"] {
            assert_eq!(captured(&[everything]).way(false, &router), Way::Outside);
        }
    }

    #[test]
    fn a_fight_over_the_file_slows_down_and_peace_makes_it_quick_again() {
        let (fight, start) = (Fight::default(), Instant::now());
        let pauses = |seconds: std::ops::Range<u64>| -> Vec<u64> {
            seconds.map(|second| fight.pause(start + Duration::from_secs(second)).as_secs()).collect()
        };
        assert_eq!(pauses(0..11), [0, 0, 0, 0, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pauses(10 + 40..10 + 42), [0, 0], "after the longest pause and some peace");
    }
}
