//! Layer 2: a session's two directional transport keys, sealing and opening, the replay window. Shared between
//! threads behind an `Arc`; the packet path takes no lock per packet.

mod batch;
mod counter;
mod keypair;
mod replay;

pub use batch::{Unopened, Unsealed};
pub use counter::{CounterRange, SendCounter};
pub use keypair::{
    KEEPALIVE_TIMEOUT, Keypair, PADDING, REJECT_AFTER_TIME, REKEY_AFTER_TIME, REKEY_TIMEOUT, SealError,
    rekey_after_messages,
};
pub use replay::{REPLAY_WINDOW, ReplayWindow};
