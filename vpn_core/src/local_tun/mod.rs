//! Layer 5: the local TUN device, where inner IP packets enter and leave the tunnel.
//!
//! ```text
//! uplink    kernel ── TunQueue::read ──▶ frame ── SuperPacket ──▶ final packets, written into the send buffer
//! downlink  decrypted packets ── TunWriter (coalesces) ──▶ [vnet_hdr | headers | payload | payload …] ──▶ kernel
//! ```
//!
//! A frame is what one system call carries: a `virtio_net_hdr` and up to 64 KB of TCP or UDP that the kernel left
//! unsegmented. Moving such frames instead of packets is worth a factor of two (docs/adr/0004). Segmentation and
//! coalescing are pure and compile anywhere; the device itself is Linux's.
#![cfg_attr(
    not(target_os = "linux"),
    allow(dead_code, reason = "segmentation and coalescing await a device there")
)]

mod coalesce;
#[cfg(target_os = "linux")]
mod device;
mod flows;
#[cfg(target_os = "linux")]
mod offload;
mod segment;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "ioctl on the TUN device has no safe wrapper in std")]
mod sys;
#[cfg(test)]
mod test_packets;
mod vnet;
mod writer;

#[cfg(target_os = "linux")]
pub use device::{MAX_QUEUES, Tun, TunConfig, TunError, TunQueue};
pub use segment::{FrameError, SuperPacket};
pub use vnet::{FrameFormat, MAX_FRAME_SIZE, Offloads, VNET_HEADER_SIZE};
pub use writer::{TunWriter, WriteReport};
