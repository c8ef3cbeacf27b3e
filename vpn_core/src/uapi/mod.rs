//! Layer 7: the configuration protocol of userspace WireGuard implementations, as `wg` and its kin speak it
//! (<https://www.wireguard.com/xplatform/#configuration-protocol>).
//!
//! ```text
//! bytes ── read_request ──▶ Request ── Model::plan ──▶ Plan ──▶ the device, the socket
//!                              └─ Get ──▶ DeviceState ──▶ bytes
//! ```
//!
//! A request is read and checked as a whole before anything is changed, so that a bad line changes nothing (other
//! implementations apply what stands before it). Where the protocol leaves things open, wireguard-go is followed: the
//! sign of errno, peers with our own key, the order of what `get` tells.
//!
//! Parser, model and answers are pure; [`UapiServer`] is the socket, [`run`] the daemon around them, which `wg` and
//! `wg-quick` use in place of the kernel's WireGuard.

mod daemon;
mod detach;
mod error;
mod model;
mod request;
mod response;
mod server;

pub use daemon::{DEFAULT_MTU, DaemonError, DaemonOptions, run};
pub use detach::{DetachError, Detached, detach};
pub use error::UapiError;
pub use model::{Model, Plan, WantedPeer};
pub use request::{AllowedIp, MAX_LINE, MAX_REQUEST, PeerUpdate, Request, SetRequest, parse_request};
pub use response::{DeviceState, PeerState, answer};
pub use server::{Configurable, UAPI_FOLDER, UapiBindError, UapiServer};
