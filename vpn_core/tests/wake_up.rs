//! Model checking: no order of the two threads' steps, and no delay of their stores, loses a wake-up.
//!
//! The model checker (loom) runs each test once for every order in which the threads' loads and stores can become visible to
//! each other, weaker ones than this processor's too. What it checks is the source that the library is made of, compiled
//! again with the checker's atomics.

use atomic_time::{AtomicTime, Epoch, WakeTime};
use loom::{model, sync::Arc, thread};
use std::time::{Duration, Instant};

mod atomic {
    pub(super) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

#[path = "../proto/src/base/atomic_time.rs"]
#[allow(dead_code, unreachable_pub, reason = "the library uses and exports all of it")]
mod atomic_time;

const PAUSE: Duration = Duration::from_secs(10);
/// A timer of another kind, which ends later.
const LATER: Duration = Duration::from_secs(120);

/// A peer as its marks show it.
struct Peer {
    epoch: Epoch,
    now: Instant,
    mark: AtomicTime,
    wake: WakeTime,
}

impl Peer {
    /// One that control is about to see to: by now it should be awake.
    fn being_seen_to(now: Instant) -> Arc<Self> {
        let peer = Self {
            epoch: Epoch::starting_at(now),
            now,
            mark: AtomicTime::default(),
            wake: WakeTime::default(),
        };
        peer.wake.publish(peer.epoch, || Some(now));
        Arc::new(peer)
    }

    fn earliest(&self) -> Option<Instant> {
        let timer = self.mark.get(self.epoch).map(|at| at + PAUSE);
        [timer, Some(self.now + LATER)].into_iter().flatten().min()
    }

    /// Checks that what started the timer asked for attention, or that control wakes up for it.
    fn assert_served(&self, asked: bool, wakes_at: Option<Instant>) {
        let runs = self.mark.get(self.epoch).is_some();
        assert!(
            !runs || asked || wakes_at <= Some(self.now + PAUSE),
            "a timer runs and nobody wakes up for it"
        );
    }
}

/// Runs control's side and a packet thread's beside each other.
fn check(control: fn(&Peer) -> Option<Instant>, packet: fn(&Peer) -> bool) {
    let now = Instant::now();
    model(move || {
        let peer = Peer::being_seen_to(now);
        let thread = thread::spawn({
            let peer = Arc::clone(&peer);
            move || packet(&peer)
        });
        let wakes_at = control(&peer);
        let asked = thread.join().expect("no panic");
        peer.assert_served(asked, wakes_at);
    });
}

fn publish(peer: &Peer) -> Option<Instant> {
    peer.wake.publish(peer.epoch, || peer.earliest())
}

fn start_timer(peer: &Peer) -> bool {
    peer.wake.start_timer(&peer.mark, PAUSE, peer.epoch, peer.now)
}

#[test]
fn a_timer_that_a_packet_starts_is_always_served() {
    check(publish, start_timer);
}

#[test]
fn a_timer_that_is_stopped_and_started_again_is_served() {
    check(publish, |peer| {
        let first = start_timer(peer);
        peer.mark.clear(); // an answer
        first | start_timer(peer)
    });
}

#[test]
fn two_packet_threads_and_control_lose_nothing() {
    let now = Instant::now();
    model(move || {
        let peer = Peer::being_seen_to(now);
        let packet = || {
            let peer = Arc::clone(&peer);
            thread::spawn(move || start_timer(&peer))
        };
        let threads = [packet(), packet()];
        let wakes_at = publish(&peer);
        let asked = threads.map(|thread| thread.join().expect("no panic")).contains(&true);
        peer.assert_served(asked, wakes_at);
    });
}

// ---- the checker sees what goes wrong without either half of the pattern ----

#[test]
#[should_panic(expected = "nobody wakes up")]
fn publishing_without_reading_again_loses_a_wake_up() {
    check(
        |peer| {
            let at = peer.earliest();
            peer.wake.publish(peer.epoch, || at)
        },
        start_timer,
    );
}

#[test]
#[should_panic(expected = "nobody wakes up")]
fn a_fence_on_one_side_only_loses_a_wake_up() {
    let now = Instant::now();
    model(move || {
        let peer = Peer::being_seen_to(now);
        let published = Arc::new(AtomicTime::default());
        published.set(peer.epoch, now);
        let packet = thread::spawn({
            let (peer, published) = (Arc::clone(&peer), Arc::clone(&published));
            move || {
                let is_late = |at: Instant| at > peer.now + PAUSE;
                peer.mark.set_if_unset(peer.epoch, peer.now) && published.get(peer.epoch).is_none_or(is_late)
            }
        });
        published.set(peer.epoch, now + LATER);
        atomic::fence(atomic::Ordering::SeqCst);
        let wakes_at = peer.earliest();
        let asked = packet.join().expect("no panic");
        peer.assert_served(asked, wakes_at);
    });
}
