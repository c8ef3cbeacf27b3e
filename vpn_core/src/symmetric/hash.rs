//! BLAKE3 in its three modes: hash, keyed hash, key derivation.

use crate::base::SecretBytes;

/// Size of a hash, in bytes.
pub const HASH_SIZE: usize = 32;

/// A BLAKE3 hash.
pub type Hash = [u8; HASH_SIZE];

/// BLAKE3 of `input`.
pub fn hash(input: &[u8]) -> Hash {
    *blake3::hash(input).as_bytes()
}

/// BLAKE3 of the concatenation of `parts`.
pub fn hash_parts(parts: &[&[u8]]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// Keyed BLAKE3 of `input`.
pub fn keyed_hash(key: &SecretBytes<32>, input: &[u8]) -> Hash {
    *blake3::keyed_hash(key.expose(), input).as_bytes()
}

/// The first 64 bytes of the output stream of keyed BLAKE3 over the concatenation of `parts`, as two secrets.
pub fn keyed_hash_64(key: &SecretBytes<32>, parts: &[&[u8]]) -> (SecretBytes<32>, SecretBytes<32>) {
    let mut hasher = blake3::Hasher::new_keyed(key.expose());
    for part in parts {
        hasher.update(part);
    }
    let mut stream = hasher.finalize_xof();
    let (mut first, mut second) = (SecretBytes::ZERO, SecretBytes::ZERO);
    stream.fill(first.expose_mut());
    stream.fill(second.expose_mut());
    zeroize::Zeroize::zeroize(&mut hasher);
    zeroize::Zeroize::zeroize(&mut stream);
    (first, second)
}

/// BLAKE3 in key-derivation mode under one context string.
#[derive(Debug)]
pub struct DeriveKey(blake3::Hasher);

impl DeriveKey {
    /// Starts with `context`, a string that no other use shares.
    pub fn new(context: &'static str) -> Self {
        Self(blake3::Hasher::new_derive_key(context))
    }

    /// Adds key material.
    #[must_use]
    pub fn with(mut self, material: &[u8]) -> Self {
        self.0.update(material);
        self
    }

    /// The derived key.
    pub fn finish(mut self) -> SecretBytes<32> {
        let key = SecretBytes::new(*self.0.finalize().as_bytes());
        zeroize::Zeroize::zeroize(&mut self.0);
        key
    }
}
