//! Secret bytes: zeroed on drop, compared in constant time, never printed, never copied by accident.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// `N` secret bytes. There is no `Clone` or `PartialEq`, and `Debug` shows the length only; use [`SecretBytes::ct_eq`]
/// and [`SecretBytes::duplicate`].
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct SecretBytes<const N: usize>([u8; N]);

impl<const N: usize> SecretBytes<N> {
    /// All-zero bytes: the protocol's stand-in for an absent preshared or network key.
    pub const ZERO: Self = Self([0; N]);

    /// Takes possession of `bytes`. The caller's own copy, if it kept one, is the caller's to erase.
    pub const fn new(bytes: [u8; N]) -> Self {
        Self(bytes)
    }

    /// Moves the bytes in and erases the source.
    pub fn take(bytes: &mut [u8; N]) -> Self {
        let secret = Self(*bytes);
        bytes.zeroize();
        secret
    }

    /// Fills a new secret from `rng`.
    pub fn random(rng: &mut dyn rand_core::CryptoRng) -> Self {
        let mut secret = Self::ZERO;
        rng.fill_bytes(&mut secret.0);
        secret
    }

    /// The bytes themselves; every call is a place to look at in a review.
    pub const fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// The bytes, for filling in place.
    pub const fn expose_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }

    /// A second copy, made on purpose.
    #[must_use]
    pub const fn duplicate(&self) -> Self {
        Self(self.0)
    }

    /// Equality in constant time.
    pub fn ct_eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl<const N: usize> core::fmt::Debug for SecretBytes<N> {
    /// Prints the length only; exists so that structures around a secret can be debugged at all.
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "SecretBytes<{N}>(…)")
    }
}
