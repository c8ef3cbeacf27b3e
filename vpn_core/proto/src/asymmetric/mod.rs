//! Layer 1: asymmetric primitives behind our own small types.

mod ed25519;
mod ml_kem;
mod x25519;

pub use ed25519::{Identity, PublicKey, SIGNATURE_SIZE, Signature, SignatureError};
pub use ml_kem::{CIPHERTEXT_SIZE, DecapsulationKey, ENCAPSULATION_KEY_SIZE, KemError, encapsulate};
pub use x25519::{DhError, X25519PublicKey, X25519SecretKey};
