//! The WireGuard handshake (its paper, section 5.4): Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s between X25519 static keys,
//! with a TAI64N timestamp in the initiation, and macs and cookies around it.
//!
//! ```text
//! initiator                                    responder
//! Initiation::start ──── initiation (1) ─────▶ LocalKey::verifies_mac1, read_initiation,
//!                                              ReceivedInitiation::authenticate
//! read_response     ◀─── response (2) ──────── Authenticated::respond: its session exists
//!                   ──── transport (4) ──────▶ the confirmation: only now may the responder send
//! ```
//! Either message may be answered by a cookie reply (3) under load, [`LocalKey::cookie_reply`] and
//! [`RemoteKey::read_cookie_reply`]; nothing is sent again because of one, the next message carries the cookie.

mod initiator;
mod keys;
mod mac;
mod pattern;
mod responder;
mod timestamp;
mod transcript;

pub use initiator::{Initiation, Rejected};
pub use keys::{LocalKey, MIN_INITIATION_INTERVAL, RemoteKey};
pub use mac::verifies_mac2;
pub use responder::{Authenticated, ReceivedInitiation, read_initiation};
pub use timestamp::Tai64n;

/// The Noise protocol name, which opens the transcript: "CONSTRUCTION" of the paper.
pub const CONSTRUCTION: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
/// The Noise prologue: "IDENTIFIER" of the paper.
pub const IDENTIFIER: &str = "WireGuard v1 zx2c4 Jason@zx2c4.com";
