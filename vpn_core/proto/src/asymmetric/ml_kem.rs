//! ML-KEM-768 (FIPS 203), with randomness as an argument.

use crate::base::SecretBytes;
use libcrux_ml_kem::mlkem768::{
    self, MlKem768Ciphertext, MlKem768PrivateKey, MlKem768PublicKey, validate_public_key,
};
use zeroize::{Zeroize as _, Zeroizing};

/// Size of an encapsulation key, in bytes.
pub const ENCAPSULATION_KEY_SIZE: usize = 1184;
/// Size of a ciphertext, in bytes.
pub const CIPHERTEXT_SIZE: usize = 1088;

/// The encapsulation key fails the modulus check of FIPS 203, section 7.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid ML-KEM-768 encapsulation key")]
pub struct KemError;

/// A fresh key pair: the half that stays here.
///
/// Erased on drop, by us: the library's types do not do it. What cannot be reached from here are the library's own
/// working copies (seed, polynomials, the re-encrypted message) on the stack of one key generation or
/// decapsulation; the next calls overwrite them. The key lives for one handshake, seconds, and a reader of our
/// memory within that time reads the key itself.
pub struct DecapsulationKey {
    /// Boxed, so that moving the owner leaves no copy of 2400 secret bytes behind.
    private: Box<MlKem768PrivateKey>,
    public: Box<MlKem768PublicKey>,
}

impl DecapsulationKey {
    /// Draws a key pair: 64 bytes, `d ‖ z` of FIPS 203, algorithm 19.
    pub fn random(rng: &mut dyn rand_core::CryptoRng) -> Self {
        let seed = SecretBytes::<64>::random(rng);
        Self::from_seed(&seed)
    }

    /// The key pair of a seed `d ‖ z`.
    pub fn from_seed(seed: &SecretBytes<64>) -> Self {
        let (mut generated, public) = mlkem768::generate_key_pair(*seed.expose()).into_parts();
        let private = Box::new(MlKem768PrivateKey::from(generated.as_slice()));
        erase(&mut generated);
        Self { private, public: Box::new(public) }
    }

    /// The half to send.
    pub fn encapsulation_key(&self) -> &[u8; ENCAPSULATION_KEY_SIZE] {
        self.public.as_slice()
    }

    /// The shared secret. A wrong ciphertext yields an unpredictable one (implicit rejection), not an error.
    pub fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT_SIZE]) -> SecretBytes<32> {
        let mut shared = mlkem768::decapsulate(&self.private, &MlKem768Ciphertext::from(ciphertext));
        SecretBytes::take(&mut shared)
    }
}

impl Drop for DecapsulationKey {
    fn drop(&mut self) {
        erase(&mut self.private);
    }
}

fn erase(key: &mut MlKem768PrivateKey) {
    key[0..].zeroize();
}

impl core::fmt::Debug for DecapsulationKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("DecapsulationKey(…)")
    }
}

/// Makes a shared secret for the holder of `key`: ciphertext and secret. `message` is `m` of FIPS 203, algorithm 20.
///
/// # Errors
/// [`KemError`] when the key is not valid.
pub fn encapsulate(
    key: &[u8; ENCAPSULATION_KEY_SIZE],
    message: &SecretBytes<32>,
) -> Result<([u8; CIPHERTEXT_SIZE], SecretBytes<32>), KemError> {
    let key = MlKem768PublicKey::from(key);
    if !validate_public_key(&key) {
        return Err(KemError);
    }
    let (ciphertext, shared) = mlkem768::encapsulate(&key, *message.expose());
    let mut shared = Zeroizing::new(shared);
    Ok((*ciphertext.as_slice(), SecretBytes::take(&mut shared)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn erasing_leaves_no_byte_of_a_decapsulation_key() {
        let mut key = DecapsulationKey::from_seed(&SecretBytes::new([7; 64]));
        assert!(key.private.as_slice().iter().any(|byte| *byte != 0));
        // What `drop` runs; the memory of a dropped key cannot be looked at without unsafe code.
        erase(&mut key.private);
        assert!(key.private.as_slice().iter().all(|byte| *byte == 0));
    }
}
