//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), for cookie replies only: 24-byte random nonces.

use super::{AeadError, TAG_SIZE};
use crate::base::SecretBytes;
use chacha20poly1305::{AeadInOut as _, KeyInit as _, XChaCha20Poly1305};

/// Size of a nonce, in bytes.
pub const XNONCE_SIZE: usize = 24;

/// Encrypts `text` in place and returns the tag. The cipher's copy of the key is erased before this returns (feature
/// `zeroize` of the crate, which is off unless asked for).
pub fn xseal(key: &SecretBytes<32>, nonce: &[u8; XNONCE_SIZE], ad: &[u8], text: &mut [u8]) -> [u8; TAG_SIZE] {
    XChaCha20Poly1305::new(key.expose().into())
        .encrypt_inout_detached(nonce.into(), ad, text.into())
        .expect("a cookie is far below the cipher's length limit")
        .into()
}

/// Decrypts `text` in place.
///
/// # Errors
/// [`AeadError`] when `tag` is wrong; `text` is then unchanged.
pub fn xopen(
    key: &SecretBytes<32>,
    nonce: &[u8; XNONCE_SIZE],
    ad: &[u8],
    text: &mut [u8],
    tag: &[u8; TAG_SIZE],
) -> Result<(), AeadError> {
    XChaCha20Poly1305::new(key.expose().into())
        .decrypt_inout_detached(nonce.into(), ad, text.into(), tag.into())
        .map_err(|_| AeadError)
}
