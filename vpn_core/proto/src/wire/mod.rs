//! Layer 1: message layouts. One datagram is one message; the first byte tells its type.

pub mod checksum;
pub mod fragment;
pub mod hybrid;
pub mod icmp;
pub mod ip;
pub mod layout;
pub mod path;
pub mod payload;
pub mod transport;
pub mod wireguard;

/// A handshake message as it lies in a datagram: right type and length, nothing else checked.
#[derive(Clone, Copy, Debug)]
pub enum HandshakeMessage<'a> {
    /// Types 5 to 8.
    Hybrid(hybrid::Message<'a>),
    /// Types 1 to 3.
    Wireguard(wireguard::Message<'a>),
}

impl<'a> HandshakeMessage<'a> {
    /// Recognises a message of either handshake.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let wireguard = || wireguard::Message::parse(datagram).map(Self::Wireguard);
        hybrid::Message::parse(datagram).map(Self::Hybrid).or_else(wireguard)
    }
}

/// The longest handshake message, in bytes: with its IPv6 and UDP headers it passes any IPv6 path (protocol.md 2.3).
pub const MAX_HANDSHAKE_MESSAGE: usize = ip::IPV6_MIN_MTU as usize - ip::IPV6_HEADER_SIZE - 8;
