//! What macOS has of its own for UDP sockets: options, the interface that a socket is scoped to, the meaning of its
//! errors. There is no segmentation by the kernel.

use super::{
    config::{UdpConfig, UdpError},
    socket::{UdpSocket, is_any_v6, system},
    sys,
};
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
use std::{
    io::{self, Read as _, Write as _},
    num::NonZeroU32,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::net::UnixStream,
    },
};

/// The smallest buffer that is worth asking for, in bytes: the kernel's own default is about as much.
const SMALLEST_BUFFER: usize = 256 << 10;

/// A non-blocking UDP socket of the family, not bound.
pub(super) fn open(family: libc::c_int) -> io::Result<OwnedFd> {
    let fd = sys::udp_socket(family)?;
    fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    Ok(fd)
}

impl UdpSocket {
    /// Sends everything from now on through the interface with this number, whatever the routing table says. It keeps our own
    /// datagrams out of the tunnel.
    ///
    /// # Errors
    /// `ENXIO` when there is no such interface.
    pub fn set_scope(&self, interface: NonZeroU32) -> io::Result<()> {
        scope_to(self.as_fd(), self.local_addr().is_ipv6(), Some(interface))
    }
}

/// Sends everything that a socket sends through the interface with this number; `None`: as the routing table says. A dual-stack
/// socket has one scope for both families, set by the option of IPv6.
///
/// # Errors
/// `ENXIO` when there is no such interface.
pub fn scope_to(fd: BorrowedFd<'_>, v6: bool, interface: Option<NonZeroU32>) -> io::Result<()> {
    let (level, option) =
        if v6 { (libc::IPPROTO_IPV6, libc::IPV6_BOUND_IF) } else { (libc::IPPROTO_IP, libc::IP_BOUND_IF) };
    sys::set_option(fd, level, option, interface.map_or(0, NonZeroU32::get).cast_signed())
}

/// What wakes threads that wait: a pair of connected sockets.
#[derive(Debug)]
pub(super) struct Bell {
    near: UnixStream,
    far: UnixStream,
}

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let (near, far) = UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        Ok(Self { near, far })
    }

    pub(super) fn ring(&self) {
        // Fails only when the buffer is full, which means that it has been rung.
        let _ = (&self.near).write(&[0]);
    }

    /// Whether it had been rung.
    pub(super) fn silence(&self) -> bool {
        let mut rung = false;
        while (&self.far).read(&mut [0; 64]).is_ok_and(|len| len > 0) {
            rung = true;
        }
        rung
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.far.as_fd()
    }
}

/// Of `netinet6/in6.h`; missing in the libc crate.
const IPV6_DONTFRAG: libc::c_int = 62;

/// Whether anybody may cut what is sent from now on, as is the default.
pub(super) fn allow_cutting(fd: BorrowedFd<'_>, v6: bool, allowed: bool) -> io::Result<()> {
    let dont = libc::c_int::from(!allowed);
    if v6 {
        sys::set_option(fd, libc::IPPROTO_IPV6, IPV6_DONTFRAG, dont)
    } else {
        sys::set_option(fd, libc::IPPROTO_IP, libc::IP_DONTFRAG, dont)
    }
}

/// There is none: the kernel cuts by the interface's MTU anyway.
pub(super) fn second_way_out(_: BorrowedFd<'_>, _: u16, _: &UdpConfig) -> Option<OwnedFd> {
    None
}

/// Options without which the socket would not do what its user expects, and buffers.
pub(super) fn set_required(fd: BorrowedFd<'_>, config: &UdpConfig, v6: bool) -> Result<(), UdpError> {
    let listen = config.listen;
    let set =
        |step, level, option, value| sys::set_option(fd, level, option, value).map_err(system(step, listen));
    if v6 {
        set("IPV6_V6ONLY", libc::IPPROTO_IPV6, libc::IPV6_V6ONLY, i32::from(!is_any_v6(listen)))?;
        set("IPV6_RECVPKTINFO", libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
    } else {
        // An IPv6 socket does not take it: of a datagram that came to it over IPv4 the local address is not known.
        set("IP_PKTINFO", libc::IPPROTO_IP, libc::IP_PKTINFO, 1)?;
    }
    if config.fwmark.is_some() {
        return Err(system("marking packets (SO_MARK)", listen)(io::ErrorKind::Unsupported.into()));
    }
    scope_to(fd, v6, config.scope).map_err(system("IP_BOUND_IF", listen))?;
    set_buffer(fd, libc::SO_RCVBUF, config.receive_buffer);
    set_buffer(fd, libc::SO_SNDBUF, config.send_buffer);
    Ok(())
}

/// Which offloads a socket has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) gso: bool,
    pub(super) gro: bool,
}

/// There are none to ask for.
pub(super) fn request_offloads(_: BorrowedFd<'_>, _: &UdpConfig) -> Granted {
    Granted { gso: false, gro: false }
}

/// The kernel refuses what is beyond `kern.ipc.maxsockbuf`, so half of it is asked for then, and so on. A small buffer is
/// slow but works.
fn set_buffer(fd: BorrowedFd<'_>, option: libc::c_int, wanted: usize) {
    let mut size = wanted;
    while size >= SMALLEST_BUFFER {
        let asked = libc::c_int::try_from(size).unwrap_or(libc::c_int::MAX);
        if sys::set_option(fd, libc::SOL_SOCKET, option, asked).is_ok() {
            break;
        }
        size /= 2;
    }
    if size < wanted {
        tracing::info!(asked = wanted, granted = size, "small socket buffer: raise kern.ipc.maxsockbuf");
    }
}

/// What macOS reports of a source address that is not ours.
pub(super) fn may_be_about_source(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EADDRNOTAVAIL))
}

/// Errors that say something about an earlier datagram or about memory, not about this socket.
pub(super) fn is_from_network(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNREFUSED
                | libc::ECONNRESET
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EHOSTDOWN
                | libc::ENETDOWN
                | libc::ENOBUFS
                | libc::EMSGSIZE
                | libc::EACCES
                | libc::EPERM
        )
    )
}
