//! Whether the kernel, or a router on the way, may cut a datagram into fragments, and by whose word.
//!
//! Over IPv4 routers cut, and no router has reason to tell us of datagrams that it may cut: what ICMP says of them is forged, and our
//! sockets do not look at it. Over IPv6 only the sender cuts. Peers that can be probed need no ICMP for that either (protocol.md 7.5);
//! for the others, WireGuard's, and where the path loses what must pass ([`Cut::ByPath`]), what the kernel has learned
//! counts. That is a property of the socket that sends, so there are two of them: [`super::UdpSocket`] receives, ICMP too,
//! and a second one on the same port sends what is cut by nobody's word ([`Cut::ByInterface`]).
//!
//! Datagrams may be cut, as those of the kernel's WireGuard: what is too long for a path is slow there and not lost. Only probes
//! must not. There is no control message that says so of one datagram over IPv4, so the socket is changed for the length of
//! a call. A datagram that another thread sends over the same socket in that moment must not be cut either, to whatever peer it
//! goes: on a gateway each probe may cost such a peer the packets of some microseconds, where they needed cutting.

use super::platform::allow_cutting;
use std::{io, os::fd::BorrowedFd};

/// What decides how long a datagram over IPv6 may leave this host in one piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The interface alone. An ICMP message that says otherwise may be forged, and we know better.
    ByInterface,
    /// The interface, and what the kernel has learned of the path to that address.
    ByPath,
}

/// As long as it lives nobody may cut what is sent.
#[derive(Debug)]
pub(super) struct Whole<'a> {
    fd: BorrowedFd<'a>,
    v6: bool,
}

impl<'a> Whole<'a> {
    /// `v6` says whether it is a socket of IPv6, perhaps for both.
    pub(super) fn begin(fd: BorrowedFd<'a>, v6: bool) -> io::Result<Self> {
        let whole = Self { fd, v6 };
        allow_cutting(fd, v6, false)?;
        Ok(whole)
    }
}

impl Drop for Whole<'_> {
    fn drop(&mut self) {
        if let Err(error) = allow_cutting(self.fd, self.v6, true) {
            tracing::warn!(%error, "datagrams that are too long for their path are lost from now on");
        }
    }
}
