//! Why an operation failed, and the number by which the client is told.

use std::io;

/// Why an operation failed. The texts name keys, never values: a value may be a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UapiError {
    /// The client erred: a line that is no `key=value`.
    #[error("line {line} is not of the form key=value")]
    NotKeyValue {
        /// Counted from 1, which is the operation's own line.
        line: usize,
    },
    /// The client erred: a key that does not exist, or not there.
    #[error("line {line}: there is no such key here")]
    UnknownKey {
        /// Counted from 1.
        line: usize,
    },
    /// The client erred: a value that the key cannot have.
    #[error("line {line}: not a value of {key}")]
    BadValue {
        /// Counted from 1.
        line: usize,
        /// The key.
        key: &'static str,
    },
    /// The client erred: neither `get=1` nor `set=1`.
    #[error("the operation is neither get=1 nor set=1")]
    UnknownOperation,
    /// The client erred: longer than we are willing to keep.
    #[error(
        "a line has more than {} bytes, or the request more than {}",
        super::MAX_LINE,
        super::MAX_REQUEST
    )]
    TooLong,
    /// Another socket has the UDP port.
    #[error("UDP port {port} is in use")]
    PortInUse {
        /// The port asked for.
        port: u16,
    },
    /// The system refused.
    #[error("{what} failed")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl UapiError {
    /// The value of `errno=`: negative, as wireguard-go answers and `wg` expects.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NotKeyValue { .. } => -libc::EPROTO,
            Self::UnknownKey { .. } | Self::BadValue { .. } | Self::UnknownOperation => -libc::EINVAL,
            Self::TooLong => -libc::EMSGSIZE,
            Self::PortInUse { .. } => -libc::EADDRINUSE,
            Self::System { source, .. } => -source.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}
