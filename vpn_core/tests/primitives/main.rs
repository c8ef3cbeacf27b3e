//! The primitives behind our own types: published vectors, and differential tests against implementations that share
//! no code with the ones in use. The files in `tests/vectors` name their sources.

mod aead;
mod batch;
mod blake2s;
mod ed25519;
mod hash;
mod ml_kem;
mod vectors;
mod x25519;
