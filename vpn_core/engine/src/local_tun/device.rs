//! The TUN device of Linux: `/dev/net/tun` with `virtio_net_hdr`, offloads and several queues.

use super::{
    coalesce::Mergeable,
    config::{DEVICE_PATH, MAX_QUEUES, TunConfig, TunError},
    offload::{self, RefusedWrites},
    sys::{self, InterfaceRequest},
    vnet::{FrameFormat, Offloads, VNET_HEADER_SIZE},
};
use crate::wire::layout::L4;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use std::{
    fs::{self, File, OpenOptions},
    io::{self, IoSlice, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
        unix::fs::OpenOptionsExt,
    },
    sync::Arc,
};

/// A TUN device. It disappears with the last of its queues.
#[derive(Debug)]
pub struct Tun {
    name: String,
    queues: Vec<TunQueue>,
}

impl Tun {
    /// Makes the interface. It is down and has no address; that is netlink's part.
    ///
    /// # Errors
    /// [`TunError`], with what to do about it.
    pub fn create(config: &TunConfig) -> Result<Self, TunError> {
        let name = interface_name(&config.name)?;
        if !(1..=MAX_QUEUES).contains(&config.queues) {
            return Err(TunError::BadQueueCount { queues: config.queues });
        }
        let mut flags = libc::IFF_TUN | libc::IFF_NO_PI;
        if config.offloads.checksum {
            flags |= libc::IFF_VNET_HDR;
        }
        if config.queues > 1 {
            flags |= libc::IFF_MULTI_QUEUE;
        }
        let mut queues: Vec<TunQueue> = Vec::with_capacity(config.queues);
        for _ in 0..config.queues {
            // Only the first call may make the interface: a second instance must not join our queues.
            let exclusive = if queues.is_empty() { libc::IFF_TUN_EXCL } else { 0 };
            let file = open_device(&config.name)?;
            let mut request = InterfaceRequest::new(name, (flags | exclusive).cast_unsigned() as u16);
            sys::set_interface(file.as_fd(), &mut request).map_err(|source| refusal(&config.name, source))?;
            let queue = match queues.first() {
                None => {
                    let queue = TunQueue::configure(file, &config.name, config.offloads)?;
                    queue.probe_writes();
                    queue
                }
                // Header size and offloads belong to the device, not to a queue.
                Some(first) => TunQueue { file, refused: Arc::clone(&first.refused), ..*first },
            };
            queues.push(queue);
        }
        Ok(Self { name: config.name.clone(), queues })
    }

    /// Takes over a TUN device that another program opened and bound, with one queue. Without `virtio_net_hdr` it
    /// carries plain packets. `fd` becomes non-blocking.
    ///
    /// The device must have been opened with `IFF_NO_PI`, which is checked where this process can see its interface: not in
    /// another network namespace. Packets of a device without that flag would be dropped as malformed. It may have been opened
    /// with `IFF_MULTI_QUEUE`, and is served through the queue handed over. Super-packets are not tried out beforehand,
    /// because the device may be up.
    ///
    /// # Errors
    /// [`TunError::NotTun`] when `fd` is something else; [`TunError::System`].
    pub fn from_fd(fd: OwnedFd, offloads: Offloads) -> Result<Self, TunError> {
        let request = sys::interface(fd.as_fd()).map_err(|source| TunError::NotTun(Some(source)))?;
        let name = String::from_utf8_lossy(request.name.split(|byte| *byte == 0).next().unwrap_or_default());
        let name = name.into_owned();
        let flags = libc::c_int::from(request.flags);
        if flags & libc::IFF_TUN == 0 || flags & libc::IFF_NO_PI == 0 || lacks_no_pi(&name) {
            return Err(TunError::NotTun(None));
        }
        fcntl(&fd, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))
            .map_err(|errno| system("fcntl(O_NONBLOCK)", &name)(errno.into()))?;
        let queue = TunQueue::configure(File::from(fd), &name, offloads)?;
        Ok(Self { name, queues: vec![queue] })
    }

    /// The same for a descriptor that this process inherited under a number, as in `WG_TUN_FD=3`.
    ///
    /// # Errors
    /// As for [`Tun::from_fd`].
    pub fn inherited(number: RawFd, offloads: Offloads) -> Result<Self, TunError> {
        Self::from_fd(sys::duplicate(number).map_err(|source| TunError::NotTun(Some(source)))?, offloads)
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the kernel granted.
    pub fn offloads(&self) -> Offloads {
        self.queues.first().map_or(Offloads::NONE, TunQueue::offloads)
    }

    /// The queues, at least one.
    pub fn queues(&self) -> &[TunQueue] {
        &self.queues
    }

    /// The queues, for the threads that serve them.
    pub fn into_queues(self) -> Vec<TunQueue> {
        self.queues
    }
}

/// One queue of a TUN device.
#[derive(Debug)]
pub struct TunQueue {
    file: File,
    format: FrameFormat,
    offloads: Offloads,
    refused: Arc<RefusedWrites>,
}

impl TunQueue {
    /// Reads back what kind of device `file` is and asks for offloads.
    fn configure(file: File, name: &str, wanted: Offloads) -> Result<Self, TunError> {
        let request = sys::interface(file.as_fd()).map_err(system("TUNGETIFF", name))?;
        let (format, offloads) = if libc::c_int::from(request.flags) & libc::IFF_VNET_HDR == 0 {
            (FrameFormat::Plain, Offloads::NONE)
        } else {
            sys::set_vnet_header_size(file.as_fd(), VNET_HEADER_SIZE)
                .map_err(system("TUNSETVNETHDRSZ", name))?;
            let granted = offload::request(name, wanted, |flags| sys::set_offload(file.as_fd(), flags));
            (FrameFormat::VnetHeader, granted)
        };
        Ok(Self { file, format, offloads, refused: Arc::new(RefusedWrites::new(name)) })
    }

    /// A queue whose frames go to `file`, which takes all of them.
    #[cfg(test)]
    pub(super) fn into_file(file: File) -> Self {
        let refused = Arc::new(RefusedWrites::new("vpn0"));
        Self { file, format: FrameFormat::VnetHeader, offloads: Offloads::ALL, refused }
    }

    /// Finds out which super-packets the kernel takes, on a device that was just made and is down.
    fn probe_writes(&self) {
        let write = |frame: &[u8]| self.write_frame(&[IoSlice::new(frame)]);
        offload::probe_writes(self.offloads, &self.refused, write);
    }

    /// Reads one frame into `buffer`, which should hold [`super::MAX_FRAME_SIZE`] bytes (a longer frame is cut and
    /// then refused by [`super::SuperPacket::parse`]). Returns its length in bytes, `None` when nothing waits.
    ///
    /// # Errors
    /// What the kernel reports, for instance that the interface was removed (`EBADFD`, `EIO`).
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match (&self.file).read(buffer) {
                Ok(len) => return Ok(Some(len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes one frame, given in parts that begin with the header that [`Self::format`] asks for.
    pub(super) fn write_frame(&self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        loop {
            match (&self.file).write_vectored(parts) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return outcome,
            }
        }
    }

    /// What precedes the packet in each frame.
    pub const fn format(&self) -> FrameFormat {
        self.format
    }

    /// What the kernel granted: what a read may bring.
    pub const fn offloads(&self) -> Offloads {
        self.offloads
    }

    /// What is used in both directions now: what was granted, without what the kernel has refused on a write.
    pub fn offloads_in_force(&self) -> Offloads {
        self.refused.remaining(self.offloads)
    }

    /// Takes note of which super-packets a writer goes on with after what the kernel answered.
    pub(super) fn note_accepted(&self, accepted: Mergeable) {
        for (l4, accepted) in [(L4::Tcp, accepted.tcp), (L4::Udp, accepted.udp)] {
            if !accepted {
                self.refused.refuse(l4);
            }
        }
    }
}

/// For waiting until a frame can be read.
impl AsFd for TunQueue {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Whether packets of the TUN device carry packet information. `TUNGETIFF` does not tell: the flag has the number of
/// `IFF_NOFILTER`, which the kernel adds for every device without a socket filter. What cannot be read says nothing.
fn lacks_no_pi(name: &str) -> bool {
    // A TUN device of another network namespace has no entry here, or that of a namesake; that much is the caller's to know.
    let flags = fs::read_to_string(format!("/sys/class/net/{name}/tun_flags")).unwrap_or_default();
    let flags =
        flags.trim().strip_prefix("0x").and_then(|digits| libc::c_int::from_str_radix(digits, 16).ok());
    flags.is_some_and(|flags| flags & libc::IFF_NO_PI == 0)
}

fn open_device(name: &str) -> Result<File, TunError> {
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(DEVICE_PATH).map_err(
        |source| match source.raw_os_error() {
            Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => TunError::DriverMissing(source),
            Some(libc::EACCES | libc::EPERM) => TunError::NotPermitted { name: name.to_owned(), source },
            _ => system("open", name)(source),
        },
    )
}

fn refusal(name: &str, source: io::Error) -> TunError {
    match source.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => TunError::NotPermitted { name: name.to_owned(), source },
        Some(libc::EBUSY | libc::EEXIST) => TunError::NameBusy { name: name.to_owned(), source },
        _ => system("TUNSETIFF", name)(source),
    }
}

fn system(step: &'static str, name: &str) -> impl FnOnce(io::Error) -> TunError {
    let name = name.to_owned();
    move |source| TunError::System { step, name, source }
}

/// The kernel's `dev_valid_name`, and no `%`, which the kernel would take for a pattern.
fn interface_name(name: &str) -> Result<[u8; libc::IFNAMSIZ], TunError> {
    let illegal = |byte: u8| byte.is_ascii_whitespace() || byte.is_ascii_control() || b"/:%".contains(&byte);
    let len_is_right = (1..libc::IFNAMSIZ).contains(&name.len());
    if !len_is_right || name == "." || name == ".." || name.bytes().any(illegal) {
        return Err(TunError::BadName { name: name.to_owned() });
    }
    let mut bytes = [0; libc::IFNAMSIZ];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_would_refuse_or_expand_are_refused() {
        for name in ["", "sixteen_bytes_xx", "a/b", "a b", "tun%d", "a:1", ".", "..", "a\0"] {
            assert!(matches!(interface_name(name), Err(TunError::BadName { .. })), "{name:?}");
        }
        assert!(interface_name("fifteen_bytes_x").is_ok());
    }

    #[test]
    fn zero_queues_are_refused() {
        let config = TunConfig { queues: 0, ..TunConfig::new("vpn0") };
        assert!(matches!(Tun::create(&config), Err(TunError::BadQueueCount { queues: 0 })));
    }

    #[test]
    fn a_descriptor_that_is_no_tun_device_is_refused() {
        let file = File::open("/dev/null").expect("exists everywhere");
        assert!(matches!(Tun::from_fd(file.into(), Offloads::ALL), Err(TunError::NotTun(Some(_)))));
        assert!(matches!(Tun::inherited(-1, Offloads::ALL), Err(TunError::NotTun(Some(_)))));
    }
}
