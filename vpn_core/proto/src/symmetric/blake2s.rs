//! BLAKE2s (RFC 7693) in the forms that WireGuard uses it in (its paper, section 5.4): HASH, MAC, and the KDFs, which
//! are HKDF over HMAC-BLAKE2s as in the Noise specification, section 4.3.
//!
//! The hash states behind [`kdf`] are erased when they are dropped (feature `zeroize` of the crate).

use super::Hash;
use crate::base::SecretBytes;
use blake2::{
    Blake2s256, Blake2sMac,
    digest::{FixedOutput as _, KeyInit as _, Update as _, consts::U16},
};

/// Size of a [`blake2s_mac`], in bytes.
pub const BLAKE2S_MAC_SIZE: usize = 16;

/// Size of a BLAKE2s block, in bytes.
const BLOCK_SIZE: usize = 64;

/// HASH: 32-byte BLAKE2s of the concatenation of `parts`.
pub fn blake2s(parts: &[&[u8]]) -> Hash {
    parts.iter().fold(Blake2s256::default(), Blake2s256::chain).finalize_fixed().into()
}

/// MAC: keyed BLAKE2s of `input` with 16 bytes of output. The key has at most 32 bytes.
pub fn blake2s_mac<const KEY: usize>(key: &SecretBytes<KEY>, input: &[u8]) -> [u8; BLAKE2S_MAC_SIZE] {
    const { assert!(KEY <= 32) };
    let mac = Blake2sMac::<U16>::new_from_slice(key.expose()).expect("BLAKE2s takes keys up to 32 bytes");
    mac.chain(input).finalize_fixed().into()
}

/// KDF1, KDF2 and KDF3, by the number of outputs.
pub fn kdf<const OUTPUTS: usize>(key: &SecretBytes<32>, input: &[u8]) -> [SecretBytes<32>; OUTPUTS] {
    const { assert!(1 <= OUTPUTS && OUTPUTS <= 3) };
    let secret = hmac(key, &[input]);
    let mut outputs = [const { SecretBytes::ZERO }; OUTPUTS];
    for at in 0..OUTPUTS {
        let previous: &[u8] = if at == 0 { &[] } else { outputs[at - 1].expose() };
        outputs[at] = hmac(&secret, &[previous, &[at as u8 + 1]]);
    }
    outputs
}

/// HMAC-BLAKE2s (RFC 2104) of the concatenation of `parts`. A shorter key is padded with zero bytes, as HMAC does.
fn hmac(key: &SecretBytes<32>, parts: &[&[u8]]) -> SecretBytes<32> {
    let inner = secret_hash(&padded(key, 0x36), parts);
    secret_hash(&padded(key, 0x5c), &[inner.expose()])
}

fn padded(key: &SecretBytes<32>, pad: u8) -> SecretBytes<BLOCK_SIZE> {
    let mut block = SecretBytes::new([pad; BLOCK_SIZE]);
    for (byte, key) in block.expose_mut().iter_mut().zip(key.expose()) {
        *byte ^= key;
    }
    block
}

fn secret_hash(first: &SecretBytes<BLOCK_SIZE>, parts: &[&[u8]]) -> SecretBytes<32> {
    let mut hasher = Blake2s256::default();
    hasher.update(first.expose());
    for part in parts {
        hasher.update(part);
    }
    // Written in place: a returned array would be a copy that nobody erases.
    let mut hash = SecretBytes::ZERO;
    hasher.finalize_into(hash.expose_mut().into());
    hash
}
