//! The hybrid handshake (protocol.md 3 to 5): X25519 and ML-KEM-768 under Ed25519 signatures, three messages.
//!
//! ```text
//! initiator                                    responder
//! Initiation::start ──── init (5) ───────────▶ InitGate::check, respond
//!                   ◀─── cookie reply (8) ──── (only under load)
//! read_response     ◀─── response (6) ──────── HalfOpen
//!                   ──── finish (7) ─────────▶ HalfOpen::read_identity, ClaimedIdentity::authenticate
//!                   ◀─── transport (4) ─────── session installed: the confirmation
//! ```

mod cookie;
mod initiator;
mod local;
mod mac;
mod responder;
mod transcript;

pub use cookie::{COOKIE_LIFETIME, CookieJar};
pub use initiator::{Completed, Initiation, InitiatorSettings, MAX_RESPONSE_FAILURES, Rejected};
pub use local::LocalNode;
pub use mac::{CookieReplyKey, NetworkKey, ResponseMacKey, VerifiedInit};
pub use mac::{InitGate, init_hash};
pub use responder::{ClaimedIdentity, HalfOpen, MAX_FINISH_FAILURES, ResponderSettings, respond};

/// The label that opens the transcript and every signature: version and primitives.
pub const PROTOCOL: &str = "VPN hybrid v1 X25519+ML-KEM-768 Ed25519 ChaCha20-Poly1305 BLAKE3";
