//! A post-quantum hybrid VPN as a library.
//!
//! The modules are layers; each imports only from layers below it (`tests/layering.rs` checks that). Layers 0 to 4 are the
//! crate `vpn_proto`, the packets of layers 5 and 6 are `vpn_engine`, the rest of layer 5 is `vpn_system`; their modules are
//! re-exported here:
//!
//! | layer | modules | what they know |
//! |---|---|---|
//! | 7 | [`config`], [`control`], [`node`], [`uapi`], `cli` | files, control sockets, what the two programs share |
//! | 6 | [`engine`] | threads and batches: drives everything below on real devices |
//! | 5 | [`local_tun`], [`udp`], [`gateway`], [`routes`], [`dns`], [`network`], [`journal`] | the operating system |
//! | 4 | [`device`] | many peers, demultiplexing, admission control |
//! | 3 | [`tunnel`], [`routing`] | one peer's life; longest-prefix match |
//! | 2 | [`handshake`], [`session`] | key agreement; sealing and opening |
//! | 1 | [`asymmetric`], [`symmetric`], [`wire`] | primitives and message layouts |
//! | 0 | [`base`] | secrets, indices, time |
//!
//! Nothing up to layer 4 performs I/O, reads a clock or draws global randomness: time is an argument and the
//! random generator is injected, so the same code runs under the engine, under a simulated network in virtual
//! time and under property tests. `docs/protocol.md` is the normative description of every byte on the wire.

pub use vpn_engine::{engine, local_tun, udp};
pub use vpn_proto::{asymmetric, base, device, handshake, routing, session, symmetric, tunnel, wire};
pub use vpn_system::{dns, gateway, journal, kill_switch, network, routes};

#[cfg(feature = "cli")]
pub mod cli;
pub mod config;
pub mod control;
pub mod node;
#[cfg(target_os = "linux")]
pub mod uapi;
