//! Layer 5: the local TUN device, where inner IP packets enter and leave the tunnel.
//!
//! ```text
//! uplink    kernel ── TunQueue::read ──▶ frame ── SuperPacket ──▶ final packets, written into the send buffer
//! downlink  decrypted packets ── TunWriter (coalesces) ──▶ [vnet_hdr | headers | payload | payload …] ──▶ kernel
//! ```
//!
//! A frame is what one system call carries: a `virtio_net_hdr` and up to 64 KB of TCP or UDP that the kernel left
//! unsegmented. Moving such frames instead of packets is worth a factor of two (docs/adr/0004). Segmentation and
//! coalescing are pure and compile anywhere. The device itself is Linux's (`device`), or a `utun` of macOS (`macos`), whose
//! frames are single packets.

mod coalesce;
mod config;
#[cfg(target_os = "linux")]
mod device;
mod flows;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "linux")]
mod offload;
mod segment;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "ioctl on the TUN device has no safe wrapper in std")]
mod sys;
#[cfg(test)]
mod test_packets;
#[cfg(any(test, target_os = "macos"))]
mod utun;
mod vnet;
mod writer;

pub use config::{MAX_QUEUES, TunConfig, TunError};
#[cfg(target_os = "linux")]
pub use device::{Tun, TunQueue};
#[cfg(target_os = "macos")]
pub use macos::{Tun, TunQueue};
pub use segment::{FrameError, SuperPacket};
pub use vnet::{FrameFormat, MAX_FRAME_SIZE, Offloads, VNET_HEADER_SIZE};
pub use writer::{TunWriter, WriteReport};
