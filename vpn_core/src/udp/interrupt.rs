//! Waiting for a socket or a TUN queue in a way that another thread can end.

use super::sys;
use std::{
    fs::File,
    io::{self, Read, Write},
    os::fd::{AsFd, AsRawFd},
    time::{Duration, Instant},
};

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Something can be read, or the device is gone and reading says so.
    Readable,
    /// [`Interrupt::raise`] was called; takes precedence.
    Interrupted,
    /// Neither within the timeout.
    TimedOut,
}

/// Ends the waits of any number of threads (an eventfd). Once raised it stays so: every wait returns at once until
/// [`Interrupt::clear`].
#[derive(Debug)]
pub struct Interrupt {
    counter: File,
}

impl Interrupt {
    /// Not raised.
    ///
    /// # Errors
    /// When the process has no file descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { counter: File::from(sys::event_counter()?) })
    }

    /// Wakes every thread that waits now or later.
    pub fn raise(&self) {
        // Fails only when the counter is full, which means that it is raised.
        let _ = (&self.counter).write(&1_u64.to_ne_bytes());
    }

    /// Lets threads wait again. Returns whether it had been raised.
    pub fn clear(&self) -> bool {
        (&self.counter).read(&mut [0; 8]).is_ok()
    }

    /// Waits until `source` (a `UdpSocket`, a `TunQueue`) can be read, the interrupt is raised or `timeout` is over;
    /// without a timeout for as long as it takes.
    ///
    /// # Errors
    /// When the kernel has no memory for the wait.
    pub fn wait_readable(&self, source: &impl AsFd, timeout: Option<Duration>) -> io::Result<Wake> {
        let mut targets = [
            libc::pollfd { fd: self.counter.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: source.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 },
        ];
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
        let [interrupt, source] = targets;
        Ok(match (interrupt.revents, source.revents) {
            (0, 0) => Wake::TimedOut,
            (0, _) => Wake::Readable,
            (_, _) => Wake::Interrupted,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{os::unix::net::UnixStream, sync::Arc, thread};

    #[test]
    fn data_interrupt_and_timeout_are_told_apart() {
        let interrupt = Interrupt::new().expect("descriptors are left");
        let (mut near, far) = UnixStream::pair().expect("descriptors are left");
        let wait = |timeout| interrupt.wait_readable(&far, timeout).expect("poll works");
        assert_eq!(wait(Some(Duration::ZERO)), Wake::TimedOut);
        assert_eq!(wait(Some(Duration::from_nanos(1))), Wake::TimedOut);
        near.write_all(&[1]).expect("connected");
        assert_eq!(wait(None), Wake::Readable);
        interrupt.raise();
        interrupt.raise();
        assert_eq!(wait(None), Wake::Interrupted);
        assert!(interrupt.clear());
        assert!(!interrupt.clear());
        assert_eq!(wait(None), Wake::Readable);
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
