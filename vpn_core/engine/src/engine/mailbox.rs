//! What the packet threads and the owner leave for control. Every part is bounded; the lock is taken once a batch and
//! only when there is something to leave.

use crate::{
    base::{Endpoint, PeerId},
    device::{Device, Standing},
    tunnel::StagedPacket,
    wire::path::PathMessage,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Handshake messages that wait at the most, of each standing; more are dropped, a flood is not stored. About 2 MB.
const MAX_HANDSHAKES: usize = 512;
/// Packets that wait to be staged at the most; about 1.5 MB of full-sized ones.
const MAX_STAGED: usize = 1024;
/// Probes and answers of one peer that wait at the most: a round has up to 21 probes, and both ends may search at once. More of
/// them push out nobody else's.
const MAX_PATH_MESSAGES: usize = 64;
/// Handshake messages of each kind taken at once, so that timers and attention are never far behind.
const HANDSHAKES_AT_ONCE: usize = 32;

/// A step to run on the control thread.
pub(super) type Command = Box<dyn FnOnce(&mut Device, Instant) + Send>;

/// A bounded mailbox with one reader.
#[derive(Default)]
pub(super) struct Mailbox {
    mail: Mutex<Mail>,
    arrived: Condvar,
}

/// What was left.
#[derive(Default)]
pub(super) struct Mail {
    pub(super) commands: Vec<Command>,
    /// Bounded by the number of peers.
    pub(super) attention: BTreeSet<PeerId>,
    pub(super) staged: VecDeque<(PeerId, StagedPacket)>,
    /// Probes of paths, and answers. Bounded for each peer.
    pub(super) path_messages: BTreeMap<PeerId, Vec<PathMessage>>,
    pub(super) handshakes: Handshakes,
    /// How many strangers' inits there were before these were taken.
    pub(super) strangers_waiting: usize,
    /// How many inits with a cookie there were.
    pub(super) reachable_waiting: usize,
    pub(super) stop: bool,
}

/// Datagrams in order of arrival.
type Waiting = VecDeque<(Vec<u8>, Endpoint)>;

/// Handshake messages by the standing of their senders: a flood of one kind pushes out no other.
#[derive(Default)]
pub(super) struct Handshakes {
    /// Responses, finishes and cookie replies: for the first two somebody has done the dear half of the work already.
    proven: Waiting,
    /// Data that came before its finish. Whoever began a handshake can send as much of it as the line takes.
    early: Waiting,
    /// Inits whose sender has shown that it receives at its address.
    reachable: Waiting,
    /// All other inits: a flood of them costs a stranger least and us most.
    strangers: Waiting,
}

impl Mailbox {
    /// Leaves several things under one lock; answers how many of them found no room.
    pub(super) fn leave(&self, fill: impl FnOnce(&mut Letters<'_>)) -> u64 {
        let mut mail = self.lock();
        let mut letters = Letters { mail: &mut mail, refused: 0 };
        fill(&mut letters);
        let refused = letters.refused;
        drop(mail);
        self.arrived.notify_one();
        refused
    }

    pub(super) fn command(&self, command: Command) {
        let mut mail = self.lock();
        if mail.stop {
            return; // Dropping the command tells the one who waits for it.
        }
        mail.commands.push(command);
        drop(mail);
        self.arrived.notify_one();
    }

    pub(super) fn stop(&self) {
        self.lock().stop = true;
        self.arrived.notify_one();
    }

    /// Nobody reads any more: what waits is dropped, and so is what comes.
    pub(super) fn close(&self) {
        let waiting = {
            let mut mail = self.lock();
            mail.stop = true;
            std::mem::take(&mut mail.commands)
        };
        drop(waiting); // Outside the lock: commands may own anything.
    }

    /// Waits until something is there or `deadline` has come, and takes it: all of it, but of the handshakes only
    /// [`HANDSHAKES_AT_ONCE`].
    pub(super) fn wait(&self, deadline: Option<Instant>) -> Mail {
        let mut mail = self.lock();
        while mail.is_empty() {
            let Some(deadline) = deadline else {
                mail = self.arrived.wait(mail).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            mail = self.arrived.wait_timeout(mail, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        mail.strangers_waiting = mail.handshakes.strangers.len();
        mail.reachable_waiting = mail.handshakes.reachable.len();
        let (handshakes, stop) = (mail.handshakes.split_off(HANDSHAKES_AT_ONCE), mail.stop);
        std::mem::replace(&mut *mail, Mail { handshakes, stop, ..Mail::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Mail> {
        // Its parts are independent of each other, so a panic elsewhere leaves nothing half done.
        self.mail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.commands.is_empty()
            && self.attention.is_empty()
            && self.staged.is_empty()
            && self.path_messages.is_empty()
            && self.handshakes.is_empty()
            && !self.stop
    }
}

impl Handshakes {
    /// Those of each kind behind the first `count`.
    fn split_off(&mut self, count: usize) -> Self {
        let later = |queue: &mut Waiting| queue.split_off(count.min(queue.len()));
        Self {
            proven: later(&mut self.proven),
            early: later(&mut self.early),
            reachable: later(&mut self.reachable),
            strangers: later(&mut self.strangers),
        }
    }

    fn is_empty(&self) -> bool {
        let Self { proven, early, reachable, strangers } = self;
        [proven, early, reachable, strangers].iter().all(|queue| queue.is_empty())
    }

    /// In the order in which they are served: a handshake that was paid for before one that was not, and before the data that
    /// waits for it.
    pub(super) fn in_order(self) -> impl Iterator<Item = (Vec<u8>, Endpoint)> {
        [self.proven, self.early, self.reachable, self.strangers].into_iter().flatten()
    }
}

/// The mailbox held open.
pub(super) struct Letters<'a> {
    mail: &'a mut Mail,
    refused: u64,
}

impl Letters<'_> {
    pub(super) fn attention(&mut self, peer: PeerId) {
        self.mail.attention.insert(peer);
    }

    pub(super) fn path_message(&mut self, peer: PeerId, message: PathMessage) {
        let waiting = self.mail.path_messages.entry(peer).or_default();
        if waiting.len() < MAX_PATH_MESSAGES {
            waiting.push(message);
        } else {
            self.refused += 1;
        }
    }

    /// Whether there is room for a packet to be staged; asked before one is copied.
    pub(super) fn has_room_to_stage(&self) -> bool {
        self.mail.staged.len() < MAX_STAGED
    }

    /// Leaves a packet to be staged, where [`Letters::has_room_to_stage`].
    pub(super) fn stage(&mut self, peer: PeerId, packet: StagedPacket) {
        self.mail.staged.push_back((peer, packet));
    }

    /// Counts things that found no room.
    pub(super) fn refuse(&mut self, count: usize) {
        self.refused += count as u64;
    }

    pub(super) fn handshake(&mut self, datagram: &[u8], from: Endpoint, standing: Standing) {
        let waiting = &mut self.mail.handshakes;
        let queue = match standing {
            Standing::Stranger => &mut waiting.strangers,
            Standing::Reachable => &mut waiting.reachable,
            Standing::Proven => &mut waiting.proven,
            Standing::Early => &mut waiting.early,
        };
        if queue.len() < MAX_HANDSHAKES {
            queue.push_back((datagram.to_vec(), from));
        } else {
            self.refused += 1;
        }
    }
}

impl core::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Mailbox").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint() -> Endpoint {
        Endpoint::to("192.0.2.1:1".parse().expect("an address"))
    }

    #[test]
    fn a_flood_of_strangers_inits_is_bounded_and_hides_neither_attention_nor_proven_messages() {
        let mailbox = Mailbox::default();
        let refused = mailbox.leave(|letters| {
            for _ in 0..MAX_HANDSHAKES + 7 {
                letters.handshake(&[5], endpoint(), Standing::Stranger);
            }
            letters.attention(PeerId(3));
            letters.handshake(&[7], endpoint(), Standing::Proven);
        });
        assert_eq!(refused, 7);
        let first = mailbox.wait(None);
        let counts = (first.handshakes.strangers.len(), first.handshakes.proven.len());
        assert_eq!(counts, (HANDSHAKES_AT_ONCE, 1));
        assert_eq!((first.strangers_waiting, first.reachable_waiting), (MAX_HANDSHAKES, 0));
        assert!(first.attention.contains(&PeerId(3)));
        let mut rest = 0;
        while rest < MAX_HANDSHAKES - HANDSHAKES_AT_ONCE {
            rest += mailbox.wait(None).handshakes.strangers.len();
        }
        assert_eq!(rest, MAX_HANDSHAKES - HANDSHAKES_AT_ONCE);
    }

    #[test]
    fn a_finish_is_served_before_the_inits_and_the_early_data_that_wait() {
        let mailbox = Mailbox::default();
        let refused = mailbox.leave(|letters| {
            for _ in 0..2 * MAX_HANDSHAKES {
                letters.handshake(&[5], endpoint(), Standing::Stranger);
                letters.handshake(&[5], endpoint(), Standing::Reachable);
                letters.handshake(&[4], endpoint(), Standing::Early);
            }
            letters.handshake(&[7], endpoint(), Standing::Proven);
        });
        assert_eq!(refused, 3 * MAX_HANDSHAKES as u64);
        let served: Vec<_> =
            mailbox.wait(None).handshakes.in_order().map(|(datagram, _)| datagram[0]).collect();
        assert_eq!(served[..2], [7, 4]);
        assert_eq!(served.len(), 1 + 3 * HANDSHAKES_AT_ONCE, "each has its share of a round");
    }

    #[test]
    fn a_peer_that_floods_with_probes_leaves_room_for_the_others() {
        let mailbox = Mailbox::default();
        let probe = PathMessage::Probe { id: 1, size: 8 };
        let refused = mailbox.leave(|letters| {
            for _ in 0..10_000 {
                letters.path_message(PeerId(1), probe);
            }
            letters.path_message(PeerId(2), probe);
        });
        assert_eq!(refused, 10_000 - MAX_PATH_MESSAGES as u64);
        let mail = mailbox.wait(None);
        assert_eq!(mail.path_messages[&PeerId(1)].len(), MAX_PATH_MESSAGES);
        assert_eq!(mail.path_messages[&PeerId(2)], [probe]);
    }

    #[test]
    fn who_waits_for_an_answer_is_told_when_nobody_reads_any_more() {
        let mailbox = Mailbox::default();
        let ask = || {
            let (answer, wait) = std::sync::mpsc::sync_channel(1);
            mailbox.command(Box::new(move |_, _| answer.send(()).expect("somebody waits")));
            wait
        };
        let before = ask();
        mailbox.close();
        assert!(before.recv().is_err());
        assert!(ask().recv().is_err());
    }

    #[test]
    fn a_past_deadline_returns_at_once_and_stop_stays() {
        let mailbox = Mailbox::default();
        assert!(mailbox.wait(Some(Instant::now())).is_empty());
        mailbox.stop();
        assert!(mailbox.wait(None).stop);
        assert!(mailbox.wait(None).stop);
    }
}
