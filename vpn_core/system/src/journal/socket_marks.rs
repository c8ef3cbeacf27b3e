//! Whether a UDP socket bears a firewall mark: then the program that set it lives, whatever has become of its files.
//!
//! The kernel is asked by `NETLINK_SOCK_DIAG` (sock_diag(7)). It shows marks only to callers with CAP_NET_ADMIN, and says nothing
//! where it leaves them out. So there is always one socket of ours among those asked for: an answer without a mark is an error.

use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
};

use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

use super::netlink_message::{HEADER, attribute, messages, u16_at, u32_at};

/// `SOCK_DIAG_BY_FAMILY`, also the type of the answers, and the end of these.
const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_REQUEST` and `NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// `NLM_F_DUMP_INTR`: sockets came and went while they were listed.
const INTERRUPTED: u16 = 0x10;
/// Bytes of `inet_diag_req_v2`, and of `inet_diag_msg`.
const REQUEST: usize = 56;
const ANSWER: usize = 72;
/// `INET_DIAG_MARK`.
const MARK: u16 = 15;

/// Whether a UDP socket of this network namespace bears `mark`.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] where the kernel does not show marks to this process; otherwise the system's answer: a kernel
/// may lack the module `udp_diag`.
pub fn is_mark_borne(mark: u32) -> io::Result<bool> {
    // The one that is sure to be among the answers. It has no mark, which the kernel shows as 0.
    let _witness = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut are_shown = false;
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        socket.send(&question(u8::try_from(family).unwrap_or_default()), 0)?;
        loop {
            let (datagram, _) = socket.recv_from_full()?;
            match read_answers(&datagram, mark, &mut are_shown)? {
                Answers::Borne => return Ok(true),
                Answers::More => {}
                Answers::End => break,
            }
        }
        if !are_shown {
            return Err(not_shown());
        }
    }
    Ok(false)
}

fn not_shown() -> io::Error {
    let why = "the kernel shows this process no marks of sockets: run as root, with CAP_NET_ADMIN";
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

fn question(family: u8) -> Vec<u8> {
    let length = HEADER + REQUEST;
    let mut bytes = (length as u32).to_ne_bytes().to_vec();
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.resize(HEADER, 0);
    bytes.extend([family, libc::IPPROTO_UDP as u8, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes()); // in every state
    bytes.resize(length, 0);
    bytes
}

#[derive(Debug, PartialEq, Eq)]
enum Answers {
    /// A socket bears the mark, or the answers have a gap in which one may be.
    Borne,
    /// None so far.
    More,
    /// None at all.
    End,
}

/// Reads a datagram of answers. `are_shown` becomes true with the first socket whose mark is shown.
fn read_answers(bytes: &[u8], mark: u32, are_shown: &mut bool) -> io::Result<Answers> {
    for message in messages(bytes) {
        if u16_at(message, 6).is_some_and(|flags| flags & INTERRUPTED != 0) {
            return Ok(Answers::Borne);
        }
        match u16_at(message, 4) {
            Some(DONE) => return Ok(Answers::End),
            Some(ERROR) => {
                let code = u32_at(message, HEADER).unwrap_or_default().cast_signed();
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            Some(BY_FAMILY) => match mark_of_socket(message) {
                Some(borne) if borne == mark => return Ok(Answers::Borne),
                Some(_) => *are_shown = true,
                None => return Err(not_shown()),
            },
            _ => {}
        }
    }
    Ok(Answers::More)
}

fn mark_of_socket(message: &[u8]) -> Option<u32> {
    u32_at(attribute(message.get(HEADER + ANSWER..)?, MARK)?, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(mark: u32) -> Vec<u8> {
        let attributes = [[8, 0, 1, 0], [9; 4], [8, 0, 15, 0], mark.to_ne_bytes()].concat();
        let mut bytes = u32::try_from(HEADER + ANSWER + attributes.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(BY_FAMILY.to_ne_bytes());
        bytes.resize(HEADER + ANSWER, 0);
        bytes.extend(attributes);
        bytes
    }

    fn read(bytes: &[u8], mark: u32) -> io::Result<Answers> {
        read_answers(bytes, mark, &mut false)
    }

    #[test]
    fn marks_that_the_kernel_leaves_out_or_may_have_missed_are_not_taken_for_none() {
        let mut hidden = answer(7);
        hidden.truncate(hidden.len() - 8);
        let length = u32::try_from(hidden.len()).unwrap();
        hidden[..4].copy_from_slice(&length.to_ne_bytes());
        assert_eq!(read(&hidden, 52_000).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        let mut interrupted = answer(7);
        interrupted[6..8].copy_from_slice(&INTERRUPTED.to_ne_bytes());
        assert_eq!(read(&interrupted, 52_000).unwrap(), Answers::Borne);
    }

    #[test]
    fn the_mark_of_a_socket_is_found_among_answers_and_nothing_cut_off_panics() {
        let mut done = 20_u32.to_ne_bytes().to_vec();
        done.extend(DONE.to_ne_bytes());
        done.resize(20, 0);
        let bytes = [answer(7), answer(52_000), done].concat();
        assert_eq!(read(&bytes, 52_000).unwrap(), Answers::Borne);
        assert_eq!(read(&bytes, 52_200).unwrap(), Answers::End);
        assert_eq!(read(&answer(7), 52_000).unwrap(), Answers::More);
        for cut in 0..bytes.len() {
            let _ = read(&bytes[..cut], 52_200);
        }
        assert_eq!(read(&[0; 64], 52_000).unwrap(), Answers::More);
    }
}
