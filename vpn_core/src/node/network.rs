//! The node and the network that it is on: follows changes and sleep, asks peers again, and says how it stands.

use super::{
    notify,
    reason::reason,
    running::{Running, endpoint_names, known_endpoints},
};
use crate::{
    config::Role,
    device::{Device, PeerStatus},
    network::{
        Allowance, Clocks, Difference, Jump, NetworkEvent, Obstacle, Pace, PathFinder, Paths, watch_network,
    },
    tunnel::{NoAnswer, PeerState, Unanswered},
};
use std::{
    cell::RefCell,
    convert::Infallible,
    env, io,
    net::IpAddr,
    time::{Duration, Instant, SystemTime},
};
use tokio::{sync::Notify, time::sleep};

/// How often paths are looked at without being told of a change: the system may have lost its message.
const UNASKED_LOOK: Duration = Duration::from_secs(10);
/// How often the clocks are compared: how long after a sleep its end is noticed, at the latest.
const CLOCK_CHECK: Duration = Duration::from_secs(1);
/// Names are resolved again after a change of network, and not more often than this.
const RESOLUTION_PAUSE: Duration = Duration::from_secs(10);

/// Unanswered inits after which silent peers are asked from another port, 10 s after the first; then once in so many more.
/// A NAT or firewall on the way may have kept what it knew of the old port.
const INITS_BEFORE_REBIND: u32 = 2;
const INITS_PER_REBIND: u32 = 8;

/// What a node knows of the network that it is on.
#[derive(Debug)]
pub(super) struct NetworkState {
    /// `None`: the system does not say, and what is left is to notice silence.
    finder: RefCell<Option<PathFinder>>,
    paths: RefCell<Paths>,
    pace: RefCell<Pace>,
    allowance: RefCell<Allowance>,
    /// When to ask the peers, where the allowance was used up.
    postponed: RefCell<Option<Instant>>,
    /// There is something new to wait for.
    woken: Notify,
    resolution: Notify,
    /// What the service manager was told last.
    told: RefCell<String>,
}

impl NetworkState {
    pub(super) fn new(finder: io::Result<PathFinder>) -> Self {
        if let Err(error) = &finder {
            tracing::warn!(%error, "changes of this host's network will be noticed late");
        }
        Self {
            finder: RefCell::new(finder.ok()),
            paths: RefCell::default(),
            pace: RefCell::default(),
            allowance: RefCell::default(),
            postponed: RefCell::default(),
            woken: Notify::new(),
            resolution: Notify::new(),
            told: RefCell::default(),
        }
    }

    fn note(&self, event: NetworkEvent) {
        self.paths.borrow_mut().note(event);
        self.pace.borrow_mut().note(Instant::now());
        self.woken.notify_one();
    }

    /// Whether there is a way to any peer, as far as is known.
    pub(super) fn is_reachable(&self) -> bool {
        self.paths.borrow().is_reachable()
    }

    /// Why nothing reaches an endpoint, as far as is known.
    pub(super) fn obstacle(&self, endpoint: IpAddr) -> Option<Obstacle> {
        self.paths.borrow().obstacle(endpoint.to_canonical())
    }

    /// Waits until it is time to look at the paths.
    async fn next_look(&self) {
        loop {
            let due = [self.pace.borrow().due_at(), *self.postponed.borrow()].into_iter().flatten().min();
            let pause = due.map_or(UNASKED_LOOK, |at| at.saturating_duration_since(Instant::now()));
            tokio::select! {
                () = sleep(pause) => return,
                () = self.woken.notified() => {}
            }
        }
    }
}

impl Running<'_> {
    /// Follows this host's network and its clocks.
    pub(super) async fn follow_network(&self) -> Infallible {
        tokio::select! {
            never = self.listen_to_network() => never,
            never = self.look_at_paths() => never,
            never = self.watch_clocks() => never,
            never = self.resolve_again() => never,
        }
    }

    async fn listen_to_network(&self) -> Infallible {
        let interface = self.system.borrow().interface();
        match watch_network(&interface, |event| self.network.note(event)).await {
            Ok(never) => match never {},
            Err(error) => tracing::warn!(%error, "changes of this host's network will be noticed late"),
        }
        std::future::pending().await
    }

    async fn look_at_paths(&self) -> Infallible {
        loop {
            self.look();
            if self.network.postponed.borrow().is_some_and(|at| at <= Instant::now()) {
                self.ask_peers("the network has changed again and again");
            }
            self.tell_state();
            self.network.next_look().await;
        }
    }

    fn look(&self) {
        let network = &self.network;
        network.pace.borrow_mut().take(Instant::now());
        if let Err(error) = self.system.borrow_mut().follow_network(&self.engine.borrow()) {
            tracing::warn!(%error, "the change of network could not be followed");
        }
        let endpoints = self.endpoints();
        let was_reachable = network.is_reachable();
        let difference = {
            let (mut paths, mut finder) = (network.paths.borrow_mut(), network.finder.borrow_mut());
            let Some(finder) = &mut *finder else { return };
            paths.look(endpoints, |endpoint| finder.path_to(endpoint))
        };
        match difference {
            Difference::Changed => self.ask_peers("the way to a peer has changed"),
            Difference::Gone if was_reachable => {
                tracing::warn!("no network: there is no way to any peer");
                // Their sessions are not what they say any more: asking in vain is how a peer becomes silent.
                self.engine.borrow().with_device(Device::handle_network_change);
            }
            Difference::Gone | Difference::None => {}
        }
    }

    /// The addresses to which we send, and would.
    fn endpoints(&self) -> Vec<IpAddr> {
        let mut endpoints = known_endpoints(&self.addresses.borrow());
        let statuses =
            self.engine.borrow().with_device(|device, now| device.peer_status(now)).unwrap_or_default();
        let current = statuses.iter().filter_map(|status| status.endpoint);
        endpoints.extend(current.map(|endpoint| endpoint.ip().to_canonical()));
        endpoints
    }

    /// Probes the paths to all peers, now or when it has not been done too often; and all that depends on the network
    /// which this host is on is brought up to date.
    fn ask_peers(&self, why: &str) {
        let allowed = self.network.allowance.borrow_mut().take(Instant::now());
        self.network.postponed.replace(allowed.err());
        if allowed.is_err() {
            return;
        }
        tracing::info!("{why}: asking the peers");
        self.engine.borrow().with_device(Device::handle_network_change);
        self.refresh_mtu();
        self.network.resolution.notify_one();
    }

    async fn watch_clocks(&self) -> Infallible {
        let mut before = Clocks::read();
        loop {
            sleep(CLOCK_CHECK).await;
            let now = Clocks::read();
            match before.as_ref().zip(now.as_ref()).and_then(|(before, now)| now.jump_since(before)) {
                Some(Jump::Slept(slept)) => {
                    tracing::info!(seconds = slept.as_secs(), "this host was asleep: asking the peers");
                    self.engine.borrow().with_device(move |device, now| device.handle_sleep(slept, now));
                    self.network.resolution.notify_one();
                }
                Some(Jump::WallClock) => self.ask_peers("the clock was set forward"),
                None => {}
            }
            before = now;
            self.tell_state();
        }
    }

    async fn resolve_again(&self) -> Infallible {
        loop {
            self.network.resolution.notified().await;
            let names = endpoint_names(&self.config.borrow()).collect::<Vec<_>>();
            self.resolve(names).await;
            sleep(RESOLUTION_PAUSE).await;
        }
    }

    /// Goes on from another port when a peer has been silent for a while, and nobody knows us by this one.
    pub(super) fn rebind_if_stuck(&self, unanswered: Unanswered) {
        let inits = unanswered.inits;
        let is_time = inits == INITS_BEFORE_REBIND || inits.is_multiple_of(INITS_PER_REBIND);
        if unanswered.cause != NoAnswer::Silence || !is_time || self.system.borrow().has_fixed_port() {
            return;
        }
        let sockets = match self.system.borrow().bind() {
            Ok(sockets) => sockets,
            Err(error) => {
                tracing::warn!(%error, "there is no other port to try");
                return;
            }
        };
        // When it fails, its packet threads have ended, and with that notice the node ends.
        if let Err(error) = self.engine.borrow_mut().rebind(sockets) {
            tracing::error!(%error, "the sockets could not be replaced");
            return;
        }
        let engine = self.engine.borrow();
        tracing::debug!(listen = %engine.local_addr(), "no answer: trying from another port");
        engine.with_device(Device::handle_rebind);
    }

    /// Tells the service manager how a client stands, when that is news.
    pub(super) fn tell_state(&self) {
        if self.role != Role::Client || env::var_os("NOTIFY_SOCKET").is_none() {
            return;
        }
        let state = self.state();
        if *self.network.told.borrow() != state {
            notify(&[sd_notify::NotifyState::Status(&state)]);
            self.network.told.replace(state);
        }
    }

    fn state(&self) -> String {
        if !self.network.is_reachable() {
            return "no network".to_owned();
        }
        let peers =
            self.engine.borrow().with_device(|device, now| device.peer_status(now)).unwrap_or_default();
        let config = self.config.borrow();
        let (now, clock) = (Instant::now(), SystemTime::now());
        let describe = |live: &PeerStatus| {
            let peer = config.peers.iter().find(|peer| peer.public_key == live.key)?;
            let way = live.endpoint.and_then(|endpoint| self.network.obstacle(endpoint.ip()));
            let reason = reason(peer, Some(live), way, now, clock).map(|reason| format!(" ({reason})"));
            Some(format!("{}{}", peer.name, reason.unwrap_or_default()))
        };
        let join = |peers: &mut dyn Iterator<Item = &PeerStatus>| {
            peers.filter_map(describe).collect::<Vec<_>>().join(", ")
        };
        let up = join(&mut peers.iter().filter(|peer| peer.state == PeerState::Up));
        if up.is_empty() {
            // Also one whose name has not resolved yet.
            format!("connecting to {}", join(&mut peers.iter()))
        } else {
            format!("connected to {up}")
        }
    }
}
