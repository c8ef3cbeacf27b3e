//! Layer 2: key agreement. Handshake states are consumed as they advance; nothing here performs I/O, reads a clock
//! or draws randomness of its own.

mod block;
pub mod hybrid;
pub mod wireguard;

mod peer_key;

pub use peer_key::PeerKey;

use crate::{
    base::{DropReason, ReceiverIndex, SecretBytes},
    symmetric::Suite,
    wire::hybrid::ParametersBytes,
};

/// A 32-byte secret shared by two peers, mixed into their handshakes; all zero stands for none.
pub type PresharedKey = SecretBytes<32>;

/// Why a handshake message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The sender does not know our identity, our network key or our init.
    #[error("wrong mac")]
    BadMac,
    /// The sender broke the rules on flags or suites, or sent a cookie reply that nothing asked for.
    #[error("flags or suites that were not offered")]
    NotOffered,
    /// The sender's X25519 or ML-KEM key is invalid.
    #[error("invalid key")]
    BadKey,
    /// A sealed block does not open: forged, damaged, or made with another preshared key.
    #[error("a sealed block does not open")]
    BadSeal,
    /// The signature is not the claimed identity's.
    #[error("wrong signature")]
    BadSignature,
    /// The message names an index that this state does not have.
    #[error("unknown index")]
    UnknownIndex,
    /// An initiation that is not newer than one before it: replayed, or the peer's clock went back.
    #[error("timestamp not newer than one before")]
    Replayed,
    /// The peer initiates more often than anybody needs.
    #[error("too many initiations")]
    TooFrequent,
    /// The handshake has seen as many failed messages as it tolerates.
    #[error("too many failed messages")]
    Exhausted,
}

impl From<HandshakeError> for DropReason {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::BadMac => Self::BadMac,
            HandshakeError::UnknownIndex => Self::UnknownIndex,
            HandshakeError::Replayed => Self::Replay,
            HandshakeError::TooFrequent => Self::RateLimited,
            HandshakeError::NotOffered
            | HandshakeError::BadKey
            | HandshakeError::BadSeal
            | HandshakeError::BadSignature
            | HandshakeError::Exhausted => Self::BadHandshake,
        }
    }
}

/// Which of the two handshakes; a peer speaks one of them, and never falls back to the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// The native one: X25519 with ML-KEM-768.
    Hybrid,
    /// WireGuard's.
    Wireguard,
}

/// Which end of a handshake this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sent the init.
    Initiator,
    /// Answered it.
    Responder,
}

/// What a completed handshake yields: everything that a keypair needs.
#[derive(Debug)]
pub struct Agreement {
    /// Which handshake made it.
    pub protocol: Protocol,
    /// Our role in the handshake.
    pub role: Role,
    /// The index under which we receive.
    pub local_index: ReceiverIndex,
    /// The index under which the peer receives.
    pub remote_index: ReceiverIndex,
    /// Key for what we send.
    pub sending: SecretBytes<32>,
    /// Key for what we receive.
    pub receiving: SecretBytes<32>,
    /// The cipher of both.
    pub suite: Suite,
    /// What the peer says of itself.
    pub parameters: ParametersBytes,
}
