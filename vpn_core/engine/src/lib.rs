//! Packets on real devices: [`engine`] drives a device of `vpn_proto` between a TUN device and UDP sockets.
//!
//! | layer | modules | what they know |
//! |---|---|---|
//! | 6 | [`engine`] | threads and batches |
//! | 5 | [`local_tun`], [`udp`] | the operating system's packet interfaces |

// The layers below, under the names that they have in `vpn_core`.
#[cfg(test)]
use vpn_proto::{asymmetric, handshake};
use vpn_proto::{base, device, session, tunnel, wire};

pub mod engine;
pub mod local_tun;
pub mod udp;
