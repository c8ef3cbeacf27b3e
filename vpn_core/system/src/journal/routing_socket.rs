//! A socket of the kind `PF_ROUTE`: what the kernel of macOS tells of links, addresses and routes.

use super::RoutingEvent;
use nix::{
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    sys::socket::{AddressFamily, SockFlag, SockType, socket},
};
use std::io;
use tokio::net::UnixDatagram;

/// Longer than any message of the kernel's; what is beyond it is addresses that nobody looks at.
const MESSAGE_SIZE: usize = 2048;

/// A routing socket, for its messages.
#[derive(Debug)]
pub struct RoutingSocket {
    /// Of another family; but receiving is all that is done with it, and this does that for any socket.
    socket: UnixDatagram,
}

impl RoutingSocket {
    /// Opens one. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn open() -> io::Result<Self> {
        let fd = socket(AddressFamily::Route, SockType::Raw, SockFlag::empty(), None)?;
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Self { socket: UnixDatagram::from_std(fd.into())? })
    }

    /// Waits for the next event.
    ///
    /// # Errors
    /// When the socket is broken.
    pub async fn next(&self) -> io::Result<RoutingEvent> {
        let mut message = [0; MESSAGE_SIZE];
        loop {
            match self.socket.recv(&mut message).await {
                Ok(0) => return Err(io::ErrorKind::ConnectionAborted.into()),
                Ok(len) => {
                    if let Some(event) = RoutingEvent::parse(&message[..len]) {
                        return Ok(event);
                    }
                }
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => return Ok(RoutingEvent::Lost),
                Err(error) => return Err(error),
            }
        }
    }
}
