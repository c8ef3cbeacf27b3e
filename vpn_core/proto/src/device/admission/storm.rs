//! A model of a flood in which every source returns its cookie: what honest clients feel of it.
//!
//! Time goes on in steps of a millisecond. In each, inits arrive, and a control thread with a given capacity serves them in
//! order of arrival from a bounded queue. Answered handshakes wait in a table that pushes out the oldest.

use super::{Admission, Verdict};
use crate::device::half_open::MAX_HALF_OPEN;
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use std::{
    collections::VecDeque,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    time::{Duration, Instant},
};

const STEP: Duration = Duration::from_millis(1);
/// Inits that wait for control at the most.
const QUEUE: usize = 512;
/// What it costs to refuse an init, beside answering one.
const REFUSAL: f64 = 1.0 / 40.0;
/// From the response to the finish.
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// How long a half-open handshake waits while there are many.
const HALF_OPEN_TIME: Duration = Duration::from_secs(2);
/// When an honest client sends its init, in milliseconds from the beginning of each round (protocol.md 8.5).
const REPETITIONS: [u128; 5] = [0, 250, 750, 1750, 3750];
const ROUND: u128 = 5000;
/// Milliseconds between two honest clients, each from an address of its own.
const PAUSE: u32 = 20;

/// Attackers, and the control thread that they keep busy.
pub(super) struct Flood {
    /// Addresses that they send from, in no order.
    pub(super) sources: u32,
    pub(super) inits_per_second: u32,
    /// Inits that control can answer in a second.
    pub(super) capacity: u32,
}

/// Who sent an init.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sender {
    Attacker(u32),
    Honest(u32),
}

impl Sender {
    fn address(self) -> SocketAddr {
        let ip = match self {
            Self::Attacker(number) => Ipv4Addr::from(0x0a00_0000 + number),
            Self::Honest(number) => Ipv4Addr::from(0x0b00_0000 + number),
        };
        (ip, 1).into()
    }
}

struct Client {
    number: u32,
    began: Instant,
    answered: Option<Instant>,
}

struct Model {
    admission: Admission,
    queue: VecDeque<Sender>,
    /// In order of age.
    half_open: VecDeque<(Instant, Sender)>,
    /// Those that are not connected yet.
    clients: Vec<Client>,
    /// When the others began, and how long it took.
    connected: Vec<(Instant, Duration)>,
    /// Inits that control has time to answer now; below zero while it is still at one.
    credit: f64,
}

impl Flood {
    /// How long honest clients took to connect, of those that began in these seconds after the flood, which begins at
    /// `start`: sorted.
    pub(super) fn waiting_times(&self, seconds: Range<u32>, start: Instant) -> Vec<Duration> {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut model = Model {
            admission: Admission::new(start),
            queue: VecDeque::new(),
            half_open: VecDeque::new(),
            clients: Vec::new(),
            connected: Vec::new(),
            credit: 0.0,
        };
        for millisecond in 0..(seconds.end + 5) * 1000 {
            let now = start + STEP * millisecond;
            if millisecond % PAUSE == 0 {
                model.clients.push(Client { number: millisecond / PAUSE, began: now, answered: None });
            }
            let attackers = (0..self.inits_per_second / 1000).map(|_| rng.next_u32() % self.sources);
            let mut arrivals: Vec<Sender> = attackers.map(Sender::Attacker).collect();
            for honest in model.honest(now) {
                arrivals.insert(rng.next_u32() as usize % (arrivals.len() + 1), honest);
            }
            arrivals.truncate(QUEUE - model.queue.len());
            model.queue.extend(arrivals);
            model.finish(now);
            model.serve(f64::from(self.capacity) / 1000.0, now);
        }
        let late = model.clients.iter().map(|client| (client.began, Duration::MAX));
        let at = |second| start + Duration::from_secs(1) * second;
        let mut times: Vec<Duration> = late
            .chain(model.connected.iter().copied())
            .filter(|(began, _)| (at(seconds.start)..at(seconds.end)).contains(began))
            .map(|(_, took)| took)
            .collect();
        times.sort();
        times
    }
}

impl Model {
    /// Whose init is due.
    fn honest(&self, now: Instant) -> Vec<Sender> {
        let is_due = |client: &&Client| {
            client.answered.is_none() && REPETITIONS.contains(&((now - client.began).as_millis() % ROUND))
        };
        self.clients.iter().filter(is_due).map(|client| Sender::Honest(client.number)).collect()
    }

    /// Takes the finishes of honest clients, for which a place in the table may be gone: then there is another round.
    fn finish(&mut self, now: Instant) {
        let Self { clients, half_open, connected, admission, .. } = self;
        clients.retain_mut(|client| {
            if client.answered.is_none_or(|at| now < at + ROUND_TRIP) {
                return true;
            }
            let sender = Sender::Honest(client.number);
            let Some(place) = half_open.iter().position(|(_, waiting)| *waiting == sender) else {
                client.answered = None;
                return true;
            };
            half_open.remove(place);
            connected.push((client.began, now - client.began));
            admission.note_finished(sender.address().ip());
            false
        });
        while self.half_open.front().is_some_and(|(begun, _)| now >= *begun + HALF_OPEN_TIME) {
            self.half_open.pop_front();
        }
    }

    fn serve(&mut self, capacity: f64, now: Instant) {
        self.credit = (self.credit + capacity).min(2.0 * capacity);
        self.admission.note_backlog(0, self.queue.len(), now);
        while self.credit > 0.0
            && let Some(sender) = self.queue.pop_front()
        {
            if self.admission.admit(sender.address(), || true, self.half_open.len(), now) != Verdict::Answer {
                self.credit -= REFUSAL;
                continue;
            }
            self.credit -= 1.0;
            if self.half_open.len() >= MAX_HALF_OPEN {
                self.half_open.pop_front();
            }
            self.half_open.push_back((now, sender));
            if let Sender::Honest(number) = sender {
                let client = self.clients.iter_mut().find(|client| client.number == number);
                client.map(|client| client.answered.get_or_insert(now));
            }
        }
    }
}
