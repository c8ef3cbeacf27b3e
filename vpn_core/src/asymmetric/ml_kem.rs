//! ML-KEM-768 (FIPS 203), with randomness as an argument.

use crate::base::SecretBytes;
use libcrux_ml_kem::mlkem768::{
    self, MlKem768Ciphertext, MlKem768KeyPair, MlKem768PublicKey, validate_public_key,
};
use zeroize::Zeroizing;

/// Size of an encapsulation key, in bytes.
pub const ENCAPSULATION_KEY_SIZE: usize = 1184;
/// Size of a ciphertext, in bytes.
pub const CIPHERTEXT_SIZE: usize = 1088;

/// The encapsulation key fails the modulus check of FIPS 203, section 7.2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid ML-KEM-768 encapsulation key")]
pub struct KemError;

/// A fresh key pair: the half that stays here.
pub struct DecapsulationKey(Box<MlKem768KeyPair>);

impl DecapsulationKey {
    /// Draws a key pair: 64 bytes, `d ‖ z` of FIPS 203, algorithm 19.
    pub fn random(rng: &mut dyn rand_core::CryptoRng) -> Self {
        let seed = SecretBytes::<64>::random(rng);
        Self::from_seed(&seed)
    }

    /// The key pair of a seed `d ‖ z`.
    pub fn from_seed(seed: &SecretBytes<64>) -> Self {
        Self(Box::new(mlkem768::generate_key_pair(*seed.expose())))
    }

    /// The half to send.
    pub fn encapsulation_key(&self) -> &[u8; ENCAPSULATION_KEY_SIZE] {
        self.0.pk()
    }

    /// The shared secret. A wrong ciphertext yields an unpredictable one (implicit rejection), not an error.
    pub fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT_SIZE]) -> SecretBytes<32> {
        let mut shared = mlkem768::decapsulate(self.0.private_key(), &MlKem768Ciphertext::from(ciphertext));
        SecretBytes::take(&mut shared)
    }
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
