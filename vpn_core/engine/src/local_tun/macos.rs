//! The TUN device of macOS: a `utun` control socket. One queue, one packet a system call, no offloads.

use super::{
    coalesce::Mergeable,
    config::{MAX_QUEUES, TunConfig, TunError},
    utun::{FAMILY_SIZE, family_header, unit},
    vnet::{FrameFormat, Offloads},
};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    sys::socket::{
        AddressFamily, SockFlag, SockProtocol, SockType, SysControlAddr, connect, getsockopt, socket,
        sockopt::UtunIfname,
    },
};
use std::{
    fs::File,
    io::{self, IoSlice, IoSliceMut, Read as _, Write as _},
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd},
};

/// The kernel control that makes utun interfaces.
const CONTROL: &str = "com.apple.net.utun_control";

/// Slices of one write: the address family, and those of a single packet without a `virtio_net_hdr`.
const MAX_SLICES: usize = 3;

/// A utun interface. It disappears with its socket.
#[derive(Debug)]
pub struct Tun {
    name: String,
    queue: [TunQueue; 1],
}

impl Tun {
    /// Makes the interface. It has no address.
    ///
    /// # Errors
    /// [`TunError`], with what to do about it.
    pub fn create(config: &TunConfig) -> Result<Self, TunError> {
        let wanted = config.name.as_str();
        let unit = unit(wanted).ok_or_else(|| TunError::NotUtun { name: wanted.to_owned() })?;
        if !(1..=MAX_QUEUES).contains(&config.queues) {
            return Err(TunError::BadQueueCount { queues: config.queues });
        }
        let failed = |step| move |errno: Errno| refusal(step, wanted, errno);
        let fd =
            socket(AddressFamily::System, SockType::Datagram, SockFlag::empty(), SockProtocol::KextControl)
                .map_err(failed("socket(PF_SYSTEM)"))?;
        // Programs that we run must not hold the interface open. (There is no flag for it at `socket` here.)
        fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(failed("fcntl(FD_CLOEXEC)"))?;
        let address =
            SysControlAddr::from_name(fd.as_raw_fd(), CONTROL, unit).map_err(failed("CTLIOCGINFO"))?;
        connect(fd.as_raw_fd(), &address).map_err(failed("connect"))?;
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(failed("fcntl(O_NONBLOCK)"))?;
        let name = getsockopt(&fd, UtunIfname).map_err(failed("UTUN_OPT_IFNAME"))?;
        let name = name.to_string_lossy().into_owned();
        Ok(Self { name, queue: [TunQueue::new(fd)] })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the kernel granted: nothing.
    pub fn offloads(&self) -> Offloads {
        Offloads::NONE
    }

    /// The one queue.
    pub fn queues(&self) -> &[TunQueue] {
        &self.queue
    }

    /// The one queue, for the thread that serves it.
    pub fn into_queues(self) -> Vec<TunQueue> {
        self.queue.into()
    }
}

/// The queue of a utun interface.
#[derive(Debug)]
pub struct TunQueue {
    /// A socket; reading and writing is all that is done with it, and `File` does that without unsafe code.
    file: File,
}

impl TunQueue {
    fn new(socket: OwnedFd) -> Self {
        Self { file: File::from(socket) }
    }

    /// Reads one packet into `buffer`. Returns its length in bytes, `None` when nothing waits.
    ///
    /// # Errors
    /// What the kernel reports, for instance that the interface was removed.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        let mut family = [0; FAMILY_SIZE]; // The packet's first four bits say the same.
        loop {
            let parts = &mut [IoSliceMut::new(&mut family), IoSliceMut::new(buffer)];
            match (&self.file).read_vectored(parts) {
                // Nothing behind the family is a malformed packet; an end of file is a device that is gone.
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(len) => return Ok(Some(len.saturating_sub(FAMILY_SIZE))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes one packet, given in parts of which the first, the `virtio_net_hdr` of [`FrameFormat::Plain`], is empty.
    pub(super) fn write_frame(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        let packet = parts.iter().find(|part| !part.is_empty()).map_or(&[][..], |part| part);
        let family = family_header(packet).ok_or(io::ErrorKind::InvalidInput)?;
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        slices[0] = IoSlice::new(&family);
        let parts = parts.get(..MAX_SLICES - 1).unwrap_or(parts);
        for (slice, part) in slices[1..].iter_mut().zip(parts) {
            *slice = *part;
        }
        loop {
            match (&self.file).write_vectored(&slices[..=parts.len()]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    /// What precedes the packet in each frame: nothing. The address family is added and taken off here.
    pub const fn format(&self) -> FrameFormat {
        FrameFormat::Plain
    }

    /// What a read may bring: single packets.
    pub const fn offloads(&self) -> Offloads {
        Offloads::NONE
    }

    /// What is used in both directions now.
    pub const fn offloads_in_force(&self) -> Offloads {
        Offloads::NONE
    }

    /// Nothing is merged here, so nothing can be refused.
    #[expect(clippy::unused_self, reason = "as on Linux")]
    pub(super) const fn note_accepted(&self, _accepted: Mergeable) {}
}

/// For waiting until a packet can be read.
impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

fn refusal(step: &'static str, name: &str, errno: Errno) -> TunError {
    let (name, source) = (name.to_owned(), io::Error::from(errno));
    match errno {
        Errno::EPERM | Errno::EACCES => TunError::NotPermitted { name, source },
        // Asked for a unit that is taken, the kernel says EBUSY.
        Errno::EBUSY | Errno::EEXIST => TunError::NameBusy { name, source },
        _ => TunError::System { step, name, source },
    }
}
