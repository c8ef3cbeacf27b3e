//! The running hash and chaining key of a handshake (protocol.md 3.2).

use super::{NetworkKey, PROTOCOL};
use crate::{
    asymmetric::PublicKey,
    base::SecretBytes,
    handshake::HandshakeError,
    symmetric::{AeadKey, Hash, Suite, TAG_SIZE, hash, hash_parts, keyed_hash_64},
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
        let split = block.len() - TAG_SIZE;
        let (text, tag) = block.split_at_mut(split);
        tag.copy_from_slice(&AeadKey::new(Suite::ChaCha20Poly1305, key).seal_in_place(0, &self.h, text));
        self.mix_hash(block);
    }

    /// Decrypts `block` and mixes the ciphertext.
    pub(super) fn open<const SEALED: usize, const PLAIN: usize>(
        &mut self,
        key: &SecretBytes<32>,
        block: &[u8; SEALED],
    ) -> Result<[u8; PLAIN], HandshakeError> {
        const { assert!(SEALED == PLAIN + TAG_SIZE) };
        let mut copy = *block;
        let plain = AeadKey::new(Suite::ChaCha20Poly1305, key)
            .open_in_place(0, &self.h, &mut copy)
            .map_err(|_| HandshakeError::BadSeal)?;
        let plain = (*plain).try_into().expect("the text is the block without its tag");
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
