//! Whole devices on a simulated network in virtual time: no sleeping, no sockets, no clock beyond one base instant.
//!
//! `node.rs` does with a device what the engine does, `network.rs` moves the datagrams and the time between nodes.
//! Every run checks, whatever its subject, that no packet is delivered twice, altered or to the wrong node, that no
//! transport counter goes out twice under one key, and that no timer stands still. All chance comes from one seed:
//! `SIM_SEED=n cargo test -p vpn_core --test simulation` runs the same scenarios with another.

mod network;
mod node;
mod packet;

mod checksums;
mod clock;
mod connecting;
mod cookies;
mod doubt;
mod endpoints;
mod forwarding;
mod garbage;
mod inner_endpoints;
mod keepalive;
mod loss;
mod path_mtu;
mod patience;
mod probing;
mod rekeying;
mod replay;
mod restart;
mod soak;
mod staging;
mod strangers;
mod unreachable;
mod wireguard;
