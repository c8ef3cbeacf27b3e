//! How long an inner packet may be on its way to one peer: what the route says, and what probes find (protocol.md 7.5).
//!
//! ```text
//!            route, peer, interface say: full
//!   fresh ─────────────────────────────▶ searching ──full answered───────────▶ settled ──10 min──▶ searching
//!                                         │  ▲                                  ▲
//!                          round of 0.5 s ▼  │ only short ones answered         │ nothing left to tell apart
//!                                        sections between answered and not ─────┘
//! ```
//!
//! A search begins with one probe of the full size and one that every path takes. Most paths answer both, and that was
//! all. Where only the short one is answered, the sizes in between are probed, several at once, and the full one again, so
//! that a few lost packets make no path look narrow. Where not even the short one is, nothing is concluded.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// How long a round of probes waits for answers; doubled while nothing comes.
const ROUND: Duration = Duration::from_millis(500); // the slowest path that people still use for calls
/// Rounds in which nothing was answered, after which the search rests: the path is dead, not narrow.
const SILENT_ROUNDS: u32 = 4;
/// Rounds that probe the full size in vain before a path is called narrow.
const FULL_TRIES: u32 = 3;
/// Rounds after which the best size so far has to do.
const MAX_ROUNDS: u32 = 8;
/// Sizes between answered and unanswered that are probed at once.
const SECTIONS: u16 = 7;
/// Sizes that lie closer together than this many bytes are not told apart.
const RESOLUTION: u16 = 4;
/// How long a finding is trusted.
const TRUSTED: Duration = Duration::from_secs(600); // as Linux trusts what ICMP told it (RFC 8201 says the same)
/// The same where the local system has to be told to cut: it forgets that after [`TRUSTED`], and is told again before.
const TRUSTED_TO_CUT: Duration = Duration::from_secs(540);
/// How long a search rests that had no answer at all.
const REST: Duration = Duration::from_secs(60);
/// From the beginning of one search to that of the next that the peer's address is the reason of: whoever can make it move with
/// every packet, and with false source addresses even aim, has two long datagrams a second from us at the most.
const PAUSE: Duration = Duration::from_secs(5);

/// A size that every path takes, in bytes: with its headers it is as long as the longest handshake message.
const SHORT_PROBE: u16 = 1200;
/// MTU of a tunnel of which nothing is known, in bytes: fits an outer path of 1500 over IPv6.
pub const DEFAULT_TUNNEL_MTU: u16 = 1420;

/// Who decides how long a packet may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MtuMode {
    /// Nobody: every packet is sent, in pieces where it must be.
    Unlimited,
    /// Whoever set the interface's MTU: packets up to it are sent, in pieces where they must be, unless the path
    /// loses pieces.
    Given,
    /// The path: what it takes in one piece, up to the interface's MTU.
    Within,
    /// The path, and the interface follows it.
    Follow,
}

/// What a device wants of its paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MtuPolicy {
    /// Who decides.
    pub mode: MtuMode,
    /// The least size that must pass whatever the path takes, in bytes: 1280 where the tunnel carries IPv6.
    pub floor: u16,
}

impl MtuPolicy {
    /// No limits, no probes.
    pub const UNLIMITED: Self = Self { mode: MtuMode::Unlimited, floor: 0 };
}

/// A probe to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    /// Of which search it is part.
    pub(super) id: u32,
    /// Length of the payload, in bytes.
    pub(super) size: u16,
    /// Whether it may be cut on its way, as data may.
    pub(super) may_be_cut: bool,
}

/// What is known of the path to one peer.
#[derive(Debug, Default)]
pub(super) struct PathMtu {
    /// Whereto; a finding holds for one endpoint.
    endpoint: Option<SocketAddr>,
    /// What the route there takes, in bytes of inner packet.
    route: Option<u16>,
    /// MTU of the peer's own interface, as it has said.
    announced: Option<u16>,
    found: Option<Found>,
    search: Search,
    /// When the last search began.
    searched: Option<Instant>,
    /// A search has ended, and nobody has asked yet.
    ended: bool,
}

/// What a search has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    /// The longest that passed, in bytes.
    passes: u16,
    /// The longest that was tried.
    tried: u16,
}

/// Where the search stands.
#[derive(Debug, Default)]
enum Search {
    /// Not begun.
    #[default]
    Fresh,
    /// Probes are on their way.
    Running(Rounds),
    /// Nothing to do before that, whatever becomes of the address. Not begun.
    Delayed { until: Instant },
    /// Nothing to do before that.
    Resting { until: Instant },
}

#[derive(Debug)]
struct Rounds {
    id: u32,
    /// The size that it is all about.
    full: u16,
    /// A size that passes wherever anything does.
    short: u16,
    /// The longest that was answered; 0 for none yet.
    low: u16,
    /// The shortest that was not, in a round in which another was.
    high: u16,
    /// What was sent in this round.
    sizes: Vec<u16>,
    /// Whether anything was answered in this round.
    answered: bool,
    /// Rounds with answers, none of them to the full size.
    failed: u32,
    /// Rounds without any.
    silent: u32,
    /// When this round is over.
    ends: Instant,
}

impl PathMtu {
    /// The route to the peer takes inner packets of `route` bytes; `None` where nobody knows.
    pub(super) const fn set_route(&mut self, route: Option<u16>) {
        self.route = route;
    }

    /// The peer says that its own interface has this MTU.
    pub(super) const fn set_announced(&mut self, announced: u16) {
        self.announced = Some(announced);
    }

    /// Whether probes go to `endpoint` already, or went.
    pub(super) fn is_about(&self, endpoint: Option<SocketAddr>) -> bool {
        self.endpoint == endpoint
    }

    /// Another path. What was found before holds until more is known: that takes one answer where the path is wider. Its
    /// search waits until [`PAUSE`] has passed since the last began.
    pub(super) fn begin(&mut self, endpoint: Option<SocketAddr>, now: Instant) {
        self.endpoint = endpoint;
        let earliest = self.searched.map(|at| at + PAUSE).filter(|at| *at > now);
        self.search = earliest.map_or(Search::Fresh, |until| Search::Delayed { until });
    }

    /// The same path, as far as anybody knows, but worth another look.
    pub(super) fn doubt(&mut self) {
        self.search = Search::Fresh;
    }

    /// Something else is asked of the path: what was found is no answer to that.
    pub(super) fn forget(&mut self) {
        self.found = None;
        self.search = Search::Fresh;
    }

    /// The size that should pass, in bytes, on a device whose interface has the MTU `interface`.
    pub(super) fn full(&self, policy: MtuPolicy, interface: u16) -> u16 {
        let announced = self.announced.filter(|mtu| *mtu >= policy.floor);
        let full = match policy.mode {
            MtuMode::Unlimited | MtuMode::Given => interface,
            MtuMode::Within => [self.route, announced].into_iter().flatten().fold(interface, u16::min),
            MtuMode::Follow => {
                let unknown = DEFAULT_TUNNEL_MTU;
                announced.unwrap_or(unknown).min(self.route.unwrap_or(unknown))
            }
        };
        full.max(policy.floor.min(interface))
    }

    /// The longest inner packet that is to be sent, in bytes; `u16::MAX` for no limit.
    pub(super) fn limit(&self, policy: MtuPolicy, interface: u16) -> u16 {
        let full = self.full(policy, interface);
        let narrow = self.found.filter(|found| found.passes < found.tried && found.passes < full);
        let least = policy.floor.min(interface);
        match (policy.mode, narrow) {
            (MtuMode::Unlimited, _) | (MtuMode::Given, None) => u16::MAX,
            (MtuMode::Given | MtuMode::Within | MtuMode::Follow, Some(found)) => found.passes.max(least),
            (MtuMode::Within | MtuMode::Follow, None) => full,
        }
    }

    /// Whether the path loses what must pass, and no router on it cuts: datagrams are to be cut by the local system.
    pub(super) fn must_be_cut_here(&self, policy: MtuPolicy, interface: u16) -> bool {
        let limit = self.limit(policy, interface);
        let loses = self.found.is_some_and(|found| found.passes < found.tried && found.passes < limit);
        let is_v6 = self.endpoint.is_some_and(|endpoint| endpoint.ip().to_canonical().is_ipv6());
        loses && is_v6 && limit < u16::MAX
    }

    /// When [`PathMtu::poll`] has something to do; `None` while it is to be called at once, or never.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        match &self.search {
            Search::Fresh => None,
            Search::Running(rounds) => Some(rounds.ends),
            Search::Delayed { until } | Search::Resting { until } => Some(*until),
        }
    }

    /// What is to be sent now to a peer that answers probes; `id` makes fresh numbers. Called when something has changed and
    /// when time has come.
    pub(super) fn poll(
        &mut self,
        policy: MtuPolicy,
        interface: u16,
        id: impl FnOnce() -> u32,
        now: Instant,
    ) -> Vec<Probe> {
        let full = self.full(policy, interface);
        let may_be_cut = match policy.mode {
            MtuMode::Unlimited => return Vec::new(),
            MtuMode::Given => true,
            MtuMode::Within | MtuMode::Follow => false,
        };
        let begins = match &self.search {
            Search::Fresh => true,
            Search::Running(rounds) => rounds.full != full,
            Search::Delayed { until } => now >= *until,
            Search::Resting { until } => {
                now >= *until || self.found.is_some_and(|found| found.is_outgrown_by(full))
            }
        };
        if begins {
            self.searched = Some(now);
            self.search = Search::Running(Rounds::new(id(), full, policy.floor, now));
        }
        let Search::Running(rounds) = &mut self.search else { return Vec::new() };
        if now < rounds.ends {
            return Vec::new();
        }
        let tried = rounds.full;
        if let Some(outcome) = if begins { None } else { rounds.close() } {
            self.settle(outcome, tried, now);
            if self.must_be_cut_here(policy, interface)
                && let Search::Resting { until } = &mut self.search
            {
                *until = (*until).min(now + TRUSTED_TO_CUT);
            }
            return Vec::new();
        }
        rounds.ends = now + ROUND * (1 << rounds.silent);
        let id = rounds.id;
        let probe = |size| Probe { id, size, may_be_cut: may_be_cut && size == full };
        rounds.sizes.iter().copied().map(probe).collect()
    }

    /// Whether a search has just ended: asked once after [`PathMtu::poll`].
    pub(super) const fn take_ended(&mut self) -> bool {
        core::mem::replace(&mut self.ended, false)
    }

    /// The peer has received a probe of `size` bytes; `true` when that ends the search.
    pub(super) fn handle_answer(&mut self, id: u32, size: u16, now: Instant) -> bool {
        let Search::Running(rounds) = &mut self.search else { return false };
        if rounds.id != id || size > rounds.full {
            return false; // Of an earlier search, or of none.
        }
        rounds.answered = true;
        rounds.low = rounds.low.max(size);
        let done = rounds.low == rounds.full;
        if done {
            let full = rounds.full;
            self.settle(Outcome::Passes(full), full, now);
        }
        done
    }

    fn settle(&mut self, outcome: Outcome, tried: u16, now: Instant) {
        let until = match outcome {
            Outcome::Passes(passes) => {
                self.found = Some(Found { passes, tried });
                now + TRUSTED
            }
            Outcome::Silence => now + REST,
        };
        self.search = Search::Resting { until };
        self.ended = true;
    }
}

impl Found {
    /// Whether everything that was tried passed, and more is wanted now.
    const fn is_outgrown_by(self, full: u16) -> bool {
        self.passes == self.tried && full > self.tried
    }
}

/// How a search ends.
#[derive(Clone, Copy)]
enum Outcome {
    /// This size passes, and as far as it was told apart nothing longer.
    Passes(u16),
    /// Not even a short probe does.
    Silence,
}

impl Rounds {
    fn new(id: u32, full: u16, floor: u16, now: Instant) -> Self {
        let short = SHORT_PROBE.min(floor).min(full);
        let mut sizes = vec![short, full];
        sizes.dedup();
        Self { id, full, short, low: 0, high: full, sizes, answered: false, failed: 0, silent: 0, ends: now }
    }

    /// The time of this round is over: how the search ends, or `None` and what to send in the next round.
    fn close(&mut self) -> Option<Outcome> {
        if !core::mem::take(&mut self.answered) {
            self.silent += 1;
            return (self.silent == SILENT_ROUNDS).then_some(Outcome::Silence);
        }
        self.failed += 1;
        let before = self.high;
        let unanswered = self.sizes.iter().copied().filter(|size| *size > self.low).min();
        self.high = unanswered.unwrap_or(self.high).max(self.low + 1);
        let told_apart = self.high - self.low <= RESOLUTION;
        let is_sure = self.high == before; // Asked for twice in vain: no single loss narrows a path.
        if (told_apart && is_sure && self.failed >= FULL_TRIES) || self.failed == MAX_ROUNDS {
            return Some(Outcome::Passes(self.low));
        }
        self.sizes.clear();
        self.sizes.push(self.short);
        if !told_apart {
            let (gap, parts) = (u32::from(self.high - self.low), u32::from(SECTIONS) + 1);
            self.sizes.extend((1..parts).map(|part| self.low + (gap * part / parts) as u16));
        }
        self.sizes.push(self.high);
        self.sizes.push(self.full);
        self.sizes.dedup();
        None
    }
}

#[cfg(test)]
mod tests;
