//! The node while it runs: serves the control socket, obeys signals, follows the engine's notices.

use super::{
    NodeError, NodeOptions, Signals, Wish,
    mtu::{self, InterfaceMtu},
    names::{Captured, Names},
    network::NetworkState,
    once_free,
    peers::{Addresses, DevicePeer, device_peer, keys},
    report,
    system::System,
};
use crate::{
    asymmetric::X25519SecretKey,
    base::{PeerId, SecretBytes, since_unix_epoch},
    config::{Config, ConfigError, ControlGroup, PeerConfig, Role},
    control::{Access, ControlServer, Handler, Status, socket_path},
    device::{Device, DeviceSettings, Forwarding},
    engine::{Engine, Notice, NoticeSink, Queue},
    handshake::{PeerKey, hybrid::LocalNode},
    network::endpoint_text,
    routes::{Link, watch_link},
    session::REKEY_AFTER_TIME,
    symmetric::NULL_CIPHER,
    tunnel::{Event, InnerNetworks, Unanswered},
    wire::hybrid::{Features, ParametersBytes},
};
use ipnet::IpNet;
use std::{
    cell::{Cell, RefCell},
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::{Notify, mpsc};

/// Unanswered inits after which a peer's endpoint names are resolved again; once in so many.
const INITS_PER_RESOLUTION: u32 = 3;
/// How soon names that have never resolved are tried again; each further pause is twice as long, up to the second value.
const RESOLUTION_RETRY: Duration = Duration::from_secs(5);
const MAX_RESOLUTION_RETRY: Duration = Duration::from_secs(60);
/// How long after the watch over the interface has ended, for want of memory or descriptors, the next one begins.
const WATCH_AGAIN: Duration = Duration::from_secs(5);

/// The engine's notices; few, and not from strangers.
pub(super) type Notices = mpsc::UnboundedReceiver<Notice>;

/// A running node.
pub(super) struct Running<'a> {
    pub(super) role: Role,
    pub(super) load: &'a dyn Fn() -> Result<Config, ConfigError>,
    pub(super) config: RefCell<Config>,
    pub(super) addresses: RefCell<Addresses>,
    pub(super) names: Names,
    pub(super) system: RefCell<System>,
    pub(super) engine: RefCell<Engine>,
    pub(super) network: NetworkState,
    pub(super) mtu: InterfaceMtu,
    stop: Notify,
    /// The control socket.
    pub(super) socket: PathBuf,
    /// Guards against two reloads whose parts mix.
    reloading: Cell<bool>,
}

impl<'a> Running<'a> {
    /// Makes everything and starts the threads. What was changed is undone when a later step fails.
    pub(super) async fn start(
        config: Config,
        role: Role,
        options: &NodeOptions,
        load: &'a dyn Fn() -> Result<Config, ConfigError>,
    ) -> Result<(Self, Notices), NodeError> {
        let (mut system, queues) = once_free(|| System::start(&config, role, options)).await?;
        let names = Names::new(system.socket_mark());
        let mut addresses = Addresses::outside(&config.interface.addresses);
        addresses.resolve(endpoint_names(&config), &names, &Captured::at_start(&config)).await;
        let peers = admitted(&config, &addresses);
        let (sender, notices) = mpsc::unbounded_channel();
        // The receiver lives as long as the engine; when it is gone nobody wants notices.
        let sink: NoticeSink = Arc::new(move |notice| drop(sender.send(notice)));
        let engine = system
            .route(&allowed_ips(&peers), &known_endpoints(&addresses))
            .and_then(|()| start_engine(&config, role, (peers, system.inner_networks()), queues, &sink))
            .and_then(|engine| names.apply(&config, role, &mut system).map(|()| engine));
        let engine = match engine {
            Ok(engine) => engine,
            Err(error) => return Err(system.stop_after(error)),
        };
        system.started();
        system.look_past();
        if NULL_CIPHER {
            tracing::error!("this build does NOT ENCRYPT: it is for measuring only");
        }
        let interface = &config.interface;
        tracing::info!(
            interface = %interface.name,
            listen = %engine.local_addr(),
            public_key = %interface.identity.public_key(),
            peers = config.peers.len(),
            offload = %engine.offloads(),
            "the tunnel is ready"
        );
        let network = NetworkState::new(system.path_finder());
        let policy = mtu::policy(interface.mtu, role, &interface.addresses);
        let running = Self {
            socket: socket_path(&options.run_folder, config.interface.name.as_str()),
            network,
            role,
            load,
            mtu: InterfaceMtu::new(policy.mode, interface.mtu.initial()),
            config: RefCell::new(config),
            addresses: RefCell::new(addresses),
            names,
            system: RefCell::new(system),
            engine: RefCell::new(engine),
            stop: Notify::new(),
            reloading: Cell::new(false),
        };
        running.refresh_mtu();
        Ok((running, notices))
    }

    /// Runs until a signal, the control socket or a failure ends it.
    pub(super) async fn serve(
        &self,
        control: &ControlServer,
        signals: &mut Signals,
        notices: &mut Notices,
    ) -> Result<(), NodeError> {
        tokio::select! {
            never = control.serve(self) => match never {},
            () = self.stop.notified() => Ok(()),
            () = self.obey(signals) => Ok(()),
            failure = self.follow_notices(notices) => Err(failure),
            never = self.watch_expiry() => match never {},
            never = self.resolve_unresolved() => match never {},
            never = self.follow_interface() => match never {},
            never = self.follow_network() => match never {},
            never = self.hold() => match never {},
            never = self.names.follow(&self.system) => match never {},
        }
    }

    /// Stops the threads and undoes what was changed. After a failure the kill switch stays in force.
    pub(super) fn stop(self, outcome: Result<(), NodeError>) -> Result<(), NodeError> {
        tracing::info!(interface = %self.config.borrow().interface.name, "stopping");
        let mut system = self.system.into_inner();
        self.names.undo(&mut system); // While the way to the servers in the tunnel is still there.
        drop(self.engine); // The TUN device goes with it, and with that its addresses and routes.
        match outcome {
            Ok(()) => system.stop(),
            Err(error) => Err(system.stop_after(error)),
        }
    }

    async fn obey(&self, signals: &mut Signals) {
        while signals.next().await == Wish::Reload {
            match self.reload().await {
                Ok(notes) => tracing::info!(?notes, "configuration reloaded"),
                Err(error) => tracing::error!("not reloaded, the old configuration stays in force: {error}"),
            }
        }
    }

    async fn follow_notices(&self, notices: &mut Notices) -> NodeError {
        loop {
            match notices.recv().await {
                Some(Notice::Event(event)) => {
                    self.handle_event(event).await;
                    self.tell_state();
                }
                Some(Notice::Failed { thread, error }) => return self.failed(thread, error),
                None => return self.failed("control", io::Error::other("the thread has ended")),
            }
        }
    }

    fn failed(&self, thread: &'static str, source: io::Error) -> NodeError {
        NodeError::Failed { thread, interface: self.config.borrow().interface.name.to_string(), source }
    }

    async fn handle_event(&self, event: Event) {
        match event {
            Event::SessionEstablished { peer, role } => {
                let Some((status, name)) = self.identify(peer) else { return };
                let endpoint = status.endpoint.map(endpoint_text).unwrap_or_default();
                if status.handshakes == 1 {
                    tracing::info!(peer = name, endpoint, ?role, suite = status.suite.name(), "connected");
                } else {
                    tracing::debug!(peer = name, endpoint, ?role, "new session");
                }
                self.refresh_route_mtu(&status);
            }
            Event::EndpointInside { peer, endpoint } => {
                if let Some((_, name)) = self.identify(peer) {
                    tracing::warn!(peer = name, %endpoint, "this endpoint lies inside the tunnel: nothing is sent to it");
                }
            }
            Event::PathMtuChanged { peer, mtu } => self.handle_path_mtu(peer, mtu),
            Event::PathLosesDatagrams { .. } => {} // The engine has told the kernel.
            Event::PeerDead { peer } => {
                if let Some((_, name)) = self.identify(peer) {
                    tracing::warn!(peer = name, "nothing comes back: connecting anew");
                }
            }
            Event::KeyInTwoPlaces { peer, places: [one, other] } => {
                if let Some((_, name)) = self.identify(peer) {
                    tracing::warn!(
                        peer = name, %one, %other,
                        "the key of this peer is used from two places in turn: each machine needs a key of its own"
                    );
                }
            }
            Event::SessionsCutShort { peer } => {
                if let Some((_, name)) = self.identify(peer) {
                    tracing::warn!(
                        peer = name,
                        "the peer answers handshakes, but nothing comes back soon after: is our key used from a second \
                         place as well, as by a copy of this configuration?"
                    );
                }
            }
            Event::HandshakeUnanswered { peer, unanswered } => self.handle_unanswered(peer, unanswered).await,
            Event::GaveUp { peer } => {
                if let Some((_, name)) = self.identify(peer) {
                    tracing::warn!(peer = name, "no answer: given up until there is something to send");
                }
            }
        }
    }

    async fn handle_unanswered(&self, id: PeerId, unanswered: Unanswered) {
        if !self.network.is_reachable() {
            return; // It has been said that there is no network: nothing else is wrong, and no resolver can be asked.
        }
        let Some((status, _)) = self.identify(id) else { return };
        let names = {
            let config = self.config.borrow();
            let Some(peer) = peer_by_key(&config, &status.key) else { return };
            let own = config.interface.own_key(status.key.protocol());
            report::log_unanswered(peer, own, status.endpoint, unanswered);
            peer.endpoints.clone()
        };
        self.rebind_if_stuck(unanswered);
        if unanswered.inits.is_multiple_of(INITS_PER_RESOLUTION) && !names.is_empty() {
            self.resolve(names).await;
        }
    }

    /// Resolves names again and tells the device what changed.
    pub(super) async fn resolve(&self, names: Vec<crate::config::EndpointName>) {
        // Resolved beside the old addresses, so that nobody waits while a resolver is slow.
        let mut fresh = Addresses::default();
        let captured = Captured::by(&self.config.borrow());
        fresh.resolve(names.iter().cloned(), &self.names, &captured).await;
        self.addresses.borrow_mut().merge(fresh);
        let updates: Vec<(PeerKey, Vec<SocketAddr>)> = {
            let (config, addresses) = (self.config.borrow(), self.addresses.borrow());
            let concerned =
                config.peers.iter().filter(|peer| peer.endpoints.iter().any(|name| names.contains(name)));
            concerned.map(|peer| (peer.public_key, addresses.of(&peer.endpoints))).collect()
        };
        self.route();
        self.engine.borrow().with_device(move |device, now| {
            for (key, endpoints) in updates {
                device.set_endpoints(&key, endpoints, now);
            }
        });
    }

    /// Names that did not resolve when the node started, as on a laptop that is not online yet.
    async fn resolve_unresolved(&self) -> std::convert::Infallible {
        let mut pause = RESOLUTION_RETRY;
        loop {
            tokio::time::sleep(pause).await;
            let unresolved = {
                let (config, addresses) = (self.config.borrow(), self.addresses.borrow());
                endpoint_names(&config)
                    .filter(|name| addresses.of(std::slice::from_ref(name)).is_empty())
                    .collect::<Vec<_>>()
            };
            if unresolved.is_empty() {
                pause = RESOLUTION_RETRY; // For names that a reload brings.
            } else {
                self.resolve(unresolved).await;
                pause = (pause * 2).min(MAX_RESOLUTION_RETRY);
            }
        }
    }

    /// Puts back what is lost when somebody sets the tunnel interface down and up; without that, traffic would go beside
    /// the tunnel from then on, with a session that is up.
    async fn follow_interface(&self) -> std::convert::Infallible {
        let interface = self.system.borrow().interface();
        let was_up = Cell::new(true);
        let changed = |link: Option<Link>| {
            // Without the interface the packet threads fail, and say so.
            let Some(Link { is_up, mtu }) = link else { return };
            self.handle_link_mtu(mtu);
            if was_up.replace(is_up) == is_up {
                return;
            }
            if !is_up {
                tracing::warn!(%interface, "set down by somebody: traffic does not take the tunnel until it is up");
                return;
            }
            match self.system.borrow().restore() {
                Ok(()) => tracing::info!(%interface, "up again: addresses and routes put back"),
                Err(error) => tracing::error!(%interface, %error, "up again, but not as it was: restart"),
            }
        };
        loop {
            match watch_link(&interface, &changed).await {
                Ok(never) => match never {},
                Err(error) => tracing::warn!(%error, "changes of the tunnel interface are noticed late"),
            }
            tokio::time::sleep(WATCH_AGAIN).await;
            was_up.set(false); // It may have been down meanwhile: what it lost by that is put back.
        }
    }

    /// Gives the device the admitted peers of the configuration, and takes the others away.
    pub(super) fn apply_peers(&self) {
        let peers = admitted(&self.config.borrow(), &self.addresses.borrow());
        self.engine.borrow().with_device(move |device, now| {
            let wanted = keys(&peers);
            let gone: Vec<PeerKey> = device.peer_keys().filter(|key| !wanted.contains(key)).collect();
            for key in gone {
                device.remove_peer(&key);
            }
            set_peers(device, peers, now);
        });
    }

    /// Brings routes up to date with peers and endpoints.
    pub(super) fn route(&self) {
        let peers = admitted(&self.config.borrow(), &self.addresses.borrow());
        let endpoints = known_endpoints(&self.addresses.borrow());
        self.system.borrow_mut().set_name_servers(&self.config.borrow().interface.dns);
        self.system.borrow_mut().set_inbound(self.config.borrow().interface.inbound);
        if let Err(error) = self.system.borrow_mut().route(&allowed_ips(&peers), &endpoints) {
            tracing::error!(%error, "routes could not be brought up to date");
        }
        self.update_inner_networks();
    }

    /// Tells the device what lies inside the tunnel by the routes in force.
    pub(super) fn update_inner_networks(&self) {
        let inner = InnerNetworks::new(self.system.borrow().inner_networks());
        self.engine.borrow().with_device(move |device, now| device.set_inner_networks(inner, now));
    }

    pub(super) fn identify(&self, id: PeerId) -> Option<(crate::device::PeerStatus, String)> {
        let status = self.engine.borrow().with_device(move |device, now| device.status_of(id, now))??;
        let config = self.config.borrow();
        let name = peer_by_key(&config, &status.key)?.name.to_string();
        Some((status, name))
    }
}

impl Handler for Running<'_> {
    fn status(&self) -> Status {
        let engine = self.engine.borrow();
        let peers = engine.with_device(|device, now| device.peer_status(now)).unwrap_or_default();
        let port = engine.local_addr().port();
        let offloads = engine.offloads();
        let drops = engine.plane().drops();
        let obstacle = |endpoint| self.network.obstacle(endpoint);
        let port_and_mtu = (port, self.mtu.now());
        let mut status =
            report::status(&self.config.borrow(), self.role, port_and_mtu, offloads, peers, obstacle, drops);
        self.names.report(&mut status.interface);
        self.system.borrow().report(&mut status.interface);
        status
    }

    fn stop(&self) {
        self.stop.notify_one();
    }

    async fn reload(&self) -> Result<Vec<String>, String> {
        if self.reloading.replace(true) {
            return Err("another reload is under way; try again".to_owned());
        }
        let outcome = self.reload_once().await;
        self.reloading.set(false);
        outcome
    }

    fn access(&self) -> Access {
        access(&self.config.borrow())
    }
}

/// Who but root may ask the node for something.
pub(super) fn access(config: &Config) -> Access {
    let number = |group: &Option<ControlGroup>| group.as_ref().map(|group| group.gid);
    Access { group: number(&config.control.group), operators: number(&config.control.operators) }
}

fn start_engine(
    config: &Config,
    role: Role,
    (peers, inner): (Vec<DevicePeer>, Vec<IpNet>),
    queues: Vec<Queue>,
    sink: &NoticeSink,
) -> Result<Engine, NodeError> {
    // Asked now, so that a system without randomness is an error here; later it cannot fail.
    getrandom::fill(&mut [0; 1]).map_err(|error| NodeError::System {
        what: "the system gives no randomness",
        source: io::Error::other(error),
    })?;
    // The system's generator and not one of our own: a seeded one in our memory would yield every earlier ephemeral key
    // to whoever reads that memory later (no forward secrecy), and the same keys twice in two copies of a machine.
    let rng = rand_core::UnwrapErr(getrandom::SysRng);
    let interface = &config.interface;
    let settings = DeviceSettings {
        hybrid: Some(LocalNode {
            identity: interface.identity.share(),
            network_keys: interface.network_key.iter().map(SecretBytes::duplicate).collect(),
            suites: interface.suites,
            parameters: ParametersBytes {
                features: Features::SUPPORTED,
                mtu: interface.mtu.initial().into(),
                ..ParametersBytes::default()
            },
        }),
        wireguard: interface.wireguard_key.as_ref().map(X25519SecretKey::new),
        unix_time: since_unix_epoch(SystemTime::now()),
        mtu: interface.mtu.initial(),
        mtu_policy: mtu::policy(interface.mtu, role, &interface.addresses),
        rekey_after: REKEY_AFTER_TIME,
        local: interface.addresses.iter().map(IpNet::addr).collect(),
        networks: interface.addresses.iter().map(IpNet::trunc).collect(),
        forwarding: match &config.gateway {
            None => Forwarding::Off,
            Some(gateway) if gateway.client_to_client => Forwarding::BetweenPeers,
            Some(_) => Forwarding::Denied,
        },
    };
    let now = Instant::now();
    let mut device = Device::new(settings, Box::new(rng), now);
    device.set_inner_networks(InnerNetworks::new(inner), now);
    set_peers(&mut device, peers, now);
    Engine::start(device, queues, sink)
        .map_err(|source| NodeError::System { what: "the packet threads cannot be started", source })
}

fn set_peers(device: &mut Device, peers: Vec<DevicePeer>, now: Instant) {
    for (settings, allowed_ips) in peers {
        let key = settings.key;
        if device.set_peer(settings, allowed_ips, now).is_none() {
            tracing::error!(peer = %key, "this public key cannot be a peer's: it is our own, or no valid one");
        }
    }
    device.update_routes();
}

pub(super) fn admitted(config: &Config, addresses: &Addresses) -> Vec<DevicePeer> {
    let clock = SystemTime::now();
    config
        .peers
        .iter()
        .filter(|peer| peer.is_admitted(clock))
        .map(|peer| device_peer(peer, addresses))
        .collect()
}

/// What is to be routed into the tunnel. Also what belongs to peers whose endpoint names have not resolved: it must not
/// leave beside the tunnel until they have.
pub(super) fn allowed_ips(peers: &[DevicePeer]) -> Vec<IpNet> {
    peers.iter().flat_map(|(_, allowed_ips)| allowed_ips).copied().collect()
}

pub(super) fn endpoint_names(config: &Config) -> impl Iterator<Item = crate::config::EndpointName> + '_ {
    config.peers.iter().flat_map(|peer| peer.endpoints.iter().cloned())
}

pub(super) fn known_endpoints(addresses: &Addresses) -> Vec<IpAddr> {
    addresses.all().map(|address| address.ip().to_canonical()).collect()
}

fn peer_by_key<'c>(config: &'c Config, key: &PeerKey) -> Option<&'c PeerConfig> {
    config.peers.iter().find(|peer| peer.public_key == *key)
}
