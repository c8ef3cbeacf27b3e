//! Layer 7: a running node, as both programs are: configuration made into a device, an engine and the system around
//! them, until somebody says stop.
//!
//! Everything that is changed on the system is in the journal before it is changed, and undone when the node stops,
//! fails to start, or starts again after a crash.

mod peers;
mod report;
mod running;
mod system;

use crate::{
    config::{Config, ConfigError, Role},
    control::{BindError, ControlServer},
    gateway::GatewayError,
    journal::{InterfaceName, Journal, JournalError},
    local_tun::TunError,
    routes::RouteError,
    udp::UdpError,
};
use running::Running;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Folder of the journals.
pub const STATE_FOLDER: &str = "/var/lib/vpn";

/// Where a node keeps what it shares with other programs and with its next start.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Folder of the control socket.
    pub run_folder: PathBuf,
    /// Folder of the journal.
    pub state_folder: PathBuf,
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
    runtime.block_on(async {
        // Before anything is changed: a signal during the start is an orderly stop, too.
        let mut signals = Signals::listen().map_err(system)?;
        let config = load()?;
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let control = ControlServer::bind(&options.run_folder, config.interface.name.as_str())?;
        let (node, mut notices) = Running::start(config, role, options, load).await?;
        notify(&[sd_notify::NotifyState::Ready]);
        let outcome = node.serve(&control, &mut signals, &mut notices).await;
        notify(&[sd_notify::NotifyState::Stopping]);
        let stopped = node.stop();
        // Last: that the socket is gone tells whoever waits that everything is undone.
        drop(control);
        outcome.and(stopped)
    })
}

/// Undoes what nodes that crashed have left behind. Returns the names of the interfaces that there was something to
/// undo for; nodes that run are left alone.
///
/// # Errors
/// [`NodeError::Journal`], after all others were tried.
pub fn cleanup(options: &NodeOptions) -> Result<Vec<InterfaceName>, NodeError> {
    let mut cleaned = Vec::new();
    let mut failure = None;
    for interface in journalled_interfaces(&options.state_folder) {
        match Journal::open(&options.state_folder, &interface).and_then(Journal::close) {
            Ok(()) => cleaned.push(interface),
            Err(JournalError::InUse { .. }) => tracing::debug!(%interface, "still running, left alone"),
            Err(error) => failure = Some(error),
        }
    }
    match failure {
        Some(error) => Err(error.into()),
        None => Ok(cleaned),
    }
}

fn journalled_interfaces(state_folder: &Path) -> Vec<InterfaceName> {
    let Ok(entries) = fs::read_dir(state_folder) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name();
        name.to_str()?.strip_suffix(".journal")?.parse().ok()
    });
    names.collect()
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
