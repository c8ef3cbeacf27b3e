//! Layer 4: many peers. [`Device`] is the control side: it demultiplexes handshake messages, admits or refuses
//! strangers' work, owns the tunnels and their timers. [`DataPlane`] is the packet path: it routes, seals and opens
//! batches on any number of threads. Neither performs I/O; time and randomness are arguments.

mod admission;
mod control;
mod data_plane;
mod gate;
mod half_open;
mod hybrid;
mod icmp_answers;
mod path;
mod status;
mod wireguard;

pub use control::{Device, DeviceSettings};
pub use data_plane::{DataPlane, ForControl, Forwarding, Inbound, Refused, Routes};
pub use gate::Standing;
pub use half_open::{EarlyPacket, MAX_HALF_OPEN};
pub use icmp_answers::IcmpAnswers;
pub use status::PeerStatus;
