//! Layer 6: the threads that drive a [`Device`] on a real TUN device and real UDP sockets.
//!
//! ```text
//! queue     uplink    TUN ──read until empty──▶ route, seal into the send arena ──one sendmsg a run──▶ UDP
//!           downlink  UDP ──receive until empty──▶ open in place ──▶ coalesced writes to the TUN
//!                                                         └─▶ re-sealed for another peer
//! control   mailbox (handshakes, staged packets, attention, commands) and timers ──▶ Device
//! ```
//!
//! One thread a queue; it runs each batch to completion. All datagrams of a peer arrive at one queue, and the kernel sends
//! what belongs to flows that were delivered by a queue out through the same. Control is a thread of its own, so that
//! public-key work never stands before an established session's packets.

mod control_loop;
mod downlink;
mod mailbox;
mod offload;
mod outlet;
mod queue;
mod queues;
#[cfg(target_os = "linux")]
#[expect(unsafe_code, reason = "nice has no safe wrapper in std")]
mod sys;
mod uplink;

pub use offload::{OffloadError, OffloadSet};
pub use queues::{QueueCount, QueueCountError};

use crate::{
    device::{DataPlane, Device},
    local_tun::{Tun, TunQueue},
    tunnel::Event,
    udp::{Interrupt, UdpSocket},
    wire::hybrid::SuiteSet,
};
use arc_swap::ArcSwap;
use mailbox::Mailbox;
use std::{
    io,
    net::SocketAddr,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, mpsc},
    thread::{Builder, JoinHandle},
    time::Instant,
};

/// One TUN queue and the socket that its packets travel through.
#[derive(Debug)]
pub struct Queue {
    /// Inner packets.
    pub tun: TunQueue,
    /// Outer datagrams.
    pub udp: UdpSocket,
}

impl Queue {
    /// The queues of `tun`, each with one of `sockets`, of which there are as many.
    pub fn pairs(tun: Tun, sockets: Vec<UdpSocket>) -> Vec<Self> {
        tun.into_queues().into_iter().zip(sockets).map(|(tun, udp)| Self { tun, udp }).collect()
    }
}

/// How much the control thread yields to the packet threads: it still gets a quarter of a processor that one of those
/// wants for itself. (macOS has one niceness for all threads of a process, and is left alone.)
#[cfg(target_os = "linux")]
const CONTROL_NICENESS: libc::c_int = 5;

/// What the engine tells its owner.
#[derive(Debug)]
pub enum Notice {
    /// Something happened to a peer.
    Event(Event),
    /// A thread cannot go on: the TUN device or the socket is gone.
    Failed {
        /// Which thread.
        thread: &'static str,
        /// Why.
        error: io::Error,
    },
}

/// Takes notices; called from the engine's threads, must not block.
pub type NoticeSink = Arc<dyn Fn(Notice) + Send + Sync>;

/// A running device.
pub struct Engine {
    mailbox: Arc<Mailbox>,
    interrupt: Arc<Interrupt>,
    plane: Arc<DataPlane>,
    /// What the packet threads of each queue share, at least one.
    queues: Vec<Shared>,
    /// What control sends through: the first queue's.
    outward: Arc<ArcSwap<Shared>>,
    notices: NoticeSink,
    control: Option<JoinHandle<()>>,
    packets: Vec<JoinHandle<()>>,
}

/// The suites that this CPU runs fast: AES-256-GCM only with AES instructions.
pub fn supported_suites() -> SuiteSet {
    #[cfg(target_arch = "x86_64")]
    let aes = std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let aes =
        std::arch::is_aarch64_feature_detected!("aes") && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let aes = false;
    if aes { SuiteSet::WITH_AES_256_GCM } else { SuiteSet::CHACHA20_POLY1305 }
}

impl Engine {
    /// Starts the threads. The first queue's socket also carries what control sends.
    ///
    /// # Errors
    /// When there is no queue, or the system has no thread or descriptor left; nothing runs then.
    pub fn start(device: Device, queues: Vec<Queue>, notices: &NoticeSink) -> io::Result<Self> {
        let mailbox = Arc::new(Mailbox::default());
        let interrupt = Arc::new(Interrupt::new()?);
        let plane = device.plane();
        let queues: Vec<Shared> = queues
            .into_iter()
            .map(|queue| Shared {
                plane: Arc::clone(&plane),
                mailbox: Arc::clone(&mailbox),
                interrupt: Arc::clone(&interrupt),
                tun: Arc::new(queue.tun),
                udp: Arc::new(queue.udp),
            })
            .collect();
        let Some(first) = queues.first().cloned() else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "an engine needs a queue"));
        };
        let outward = Arc::new(ArcSwap::from_pointee(first));
        let control = spawn("control", notices, {
            let (mailbox, outward, sink) = (Arc::clone(&mailbox), Arc::clone(&outward), Arc::clone(notices));
            move || {
                // However it ends, whoever waits for an answer must not wait for ever.
                let _closed = CloseOnDrop(&mailbox);
                // Where processors are short, handshakes wait for packets and not packets for handshakes.
                #[cfg(target_os = "linux")]
                sys::lower_priority(CONTROL_NICENESS);
                control_loop::run(device, &mailbox, &outward, &sink);
                Ok(())
            }
        })?;
        let mut engine = Self {
            mailbox,
            interrupt,
            plane,
            queues,
            outward,
            notices: Arc::clone(notices),
            control: Some(control),
            packets: Vec::new(),
        };
        engine.start_packet_threads()?;
        Ok(engine)
    }

    fn start_packet_threads(&mut self) -> io::Result<()> {
        for queue in &self.queues {
            let shared = queue.clone();
            self.packets.push(spawn("packet", &self.notices, move || queue::run(&shared))?);
        }
        Ok(())
    }

    fn stop_packet_threads(&mut self) {
        self.interrupt.raise();
        for thread in self.packets.drain(..) {
            // A thread that panicked has said so on stderr.
            let _ = thread.join();
        }
        self.interrupt.clear();
    }

    /// Goes on with other sockets, as many as there are queues: another port, or another network. Sessions go on, and
    /// peers learn the new address from the next packet. When this returns the old sockets are closed.
    ///
    /// # Errors
    /// When there are more or fewer sockets than queues, and nothing has changed; or when the system has no thread left,
    /// and no packet passes any more.
    pub fn rebind(&mut self, sockets: Vec<UdpSocket>) -> io::Result<()> {
        if sockets.len() != self.queues.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "each queue needs one socket"));
        }
        self.stop_packet_threads();
        for (queue, udp) in self.queues.iter_mut().zip(sockets) {
            queue.udp = Arc::new(udp);
        }
        self.outward.store(Arc::new(self.queues[0].clone()));
        // A round of control that began before may still hold the old socket; when this is answered it has ended.
        self.with_device(|_, _| ());
        self.start_packet_threads().inspect_err(|error| {
            // The old threads are gone: without new ones no packet passes.
            (self.notices)(Notice::Failed { thread: "packet", error: error.kind().into() });
        })
    }

    /// Sends everything from now on through the interface with this number. Sockets given to [`Engine::rebind`] later have
    /// their own.
    ///
    /// # Errors
    /// What the system says: most often that there is no such interface any more.
    #[cfg(target_os = "macos")]
    pub fn set_scope(&self, interface: std::num::NonZeroU32) -> io::Result<()> {
        self.queues.iter().try_for_each(|queue| queue.udp.set_scope(interface))
    }

    /// Marks all packets sent from now on (`SO_MARK`); 0 for no mark. Sockets given to [`Engine::rebind`] later have
    /// their own.
    ///
    /// # Errors
    /// What the system says: most often that `CAP_NET_ADMIN` is missing.
    #[cfg(target_os = "linux")]
    pub fn set_mark(&self, mark: u32) -> io::Result<()> {
        self.queues.iter().try_for_each(|queue| queue.udp.set_mark(mark))
    }

    /// The address and port that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.outward.load().udp.local_addr()
    }

    /// How many queues there are.
    pub fn queues(&self) -> usize {
        self.queues.len()
    }

    /// The offloads that are in force on every queue at this moment: the kernel may refuse one later than at the start.
    pub fn offloads(&self) -> OffloadSet {
        let of_queue = |queue: &Shared| OffloadSet {
            tun: queue.tun.offloads_in_force(),
            gso: queue.udp.gso(),
            gro: queue.udp.gro(),
        };
        self.queues.iter().map(of_queue).fold(OffloadSet::AUTO, OffloadSet::and)
    }

    /// The packet path, for its counters.
    pub fn plane(&self) -> &DataPlane {
        &self.plane
    }

    /// Runs `step` on the control thread and waits for its answer; `None` when that thread is gone.
    pub fn with_device<T: Send + 'static>(
        &self,
        step: impl FnOnce(&mut Device, Instant) -> T + Send + 'static,
    ) -> Option<T> {
        let (answer, wait) = mpsc::sync_channel(1);
        self.mailbox.command(Box::new(move |device, now| {
            // The caller may have been dropped meanwhile; then nobody wants the answer.
            let _ = answer.send(step(device, now));
        }));
        wait.recv().ok()
    }
}

impl Drop for Engine {
    /// Stops the threads and waits for them; TUN device and socket are closed then.
    fn drop(&mut self) {
        self.mailbox.stop();
        self.stop_packet_threads();
        if let Some(control) = self.control.take() {
            let _ = control.join();
        }
    }
}

impl core::fmt::Debug for Engine {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Engine").field("queues", &self.queues).finish_non_exhaustive()
    }
}

fn spawn(
    name: &'static str,
    notices: &NoticeSink,
    body: impl FnOnce() -> io::Result<()> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let notices = Arc::clone(notices);
    Builder::new().name(name.to_owned()).spawn(move || {
        // A release build aborts on a panic. Where it unwinds, a node of which one thread is missing would look
        // alive: it fails as a whole. What the thread shared is not used again, so it may be left as it is.
        let outcome = panic::catch_unwind(AssertUnwindSafe(body))
            .unwrap_or_else(|_| Err(io::Error::other("it panicked; the message is on stderr")));
        if let Err(error) = outcome {
            notices(Notice::Failed { thread: name, error });
        }
    })
}

/// Closes the mailbox when its reader is gone.
struct CloseOnDrop<'a>(&'a Mailbox);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What the packet threads of one queue share.
#[derive(Clone, Debug)]
struct Shared {
    plane: Arc<DataPlane>,
    mailbox: Arc<Mailbox>,
    interrupt: Arc<Interrupt>,
    tun: Arc<TunQueue>,
    udp: Arc<UdpSocket>,
}
