//! The only unsafe code of this kernel: entering functions that need AVX2.

use super::{Text, Verdicts};
#[cfg(test)]
use super::{
    chacha::{self, Block, Inputs},
    poly::{self, Job},
};
use crate::base::SecretBytes;

/// Proof that this CPU, under this operating system, has every instruction that the kernel is compiled to. Made by
/// [`Kernel::detect`] only.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Kernel(());

impl Kernel {
    /// Asks the CPU. The standard library remembers the answer, so asking again is cheap.
    pub(in super::super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2")).then_some(Self(()))
    }

    /// [`super::seal`].
    pub(in super::super) fn seal(self, key: &SecretBytes<32>, arena: &mut [u8], texts: &[Text]) {
        let Self(()) = self;
        // SAFETY: the function is safe but for the CPU features that it needs, and `self` proves those.
        unsafe { super::seal(key, arena, texts) }
    }

    /// [`super::open`].
    pub(in super::super) fn open(self, key: &SecretBytes<32>, arena: &mut [u8], texts: &[Text]) -> Verdicts {
        let Self(()) = self;
        // SAFETY: the function is safe but for the CPU features that it needs, and `self` proves those.
        unsafe { super::open(key, arena, texts) }
    }
}

/// What tests need of the parts.
#[cfg(test)]
impl Kernel {
    /// [`chacha::blocks`].
    pub(super) fn blocks(
        self,
        key: &SecretBytes<32>,
        inputs: &[Inputs],
        blocks: &mut [[Block; chacha::LANES]],
    ) {
        let Self(()) = self;
        // SAFETY: the function is safe but for the CPU features that it needs, and `self` proves those.
        unsafe { chacha::blocks(key, inputs, blocks) }
    }

    /// [`poly::tags`].
    pub(super) fn tags(self, jobs: &[Job; poly::LANES]) -> [u128; poly::LANES] {
        let Self(()) = self;
        // SAFETY: the function is safe but for the CPU features that it needs, and `self` proves those.
        unsafe { poly::tags(jobs) }
    }

    /// [`poly::tests::plain_tag`].
    pub(super) fn plain_tag(self, key: &poly::Key, text: &[u8]) -> u128 {
        let Self(()) = self;
        // SAFETY: the function is safe but for the CPU features that it needs, and `self` proves those.
        unsafe { poly::tests::plain_tag(key, text) }
    }
}
