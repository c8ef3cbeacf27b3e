//! The system call behind the groups of a caller.

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// Most groups of most users; whoever has more costs a second call.
const USUAL_GROUPS: usize = 32;

/// The supplementary groups that the process at the other end of the UNIX socket `fd` had when it connected.
pub(super) fn peer_groups(fd: BorrowedFd<'_>) -> io::Result<Vec<libc::gid_t>> {
    let mut groups: Vec<libc::gid_t> = vec![0; USUAL_GROUPS];
    loop {
        let mut bytes = size_of_val(groups.as_slice()) as libc::socklen_t;
        let room = groups.as_mut_ptr().cast::<libc::c_void>();
        // SAFETY: at most `bytes` bytes are written to `room`, which is that long and exclusively borrowed; `bytes` lives
        // through the call as well.
        let outcome = unsafe {
            libc::getsockopt(fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_PEERGROUPS, room, &raw mut bytes)
        };
        let count = bytes as usize / size_of::<libc::gid_t>();
        if outcome == 0 {
            groups.truncate(count);
            return Ok(groups);
        }
        let error = io::Error::last_os_error();
        // The kernel has written how many there are.
        if error.raw_os_error() != Some(libc::ERANGE) || count <= groups.len() {
            return Err(error);
        }
        groups.resize(count, 0);
    }
}
