//! The symmetric state of Noise (its specification, section 5.2), for patterns in which each key serves one AEAD call.

use super::CONSTRUCTION;
use crate::{
    asymmetric::X25519PublicKey,
    base::SecretBytes,
    handshake::{
        HandshakeError, PresharedKey,
        block::{open_block, seal_block},
    },
    symmetric::{Hash, blake2s, kdf},
};

/// `h` and `ck`.
#[derive(Debug)]
pub(super) struct Transcript {
    h: Hash,
    ck: SecretBytes<32>,
}

impl Transcript {
    /// The transcript before the first message: protocol name, `prologue`, and the responder's static key, which the
    /// initiator knows.
    pub(super) fn start(prologue: &[u8], responder: &X25519PublicKey) -> Self {
        let h = blake2s(&[CONSTRUCTION.as_bytes()]);
        let mut transcript = Self { h, ck: SecretBytes::new(h) };
        transcript.mix_hash(prologue);
        transcript.mix_hash(&responder.0);
        transcript
    }

    /// A copy, for trying a message that may be a forgery.
    pub(super) const fn duplicate(&self) -> Self {
        Self { h: self.h, ck: self.ck.duplicate() }
    }

    /// The hash of everything so far, which the published vectors contain.
    #[cfg(test)]
    pub(super) const fn hash(&self) -> &Hash {
        &self.h
    }

    fn mix_hash(&mut self, bytes: &[u8]) {
        self.h = blake2s(&[&self.h, bytes]);
    }

    /// Token `e`. With a preshared key in the pattern it goes into the chaining key as well (section 9.2).
    pub(super) fn mix_ephemeral(&mut self, ephemeral: &X25519PublicKey) {
        self.mix_hash(&ephemeral.0);
        [self.ck] = kdf(&self.ck, &ephemeral.0);
    }

    /// A token of two letters whose key is not used, because another follows at once.
    pub(super) fn mix_secret(&mut self, secret: &SecretBytes<32>) {
        [self.ck] = kdf(&self.ck, secret.expose());
    }

    /// A token of two letters; the key serves the one block that follows.
    pub(super) fn mix_key(&mut self, secret: &SecretBytes<32>) -> SecretBytes<32> {
        let [ck, key] = kdf(&self.ck, secret.expose());
        self.ck = ck;
        key
    }

    /// Token `psk`; the key serves the one block that follows.
    pub(super) fn mix_preshared_key(&mut self, preshared_key: &PresharedKey) -> SecretBytes<32> {
        let [ck, mixed, key] = kdf(&self.ck, preshared_key.expose());
        self.ck = ck;
        self.mix_hash(mixed.expose());
        key
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
    pub(super) fn transport_keys(&self) -> [SecretBytes<32>; 2] {
        kdf(&self.ck, &[])
    }
}
