//! What Linux has of its own for UDP sockets: options, marks, offloads, the meaning of its errors, and `eventfd`.

use super::{
    config::{UdpConfig, UdpError},
    message::Name,
    socket::{UdpSocket, is_any_v6, system},
    sys,
};
use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    net::Ipv6Addr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

/// A non-blocking UDP socket of the family, not bound.
pub(super) fn open(family: libc::c_int) -> io::Result<OwnedFd> {
    sys::udp_socket(family)
}

impl UdpSocket {
    /// Marks all packets sent from now on (`SO_MARK`), for policy routing; 0 for no mark.
    ///
    /// # Errors
    /// `EPERM` without `CAP_NET_ADMIN`.
    pub fn set_mark(&self, mark: u32) -> io::Result<()> {
        for fd in self.ways_out() {
            sys::set_option(fd, libc::SOL_SOCKET, libc::SO_MARK, mark.cast_signed())?;
        }
        Ok(())
    }
}

/// What wakes threads that wait: an eventfd.
#[derive(Debug)]
pub(super) struct Bell(File);

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(File::from(sys::event_counter()?)))
    }

    pub(super) fn ring(&self) {
        // Fails only when the counter is full, which means that it has been rung.
        let _ = (&self.0).write(&1_u64.to_ne_bytes());
    }

    /// Whether it had been rung.
    pub(super) fn silence(&self) -> bool {
        (&self.0).read(&mut [0; 8]).is_ok()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Whether anybody may cut what is sent from now on. If not, the kernel looks at the interface's MTU only: what an ICMP
/// message, true or forged, has said of the path does not count. If so, it counts over IPv6, where nobody else cuts; over IPv4 the
/// kernel does not even listen to it.
pub(super) fn allow_cutting(fd: BorrowedFd<'_>, v6: bool, allowed: bool) -> io::Result<()> {
    let (for_v4, for_v6) = if allowed {
        (libc::IP_PMTUDISC_OMIT, libc::IPV6_PMTUDISC_DONT)
    } else {
        (libc::IP_PMTUDISC_PROBE, libc::IPV6_PMTUDISC_PROBE)
    };
    if v6 {
        sys::set_option(fd, libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER, for_v6)?;
    }
    sys::set_option(fd, libc::SOL_IP, libc::IP_MTU_DISCOVER, for_v4) // a dual-stack socket has both
}

/// A second way out of the port that `receiving` is bound to, for datagrams over IPv6 that are cut by the interface's MTU and not by
/// what ICMP says ([`super::Cut`]). It is bound to an address that nobody has (RFC 6666), so that nothing ever arrives on it; what it
/// sends has to name its source. `None` where the kernel knows no such thing: then the one socket does for all.
pub(super) fn second_way_out(receiving: BorrowedFd<'_>, port: u16, config: &UdpConfig) -> Option<OwnedFd> {
    open_second(receiving, port, config)
        .inspect_err(|error| tracing::info!(%error, "forged ICMPv6 messages can have datagrams cut"))
        .ok()
}

fn open_second(receiving: BorrowedFd<'_>, port: u16, config: &UdpConfig) -> io::Result<OwnedFd> {
    const NOBODY: Ipv6Addr = Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1);
    let fd = open(libc::AF_INET6)?;
    let set = |level, option, value| sys::set_option(fd.as_fd(), level, option, value);
    set(libc::SOL_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT)?;
    if let Some(mark) = config.fwmark {
        set(libc::SOL_SOCKET, libc::SO_MARK, mark.cast_signed())?;
    }
    set_buffer(fd.as_fd(), libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, config.send_buffer);
    set(libc::SOL_IPV6, libc::IPV6_FREEBIND, 1)?;
    sys::set_option(receiving, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    set(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
    sys::bind(fd.as_fd(), &Name::of((NOBODY, port).into(), true))?;
    // From here on its source has to be an address of ours.
    set(libc::SOL_IPV6, libc::IPV6_FREEBIND, 0)?;
    Ok(fd)
}

/// Options without which the socket would not do what its user expects, and buffers.
pub(super) fn set_required(fd: BorrowedFd<'_>, config: &UdpConfig, v6: bool) -> Result<(), UdpError> {
    let listen = config.listen;
    let set =
        |step, level, option, value| sys::set_option(fd, level, option, value).map_err(system(step, listen));
    if v6 {
        set("IPV6_V6ONLY", libc::SOL_IPV6, libc::IPV6_V6ONLY, i32::from(!is_any_v6(listen)))?;
        set("IPV6_RECVPKTINFO", libc::SOL_IPV6, libc::IPV6_RECVPKTINFO, 1)?;
    }
    // A dual-stack socket takes the options of IPv4 too.
    set("IP_PKTINFO", libc::SOL_IP, libc::IP_PKTINFO, 1)?;
    allow_cutting(fd, v6, true).map_err(system("IP_MTU_DISCOVER", listen))?;
    if config.scope.is_some() {
        return Err(system("binding to an interface by its number", listen)(
            io::ErrorKind::Unsupported.into(),
        ));
    }
    if let Some(mark) = config.fwmark {
        sys::set_option(fd, libc::SOL_SOCKET, libc::SO_MARK, mark.cast_signed()).map_err(|source| {
            match source.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => UdpError::NotPermitted {
                    step: "marking packets (SO_MARK)",
                    capability: "CAP_NET_ADMIN",
                    source,
                },
                _ => system("SO_MARK", listen)(source),
            }
        })?;
    }
    set_buffer(fd, libc::SO_RCVBUFFORCE, libc::SO_RCVBUF, config.receive_buffer);
    set_buffer(fd, libc::SO_SNDBUFFORCE, libc::SO_SNDBUF, config.send_buffer);
    Ok(())
}

/// Which offloads a socket has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Granted {
    pub(super) gso: bool,
    pub(super) gro: bool,
}

/// Asks for the offloads that `config` wants; `set` sets an option of UDP. Logs each one that is missing. That the kernel
/// knows `UDP_SEGMENT` does not mean that it works on every path: that shows when a run is sent.
pub(super) fn request_offloads(fd: BorrowedFd<'_>, config: &UdpConfig) -> Granted {
    ask_for_offloads(config, |option, value| sys::set_option(fd, libc::SOL_UDP, option, value))
}

fn ask_for_offloads(config: &UdpConfig, set: impl Fn(libc::c_int, libc::c_int) -> io::Result<()>) -> Granted {
    let ask = |offload, wanted: bool, option, value| {
        let outcome = if wanted { set(option, value) } else { return false };
        if let Err(error) = &outcome {
            tracing::info!(offload, %error, "the kernel lacks this offload: throughput will be lower");
        }
        outcome.is_ok()
    };
    Granted {
        gso: ask("gso", config.gso, libc::UDP_SEGMENT, 0), // 0: no segments but where a send asks for them
        gro: ask("gro", config.gro, libc::UDP_GRO, 1),
    }
}

/// Past the system's limit where permitted, up to it otherwise. A small buffer is slow but works.
fn set_buffer(fd: BorrowedFd<'_>, force: libc::c_int, limited: libc::c_int, size: usize) {
    let size = libc::c_int::try_from(size).unwrap_or(libc::c_int::MAX);
    if sys::set_option(fd, libc::SOL_SOCKET, force, size).is_ok() {
        return;
    }
    let outcome = sys::set_option(fd, libc::SOL_SOCKET, limited, size);
    let granted = sys::option(fd, libc::SOL_SOCKET, limited).unwrap_or(0) / 2; // the kernel states twice the size
    if outcome.is_err() || granted < size {
        tracing::info!(
            asked = size,
            granted,
            "small socket buffer: raise net.core.rmem_max and wmem_max, or run with CAP_NET_ADMIN"
        );
    }
}

/// What Linux reports of a source address that is not ours (IPv4: no route, older kernels and IPv6: invalid).
pub(super) fn may_be_about_source(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | libc::EADDRNOTAVAIL | libc::ENETUNREACH))
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
                | libc::ENONET
                | libc::ENOPROTOOPT
                | libc::EOPNOTSUPP
                | libc::EPROTO
                | libc::EMSGSIZE
                | libc::EACCES
                | libc::EPERM
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, SocketAddr};

    #[test]
    fn a_kernel_without_an_offload_leaves_the_other_one() {
        let config = UdpConfig::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
        for known in [&[][..], &[libc::UDP_SEGMENT], &[libc::UDP_GRO], &[libc::UDP_SEGMENT, libc::UDP_GRO]] {
            let granted = ask_for_offloads(&config, |option, _| {
                if known.contains(&option) { Ok(()) } else { Err(io::ErrorKind::Unsupported.into()) }
            });
            let (gso, gro) = (known.contains(&libc::UDP_SEGMENT), known.contains(&libc::UDP_GRO));
            assert_eq!(granted, Granted { gso, gro }, "{known:?}");
        }
    }

    #[test]
    fn an_offload_that_is_not_wanted_is_not_asked_for() {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        for (gso, gro, asked) in [
            (false, false, vec![]),
            (true, false, vec![(libc::UDP_SEGMENT, 0)]),
            (false, true, vec![(libc::UDP_GRO, 1)]),
        ] {
            let seen = std::cell::RefCell::new(Vec::new());
            let granted =
                ask_for_offloads(&UdpConfig { gso, gro, ..UdpConfig::new(listen) }, |option, value| {
                    seen.borrow_mut().push((option, value));
                    Ok(())
                });
            assert_eq!((granted, seen.into_inner()), (Granted { gso, gro }, asked));
        }
    }
}
