//! What a WireGuard responder computes for one handshake (its paper, sections 5.4.2 to 5.4.5), on the same X25519 and
//! AEAD as the hybrid one: every hash, key derivation and cipher call with inputs of the right size. The values mean
//! nothing: nobody sent the initiation.

use blake2::{Blake2s256, Digest as _};
use rand_chacha::ChaCha20Rng;
use std::hint::black_box;
use vpn_core::{
    asymmetric::{X25519PublicKey, X25519SecretKey},
    base::SecretBytes,
    symmetric::{AeadKey, Suite},
};

/// A responder with its static key, and the initiator's two public keys.
pub(crate) struct Responder {
    static_key: X25519SecretKey,
    their_static: X25519PublicKey,
    their_ephemeral: X25519PublicKey,
}

impl Responder {
    pub(crate) fn new(rng: &mut ChaCha20Rng) -> Self {
        let public = |rng: &mut ChaCha20Rng| X25519SecretKey::random(rng).public_key();
        Self {
            static_key: X25519SecretKey::random(rng),
            their_static: public(rng),
            their_ephemeral: public(rng),
        }
    }

    /// 1 key generation and 4 agreements.
    pub(crate) fn public_key_work(&self, rng: &mut ChaCha20Rng) {
        black_box(self.agreements(rng));
    }

    /// Consumes an initiation and makes the response.
    pub(crate) fn handshake(&self, rng: &mut ChaCha20Rng) {
        let ([es, ss, ee, se], ephemeral) = self.agreements(rng);
        let (mut h, mut c) = ([1; 32], [2; 32]);

        black_box(mac(&[0; 116]));
        h = hash(&[&h, &self.their_ephemeral.0]);
        [c] = kdf(&c, &self.their_ephemeral.0);
        let [next, k] = kdf(&c, es.expose());
        c = next;
        open(&k, &h, &mut [0; 48]);
        h = hash(&[&h, &[0; 48]]);
        let [next, k] = kdf(&c, ss.expose());
        c = next;
        open(&k, &h, &mut [0; 28]);
        h = hash(&[&h, &[0; 28]]);

        [c] = kdf(&c, &ephemeral.0);
        h = hash(&[&h, &ephemeral.0]);
        [c] = kdf(&c, ee.expose());
        [c] = kdf(&c, se.expose());
        let [next, tau, k] = kdf(&c, &[0; 32]);
        c = next;
        h = hash(&[&h, &tau]);
        let tag = AeadKey::new(Suite::ChaCha20Poly1305, &SecretBytes::new(k)).seal_in_place(0, &h, &mut []);
        black_box(hash(&[&h, &tag]));
        black_box(mac(&[0; 60]));
        black_box::<[[u8; 32]; 2]>(kdf(&c, &[]));
    }

    fn agreements(&self, rng: &mut ChaCha20Rng) -> ([SecretBytes<32>; 4], X25519PublicKey) {
        let ephemeral = X25519SecretKey::random(rng);
        let pairs = [
            (&self.static_key, &self.their_ephemeral),
            (&self.static_key, &self.their_static),
            (&ephemeral, &self.their_ephemeral),
            (&ephemeral, &self.their_static),
        ];
        (
            pairs.map(|(ours, theirs)| ours.agree(black_box(theirs)).expect("an honest key")),
            ephemeral.public_key(),
        )
    }
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(Blake2s256::new(), Blake2s256::chain_update).finalize().into()
}

/// A keyed hash, as mac1 is one: key and message, one pass.
fn mac(message: &[u8]) -> [u8; 32] {
    hash(&[&[0; 64], message])
}

/// HMAC-BLAKE2s.
fn hmac(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let pad = |byte: u8| -> [u8; 64] { std::array::from_fn(|at| key.get(at).copied().unwrap_or(0) ^ byte) };
    let inner =
        parts.iter().fold(Blake2s256::new_with_prefix(pad(0x36)), Blake2s256::chain_update).finalize();
    hash(&[&pad(0x5c), &inner])
}

/// KDF1, KDF2 and KDF3.
fn kdf<const N: usize>(key: &[u8; 32], input: &[u8]) -> [[u8; 32]; N] {
    let secret = hmac(key, &[input]);
    let mut last: Vec<u8> = Vec::with_capacity(32);
    std::array::from_fn(|at| {
        let output = hmac(&secret, &[&last, &[at as u8 + 1]]);
        last = output.to_vec();
        output
    })
}

fn open(key: &[u8; 32], ad: &[u8], sealed: &mut [u8]) {
    let key = AeadKey::new(Suite::ChaCha20Poly1305, &SecretBytes::new(*key));
    // Fails, as nobody sealed it. A genuine one would cost the decryption of 32 bytes more.
    black_box(key.open_in_place(0, ad, sealed).is_ok());
}
