//! A random generator that hands out prepared draws.

use core::convert::Infallible;
use rand_core::{TryCryptoRng, TryRng};
use std::collections::VecDeque;

/// Each call takes the next draw, whose length must be the one asked for.
pub(crate) struct Script(VecDeque<Vec<u8>>);

impl Script {
    pub(crate) fn new(draws: &[&[u8]]) -> Self {
        Self(draws.iter().map(|draw| draw.to_vec()).collect())
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        assert!(self.0.is_empty() || std::thread::panicking(), "{} draws were not made", self.0.len());
    }
}

impl TryRng for Script {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        panic!("a handshake draws bytes only")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        panic!("a handshake draws bytes only")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.copy_from_slice(&self.0.pop_front().expect("no more draws than foreseen"));
        Ok(())
    }
}

impl TryCryptoRng for Script {}
