//! The kernels' place on architectures that have none.

use super::{BatchKernel, Text, Verdicts};
use crate::base::SecretBytes;

/// There is no such kernel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kernel {}

impl Kernel {
    pub(super) const fn detect(_kernel: BatchKernel) -> Option<Self> {
        None
    }

    pub(super) const fn name(self) -> BatchKernel {
        match self {}
    }

    pub(super) const fn longest(self) -> usize {
        match self {}
    }

    pub(super) fn seal(self, _key: &SecretBytes<32>, _arena: &mut [u8], _texts: &[Text]) {
        match self {}
    }

    pub(super) fn open(self, _key: &SecretBytes<32>, _arena: &mut [u8], _texts: &[Text]) -> Verdicts {
        match self {}
    }
}
