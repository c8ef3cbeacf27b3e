//! Layer 5: what has been changed on this system, on disk before it is changed, so that a crash leaves nothing behind.
//!
//! One [`Journal`] per interface, `DIRECTORY/NAME.journal`, one JSON value a line. The discipline:
//!
//! 1. An entry is appended and synced to disk *before* its change is made.
//! 2. Changes are undone in reverse order. Undoing is idempotent: what is already gone is not an error, so an entry
//!    whose change was never made, or was undone by somebody else, does no harm.
//! 3. When everything is undone the file is removed. A file that is found unlocked is from a crash, and
//!    [`Journal::open`] undoes it before anything else happens.
//!
//! One change outlives a crash on purpose: the kill switch. The next start keeps it ([`Journal::open_keeping`]) and puts its
//! own in its place.
//!
//! The open file is locked (`flock`), so a second instance for the same interface is refused. The kernel releases
//! the lock with the process, however that ends.
//!
//! A journal that is damaged keeps nobody from starting or cleaning up: what can be read is undone, what cannot is told, and the
//! file is kept beside it as `NAME.journal.damaged-N`. Each line has a checksum, by which one wrong bit is put right.
//!
//! A journal may also be gone, empty, or end too early, which it does not show. So whoever opens it also looks for what is the
//! interface's on the system: `damage`, `remains` and `our_tables`. Rules and routes have no name; `routes` finds them by their mark.
//!
//! The journal names the boot and the network namespace in which it was written: changes of an earlier boot are gone
//! with it, and undoing them could only break what the administrator has set up since. The exception is what lies in a
//! file of the disk, the system's name servers: undone if that file still is as we wrote it.
//!
//! **Sysctls shared by instances.** Two interfaces on one host both want `net.ipv4.ip_forward = 1`. Their journals
//! are the reference count: an instance that finds another journal holding the same key inherits the value from
//! before *both*, and one that stops while another still holds the key leaves the value alone. The directory is
//! locked for the moment in which the journals are compared. A crashed instance counts until it is started (and so
//! recovered) again.

mod change;
mod command;
mod compact;
mod damage;
mod error;
mod folder;
mod format;
mod log;
mod look;
pub mod mac;
#[cfg(target_os = "macos")]
mod macos;
mod name;
mod name_servers;
#[cfg(target_os = "linux")]
pub mod netlink;
#[cfg(target_os = "linux")]
pub(crate) mod netlink_message;
#[cfg(target_os = "linux")]
mod our_tables;
#[cfg(target_os = "macos")]
mod pf;
#[cfg(target_os = "linux")]
mod read_rule;
#[cfg(target_os = "linux")]
mod remains;
#[cfg(target_os = "linux")]
mod resolv_conf;
#[cfg(target_os = "linux")]
pub mod resolved;
mod restore;
mod routing_message;
#[cfg(target_os = "macos")]
mod routing_socket;
#[cfg(target_os = "linux")]
mod socket_marks;
#[cfg(target_os = "linux")]
pub mod sysctl;
#[cfg(target_os = "macos")]
#[path = "sysctl_macos.rs"]
pub mod sysctl;
mod system;
#[cfg(target_os = "linux")]
mod undo;
#[cfg(target_os = "macos")]
use macos as undo;

pub use change::{
    Change, DeviceRoute, Family, MAIN_TABLE, PolicyRule, RefusingTable, RuleSelector, SysctlValue,
    TUNNEL_MARKS,
};
pub use command::{CommandError, IPTABLES_WAIT, installed, require, run};
pub use error::JournalError;
pub use folder::{
    FolderError, Trust, check_own_folder, check_way, home_of, is_administrators, is_trusted_owner,
    make_own_folder, new_log, user,
};
pub use format::{EntryId, SystemId};
pub use log::{DirectoryLock, Journal};
pub use mac::{MacChange, MacRoute};
#[cfg(target_os = "macos")]
pub use macos::{add_route, scutil};
pub use name::{InterfaceName, InterfaceNameError};
pub use name_servers::{
    Kept, NameServersChange, kept_beside, made_beside, marker, tunnel_of, unfinished_beside,
};
#[cfg(target_os = "macos")]
pub use pf::{PfRules, pfctl};
#[cfg(target_os = "linux")]
pub use remains::{Named, has_device, has_sockets, left_in_place, mark_of, named_interfaces};
#[cfg(target_os = "linux")]
pub use resolv_conf::{belongs_to, remove};
pub use routing_message::RoutingEvent;
#[cfg(target_os = "macos")]
pub use routing_socket::RoutingSocket;
#[cfg(target_os = "linux")]
pub use socket_marks::is_mark_borne;
