//! Ed25519 (RFC 8032): a node's identity.

use crate::base::{KeyTextError, SecretBytes, decode_key, encode_key};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use std::sync::Arc;

/// Size of a signature, in bytes.
pub const SIGNATURE_SIZE: usize = 64;

/// An Ed25519 signature.
pub type Signature = [u8; SIGNATURE_SIZE];

/// The signature is not one that the key's holder made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not valid")]
pub struct SignatureError;

/// A node's public identity. May hold any 32 bytes; [`PublicKey::is_acceptable`] tells the usable ones.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

/// The y coordinates (sign bit cleared) of the points of small order, in their canonical encodings.
const SMALL_ORDER_Y: [[u8; 32]; 5] = {
    let mut one = [0; 32];
    one[0] = 1;
    let mut minus_one = [0xff; 32];
    minus_one[0] = 0xec;
    minus_one[31] = 0x7f;
    [
        [0; 32],
        one,
        minus_one,
        [
            0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0,
            0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6, 0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
        ],
        [
            0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f,
            0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39, 0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
        ],
    ]
};

impl PublicKey {
    /// Reads a key from its 44 characters.
    ///
    /// # Errors
    /// [`KeyTextError`] for anything else.
    pub fn from_text(text: &str) -> Result<Self, KeyTextError> {
        decode_key(text).map(Self)
    }

    /// Whether the bytes encode y below p, and not that of a point of small order (strict verification). Whether y
    /// belongs to a point at all, which half of all values do not, only [`PublicKey::verify`] finds out.
    pub fn is_acceptable(&self) -> bool {
        is_canonical_and_large(&self.0)
    }

    /// Strict verification: canonical encodings only, neither key nor commitment of small order, no cofactor.
    ///
    /// # Errors
    /// [`SignatureError`] when any of that fails.
    pub fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        let verified = UnparsedPublicKey::new(&ED25519, &self.0).verify(message, signature).is_ok();
        let (commitment, _) =
            signature.split_first_chunk::<32>().expect("a signature is longer than 32 bytes");
        if verified && self.is_acceptable() && is_canonical_and_large(commitment) {
            Ok(())
        } else {
            Err(SignatureError)
        }
    }

    /// The first 8 characters, for logs.
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

fn is_canonical_and_large(encoding: &[u8; 32]) -> bool {
    let mut y = *encoding;
    y[31] &= 0x7f;
    // p = 2^255 - 19, so the only encodings with y >= p are 0xed..=0xff, 0xff × 30, 0x7f.
    let canonical = !(y[0] >= 0xed && y[1..31].iter().all(|byte| *byte == 0xff) && y[31] == 0x7f);
    canonical && !SMALL_ORDER_Y.contains(&y)
}

impl core::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&encode_key(&self.0))
    }
}

impl core::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(&self.short())
    }
}

/// A node's private identity.
///
/// Seed and expanded key lie in the library's own heap memory, which AWS-LC overwrites whenever it frees.
pub struct Identity {
    /// Shared: the key lies in memory once, however many hold it.
    pair: Arc<Ed25519KeyPair>,
    public: PublicKey,
}

impl Identity {
    /// From the 32-byte seed of RFC 8032.
    pub fn from_seed(seed: &SecretBytes<32>) -> Self {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("every 32 bytes are an Ed25519 seed");
        let public =
            PublicKey(pair.public_key().as_ref().try_into().expect("Ed25519 public keys are 32 bytes"));
        Self { pair: Arc::new(pair), public }
    }

    /// The public half.
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    /// The same identity for another owner, made on purpose.
    #[must_use]
    pub fn share(&self) -> Self {
        Self { pair: Arc::clone(&self.pair), public: self.public }
    }

    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> Signature {
        self.pair.sign(message).as_ref().try_into().expect("Ed25519 signatures are 64 bytes")
    }
}

impl core::fmt::Debug for Identity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Identity({:?})", self.public)
    }
}
