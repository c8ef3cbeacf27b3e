//! What a TUN device is made from, and why it may not come to be.

use super::vnet::Offloads;
use std::io;

pub(super) const DEVICE_PATH: &str = "/dev/net/tun";

/// The most queues of one device: what the kernel of Linux calls `MAX_TAP_QUEUES`. A utun of macOS has one.
pub const MAX_QUEUES: usize = if cfg!(target_os = "macos") { 1 } else { 256 };

/// The highest number that an interface may have: the kernel counts units from 1 in 32 bits, but a name has 15 bytes.
pub(super) const MAX_UTUN: u32 = 999_999;

/// How to make a TUN device.
#[derive(Clone, Debug)]
pub struct TunConfig {
    /// Interface name, 1 to 15 bytes; on macOS `utun` and a number.
    pub name: String,
    /// Number of queues, 1 to [`MAX_QUEUES`]; more than one opens the device with `IFF_MULTI_QUEUE`.
    pub queues: usize,
    /// What to ask the kernel for.
    pub offloads: Offloads,
}

impl TunConfig {
    /// One queue, all offloads.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), queues: 1, offloads: Offloads::ALL }
    }
}

/// Why there is no TUN device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TunError {
    /// The caller erred: no interface can have this name.
    #[error("'{name}' cannot be an interface name: it takes 1 to 15 bytes without '/', ':', '%' or spaces")]
    BadName {
        /// The name as given.
        name: String,
    },
    /// The caller erred: the system chooses what its tunnel interfaces are called, up to the number.
    #[error(
        "'{name}' cannot be the tunnel interface of a Mac: write utun and a number from 0 to {MAX_UTUN}, such as utun66"
    )]
    NotUtun {
        /// The name as given.
        name: String,
    },
    /// The caller erred: the number of queues.
    #[error("a TUN device has 1 to {MAX_QUEUES} queues, not {queues}")]
    BadQueueCount {
        /// The number as given.
        queues: usize,
    },
    /// The system has no TUN driver.
    #[error(
        "{DEVICE_PATH} is missing: load the driver with 'modprobe tun', or pass the device into the container \
         (docker run --device {DEVICE_PATH})"
    )]
    DriverMissing(#[source] io::Error),
    /// The process may not make network interfaces.
    #[error("not permitted to make the interface '{name}': run as root or with CAP_NET_ADMIN")]
    NotPermitted {
        /// The interface.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The name belongs to something else.
    #[error(
        "the interface '{name}' exists already: another program or another instance of this one uses it; choose another \
         name, or stop what uses it"
    )]
    NameBusy {
        /// The interface.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The descriptor handed over is not a TUN device as this program needs it.
    #[error(
        "the file descriptor handed over is not a TUN device without packet information (IFF_TUN | IFF_NO_PI)"
    )]
    NotTun(#[source] Option<io::Error>),
    /// Any other refusal by the system.
    #[error("{step} on the TUN device '{name}' failed")]
    System {
        /// The system call.
        step: &'static str,
        /// The interface.
        name: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}
