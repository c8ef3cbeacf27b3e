//! What a node changes on its host, journals and undoes: routes, firewall, name servers.
//!
//! [`journal`] is below the other modules. None of them knows of packets or threads; `vpn_engine` does.

// The layers below, under the names that they have in `vpn_core`.
use vpn_proto::{base, wire};

pub mod dns;
pub mod gateway;
pub mod journal;
pub mod kill_switch;
pub mod network;
pub mod routes;
