//! The protocol of the hybrid VPN, without I/O.
//!
//! | layer | modules | what they know |
//! |---|---|---|
//! | 4 | [`device`] | many peers, demultiplexing, admission control |
//! | 3 | [`tunnel`], [`routing`] | one peer's life; longest-prefix match |
//! | 2 | [`handshake`], [`session`] | key agreement; sealing and opening |
//! | 1 | [`asymmetric`], [`symmetric`], [`wire`] | primitives and message layouts |
//! | 0 | [`base`] | secrets, indices, time |
//!
//! Nothing here performs I/O, reads a clock or draws global randomness: time is an argument and the random generator is
//! injected, so the same code runs under the engine, under a simulated network in virtual time and under property tests.
//! `docs/protocol.md` is the normative description of every byte on the wire.

pub mod asymmetric;
pub mod base;
pub mod device;
pub mod handshake;
pub mod routing;
pub mod session;
pub mod symmetric;
pub mod tunnel;
pub mod wire;
