//! Layer 7: the configuration that both programs read, and the files that they write.
//!
//! A configuration is one TOML file and, beside it, any number of `peers.d/*.toml` files, read in the order of their
//! names; each of those holds one or more `[[peer]]` tables and nothing else. Paths of key files are relative to the
//! file that names them. Reading collects every fault with its place and remedy before it gives up; nothing is
//! returned half valid.

mod across;
mod control;
mod edit;
mod fault;
mod interface;
mod key;
mod leaks;
mod leftovers;
mod load;
mod mtu;
mod names;
mod new_files;
mod offload;
mod overlap;
mod peer;
mod queues;
mod suite;
mod table;
mod trust;
mod wireguard_file;
mod write;

pub use crate::{
    engine::{OffloadError, OffloadSet},
    gateway::Egress,
    journal::InterfaceName,
};
pub use control::{ControlConfig, ControlGroup};
pub use edit::{EditError, PeerEdit, add_wireguard_key_file, edit_peer, read_file, replace_file};
pub use fault::{ConfigError, Fault, Position};
pub use interface::{GatewayConfig, InterfaceConfig, Routes};
pub use leaks::{Inbound, Lan};
pub use leftovers::remove_leftovers;
pub use load::PEERS_FOLDER;
pub use mtu::Mtu;
pub use names::{EndpointName, NameError, PeerName};
pub use new_files::{NewFileError, NewFiles};
pub use peer::PeerConfig;
pub use wireguard_file::WireguardFile;
pub use write::{ClientFile, ClientIdentity, PeerFile, ServerFile, WIREGUARD_KEY_FILE};

use std::{path::Path, path::PathBuf, time::SystemTime};

/// What a node is to do, valid as a whole.
#[derive(Debug)]
pub struct Config {
    /// The file that it was read from.
    pub file: PathBuf,
    /// The node itself.
    pub interface: InterfaceConfig,
    /// What a server does beyond the tunnel; `None` without a `[gateway]` table.
    pub gateway: Option<GatewayConfig>,
    /// Who but root may ask the node for something.
    pub control: ControlConfig,
    /// The other nodes, in the order of files and lines.
    pub peers: Vec<PeerConfig>,
    /// What is valid but will surprise; to be shown to the person who starts the node.
    pub warnings: Vec<Fault>,
}

/// Which program reads the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `vpn-server`: a gateway.
    Server,
    /// `vpn-client`: connects to a server.
    Client,
}

impl Config {
    /// Reads `path`, the peer files beside it and the key files that they name. `now` decides which peers have
    /// expired, which is a warning and no fault: a server must come up again after a guest's last day.
    ///
    /// # Errors
    /// [`ConfigError`] with every fault that was found.
    pub fn load(path: &Path, role: Role, now: SystemTime) -> Result<Self, ConfigError> {
        load::load(path, role, now)
    }

    /// Reads the interface's name only, for commands that must work while the rest of the file is broken.
    ///
    /// # Errors
    /// [`ConfigError`] when the file is missing, not TOML, or the name is not one.
    pub fn interface_name(path: &Path) -> Result<InterfaceName, ConfigError> {
        load::interface_name(path)
    }

    /// The peer called `name`.
    pub fn peer(&self, name: &str) -> Option<&PeerConfig> {
        self.peers.iter().find(|peer| peer.name.as_str() == name)
    }
}
