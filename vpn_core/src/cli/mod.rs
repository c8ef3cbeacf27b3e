//! Layer 7: what the command lines of both programs share.

mod arguments;
mod check;
mod exit;
mod keys;
mod output;
mod running;
mod shared;
mod status;

pub use arguments::{Color, GlobalArgs, LogFormat, OffloadArgs};
pub use check::check;
pub use exit::{ExitStatus, NotConnected, NotPermitted, Usage, run};
pub use keys::{random_secret, random_wireguard_key};
pub use output::{OutputError, print};
pub use running::running_node;
pub use shared::{SharedCommand, command, parse};
pub use status::{StatusArgs, show_status};
