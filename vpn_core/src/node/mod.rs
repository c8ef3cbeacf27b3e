//! Layer 7: a running node, as both programs are: configuration made into a device, an engine and the system around
//! them, until somebody says stop.
//!
//! Everything that is changed on the system is in the journal before it is changed, and undone when the node stops,
//! fails to start, or starts again after a crash.

mod doctor;
mod expiry;
#[cfg_attr(target_os = "macos", path = "hold_macos.rs")]
mod hold;
mod lockdown;
mod mtu;
mod names;
mod network;
#[cfg(target_os = "linux")]
mod outside;
mod peers;
mod reason;
mod reload;
#[cfg_attr(target_os = "macos", path = "remains_macos.rs")]
mod remains;
mod report;
mod running;
mod session;
#[cfg_attr(target_os = "macos", path = "system_macos.rs")]
mod system;

pub use doctor::{Finding, Verdict, examine};

use crate::{
    config::{Config, ConfigError, Role},
    control::{BindError, ControlError, ControlServer},
    dns::DnsError,
    engine::OffloadSet,
    gateway::GatewayError,
    journal::{InterfaceName, JournalError},
    kill_switch::KillSwitchError,
    local_tun::TunError,
    routes::RouteError,
    udp::UdpError,
};
use running::Running;
use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub use lockdown::{Cleaned, KillSwitchLeft, cleanup, locked_down};
pub use session::{SSH_VARIABLE, SshSession, cut_warning, session_cut_by};

/// Folder of the journals.
pub const STATE_FOLDER: &str = if cfg!(target_os = "macos") { "/var/db/vpn" } else { "/var/lib/vpn" };

/// How long a start waits for a predecessor to be gone: after `kill -9` the kernel needs a moment to give back locks,
/// port and device, and after a stop the node itself needs one to undo what it changed.
const PREDECESSOR_PATIENCE: Duration = Duration::from_secs(2);
/// Between two looks at whether it is gone.
const PREDECESSOR_POLL: Duration = Duration::from_millis(20);

/// Where a node keeps what it shares with other programs and with its next start.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Folder of the control socket.
    pub run_folder: PathBuf,
    /// Folder of the journal.
    pub state_folder: PathBuf,
    /// The offloads to use, in place of those in the configuration.
    pub offload: Option<OffloadSet>,
}

/// Why a node did not start, or stopped unasked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// The configuration is not valid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The control socket cannot be had: most often, the node runs already.
    #[error(transparent)]
    Control(#[from] BindError),
    /// The journal cannot be had, or something could not be undone.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Somebody holds what an interface's node has changed, and neither runs as it should nor ends.
    #[error(
        "a process holds the journal of {interface} and does not end, so what it has changed was not undone: {source}"
    )]
    Held {
        /// The tunnel interface.
        interface: InterfaceName,
        /// How its node answered.
        source: ControlError,
    },
    /// There is no TUN device.
    #[error(transparent)]
    Tun(#[from] TunError),
    /// There is no UDP socket.
    #[error(transparent)]
    Udp(#[from] UdpError),
    /// Addresses or routes could not be set.
    #[error(transparent)]
    Routes(#[from] RouteError),
    /// Forwarding or its firewall rules could not be set.
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    /// The kill switch cannot be put in force.
    #[error(transparent)]
    KillSwitch(#[from] KillSwitchError),
    /// The kill switch outlives a failure, once it is in force.
    #[error(
        "{source}\nthe kill switch of {interface} stays in force, so nothing leaves this host: \
         connect again, or lift it with `vpn-client cleanup`"
    )]
    LockedDown {
        /// The tunnel interface.
        interface: InterfaceName,
        /// What failed.
        source: Box<NodeError>,
    },
    /// The system's name servers could not be set.
    #[error(transparent)]
    Dns(#[from] DnsError),
    /// The system has no threads, descriptors or randomness left.
    #[error("{what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// A packet thread cannot go on.
    #[error("the {thread} thread of {interface} stopped: the tunnel interface or its socket was taken away")]
    Failed {
        /// Which thread.
        thread: &'static str,
        /// The tunnel interface.
        interface: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl NodeError {
    /// Whether privileges are what is missing. (Their causes alone do not say so everywhere.)
    pub fn is_not_permitted(&self) -> bool {
        match self {
            Self::Config(error) => error.is_not_permitted(),
            Self::Routes(error) => matches!(error, RouteError::NotPermitted { .. }),
            Self::LockedDown { source, .. } => source.is_not_permitted(),
            Self::Journal(error) => error.is_not_permitted(),
            Self::Control(_)
            | Self::Held { .. }
            | Self::Tun(_)
            | Self::Udp(_)
            | Self::Gateway(_)
            | Self::KillSwitch(_)
            | Self::Dns(_)
            | Self::System { .. }
            | Self::Failed { .. } => false,
        }
    }

    /// Whether another process has what this one needs.
    fn is_in_use(&self) -> bool {
        match self {
            Self::Control(error) => matches!(error, BindError::AlreadyRunning(_)),
            Self::Journal(error) => matches!(error, JournalError::InUse { .. }),
            Self::Tun(error) => matches!(error, TunError::NameBusy { .. }),
            Self::Udp(error) => matches!(error, UdpError::AddressInUse { .. }),
            Self::LockedDown { source, .. } => source.is_in_use(),
            Self::Config(_)
            | Self::Held { .. }
            | Self::Routes(_)
            | Self::Gateway(_)
            | Self::KillSwitch(_)
            | Self::Dns(_)
            | Self::System { .. }
            | Self::Failed { .. } => false,
        }
    }
}

/// Repeats a step of the start while a predecessor may still be on its way out.
async fn once_free<T, E: Into<NodeError>>(mut step: impl FnMut() -> Result<T, E>) -> Result<T, NodeError> {
    let deadline = Instant::now() + PREDECESSOR_PATIENCE;
    loop {
        match step().map_err(Into::into) {
            Err(error) if error.is_in_use() && Instant::now() < deadline => {
                tokio::time::sleep(PREDECESSOR_POLL).await;
            }
            outcome => return outcome,
        }
    }
}

/// Runs a node until it is told to stop, by a signal or over the control socket. `load` is called at the start and
/// again for each reload (SIGHUP, or the control socket).
///
/// # Errors
/// [`NodeError`]; whatever had been changed on the system is undone.
pub fn run(
    load: &dyn Fn() -> Result<Config, ConfigError>,
    role: Role,
    options: &NodeOptions,
) -> Result<(), NodeError> {
    let system = |source| NodeError::System { what: "the control thread cannot be set up", source };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system)?;
    let outcome = runtime.block_on(async {
        // Before anything is changed: a signal during the start is an orderly stop, too.
        let mut signals = Signals::listen().map_err(system)?;
        let config = load()?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        if let Some(session) = session_cut_by(&config) {
            tracing::warn!("{}", cut_warning(&session));
        }
        let name = config.interface.name.clone();
        let control = once_free(|| ControlServer::bind(&options.run_folder, name.as_str())).await?;
        control.open_to(running::access(&config))?;
        let (node, mut notices) = Running::start(config, role, options, load).await?;
        notify(&[sd_notify::NotifyState::Ready]);
        let outcome = node.serve(&control, &mut signals, &mut notices).await;
        notify(&[sd_notify::NotifyState::Stopping]);
        let outcome = node.stop(outcome);
        // Last: that the socket is gone tells whoever waits that everything is undone.
        drop(control);
        outcome
    });
    // A name that is still being resolved would hold up the end for as long as the resolver is silent.
    runtime.shutdown_background();
    outcome
}

/// Tells systemd, where it asked to be told.
fn notify(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd could not be notified");
    }
}

/// The signals that a node obeys.
#[derive(Debug)]
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Stop,
    Reload,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.terminate.recv() => Wish::Stop,
            _ = self.hangup.recv() => Wish::Reload,
        }
    }
}
