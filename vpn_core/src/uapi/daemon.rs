//! A WireGuard interface that is configured over its socket, until the socket or the interface is removed.

use super::{
    Configurable, DeviceState, Model, PeerState, Plan, SetRequest, UapiBindError, UapiError, UapiServer,
};
use crate::{
    asymmetric::{X25519PublicKey, X25519SecretKey},
    base::{SecretBytes, since_unix_epoch},
    device::{Device, DeviceSettings, Forwarding, PeerStatus},
    engine::{Engine, Notice, NoticeSink, OffloadSet, Queue, QueueCount},
    handshake::PeerKey,
    journal::InterfaceName,
    local_tun::{Tun, TunConfig, TunError},
    network::endpoint_text,
    routes::{Link, RouteError, networks_into, shape_interface, watch_link},
    tunnel::{Event, InnerNetworks, MtuPolicy, PeerSettings},
    udp::{UdpConfig, UdpError, UdpSocket},
};
use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    io,
    net::SocketAddr,
    os::fd::RawFd,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

/// MTU of a new interface, in bytes: what a path of 1500 leaves over IPv6, as other implementations have it.
pub const DEFAULT_MTU: u16 = 1420;

/// How long a start waits for the device of a predecessor to be gone.
const PREDECESSOR_PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at whether it is.
const PREDECESSOR_POLL: Duration = Duration::from_millis(20);

/// How to run.
#[derive(Clone, Debug)]
pub struct DaemonOptions {
    /// The interface to make.
    pub interface: InterfaceName,
    /// Instead of making one: the descriptor of a TUN device that this process inherited.
    pub tun: Option<RawFd>,
    /// Queues of a device that is made here; one that was handed over has one.
    pub queues: QueueCount,
    /// Folder of the socket; [`super::UAPI_FOLDER`] but in tests.
    pub folder: PathBuf,
    /// Age at which the initiator of a session makes a new one.
    pub rekey_after: Duration,
    /// The offloads to use where the kernel has them.
    pub offload: OffloadSet,
}

/// Why the daemon did not start, or stopped unasked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// There is no TUN device.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// There is no socket for `wg`: most often, another implementation serves this name.
    #[error(transparent)]
    Socket(#[from] UapiBindError),
    /// There is no UDP socket.
    #[error(transparent)]
    Udp(#[from] UdpError),
    /// The interface could not be given its MTU, or not be watched.
    #[error(transparent)]
    Interface(#[from] RouteError),
    /// The system has no threads, descriptors or randomness left.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl DaemonError {
    fn system(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { what, source }
    }
}

/// Serves the interface until SIGINT or SIGTERM, or until its socket or the interface itself is removed. `ready` is called
/// when both are there and answer.
///
/// # Errors
/// [`DaemonError`]; socket and interface are gone then.
pub fn run(options: &DaemonOptions, ready: impl FnOnce()) -> Result<(), DaemonError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(DaemonError::system("the control thread cannot be set up"))?;
    runtime.block_on(async {
        // Before anything is made: a signal during the start is an orderly stop, too.
        let signals = DaemonError::system("signals cannot be listened to");
        let (mut interrupt, mut terminate) = signal(SignalKind::interrupt())
            .and_then(|int| Ok((int, signal(SignalKind::terminate())?)))
            .map_err(signals)?;
        let (tun, interface) = open_tun(options).await?;
        let server = UapiServer::bind(&options.folder, interface.as_str())?;
        let (sender, mut notices) = mpsc::unbounded_channel();
        // The receiver lives as long as the engine; when it is gone nobody wants notices.
        let sink: NoticeSink = Arc::new(move |notice| drop(sender.send(notice)));
        let daemon = Daemon::start(tun, interface.clone(), options, &sink)?;
        let (socket, offload) = (server.path().display(), daemon.engine.borrow().offloads());
        tracing::info!(%interface, %socket, %offload, "ready to be configured");
        ready(); // After it is in the log: who waited for this reads there.
        let outcome = tokio::select! {
            never = server.serve(&daemon) => match never {},
            _ = interrupt.recv() => Ok("told to stop"),
            _ = terminate.recv() => Ok("told to stop"),
            outcome = server.removed() => outcome
                .map(|()| "the socket was removed")
                .map_err(DaemonError::system("the socket cannot be watched")),
            outcome = daemon.follow_notices(&mut notices) => outcome.map(|()| "the interface was deleted"),
            failure = daemon.follow_link(&interface) => Err(failure),
        };
        outcome.map(|reason| tracing::info!(%interface, reason, "stopping"))
    })
}

async fn open_tun(options: &DaemonOptions) -> Result<(Tun, InterfaceName), DaemonError> {
    match options.tun {
        None => {
            let queues = options.queues.get();
            let name = options.interface.as_str();
            let tun = create_tun(&TunConfig { queues, ..options.offload.tun_config(name) }).await?;
            shape_interface(&options.interface, DEFAULT_MTU)?;
            Ok((tun, options.interface.clone()))
        }
        Some(number) => {
            let tun = Tun::inherited(number, options.offload.tun)?;
            // Whoever opened it may have let the kernel choose its name.
            let interface =
                tun.name().parse().map_err(|_| TunError::BadName { name: tun.name().to_owned() })?;
            Ok((tun, interface))
        }
    }
}

/// Makes the device, and waits for the kernel to take away that of a predecessor which was killed a moment ago.
async fn create_tun(config: &TunConfig) -> Result<Tun, TunError> {
    let deadline = Instant::now() + PREDECESSOR_PATIENCE;
    loop {
        match Tun::create(config) {
            Err(TunError::NameBusy { .. }) if Instant::now() < deadline => {
                tokio::time::sleep(PREDECESSOR_POLL).await;
            }
            outcome => return outcome,
        }
    }
}

/// The device behind the socket. The socket's thread is its only user; the packet threads have the engine's own state.
struct Daemon {
    engine: RefCell<Engine>,
    interface: InterfaceName,
    /// The offloads that each new socket is to use.
    offload: OffloadSet,
    model: RefCell<Model>,
    handshakes: RefCell<HandshakeTimes>,
    /// The port as configured; 0 where the kernel chose one.
    wanted_port: Cell<u16>,
    mark: Cell<u32>,
    /// While the interface is down the device has no key, and so neither begins nor answers anything.
    is_up: Cell<bool>,
}

impl Daemon {
    fn start(
        tun: Tun,
        interface: InterfaceName,
        options: &DaemonOptions,
        notices: &NoticeSink,
    ) -> Result<Self, DaemonError> {
        // Asked now, so that a system without randomness is an error here; later it cannot fail.
        getrandom::fill(&mut [0; 1]).map_err(|error| {
            DaemonError::system("the system gives no randomness")(io::Error::other(error))
        })?;
        let udp = options.offload.udp_config(any_address(0));
        let sockets = UdpSocket::bind_group(&udp, tun.queues().len())?;
        let settings = DeviceSettings {
            hybrid: None,
            wireguard: None,
            unix_time: since_unix_epoch(SystemTime::now()),
            mtu: DEFAULT_MTU,
            mtu_policy: MtuPolicy::UNLIMITED,
            rekey_after: options.rekey_after,
            local: HashSet::new(),
            networks: Vec::new(), // Others give the interface its addresses.
            // From peer to peer through the local system, whose rules and counters apply, as with the kernel's WireGuard.
            forwarding: Forwarding::Off,
        };
        let rng = rand_core::UnwrapErr(getrandom::SysRng);
        let device = Device::new(settings, Box::new(rng), Instant::now());
        let engine = Engine::start(device, Queue::pairs(tun, sockets), notices)
            .map_err(DaemonError::system("the packet threads cannot be started"))?;
        Ok(Self {
            engine: RefCell::new(engine),
            interface,
            offload: options.offload,
            model: RefCell::default(),
            handshakes: RefCell::default(),
            wanted_port: Cell::new(0),
            mark: Cell::new(0),
            is_up: Cell::new(false),
        })
    }

    /// Ends well when the interface is gone.
    async fn follow_notices(&self, notices: &mut mpsc::UnboundedReceiver<Notice>) -> Result<(), DaemonError> {
        loop {
            match notices.recv().await {
                Some(Notice::Event(event)) => self.handle_event(event),
                Some(Notice::Failed { error, .. }) if error.raw_os_error() == Some(libc::EBADFD) => {
                    return Ok(());
                }
                Some(Notice::Failed { thread, error }) => {
                    tracing::error!(thread, %error, "a packet thread stopped");
                    return Err(DaemonError::system("packets cannot pass any more")(error));
                }
                None => std::future::pending().await,
            }
        }
    }

    fn handle_event(&self, event: Event) {
        match event {
            Event::SessionEstablished { peer, role } => {
                let status = self.engine.borrow().with_device(move |device, now| device.status_of(peer, now));
                let Some(status) = status.flatten() else { return };
                tracing::debug!(peer = status.key.short(), ?role, endpoint = ?status.endpoint, "new session");
                self.handshakes.borrow_mut().of(&status);
            }
            Event::PathMtuChanged { .. } | Event::PathLosesDatagrams { .. } => {}
            // The kernel's WireGuard takes such an endpoint, and fails to send to it (ELOOP).
            Event::EndpointInside { peer, endpoint } => {
                let status = self.engine.borrow().with_device(move |device, now| device.status_of(peer, now));
                let peer = status.flatten().map(|status| status.key.short());
                tracing::warn!(peer, %endpoint, "this endpoint lies inside the tunnel: nothing is sent to it");
            }
            Event::KeyInTwoPlaces { .. } | Event::SessionsCutShort { .. } => {
                tracing::warn!(?event, "one key seems to be used from two places in turn");
            }
            Event::PeerDead { .. } | Event::HandshakeUnanswered { .. } | Event::GaveUp { .. } => {
                tracing::debug!(?event, "no answer");
            }
        }
    }

    async fn follow_link(&self, interface: &InterfaceName) -> DaemonError {
        match watch_link(interface, |link| self.handle_link(link)).await {
            Ok(never) => match never {},
            // A device that was handed over may be in another network namespace from the start.
            Err(RouteError::NoInterface { .. }) => {
                self.handle_link(None);
                std::future::pending().await
            }
            Err(error) => error.into(),
        }
    }

    fn handle_link(&self, link: Option<Link>) {
        // Out of sight, but not deleted, or reading from it fails at once: moved to another network namespace, where
        // nothing tells us whether it is up. Taking it for up does no harm.
        let is_up = link.is_none_or(|link| link.is_up);
        let engine = self.engine.borrow();
        if let Some(link) = link {
            engine.plane().set_mtu(link.mtu);
        }
        if self.is_up.replace(is_up) != is_up {
            tracing::debug!(is_up, "the interface was set up or down");
            let (key, inner) = (self.key_in_force(), self.inner_networks());
            engine.with_device(move |device, now| {
                device.set_inner_networks(inner, now);
                device.set_wireguard_key(key, now);
            });
        }
    }

    fn key_in_force(&self) -> Option<X25519SecretKey> {
        let model = self.model.borrow();
        model.private_key().filter(|_| self.is_up.get()).map(X25519SecretKey::new)
    }

    /// Port and mark: what the system may refuse. The new socket is there before the old one is given up.
    fn change_socket(&self, port: Option<u16>, mark: u32) -> Result<(), UapiError> {
        let bound = self.engine.borrow().local_addr().port();
        let port = port.filter(|port| *port != self.wanted_port.get());
        match port {
            Some(port) if port != bound => {
                let fwmark = (mark != 0).then_some(mark);
                let config = UdpConfig { fwmark, ..self.offload.udp_config(any_address(port)) };
                let mut engine = self.engine.borrow_mut();
                let sockets =
                    UdpSocket::bind_group(&config, engine.queues()).map_err(|error| refused(port, error))?;
                let rebound = engine.rebind(sockets);
                rebound.map_err(|source| UapiError::System { what: "changing the UDP port", source })?;
            }
            Some(_) | None if mark != self.mark.get() => {
                let marked = self.engine.borrow().set_mark(mark);
                marked.map_err(|source| UapiError::System { what: "setting the fwmark", source })?;
            }
            Some(_) | None => {}
        }
        self.wanted_port.set(port.unwrap_or(self.wanted_port.get()));
        self.mark.set(mark);
        Ok(())
    }

    /// What lies inside the tunnel: the peers' allowed IPs but for default routes, and what is routed to the interface. A firewall
    /// mark changes nothing about that, because nobody says which of these networks it leads around.
    fn inner_networks(&self) -> InnerNetworks {
        let routed = networks_into(&self.interface).inspect_err(|error| tracing::debug!(%error, "no routes"));
        let model = self.model.borrow();
        let allowed_ips = model.peers().into_iter().flat_map(|(_, peer)| peer.allowed_ips.iter().copied());
        InnerNetworks::assumed([], allowed_ips.chain(routed.unwrap_or_default()))
    }

    fn carry_out(&self, plan: &Plan) {
        let model = self.model.borrow();
        let removed: Vec<PeerKey> = plan.removed.iter().copied().map(PeerKey::from).collect();
        let updated: Vec<_> = plan
            .updated
            .iter()
            .filter_map(|(key, endpoint)| {
                let peer = model.peer(key)?;
                let settings = PeerSettings {
                    key: PeerKey::from(*key),
                    preshared_key: peer.preshared_key.duplicate(),
                    // Where it is to be found is said once, and then the peer's to change.
                    endpoints: Vec::new(),
                    persistent_keepalive: (peer.persistent_keepalive > 0)
                        .then(|| Duration::from_secs(peer.persistent_keepalive.into())),
                    stay_connected: false,
                };
                Some((settings, peer.allowed_ips.iter().copied().collect(), *endpoint))
            })
            .collect();
        let key = plan.key_changed.then(|| self.key_in_force());
        let inner = self.inner_networks();
        self.engine.borrow().with_device(move |device, now| {
            for key in &removed {
                device.remove_peer(key);
            }
            if let Some(key) = key {
                device.set_wireguard_key(key, now);
            }
            let mut moved = Vec::new();
            for (settings, allowed_ips, endpoint) in updated {
                moved.extend(endpoint.map(|endpoint| (settings.key, endpoint)));
                device.set_peer(settings, allowed_ips, now);
            }
            device.update_routes();
            device.set_inner_networks(inner, now);
            for (key, endpoint) in moved {
                device.move_endpoint(&key, endpoint, now);
            }
        });
    }
}

impl Configurable for Daemon {
    fn state(&self) -> DeviceState {
        let (model, engine) = (self.model.borrow(), self.engine.borrow());
        let statuses = engine.with_device(|device, now| device.peer_status(now)).unwrap_or_default();
        let by_key: HashMap<_, _> = statuses.into_iter().map(|status| (status.key, status)).collect();
        let mut handshakes = self.handshakes.borrow_mut();
        let peers = model.peers().into_iter().map(|(key, wanted)| {
            let status = by_key.get(&PeerKey::from(*key));
            PeerState {
                public_key: *key,
                preshared_key: wanted.preshared_key.duplicate(),
                endpoint: status.and_then(|status| status.endpoint).map(endpoint_text),
                last_handshake: status.and_then(|status| handshakes.of(status)),
                tx_bytes: status.map_or(0, |status| status.tx_bytes),
                rx_bytes: status.map_or(0, |status| status.rx_bytes),
                persistent_keepalive: wanted.persistent_keepalive,
                allowed_ips: wanted.allowed_ips.iter().copied().collect(),
            }
        });
        DeviceState {
            private_key: model.private_key().map(SecretBytes::duplicate),
            listen_port: engine.local_addr().port(),
            fwmark: self.mark.get(),
            peers: peers.collect(),
        }
    }

    fn change(&self, request: SetRequest) -> Result<(), UapiError> {
        self.change_socket(request.listen_port, request.fwmark.unwrap_or(self.mark.get()))?;
        let plan = self.model.borrow_mut().apply(request);
        for key in &plan.removed {
            self.handshakes.borrow_mut().forget(*key);
        }
        self.carry_out(&plan);
        Ok(())
    }
}

/// When the last handshake of each peer was, by the wall clock of that moment: the same whenever it is asked for, and
/// whatever happens to the clock later.
#[derive(Debug, Default)]
struct HandshakeTimes(HashMap<PeerKey, (Instant, Duration)>);

impl HandshakeTimes {
    /// Of the peer's last handshake, since 1970.
    fn of(&mut self, status: &PeerStatus) -> Option<Duration> {
        let at = status.last_handshake?;
        let known = self.0.get(&status.key).filter(|(known, _)| *known == at);
        let time = known.map_or_else(
            || since_unix_epoch(SystemTime::now()).saturating_sub(at.elapsed()),
            |(_, time)| *time,
        );
        self.0.insert(status.key, (at, time));
        Some(time)
    }

    fn forget(&mut self, key: X25519PublicKey) {
        self.0.remove(&PeerKey::from(key));
    }
}

/// Both families, where the kernel has both.
fn any_address(port: u16) -> SocketAddr {
    SocketAddr::from(([0_u16; 8], port))
}

fn refused(port: u16, error: UdpError) -> UapiError {
    let what = "binding the UDP port";
    match error {
        UdpError::AddressInUse { .. } => UapiError::PortInUse { port },
        UdpError::AddressNotAvailable { source, .. }
        | UdpError::NotPermitted { source, .. }
        | UdpError::FamilyMissing { source, .. }
        | UdpError::System { source, .. } => UapiError::System { what, source },
    }
}
