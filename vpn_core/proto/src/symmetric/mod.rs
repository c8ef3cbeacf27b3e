//! Layer 1: symmetric primitives behind our own small types.

mod aead;
mod batch;
mod blake2s;
mod hash;
mod null_cipher;
mod xaead;

pub use aead::{AeadError, AeadKey, Suite, TAG_SIZE, Tag};
pub use batch::{BatchKernel, Frame};
pub use blake2s::{BLAKE2S_MAC_SIZE, blake2s, blake2s_mac, kdf};
pub use hash::{DeriveKey, HASH_SIZE, Hash, hash, hash_parts, keyed_hash, keyed_hash_64};
pub use null_cipher::NULL_CIPHER;
pub use xaead::{XNONCE_SIZE, xopen, xseal};
