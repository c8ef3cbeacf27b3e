//! The system calls behind the TUN device.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// `struct ifreq` for `TUNSETIFF` and `TUNGETIFF`: a name and flags, padded to the size of the kernel's union.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct InterfaceRequest {
    /// NUL-terminated.
    pub(super) name: [u8; libc::IFNAMSIZ],
    pub(super) flags: u16,
    padding: [u8; 22],
}

const _: () = assert!(size_of::<InterfaceRequest>() == size_of::<libc::ifreq>());
const _: () = assert!(size_of::<InterfaceRequest>() == 40);

impl InterfaceRequest {
    pub(super) fn new(name: [u8; libc::IFNAMSIZ], flags: u16) -> Self {
        Self { name, flags, padding: [0; 22] }
    }
}

/// Binds `fd`, an open `/dev/net/tun`, to an interface; the kernel completes the request.
pub(super) fn set_interface(fd: BorrowedFd<'_>, request: &mut InterfaceRequest) -> io::Result<()> {
    let request: *mut InterfaceRequest = request;
    // SAFETY: TUNSETIFF reads and writes one `struct ifreq`; `request` is valid for both, of that size and layout
    // for the members used (asserted above), and lives through the call.
    let outcome = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, request) };
    check(outcome)
}

/// Name and flags of the interface that `fd` is bound to.
pub(super) fn interface(fd: BorrowedFd<'_>) -> io::Result<InterfaceRequest> {
    let mut request = InterfaceRequest::default();
    let pointer: *mut InterfaceRequest = &raw mut request;
    // SAFETY: TUNGETIFF writes one `struct ifreq`; `pointer` is valid for that size and lives through the call.
    let outcome = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNGETIFF, pointer) };
    check(outcome).map(|()| request)
}

/// Sets what the kernel may leave undone in packets that it hands over (`TUN_F_*`).
pub(super) fn set_offload(fd: BorrowedFd<'_>, offloads: libc::c_uint) -> io::Result<()> {
    // SAFETY: TUNSETOFFLOAD takes its argument by value and touches no memory of ours.
    let outcome = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETOFFLOAD, libc::c_ulong::from(offloads)) };
    check(outcome)
}

/// Sets the size of the `virtio_net_hdr`, in bytes.
pub(super) fn set_vnet_header_size(fd: BorrowedFd<'_>, size: usize) -> io::Result<()> {
    let size = size as libc::c_uint; // 10, to the kernel an int
    let pointer: *const libc::c_uint = &raw const size;
    // SAFETY: TUNSETVNETHDRSZ reads one int; `pointer` is valid for reads of it and lives through the call.
    let outcome = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, pointer) };
    check(outcome)
}

/// A descriptor of our own for what `number` stands for in this process. A number that means nothing is an error, and
/// so nothing is asked of it.
pub(super) fn duplicate(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes its argument by value, touches no memory of ours and leaves `number` as it is.
    let fd = unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3) };
    check(fd)?;
    // SAFETY: `fd` is open (checked), just made, and nobody else holds it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn check(outcome: libc::c_int) -> io::Result<()> {
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
