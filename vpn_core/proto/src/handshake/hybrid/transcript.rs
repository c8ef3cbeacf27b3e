//! The running hash and chaining key of a handshake (protocol.md 3.2).

use super::{NetworkKey, PROTOCOL};
use crate::{
    asymmetric::PublicKey,
    base::SecretBytes,
    handshake::{
        HandshakeError,
        block::{open_block, seal_block},
    },
    symmetric::{Hash, hash, hash_parts, keyed_hash_64},
};

/// `h` and `ck` of protocol.md 3.2.
pub(super) struct Transcript {
    h: Hash,
    ck: SecretBytes<32>,
}

impl Transcript {
    /// The transcript before the first message: protocol, network key, responder identity.
    pub(super) fn start(network_key: &NetworkKey, responder: &PublicKey) -> Self {
        let h = hash(PROTOCOL.as_bytes());
        let mut transcript = Self { h, ck: SecretBytes::new(h) };
        let _unused = transcript.mix_key(&[network_key.expose()]);
        transcript.mix_hash(&responder.0);
        transcript
    }

    /// The hash of everything so far.
    pub(super) const fn hash(&self) -> &Hash {
        &self.h
    }

    /// A copy, for continuing along two branches.
    pub(super) const fn duplicate(&self) -> Self {
        Self { h: self.h, ck: self.ck.duplicate() }
    }

    pub(super) fn mix_hash(&mut self, bytes: &[u8]) {
        self.h = hash_parts(&[&self.h, bytes]);
    }

    /// Mixes the concatenation of `parts` into the chaining key; the key returned serves one AEAD call.
    pub(super) fn mix_key(&mut self, parts: &[&[u8]]) -> SecretBytes<32> {
        let (ck, k) = keyed_hash_64(&self.ck, parts);
        self.ck = ck;
        k
    }

    /// Encrypts all but the last 16 bytes of `block` in place, writes the tag there, and mixes the ciphertext.
    pub(super) fn seal(&mut self, key: &SecretBytes<32>, block: &mut [u8]) {
        seal_block(key, &self.h, block);
        self.mix_hash(block);
    }

    /// Decrypts `block` and mixes the ciphertext.
    pub(super) fn open<const SEALED: usize, const PLAIN: usize>(
        &mut self,
        key: &SecretBytes<32>,
        block: &[u8; SEALED],
    ) -> Result<[u8; PLAIN], HandshakeError> {
        let plain = open_block(key, &self.h, block)?;
        self.mix_hash(block);
        Ok(plain)
    }

    /// The two transport keys: initiator to responder, responder to initiator.
    pub(super) fn transport_keys(&self) -> (SecretBytes<32>, SecretBytes<32>) {
        keyed_hash_64(&self.ck, &[b"transport", &self.h])
    }
}

/// What a role signs: label, role, a zero byte, the transcript hash, and for the initiator its identity.
pub(super) fn signed_text(role: &str, h: &Hash, identity: Option<&PublicKey>) -> Vec<u8> {
    let mut text = Vec::with_capacity(PROTOCOL.len() + role.len() + 1 + 64);
    text.extend_from_slice(PROTOCOL.as_bytes());
    text.extend_from_slice(role.as_bytes());
    text.push(0);
    text.extend_from_slice(h);
    if let Some(identity) = identity {
        text.extend_from_slice(&identity.0);
    }
    text
}

/// The role part of the responder's signed text.
pub(super) const RESPONDER: &str = " responder";
/// The role part of the initiator's signed text.
pub(super) const INITIATOR: &str = " initiator";
