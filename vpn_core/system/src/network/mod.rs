//! Layer 5: what happens to this host's own network, and to its time.
//!
//! A tunnel whose path is gone would notice after 15 s of silence. Mostly the system knows earlier: an address went, a
//! cable was plugged in, the default route has another interface. So the system's messages are followed
//! ([`watch_network`]); but most of them are no news for us (another program's routes, a container's interface, wireless
//! statistics), and a gateway must not call its thousand clients for each. A message is therefore only a reason to
//! *look*: has the way to one of our peers become another ([`Paths`])? Looks are paced, and so is what follows from them
//! ([`Pace`], [`Allowance`]).
//!
//! Suspension is seen on the clocks: [`Clocks`].
//!
//! Deciding is pure and the same everywhere; listening, asking for a path and reading the clocks are the system's, one
//! file each.

mod clocks;
#[cfg(target_os = "linux")]
mod events;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(any(test, target_os = "macos"))]
mod netstat;
mod pace;
mod path;
#[cfg(target_os = "linux")]
mod path_linux;
mod zone;

pub use clocks::{Clocks, Jump};
#[cfg(target_os = "linux")]
pub use events::watch_network;
#[cfg(target_os = "macos")]
pub use macos::{PathFinder, uplink, uplink_name, watch_network};
pub use pace::{Allowance, Pace};
pub use path::{Difference, Obstacle, Path, Paths};
#[cfg(target_os = "linux")]
pub use path_linux::PathFinder;
pub use zone::{endpoint_text, zone_index};

/// What the system told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkEvent {
    /// An interface has its carrier (again): even if every address and route is as before, it may be another network.
    CarrierUp {
        /// The interface's number.
        interface: u32,
    },
    /// Something that may have changed a path.
    Other,
}
