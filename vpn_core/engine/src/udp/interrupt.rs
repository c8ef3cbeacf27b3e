//! Waiting for a socket or a TUN queue in a way that another thread can end.

use super::{platform::Bell, sys};
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
    time::{Duration, Instant},
};

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Something that was waited for is there, or the device is gone and using it says so.
    Ready,
    /// [`Interrupt::raise`] was called; takes precedence.
    Interrupted,
    /// Neither within the timeout.
    TimedOut,
}

/// What can be waited for at once.
const MAX_WATCHED: usize = 2; // a TUN queue and its socket

/// A socket or a TUN queue to wait for, and after the wait what it is ready for.
#[derive(Clone, Copy, Debug)]
pub struct Watch<'a> {
    source: BorrowedFd<'a>,
    wanted: libc::c_short,
    ready: libc::c_short,
}

impl<'a> Watch<'a> {
    /// Waits for nothing yet.
    pub fn new(source: &'a impl AsFd) -> Self {
        Self { source: source.as_fd(), wanted: 0, ready: 0 }
    }

    /// Waits until it can be read, too.
    #[must_use]
    pub const fn for_reading(self) -> Self {
        Self { wanted: self.wanted | libc::POLLIN, ..self }
    }

    /// Waits until it can be written, too.
    #[must_use]
    pub const fn for_writing(self) -> Self {
        Self { wanted: self.wanted | libc::POLLOUT, ..self }
    }

    /// Whether reading was waited for and will answer at once, with an error where the source is broken.
    pub const fn is_readable(&self) -> bool {
        self.wanted & libc::POLLIN != 0 && self.ready & !libc::POLLOUT != 0
    }

    /// Whether writing was waited for and will answer at once, with an error where the source is broken.
    pub const fn is_writable(&self) -> bool {
        self.wanted & libc::POLLOUT != 0 && self.ready & !libc::POLLIN != 0
    }
}

/// Ends the waits of any number of threads. Once raised it stays so: every wait returns at once until
/// [`Interrupt::clear`].
#[derive(Debug)]
pub struct Interrupt {
    bell: Bell,
}

impl Interrupt {
    /// Not raised.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { bell: Bell::new()? })
    }

    /// Wakes every thread that waits now or later.
    pub fn raise(&self) {
        self.bell.ring();
    }

    /// Lets threads wait again. Returns whether it had been raised.
    pub fn clear(&self) -> bool {
        self.bell.silence()
    }

    /// Waits until `source` (a `UdpSocket`, a `TunQueue`) can be read, the interrupt is raised or `timeout` is over;
    /// without a timeout for as long as it takes.
    ///
    /// # Errors
    /// When the kernel has no memory for the wait.
    pub fn wait_readable(&self, source: &impl AsFd, timeout: Option<Duration>) -> io::Result<Wake> {
        self.wait(&mut [Watch::new(source).for_reading()], timeout)
    }

    /// Waits until one of `watched`, at most two, is ready, and notes in each what for; otherwise as
    /// [`Interrupt::wait_readable`].
    ///
    /// # Errors
    /// When the kernel has no memory for the wait.
    pub fn wait(&self, watched: &mut [Watch<'_>], timeout: Option<Duration>) -> io::Result<Wake> {
        const NOTHING: libc::pollfd = libc::pollfd { fd: -1, events: 0, revents: 0 }; // the kernel passes over it
        let mut targets = [NOTHING; 1 + MAX_WATCHED];
        targets[0] = libc::pollfd { fd: self.bell.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        debug_assert!(watched.len() <= MAX_WATCHED, "no more than a queue has");
        for (target, watch) in targets[1..].iter_mut().zip(&*watched) {
            *target = libc::pollfd { fd: watch.source.as_raw_fd(), events: watch.wanted, revents: 0 };
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            // Rounded up: a deadline must be past when the caller looks at the clock again.
            let milliseconds = deadline.map_or(-1, |deadline| {
                let left = deadline.saturating_duration_since(Instant::now());
                libc::c_int::try_from(left.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
            });
            match sys::poll(&mut targets, milliseconds) {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {} // a signal is no event
                Err(error) => return Err(error),
            }
        }
        let [interrupt, ready @ ..] = targets;
        for (watch, target) in watched.iter_mut().zip(ready) {
            watch.ready = target.revents;
        }
        Ok(match (interrupt.revents, ready.iter().any(|target| target.revents != 0)) {
            (0, false) => Wake::TimedOut,
            (0, true) => Wake::Ready,
            (_, _) => Wake::Interrupted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Write as _, os::unix::net::UnixStream, sync::Arc, thread};

    #[test]
    fn data_interrupt_and_timeout_are_told_apart() {
        let interrupt = Interrupt::new().expect("descriptors are left");
        let (mut near, far) = UnixStream::pair().expect("descriptors are left");
        let wait = |timeout| interrupt.wait_readable(&far, timeout).expect("poll works");
        assert_eq!(wait(Some(Duration::ZERO)), Wake::TimedOut);
        assert_eq!(wait(Some(Duration::from_nanos(1))), Wake::TimedOut);
        near.write_all(&[1]).expect("connected");
        assert_eq!(wait(None), Wake::Ready);
        interrupt.raise();
        interrupt.raise();
        assert_eq!(wait(None), Wake::Interrupted);
        assert!(interrupt.clear());
        assert!(!interrupt.clear());
        assert_eq!(wait(None), Wake::Ready);
    }

    #[test]
    fn of_several_sources_those_that_are_ready_are_named() {
        let interrupt = Interrupt::new().expect("descriptors are left");
        let (mut near, far) = UnixStream::pair().expect("descriptors are left");
        let (quiet, _other) = UnixStream::pair().expect("descriptors are left");
        let mut watched = [Watch::new(&quiet).for_reading(), Watch::new(&far).for_reading().for_writing()];
        assert_eq!(interrupt.wait(&mut watched, None).expect("poll works"), Wake::Ready);
        assert_eq!(
            watched.map(|watch| (watch.is_readable(), watch.is_writable())),
            [(false, false), (false, true)]
        );
        near.write_all(&[1]).expect("connected");
        assert_eq!(interrupt.wait(&mut watched, None).expect("poll works"), Wake::Ready);
        assert_eq!(
            watched.map(|watch| (watch.is_readable(), watch.is_writable())),
            [(false, false), (true, true)]
        );
        // What was not asked for is not reported.
        let mut watched = [Watch::new(&quiet), Watch::new(&far)];
        assert_eq!(interrupt.wait(&mut watched, Some(Duration::ZERO)).expect("poll works"), Wake::TimedOut);
        drop(near);
        let mut watched = [Watch::new(&far).for_reading()];
        assert_eq!(interrupt.wait(&mut watched, None).expect("poll works"), Wake::Ready);
        assert!(watched[0].is_readable(), "that the other end is gone is told by reading");
    }

    #[test]
    fn a_waiting_thread_is_woken() {
        let interrupt = Arc::new(Interrupt::new().expect("descriptors are left"));
        let (_near, far) = UnixStream::pair().expect("descriptors are left");
        let waiter = Arc::clone(&interrupt);
        let thread = thread::spawn(move || waiter.wait_readable(&far, None).expect("poll works"));
        interrupt.raise();
        assert_eq!(thread.join().expect("no panic"), Wake::Interrupted);
    }
}
