//! Who may command a node: the credentials of the caller, as the system attests them, against what `[control]` says.

use super::Request;
use nix::unistd::Uid;
use std::{io, path::Path};
use tokio::net::UnixStream;

/// The groups that may ask a node for something. Without any only root may, and the user that the node runs as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Number of the group whose members read the status.
    pub group: Option<u32>,
    /// Number of the group of operators. They read the status; nothing that a node can be asked today is theirs to change.
    pub operators: Option<u32>,
}

/// What somebody may do; each right includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Right {
    Read,
    Operate,
    Command,
}

/// Who is at the other end of a connection.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) uid: u32,
    /// The group of the process and its supplementary groups.
    groups: Vec<u32>,
}

impl Access {
    /// The group that owns the socket, so that its members can open it. One socket has one group: operators belong to
    /// `group` as well, where there is one.
    pub fn socket_group(self) -> Option<u32> {
        self.group.or(self.operators)
    }

    /// Refuses what `caller` may not have; says what would be allowed.
    pub(super) fn check(self, caller: &Caller, request: Request) -> Result<(), String> {
        let (command, wanted) = match request {
            Request::Status => ("status", Right::Read),
            Request::Stop => ("stop", Right::Command),
            Request::Reload => ("reload", Right::Command),
        };
        match self.right_of(caller) {
            Some(right) if right >= wanted => Ok(()),
            Some(_) => Err(format!(
                "not permitted: `{command}` is root's, and members of the socket's group may only ask for the status; run \
                 it as root"
            )),
            None => Err(format!(
                "not permitted: `{command}` is for root and, if it asks for the status, for the group that \
                 `group` in [control] names; run it as root"
            )),
        }
    }

    fn right_of(self, caller: &Caller) -> Option<Right> {
        let is_member = |group: Option<u32>| group.is_some_and(|group| caller.groups.contains(&group));
        if caller.is_privileged() {
            Some(Right::Command)
        } else if is_member(self.operators) {
            Some(Right::Operate)
        } else {
            is_member(self.group).then_some(Right::Read)
        }
    }
}

impl Caller {
    /// Asks the system who has opened the other end of `stream`.
    pub(super) fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = stream.peer_cred()?;
        let mut groups = supplementary_groups(stream)?;
        groups.push(credentials.gid());
        Ok(Self { uid: credentials.uid(), groups })
    }

    /// Whether it is root, or the user that this process runs as.
    pub(super) fn is_privileged(&self) -> bool {
        self.uid == 0 || self.uid == Uid::effective().as_raw()
    }
}

#[cfg(target_os = "linux")]
fn supplementary_groups(stream: &UnixStream) -> io::Result<Vec<u32>> {
    use std::os::fd::AsFd as _;

    match super::sys::peer_groups(stream.as_fd()) {
        // A kernel before 4.13, or an emulator: the group of the process is all that is known.
        Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => Ok(Vec::new()),
        groups => groups,
    }
}

#[cfg(target_os = "macos")]
fn supplementary_groups(stream: &UnixStream) -> io::Result<Vec<u32>> {
    use nix::sys::socket::{getsockopt, sockopt::LocalPeerCred};

    // Behind the last group there are zeros, which are no group: that of the process itself is known anyway.
    Ok(getsockopt(stream, LocalPeerCred)?.groups().iter().copied().filter(|group| *group != 0).collect())
}

/// Gives the socket at `path` to `group`, or back to the group of this process.
///
/// # Errors
/// The system's answer: only root gives files to a group that it is not in, and a service needs CAP_CHOWN for it.
pub fn give_socket(path: &Path, group: Option<u32>) -> io::Result<()> {
    let group = group.unwrap_or_else(|| nix::unistd::Gid::effective().as_raw());
    std::os::unix::fs::lchown(path, None, Some(group))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCESS: Access = Access { group: Some(70), operators: Some(71) };

    fn allowed(access: Access, uid: u32, groups: &[u32]) -> [bool; 3] {
        let caller = Caller { uid, groups: groups.to_vec() };
        [Request::Status, Request::Reload, Request::Stop]
            .map(|request| access.check(&caller, request).is_ok())
    }

    #[test]
    fn the_group_and_operators_read_the_status_and_root_alone_commands() {
        let stranger = Uid::effective().as_raw() + 1000;
        assert_eq!(allowed(ACCESS, 0, &[]), [true; 3]);
        assert_eq!(allowed(ACCESS, Uid::effective().as_raw(), &[]), [true; 3], "the node's own user");
        for groups in [&[70][..], &[71], &[5, 70]] {
            assert_eq!(allowed(ACCESS, stranger, groups), [true, false, false], "{groups:?}");
        }
        assert_eq!(allowed(ACCESS, stranger, &[0, 5]), [false; 3], "the group of root is nothing special");
        assert_eq!(allowed(Access::default(), stranger, &[70, 71]), [false; 3]);
    }

    #[test]
    fn the_socket_belongs_to_the_readers_or_else_to_the_operators() {
        assert_eq!(ACCESS.socket_group(), Some(70));
        assert_eq!(Access { group: None, ..ACCESS }.socket_group(), Some(71));
    }
}
