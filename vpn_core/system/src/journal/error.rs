//! What can go wrong with a journal.

use std::{io, path::PathBuf};

use super::{CommandError, FolderError, InterfaceName};

/// Why a journal could not be opened or written, or a change not undone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// Another instance has this interface.
    #[error(
        "interface {interface} belongs to another running instance (it holds {path}): \
         stop that one, or configure another interface name"
    )]
    InUse {
        /// The interface that both want.
        interface: InterfaceName,
        /// The locked journal.
        path: PathBuf,
    },
    /// Others may write where the journal is: they could make us undo what we never did.
    #[error("the journal cannot be kept there: {source}")]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: FolderError,
    },
    /// The file system refused.
    #[error("cannot {action} {path}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Some changes could not be undone; they stay in the journal.
    #[error(
        "cannot undo {failures}; still listed in {path}: start again to retry, or undo by hand and remove the file"
    )]
    Undo {
        /// The journal.
        path: PathBuf,
        /// Each change and why it failed.
        failures: String,
    },
    /// A sysctl could not be read or set.
    #[error("cannot {action} sysctl {key}: {source}{}", sysctl_hint(source))]
    Sysctl {
        /// `read` or `set`.
        action: &'static str,
        /// The path below `/proc/sys`.
        key: String,
        /// The system's answer.
        source: io::Error,
    },
    /// No free firewall mark was found.
    #[error(
        "no free firewall mark and routing tables (tried {tried} ranges): see `ip rule`, remove what is unused"
    )]
    NoFreeMark {
        /// How many ranges were looked at.
        tried: u32,
    },
    /// pf of a Mac would not look at rules of ours.
    #[error(
        "the main rules of pf have no {kind} \"com.apple/*\", so rules of ours would not be looked at: put that line of \
         Apple's /etc/pf.conf back, and load it with pfctl -f /etc/pf.conf"
    )]
    NoPfAnchor {
        /// `anchor`, `nat-anchor` or `scrub-anchor`.
        kind: &'static str,
    },
    /// A netlink request failed.
    #[error("netlink: {0}")]
    Netlink(#[source] io::Error),
    /// systemd-resolved refused, or did not answer.
    #[error(
        "cannot {action} {interface} at systemd-resolved: {reason}; see `systemctl status systemd-resolved`"
    )]
    Resolved {
        /// What was tried.
        action: &'static str,
        /// The tunnel interface.
        interface: InterfaceName,
        /// The answer.
        reason: String,
    },
    /// A program failed.
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl JournalError {
    /// Whether a program that the journal runs says that privileges are what is missing.
    pub fn is_not_permitted(&self) -> bool {
        match self {
            Self::Command(error) => error.is_not_permitted(),
            Self::InUse { .. }
            | Self::NotPrivate { .. }
            | Self::File { .. }
            | Self::Undo { .. }
            | Self::Sysctl { .. }
            | Self::NoFreeMark { .. }
            | Self::NoPfAnchor { .. }
            | Self::Netlink(_)
            | Self::Resolved { .. } => false,
        }
    }
}

fn sysctl_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => ": run as root (CAP_NET_ADMIN)",
        io::ErrorKind::ReadOnlyFilesystem => ": /proc/sys is read-only in this container; set it on the host",
        _ => "",
    }
}
