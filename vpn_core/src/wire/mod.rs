//! Layer 1: message layouts. One datagram is one message; the first byte tells its type.

pub mod hybrid;
pub mod ip;
pub mod transport;
pub mod wireguard;

/// The longest handshake message, in bytes: with its IPv6 and UDP headers it passes any IPv6 path (protocol.md 2.3).
pub const MAX_HANDSHAKE_MESSAGE: usize = ip::IPV6_MIN_MTU as usize - ip::IPV6_HEADER_SIZE - 8;
