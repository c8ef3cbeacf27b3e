//! The UDP socket: dual-stack, with the local address of each datagram, and with GSO and GRO on Linux.

use super::{
    config::{UdpConfig, UdpError},
    message::{Control, Name},
    pieces::{Cut, Whole},
    platform::{
        self, Granted, is_from_network, may_be_about_source, request_offloads, second_way_out, set_required,
    },
    receive::{RecvBatch, RecvReport},
    send::{Run, SendBatch, SendReport},
    sys,
};
use crate::base::Endpoint;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicBool, Ordering},
};

/// How long a control message waits for room in a full send buffer, in milliseconds.
const SEND_TIMEOUT: libc::c_int = 100; // handshakes repeat what is lost; a dead interface must not stop control

/// System calls for one batch. Empty and truncated datagrams take no room in it, so room alone is no bound: a flood of
/// them would keep the batch, and the packets of peers in it, from ever being served.
const MAX_RECEIVE_CALLS: usize = 2 * super::receive::MAX_RECEIVED;

/// Errors in a row that a receive call takes from the socket; more mean that something else is wrong.
const MAX_ERRORS: usize = 64; // each pending ICMP message is one

/// A UDP socket; every method takes `&self`, so that the thread of its queue and control share it.
#[derive(Debug)]
pub struct UdpSocket {
    socket: std::net::UdpSocket,
    /// For what is cut by the interface's MTU alone.
    second: Option<OwnedFd>,
    /// Which of the two had no room for a run of datagrams last.
    second_is_full: AtomicBool,
    local: SocketAddr,
    /// Cleared when the kernel refuses to segment for this socket.
    gso: AtomicBool,
    gro: bool,
}

impl UdpSocket {
    /// Opens and binds a socket.
    ///
    /// # Errors
    /// [`UdpError`], with what to do about it.
    pub fn bind(config: &UdpConfig) -> Result<Self, UdpError> {
        Self::open(config, Port::Own)
    }

    /// Opens `count` sockets on one port, at least one: for the queues of a device. The kernel spreads senders over them;
    /// all datagrams of one sender go to the same socket.
    ///
    /// # Errors
    /// [`UdpError`]. A port that another program has is refused, also where that program would share it.
    pub fn bind_group(config: &UdpConfig, count: usize) -> Result<Vec<Self>, UdpError> {
        let first = Self::open(config, Port::Own)?;
        let group = UdpConfig { listen: first.local, ..config.clone() };
        if count > 1 {
            // Only now: a socket that shared from the start would join whoever shares the port already.
            share_port(first.as_fd(), first.local)?;
        }
        let mut sockets = vec![first];
        for _ in 1..count {
            sockets.push(Self::open(&group, Port::Shared)?);
        }
        Ok(sockets)
    }

    fn open(config: &UdpConfig, port: Port) -> Result<Self, UdpError> {
        let (fd, listen) = open(config.listen)?;
        let v6 = listen.is_ipv6();
        set_required(fd.as_fd(), config, v6)?;
        match port {
            Port::Own => {}
            Port::Shared => share_port(fd.as_fd(), listen)?,
        }
        let Granted { gso, gro } = request_offloads(fd.as_fd(), config);
        sys::bind(fd.as_fd(), &Name::of(listen, v6)).map_err(|source| bind_error(config.listen, source))?;
        let socket = std::net::UdpSocket::from(fd);
        let local = socket.local_addr().map_err(system("getsockname", config.listen))?;
        let second = if v6 { second_way_out(socket.as_fd(), local.port(), config) } else { None };
        Ok(Self {
            socket,
            second,
            second_is_full: AtomicBool::new(false),
            local,
            gso: AtomicBool::new(gso),
            gro,
        })
    }

    /// The address and port that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// What a batch waits for that [`UdpSocket::send`] has reported as blocked.
    pub fn blocked(&self) -> BorrowedFd<'_> {
        match &self.second {
            Some(second) if self.second_is_full.load(Ordering::Relaxed) => second.as_fd(),
            Some(_) | None => self.as_fd(),
        }
    }

    /// All descriptors that are sent through.
    #[cfg(target_os = "linux")]
    pub(super) fn ways_out(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        core::iter::once(self.as_fd()).chain(self.second.as_ref().map(AsFd::as_fd))
    }

    /// Whether runs are sent with one system call; may become false while sending.
    pub fn gso(&self) -> bool {
        self.gso.load(Ordering::Relaxed)
    }

    /// Whether runs are received with one system call.
    pub const fn gro(&self) -> bool {
        self.gro
    }

    /// Sizes of the kernel's receive and send buffer in bytes, as it accounts for them (twice what was asked for).
    ///
    /// # Errors
    /// When the kernel does not know the option.
    pub fn buffer_sizes(&self) -> io::Result<(usize, usize)> {
        let size = |option| {
            sys::option(self.as_fd(), libc::SOL_SOCKET, option).map(|size| usize::try_from(size).unwrap_or(0))
        };
        Ok((size(libc::SO_RCVBUF)?, size(libc::SO_SNDBUF)?))
    }

    /// Empties `batch` and reads until the socket is empty or the batch is full. Does not wait:
    /// [`super::Interrupt::wait_readable`] does. What the network reports of earlier datagrams (ICMP) is counted.
    ///
    /// # Errors
    /// Only when the socket itself is broken or memory is short; what was received before is in `batch`.
    pub fn recv(&self, batch: &mut RecvBatch) -> io::Result<RecvReport> {
        batch.clear();
        let mut report = RecvReport::default();
        for _ in 0..MAX_RECEIVE_CALLS {
            let Some(room) = batch.room() else {
                report.more = true;
                return Ok(report);
            };
            let mut name = Name::empty();
            let mut control = Control::for_receiving();
            match sys::receive(self.as_fd(), room, &mut name, &mut control) {
                Ok((_, flags)) if flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 => report.truncated += 1,
                Ok((len, _)) => {
                    let arrival = control.arrival();
                    // An empty datagram is no message of any protocol of ours.
                    if let (Some(remote), true) = (name.address(), len > 0) {
                        let from = Endpoint { remote, local: arrival.local };
                        report.datagrams += batch.push(len, arrival.stride, from);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(report),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_from_network(&error) && report.errors < MAX_ERRORS => report.errors += 1,
                Err(error) => return Err(error),
            }
        }
        report.more = true;
        Ok(report)
    }

    /// Sends everything in `batch` in order and empties it; equally long datagrams to one endpoint with one system
    /// call. A datagram that cannot be sent is counted and does not hold up the others. Does not wait: when the
    /// socket's buffer is full, what is left stays in the batch, to be sent when the socket is writable.
    pub fn send(&self, batch: &mut SendBatch) -> SendReport {
        let mut report = SendReport::default();
        while let Some((run, bytes)) = batch.first() {
            let (done, len) = (self.send_run(run, bytes, &mut report), bytes.len());
            batch.advance(done);
            if done < len {
                report.blocked = true;
                break;
            }
        }
        report
    }

    /// Sends one datagram, for control messages. Waits a little where the socket's buffer is full.
    ///
    /// # Errors
    /// Why the kernel refuses it.
    pub fn send_to(&self, to: Endpoint, datagram: &[u8]) -> io::Result<()> {
        match self.send_now(to, datagram) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let target = libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
                // Whatever ends the wait, a signal too: sending says how it is.
                let _ready = sys::poll(&mut [target], SEND_TIMEOUT);
                self.send_now(to, datagram)
            }
            outcome => outcome,
        }
    }

    /// The same for what may as well be lost. Does not wait.
    ///
    /// # Errors
    /// Why the kernel refuses it: `EWOULDBLOCK` where the socket's buffer is full.
    pub fn send_now(&self, to: Endpoint, datagram: &[u8]) -> io::Result<()> {
        self.send_from(self.as_fd(), &to, datagram, None).map(drop)
    }

    /// Sends one datagram that neither the kernel nor a router may cut: a probe. Does not wait.
    ///
    /// # Errors
    /// Why the kernel refuses it: `EMSGSIZE` where it is too long already for the interface.
    pub fn send_whole(&self, to: Endpoint, datagram: &[u8]) -> io::Result<()> {
        let _whole = Whole::begin(self.as_fd(), self.local.is_ipv6())?;
        self.send_now(to, datagram)
    }

    /// Sends a run, and answers how many of its bytes are dealt with: all, unless the socket's buffer is full.
    fn send_run(&self, run: &Run, bytes: &[u8], report: &mut SendReport) -> usize {
        let (way_out, is_second) = self.way_out(run);
        let blocked_after = |done| {
            self.second_is_full.store(is_second, Ordering::Relaxed);
            done
        };
        if run.count > 1 && self.gso() {
            match self.send_from(way_out, &run.to, bytes, Some(run.stride as u16)) {
                Ok(source) => {
                    report.count(run.count, source);
                    return bytes.len();
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return blocked_after(0),
                Err(error) if self.is_about_gso(&error) => {}
                Err(_) => {
                    report.dropped += run.count;
                    return bytes.len();
                }
            }
        }
        let mut done = 0;
        for datagram in bytes.chunks(run.stride) {
            match self.send_from(way_out, &run.to, datagram, None) {
                Ok(source) => report.count(1, source),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return blocked_after(done),
                Err(_) => report.dropped += 1,
            }
            done += datagram.len();
        }
        done
    }

    /// What to send a run through, and whether that is the second one. That one knows no source by itself.
    fn way_out(&self, run: &Run) -> (BorrowedFd<'_>, bool) {
        let names_source = run.to.remote.is_ipv6() && run.to.local.is_some_and(|local| local.is_ipv6());
        match (&self.second, run.cut) {
            (Some(second), Cut::ByInterface) if names_source => (second.as_fd(), true),
            (Some(_) | None, Cut::ByInterface | Cut::ByPath) => (self.as_fd(), false),
        }
    }

    /// Whether the run is to be sent again one by one; switches GSO off where it cannot work.
    fn is_about_gso(&self, error: &io::Error) -> bool {
        let hopeless = match error.raw_os_error() {
            // No checksum offload on the way out (udp(7)).
            Some(libc::EIO | libc::EOPNOTSUPP | libc::ENOPROTOOPT) => true,
            // A datagram is longer than the path's MTU (older kernels: invalid), and single ones are fragmented. The next
            // path may be wider. What the kernel does not know at all it said when the socket was made.
            Some(libc::EINVAL | libc::EMSGSIZE) => false,
            _ => return false,
        };
        if hopeless && self.gso.swap(false, Ordering::Relaxed) {
            tracing::warn!(offload = "gso", %error, "the kernel refuses to segment: sending datagrams singly");
        }
        true
    }

    /// Sends `bytes` through `way_out`, cut into datagrams of `stride` bytes if given, from the endpoint's local address or, when
    /// that is ours no more, from one of the kernel's choice.
    fn send_from(
        &self,
        way_out: BorrowedFd<'_>,
        to: &Endpoint,
        bytes: &[u8],
        stride: Option<u16>,
    ) -> io::Result<Source> {
        let name = Name::of(to.remote, self.local.is_ipv6());
        let mut control = Control::empty();
        if let Some(stride) = stride {
            control.push_segment_size(stride);
        }
        let without_source = control;
        let scope = match to.remote {
            SocketAddr::V4(_) => 0,
            SocketAddr::V6(v6) => v6.scope_id(),
        };
        // An address of the other family cannot be the source, and the kernel would refuse it anyway.
        let Some(local) = to.local.filter(|local| local.is_ipv4() == to.remote.is_ipv4()) else {
            return send_message(way_out, bytes, &name, &without_source).map(|()| Source::AsAsked);
        };
        control.push_source(local, scope);
        match send_message(way_out, bytes, &name, &control) {
            Ok(()) => Ok(Source::AsAsked),
            Err(error) if may_be_about_source(&error) => {
                send_message(self.as_fd(), bytes, &name, &without_source).map(|()| Source::Stale)
            }
            Err(error) => Err(error),
        }
    }
}

fn send_message(fd: BorrowedFd<'_>, bytes: &[u8], name: &Name, control: &Control) -> io::Result<()> {
    loop {
        match sys::send(fd, bytes, name, control) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// For waiting until a datagram can be received, or sent.
impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whose the port of a socket is.
#[derive(Clone, Copy, Debug)]
enum Port {
    Own,
    /// That of sockets of ours, which share it.
    Shared,
}

/// Where a datagram was sent from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    AsAsked,
    Stale,
}

impl SendReport {
    fn count(&mut self, datagrams: usize, source: Source) {
        self.sent += datagrams;
        match source {
            Source::AsAsked => {}
            Source::Stale => self.stale_sources += 1,
        }
    }
}

/// A socket for `listen`, or for `0.0.0.0` instead of `[::]` where there is no IPv6.
fn open(listen: SocketAddr) -> Result<(OwnedFd, SocketAddr), UdpError> {
    let family = if listen.is_ipv6() { libc::AF_INET6 } else { libc::AF_INET };
    let missing = |source: io::Error| match source.raw_os_error() {
        Some(libc::EAFNOSUPPORT) => UdpError::FamilyMissing { listen, source },
        _ => system("socket", listen)(source),
    };
    match platform::open(family) {
        Ok(fd) => Ok((fd, listen)),
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) && is_any_v6(listen) => {
            let fallback = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), listen.port());
            tracing::info!(%fallback, "the kernel has no IPv6: listening on IPv4 only");
            platform::open(libc::AF_INET).map(|fd| (fd, fallback)).map_err(missing)
        }
        Err(error) => Err(missing(error)),
    }
}

pub(super) fn is_any_v6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

/// Lets further sockets of this user bind the same address and port.
fn share_port(fd: BorrowedFd<'_>, listen: SocketAddr) -> Result<(), UdpError> {
    sys::set_option(fd, libc::SOL_SOCKET, libc::SO_REUSEPORT, 1).map_err(system("SO_REUSEPORT", listen))
}

fn bind_error(listen: SocketAddr, source: io::Error) -> UdpError {
    match source.raw_os_error() {
        Some(libc::EADDRINUSE) => UdpError::AddressInUse { listen, source },
        Some(libc::EADDRNOTAVAIL) => UdpError::AddressNotAvailable { listen, source },
        Some(libc::EACCES | libc::EPERM) => UdpError::NotPermitted {
            step: "listening on a port below 1024",
            capability: "CAP_NET_BIND_SERVICE",
            source,
        },
        _ => system("bind", listen)(source),
    }
}

pub(super) fn system(step: &'static str, listen: SocketAddr) -> impl FnOnce(io::Error) -> UdpError {
    move |source| UdpError::System { step, listen, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segmentation_is_given_up_where_it_cannot_work_and_only_there() {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        for (errno, sends_singly, gives_up) in [
            (libc::EIO, true, true),
            (libc::EOPNOTSUPP, true, true),
            (libc::EINVAL, true, false),
            (libc::EMSGSIZE, true, false),
            (libc::ENETUNREACH, false, false),
            (libc::EPERM, false, false),
        ] {
            let socket = UdpSocket::bind(&UdpConfig::new(listen)).expect("a port is free");
            socket.gso.store(true, Ordering::Relaxed);
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!(socket.is_about_gso(&error), sends_singly, "{error}");
            assert_eq!(!socket.gso(), gives_up, "{error}");
        }
    }
}
