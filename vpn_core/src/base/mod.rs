//! Layer 0: the small types that everything else is made of.

mod drops;
mod endpoint;
mod index;
mod key_text;
mod secret;
mod text;
mod time;

pub use drops::{DropCounters, DropReason};
pub use endpoint::Endpoint;
pub use index::{PeerId, ReceiverIndex};
pub use key_text::{KeyTextError, decode_key, encode_key};
pub use secret::SecretBytes;
pub use text::{TextError, decode_text};
pub use time::{AtomicTime, Epoch, since_unix_epoch};
