//! Layer 7: the control socket, by which `status`, `stop` and `reload` reach a running node.
//!
//! One request a line, one answer a line, both JSON: `{"command":"status"}` is answered with
//! `{"ok":true,"status":{…}}` or `{"ok":false,"error":"…"}`.
//!
//! Who may ask for what is decided by the credentials of the caller, which the system attests ([`Access`]): root, and the user
//! that the node runs as, may everything; the group that the configuration names may ask for the status. That group owns the
//! socket (mode 0660), so that others do not even reach it.

mod access;
mod client;
mod refusals;
mod render;
mod seats;
mod server;
mod status;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "SO_PEERGROUPS has no safe wrapper")]
mod sys;

pub use access::{Access, give_socket};
pub use client::{ControlClient, ControlError};
pub use render::{Palette, render};
#[cfg(target_os = "linux")]
pub(crate) use server::bind_private;
pub use server::{BindError, ControlServer, Handler};
pub use status::{DropCounts, InterfaceStatus, OffloadStatus, PeerState, PeerStatus, Status};

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Folder of the control sockets.
pub const RUN_FOLDER: &str = if cfg!(target_os = "macos") { "/var/run/vpn" } else { "/run/vpn" };

/// Where the node with this interface has its socket.
pub fn socket_path(run_folder: &Path, interface: &str) -> PathBuf {
    run_folder.join(format!("{interface}.sock"))
}

/// What a node can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase")]
enum Request {
    Status,
    Stop,
    Reload,
}

/// What it answers. Not an enum tagged by `ok`: serde's tags are strings.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Response {
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Refused because of who asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    denied: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    /// After a reload: what changed or will surprise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    notes: Vec<String>,
}
