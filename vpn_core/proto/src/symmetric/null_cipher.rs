//! The floor of the benchmarks: what a tunnel costs without encryption. `scripts/bench/floor.sh` builds such programs, with
//! the compiler's `--cfg null_cipher`: no cargo feature, because features add up, and `--all-features` would have it.

#[cfg(all(null_cipher, not(debug_assertions)))]
compile_error!("null_cipher turns encryption off: no release build may have it (scripts/bench/floor.sh)");

/// Whether this build neither encrypts nor authenticates: `true` in one made to be measured, and in no release.
pub const NULL_CIPHER: bool = cfg!(null_cipher);
