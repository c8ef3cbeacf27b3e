//! Layer 5: name servers, in both directions.
//!
//! **The system's, while a client is up** ([`NameServers`]). Who owns `/etc/resolv.conf` decides how they are set
//! ([`choose`]): systemd-resolved gets servers for our link and the routing domain `~.`; openresolv an exclusive record;
//! in all other cases the file itself is replaced, and replaced again when another program overwrites it. What that one
//! wrote is then what comes back at the end, not what was there when we started.
//!
//! **Our own** ([`Lookup`]). A peer's endpoint name must not be looked up through the tunnel that needs its answer. It
//! is asked for at the servers that the system had before us, from sockets that carry the mark of our own datagrams, so
//! policy routing and kill switch let the question pass.
//!
//! Texts and decisions are pure and tested on any system; what applies them is in `linux.rs`, `watch.rs` and
//! `socket.rs`.

mod detect;
mod hosts;
#[cfg(target_os = "linux")]
mod linux;
mod lookup;
#[cfg(target_os = "macos")]
mod macos;
mod message;
#[cfg(target_os = "linux")]
mod replace;
mod resolv_conf;
#[cfg(any(test, target_os = "macos"))]
mod scutil;
mod socket;
#[cfg(target_os = "linux")]
mod upstream;
#[cfg(target_os = "linux")]
mod watch;

use crate::journal::JournalError;
use std::{io, path::PathBuf};

pub use detect::{Backend, Facts, choose};
#[cfg(target_os = "linux")]
pub use linux::NameServers;
pub use lookup::{LeadOutside, Lookup, LookupError};
#[cfg(target_os = "macos")]
pub use macos::{NameServers, Upstreams, watch_file};
pub use resolv_conf::{ResolvConf, Server};
#[cfg(target_os = "linux")]
pub use upstream::Upstreams;
#[cfg(target_os = "linux")]
pub use watch::watch_file;

/// Where this host keeps what names are resolved with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// The resolver file.
    pub resolv_conf: PathBuf,
    /// Where systemd-resolved keeps its resolver files.
    pub resolved_folder: PathBuf,
    /// The servers that NetworkManager has given to a resolver of this host.
    pub network_manager_upstreams: PathBuf,
    /// Names that need no server.
    pub hosts: PathBuf,
}

impl Default for Surroundings {
    fn default() -> Self {
        Self {
            resolv_conf: "/etc/resolv.conf".into(),
            resolved_folder: "/run/systemd/resolve".into(),
            network_manager_upstreams: "/run/NetworkManager/no-stub-resolv.conf".into(),
            hosts: "/etc/hosts".into(),
        }
    }
}

/// Why the system's name servers could not be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DnsError {
    /// The resolver file cannot be replaced.
    #[error("cannot {action} {path}: {source}; make it writable, or leave `dns` out of the configuration")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Two tunnels want a file that cannot be renamed, so the first one's would be lost.
    #[error(
        "{path} is in use by the tunnel {interface}, and is a mount point: only one tunnel can have `dns` here"
    )]
    Taken {
        /// The file.
        path: PathBuf,
        /// The other tunnel.
        interface: String,
    },
    /// The change could not be written down or made.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// resolvconf failed.
    #[error(transparent)]
    Command(#[from] crate::journal::CommandError),
}

#[cfg(target_os = "linux")]
impl DnsError {
    fn file(action: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.to_owned(), source }
    }
}
