//! The sealed blocks inside handshake messages. Both handshakes derive a fresh key for each, so the nonce is always 0.

use super::HandshakeError;
use crate::{
    base::SecretBytes,
    symmetric::{AeadKey, Hash, Suite, TAG_SIZE},
};

/// Encrypts all but the last 16 bytes of `block` in place under a key that serves this call alone, with `h` as
/// associated data, and writes the tag there.
pub(super) fn seal_block(key: &SecretBytes<32>, h: &Hash, block: &mut [u8]) {
    let split = block.len() - TAG_SIZE;
    let (text, tag) = block.split_at_mut(split);
    tag.copy_from_slice(&AeadKey::new(Suite::ChaCha20Poly1305, key).seal_in_place(0, h, text));
}

/// Decrypts a copy of `block`.
pub(super) fn open_block<const SEALED: usize, const PLAIN: usize>(
    key: &SecretBytes<32>,
    h: &Hash,
    block: &[u8; SEALED],
) -> Result<[u8; PLAIN], HandshakeError> {
    const { assert!(SEALED == PLAIN + TAG_SIZE) };
    let mut copy = *block;
    let plain = AeadKey::new(Suite::ChaCha20Poly1305, key)
        .open_in_place(0, h, &mut copy)
        .map_err(|_| HandshakeError::BadSeal)?;
    Ok((*plain).try_into().expect("the text is the block without its tag"))
}
