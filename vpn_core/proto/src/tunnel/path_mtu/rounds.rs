//! The rounds of one search: which sizes to ask about next, and when the answers suffice.

use std::time::{Duration, Instant};

/// How long a round of probes waits for answers; doubled while nothing comes.
const ROUND: Duration = Duration::from_millis(500); // the slowest path that people still use for calls
/// Rounds in which nothing was answered, after which the search rests: the path is dead, not narrow.
const SILENT_ROUNDS: u32 = 4;
/// Rounds after which the best size so far has to do.
const MAX_ROUNDS: u32 = 16;
/// Probes of the full size in a round that follows an answer, and as many short ones to compare them with.
const PAIRS: usize = 3;
/// The same where short ones get lost as well, so that more of them are needed.
const PAIRS_AMID_LOSS: usize = 6;
/// Sizes between answered and unanswered that are probed at once.
const SECTIONS: u16 = 7;
/// Sizes that lie closer together than this many bytes are not told apart.
pub(super) const RESOLUTION: u16 = 4;
/// How unlikely it must be that loss which does not look at lengths took every long probe and left the short ones. Without loss
/// that takes ten of each, two seconds; with two in five packets lost either way some fifty.
const CHANCE: f64 = 1e-5;

/// How a search ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// This size passes, and as far as it was told apart nothing longer.
    Passes(u16),
    /// Not even short probes do, or loss is an explanation.
    Nothing,
}

/// What follows a round.
#[derive(Debug)]
pub(super) enum Step {
    /// Another round: numbers and sizes of its probes.
    Ask(Vec<(u32, u16)>),
    /// Nothing.
    End(Outcome),
}

/// A search that goes on.
#[derive(Debug)]
pub(super) struct Rounds {
    /// The number of its first probe; the others follow. Nobody but who receives the probes knows it.
    id: u32,
    /// The size that it is all about.
    full: u16,
    /// A size that passes wherever anything does.
    short: u16,
    /// Where it only confirms what is in use: until when that was trusted.
    confirms: Option<Instant>,
    /// All probes so far; the number of rounds bounds it.
    sent: Vec<Sent>,
    /// Where in `sent` this round begins.
    round: usize,
    /// The longest that was answered; 0 for none yet.
    low: u16,
    /// The shortest that was not, in a round in which another was.
    high: u16,
    /// Whether anything was answered in this round.
    answered: bool,
    /// Rounds with answers, none of them to the full size.
    failed: u32,
    /// Rounds without any.
    silent: u32,
    /// When this round is over.
    ends: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Sent {
    size: u16,
    answered: bool,
}

impl Rounds {
    /// A search for what passes, up to `full` bytes, and its first probes. One that `confirms` what is in use, and was trusted until
    /// then, asks about that alone as long as there is an answer.
    pub(super) fn begin(
        id: u32,
        full: u16,
        short: u16,
        confirms: Option<Instant>,
        now: Instant,
    ) -> (Self, Vec<(u32, u16)>) {
        let short = short.min(full);
        let mut rounds = Self {
            id,
            full,
            short,
            confirms,
            sent: Vec::new(),
            round: 0,
            low: 0,
            high: full,
            answered: false,
            failed: 0,
            silent: 0,
            ends: now,
        };
        let probes = if confirms.is_some() { rounds.ask(vec![full], now) } else { rounds.ask_pairs(1, now) };
        (rounds, probes)
    }

    /// The number of its first probe.
    pub(super) const fn id(&self) -> u32 {
        self.id
    }

    /// The size that the search is about, in bytes.
    pub(super) const fn full(&self) -> u16 {
        self.full
    }

    /// A size that passes wherever anything does, in bytes.
    pub(super) const fn short(&self) -> u16 {
        self.short
    }

    /// Where it only confirms what is in use: until when that was trusted.
    pub(super) const fn confirms(&self) -> Option<Instant> {
        self.confirms
    }

    /// When this round is over.
    pub(super) const fn ends(&self) -> Instant {
        self.ends
    }

    /// A probe was received, says the peer. How the search ends, if it does.
    pub(super) fn handle_answer(&mut self, id: u32, size: u16) -> Option<Outcome> {
        let place = usize::try_from(id.wrapping_sub(self.id)).ok()?;
        let sent = self.sent.get_mut(place).filter(|sent| sent.size == size && !sent.answered)?;
        sent.answered = true;
        self.answered = true;
        self.low = self.low.max(size);
        (self.low == self.full).then_some(Outcome::Passes(self.full))
    }

    /// The time of this round is over.
    pub(super) fn close(&mut self, now: Instant) -> Step {
        let round = &self.sent[self.round..];
        if !core::mem::take(&mut self.answered) {
            // Of a long one that is lost alone nobody knows why.
            self.silent += u32::from(round.iter().any(|sent| sent.size == self.short));
            if self.silent == SILENT_ROUNDS {
                return Step::End(Outcome::Nothing);
            }
            // Where long packets flow, a few probes more are no burden.
            let pairs = if self.confirms.is_some() { PAIRS_AMID_LOSS } else { 1 };
            return Step::Ask(self.ask_pairs(pairs, now));
        }
        self.failed += 1;
        let before = self.high;
        let unanswered = round.iter().map(|sent| sent.size).filter(|size| *size > self.low).min();
        self.high = unanswered.unwrap_or(self.high).max(self.low + 1);
        let is_told_apart = self.high - self.low <= RESOLUTION;
        let is_sure = self.high == before; // Asked for twice in vain: no single loss makes the limit lower.
        let is_narrow = self.chance() <= CHANCE;
        if is_told_apart && is_sure && is_narrow {
            return Step::End(Outcome::Passes(self.low));
        }
        if self.failed == MAX_ROUNDS {
            return Step::End(if is_narrow { Outcome::Passes(self.low) } else { Outcome::Nothing });
        }
        let is_lossy = self.sent.iter().any(|sent| sent.size == self.short && !sent.answered);
        let pairs = if is_lossy { PAIRS_AMID_LOSS } else { PAIRS };
        let mut sizes = vec![self.short; pairs];
        if !is_told_apart {
            let (gap, parts) = (u32::from(self.high - self.low), u32::from(SECTIONS) + 1);
            sizes.extend((1..parts).map(|part| self.low + (gap * part / parts) as u16));
        }
        sizes.push(self.high);
        sizes.resize(sizes.len() + pairs, self.full);
        Step::Ask(self.ask(sizes, now))
    }

    /// So many short probes, and as many full ones.
    fn ask_pairs(&mut self, pairs: usize, now: Instant) -> Vec<(u32, u16)> {
        let mut sizes = vec![self.short; pairs];
        if self.full > self.short {
            sizes.resize(2 * pairs, self.full);
        }
        self.ask(sizes, now)
    }

    fn ask(&mut self, sizes: Vec<u16>, now: Instant) -> Vec<(u32, u16)> {
        self.round = self.sent.len();
        self.ends = now + ROUND * (1 << self.silent);
        let first = self.id.wrapping_add(self.round as u32);
        self.sent.extend(sizes.iter().map(|size| Sent { size: *size, answered: false }));
        (0..).map(|place| first.wrapping_add(place)).zip(sizes).collect()
    }

    /// How likely it is that loss takes so few short probes and all of as many long ones, if it does not look at lengths: of all
    /// ways to choose which of them arrive, the part in which no long one does (Fisher's exact test).
    fn chance(&self) -> f64 {
        let (mut pairs, mut answered) = (0_u32, 0_u32);
        for sent in self.sent.iter().filter(|sent| sent.size == self.short) {
            pairs += 1;
            answered += u32::from(sent.answered);
        }
        (0..answered).map(|taken| f64::from(pairs - taken) / f64::from(2 * pairs - taken)).product()
    }
}
