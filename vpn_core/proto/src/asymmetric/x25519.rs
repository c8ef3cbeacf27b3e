//! X25519 (RFC 7748).

use crate::base::SecretBytes;
use aws_lc_rs::agreement::{PrivateKey, UnparsedPublicKey, X25519, agree};

/// The other side's key leads to the all-zero secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the X25519 public key is of small order")]
pub struct DhError;

/// A public key: 32 bytes, any of which are accepted as RFC 7748 asks; bad ones fail in [`X25519SecretKey::agree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct X25519PublicKey(pub [u8; 32]);

impl X25519PublicKey {
    /// Whether it can agree on a secret: not of small order, as the all-zero key is. For keys that somebody writes into a
    /// configuration; the handshake does without this check because the agreement itself fails.
    pub fn is_acceptable(&self) -> bool {
        // Any scalar tells: all of them are multiples of the cofactor (RFC 7748, section 5).
        X25519SecretKey::new(&SecretBytes::new([1; 32])).agree(self).is_ok()
    }
}

/// A private key, static or ephemeral.
///
/// It lies in the library's own heap memory, which AWS-LC overwrites whenever it frees (`OPENSSL_free`); moving this
/// type moves a pointer. Clamped scalars and ladder state on the stack of a call are the library's to erase.
pub struct X25519SecretKey(PrivateKey);

impl X25519SecretKey {
    /// From 32 secret bytes (clamped by the function itself).
    pub fn new(secret: &SecretBytes<32>) -> Self {
        Self(
            PrivateKey::from_private_key(&X25519, secret.expose()).expect("every 32 bytes are an X25519 key"),
        )
    }

    /// Sets the bits of a secret that every use of it sets anyway (RFC 7748, section 5), as `wg genkey` does: other tools
    /// may expect that of a key that they are shown.
    pub fn clamp(secret: &mut SecretBytes<32>) {
        let bytes = secret.expose_mut();
        bytes[0] &= 0xf8;
        bytes[31] = (bytes[31] & 0x7f) | 0x40;
    }

    /// Draws a key.
    pub fn random(rng: &mut dyn rand_core::CryptoRng) -> Self {
        Self::new(&SecretBytes::random(rng))
    }

    /// The public half.
    pub fn public_key(&self) -> X25519PublicKey {
        let public = self.0.compute_public_key().expect("an X25519 key has a public half");
        X25519PublicKey(public.as_ref().try_into().expect("X25519 public keys are 32 bytes"))
    }

    /// The shared secret.
    ///
    /// # Errors
    /// [`DhError`] when it would be all zero.
    pub fn agree(&self, theirs: &X25519PublicKey) -> Result<SecretBytes<32>, DhError> {
        agree(&self.0, UnparsedPublicKey::new(&X25519, &theirs.0), DhError, |bytes| {
            let mut secret = SecretBytes::ZERO;
            secret.expose_mut().copy_from_slice(bytes);
            // The library refuses the all-zero secret already; protocol.md 3.1.2 asks for it, so we check too.
            if secret.ct_eq(&SecretBytes::ZERO) { Err(DhError) } else { Ok(secret) }
        })
    }
}

impl core::fmt::Debug for X25519SecretKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("X25519SecretKey(…)")
    }
}
