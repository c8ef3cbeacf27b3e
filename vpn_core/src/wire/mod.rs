//! Layer 1: message layouts. One datagram is one message; the first byte tells its type.

pub mod hybrid;
pub mod ip;
pub mod transport;

/// The largest UDP payload that every handshake message fits, so that it passes any IPv6 path (protocol.md 2.3).
pub const MAX_HANDSHAKE_MESSAGE: usize = 1232;
