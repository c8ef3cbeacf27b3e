//! The system calls behind UDP sockets and interrupts.

use super::message::{Control, Name};
use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

#[cfg(target_os = "linux")]
const UDP: libc::c_int = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
/// The rest is set afterwards.
#[cfg(not(target_os = "linux"))]
const UDP: libc::c_int = libc::SOCK_DGRAM;

/// A UDP socket of the family, not bound; on Linux non-blocking and closed on `exec`.
pub(super) fn udp_socket(family: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: `socket` takes plain numbers and touches no memory of ours.
    let fd = unsafe { libc::socket(family, UDP, libc::IPPROTO_UDP) };
    check(fd)?;
    // SAFETY: `fd` is open (checked), just made, and nobody else holds it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Binds `fd` to the address in `name`.
pub(super) fn bind(fd: BorrowedFd<'_>, name: &Name) -> io::Result<()> {
    let address: *const Name = name;
    let address = address.cast::<libc::sockaddr>();
    // SAFETY: `address` points to `name.bytes`, the first member of a `repr(C)` struct aligned to 8, of which
    // `name.len` bytes (at most all of them) are read; it lives through the call.
    let outcome = unsafe { libc::bind(fd.as_raw_fd(), address, name.len as libc::socklen_t) };
    check(outcome).map(drop)
}

/// Sets an option whose value is an int.
pub(super) fn set_option(
    fd: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    let pointer: *const libc::c_int = &raw const value;
    let len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `pointer` is valid for reading `len` bytes and lives through the call.
    let outcome = unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, pointer.cast(), len) };
    check(outcome).map(drop)
}

/// Reads an option whose value is an int.
pub(super) fn option(fd: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int) -> io::Result<libc::c_int> {
    let mut value: libc::c_int = 0;
    let pointer: *mut libc::c_int = &raw mut value;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `pointer` is valid for writing `len` bytes, `len` for reading and writing; both live through the call.
    let outcome = unsafe { libc::getsockopt(fd.as_raw_fd(), level, option, pointer.cast(), &raw mut len) };
    check(outcome).map(|_| value)
}

/// Receives one run into `buffer`; its sender into `name`, what else is known of it into `control`. Returns the
/// number of bytes and the flags (`MSG_TRUNC`, `MSG_CTRUNC`).
pub(super) fn receive(
    fd: BorrowedFd<'_>,
    buffer: &mut [u8],
    name: &mut Name,
    control: &mut Control,
) -> io::Result<(usize, libc::c_int)> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let mut message = empty_message();
    message.msg_name = name.bytes.as_mut_ptr().cast();
    message.msg_namelen = name.bytes.len() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes.as_mut_ptr().cast();
    message.msg_controllen = control.bytes.len() as _;
    // SAFETY: the name, the one part and the control buffer are exclusively borrowed slices with the lengths
    // stated; they and `message` live through the call.
    let len = unsafe { libc::recvmsg(fd.as_raw_fd(), &raw mut message, 0) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    name.len = message.msg_namelen as usize;
    control.len = message.msg_controllen as _;
    Ok((len, message.msg_flags))
}

/// Sends `payload` to `name` as `control` says.
pub(super) fn send(fd: BorrowedFd<'_>, payload: &[u8], name: &Name, control: &Control) -> io::Result<()> {
    let mut part = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
    let mut message = empty_message();
    message.msg_name = name.bytes.as_ptr().cast_mut().cast();
    message.msg_namelen = name.len as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if control.len > 0 {
        message.msg_control = control.bytes.as_ptr().cast_mut().cast();
        message.msg_controllen = control.len as _;
    }
    // SAFETY: `sendmsg` only reads through these pointers; each is a borrowed slice at least as long as stated,
    // and they and `message` live through the call.
    let outcome = unsafe { libc::sendmsg(fd.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL) };
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits for one of `targets` for up to `timeout` milliseconds, forever if negative. Returns how many are ready.
pub(super) fn poll(targets: &mut [libc::pollfd], timeout: libc::c_int) -> io::Result<usize> {
    // SAFETY: the pointer and the number are those of one exclusively borrowed slice.
    let outcome = unsafe { libc::poll(targets.as_mut_ptr(), targets.len() as libc::nfds_t, timeout) };
    usize::try_from(outcome).map_err(|_| io::Error::last_os_error())
}

/// A non-blocking event counter at zero.
#[cfg(target_os = "linux")]
pub(super) fn event_counter() -> io::Result<OwnedFd> {
    // SAFETY: `eventfd` takes plain numbers and touches no memory of ours.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    check(fd)?;
    // SAFETY: `fd` is open (checked), just made, and nobody else holds it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `struct msghdr` has private padding on some targets, so that it cannot be written out.
fn empty_message() -> libc::msghdr {
    let message = MaybeUninit::<libc::msghdr>::zeroed();
    // SAFETY: every member is a number or a raw pointer, for which zero is a value.
    unsafe { message.assume_init() }
}

fn check(outcome: libc::c_int) -> io::Result<libc::c_int> {
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(outcome) }
}
