//! Layer 5: the UDP socket that carries the tunnel.
//!
//! ```text
//! downlink  kernel ── UdpSocket::recv ──▶ RecvBatch: runs of datagrams (GRO) in one arena, opened in place
//! uplink    frames sealed into SendBatch ── UdpSocket::send ──▶ one sendmsg per run (GSO, UDP_SEGMENT)
//! ```
//!
//! UDP GSO and GRO are worth a factor of three and more each (docs/adr/0004). Each received run says which of our
//! addresses it came to, and answers leave from there. [`Interrupt`] wakes threads that wait for a socket or for
//! the TUN device.

mod config;
mod interrupt;
#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "macos")]
mod macos;
mod message;
mod pieces;
mod receive;
mod send;
mod socket;
#[expect(unsafe_code, reason = "recvmsg, sendmsg, poll and socket options have no safe wrapper in std")]
mod sys;

#[cfg(target_os = "linux")]
use linux as platform;
#[cfg(target_os = "macos")]
use macos as platform;

pub use config::{UdpConfig, UdpError};
pub use interrupt::{Interrupt, Wake, Watch};
#[cfg(target_os = "macos")]
pub use macos::scope_to;
pub use pieces::Cut;
pub use receive::{MAX_DATAGRAM_RUN, MAX_RECEIVED, Received, RecvBatch, RecvReport};
pub use send::{MAX_SEGMENTS, MAX_SEND_SIZE, SendBatch, SendReport};
pub use socket::UdpSocket;
