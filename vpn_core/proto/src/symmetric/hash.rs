//! BLAKE3 in its three modes: hash, keyed hash, key derivation.

use crate::base::SecretBytes;
use zeroize::Zeroize as _;

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
///
/// For MACs, which are public: neither the hash nor the state that passed through it is erased. Keys come from
/// [`keyed_hash_64`] and [`DeriveKey`].
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
    hasher.zeroize();
    stream.zeroize();
    (first, second)
}

/// BLAKE3 in key-derivation mode under one context string. Erased on drop; a chain of [`DeriveKey::with`] moves the
/// state, so build it in one expression and let the optimiser keep it in one place.
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
    pub fn finish(self) -> SecretBytes<32> {
        // Written in place: a `blake3::Hash` on the way would be a copy that nobody erases.
        let mut key = SecretBytes::ZERO;
        let mut stream = self.0.finalize_xof();
        stream.fill(key.expose_mut());
        stream.zeroize();
        key
    }
}

impl core::fmt::Debug for DeriveKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("DeriveKey(…)")
    }
}

impl Drop for DeriveKey {
    /// Erases the state whether or not a key was derived from it.
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
