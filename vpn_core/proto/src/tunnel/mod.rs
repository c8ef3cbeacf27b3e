//! Layer 3: one peer's life: handshakes, keypairs, timers, staged packets. Driven by `now`; no I/O.
//!
//! [`Tunnel`] is the control side and has one owner. [`PeerPlane`] is what it shares with the packet path: the keypair
//! to send with, the endpoint, and marks from which the timers are computed when control next looks. The packet path
//! asks for that look ("attention") only when a deadline moved forward, so a busy peer costs control nothing.

mod attempt;
mod context;
mod duplicate;
mod event;
mod inner;
mod life;
mod path_mtu;
mod plane;
mod slots;
mod staging;
mod table;
mod timers;

pub use attempt::{NoAnswer, Unanswered};
pub use context::{Context, PeerSettings, Transmit};
pub use event::{Doubt, Event, PeerState};
pub use inner::InnerNetworks;
pub use life::Tunnel;
pub use path_mtu::{DEFAULT_TUNNEL_MTU, MtuMode, MtuPolicy};
pub use plane::{Content, NotReady, Outbound, PeerPlane};
pub use slots::Session;
pub use staging::{MAX_STAGED_BYTES, MAX_STAGED_PACKETS, StagedPacket, StagingBudget, Undelivered};
pub use table::{IndexLease, IndexUse, SessionTable};
pub use timers::{DEAD_PEER_TIME, MAX_BACKOFF, REKEY_ATTEMPT_TIME};
