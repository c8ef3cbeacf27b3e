//! Who a peer is.

use super::Protocol;
use crate::{
    asymmetric::{PublicKey, X25519PublicKey},
    base::encode_key,
};

/// Who a peer is: the public key of the handshake that it speaks. The two kinds of key never mix.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerKey {
    /// An Ed25519 identity.
    Hybrid(PublicKey),
    /// An X25519 static key.
    Wireguard(X25519PublicKey),
}

impl PeerKey {
    /// The handshake that the peer speaks.
    pub const fn protocol(&self) -> Protocol {
        match self {
            Self::Hybrid(_) => Protocol::Hybrid,
            Self::Wireguard(_) => Protocol::Wireguard,
        }
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        match self {
            Self::Hybrid(key) => &key.0,
            Self::Wireguard(key) => &key.0,
        }
    }

    /// The first 8 characters, for logs.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

impl From<PublicKey> for PeerKey {
    fn from(key: PublicKey) -> Self {
        Self::Hybrid(key)
    }
}

impl From<X25519PublicKey> for PeerKey {
    fn from(key: X25519PublicKey) -> Self {
        Self::Wireguard(key)
    }
}

impl core::fmt::Display for PeerKey {
    /// 44 base64 characters.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&encode_key(self.as_bytes()))
    }
}

impl core::fmt::Debug for PeerKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?} {}", self.protocol(), self.short())
    }
}
