//! How long an inner packet may be on its way to one peer: what the route says, and what probes find (protocol.md 7.5).
//!
//! ```text
//!            route, peer, interface say: full
//!   fresh ─────────────────────────────▶ searching ──full answered───────────▶ settled ──10 min──▶ searching
//!                                         │  ▲                                  ▲ │
//!                          round of 0.5 s ▼  │ only short ones answered         │ │ long packets flow: 6 s
//!                                        sections between answered and not ─────┘ ▼
//!                                            nothing left to tell apart          confirming ──answered──▶ settled
//! ```
//!
//! A search begins with one probe of the full size and one that every path takes. Most paths answer both, and that was
//! all. Where only the short one is answered, the sizes in between are probed, several at once, and the full one again, until
//! chance is no explanation (`rounds.rs`): loss makes no path look narrow. Where not even the short one is, nothing is
//! concluded. A finding belongs to the endpoint that it was made at, with answers to numbers that were sent nowhere else.
//!
//! A path may become narrower while nobody's address changes. So the size in use is asked about again and again, but only
//! while packets are sent that a narrower path would lose: an idle tunnel is silent.

mod rounds;

use rounds::{Outcome, Rounds, Step};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// How long a finding is trusted.
const TRUSTED: Duration = Duration::from_secs(600); // as Linux trusts what ICMP told it (RFC 8201 says the same)
/// The same where the local system has to be told to cut: it forgets that after [`TRUSTED`], and is told again before.
const TRUSTED_TO_CUT: Duration = Duration::from_secs(540);
/// How long a search rests that had no answer at all.
const REST: Duration = Duration::from_secs(60);
/// From the beginning of one search to that of the next that the peer's address is the reason of: whoever can make it move with
/// every packet, and with false source addresses even aim, has two long datagrams a second from us at the most.
const PAUSE: Duration = Duration::from_secs(5);

/// From the end of one look at the path to the next while long packets flow. With the search that may follow it is over before
/// a TCP connection that has stalled tries for the seventh time (12.6 s), and costs 3 kbit/s.
const CONFIRM: Duration = Duration::from_secs(6);

/// A size that every path takes, in bytes: with its headers it is as long as the longest handshake message.
const SHORT_PROBE: u16 = 1200;
/// The least MTU that a peer can announce, in bytes: every host takes as much (RFC 791), and what is less counts as this.
const LEAST_ANNOUNCED: u16 = 576;
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
    /// MTU of the peer's own interface, as it has said, at least [`LEAST_ANNOUNCED`]. It is sent no longer packet, whoever else
    /// decides what.
    announced: Option<u16>,
    found: Option<Found>,
    search: Search,
    /// When the last search began.
    searched: Option<Instant>,
    /// A search has ended, and nobody has asked yet.
    ended: Option<Ended>,
}

/// How a search has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Answers over this very path say what it takes.
    Found,
    /// Nothing is known that was not known before.
    Nothing,
}

/// What a search has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Found {
    /// The longest that passed, in bytes.
    passes: u16,
    /// The longest that was tried.
    tried: u16,
    /// Whether it was found at the endpoint of now. One of before limits what is sent until more is known, and is no reason to
    /// say anything of another address.
    is_here: bool,
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
    /// Nothing to do before that; where long packets flow, not before `confirm`.
    Resting { until: Instant, confirm: Option<Instant> },
}

impl PathMtu {
    /// The route to the peer takes inner packets of `route` bytes; `None` where nobody knows.
    pub(super) const fn set_route(&mut self, route: Option<u16>) {
        self.route = route;
    }

    /// The peer says that its own interface has this MTU.
    pub(super) fn set_announced(&mut self, announced: u16) {
        self.announced = Some(announced.max(LEAST_ANNOUNCED));
    }

    /// The longest packet that the peer accepts, in bytes; `u16::MAX` where it has not said.
    pub(super) fn accepted(&self) -> u16 {
        self.announced.unwrap_or(u16::MAX)
    }

    /// Whether probes go to `endpoint` already, or went.
    pub(super) fn is_about(&self, endpoint: Option<SocketAddr>) -> bool {
        self.endpoint == endpoint
    }

    /// Another path. What was found before holds until more is known: that takes one answer where the path is wider. Its
    /// search waits until [`PAUSE`] has passed since the last began.
    pub(super) fn begin(&mut self, endpoint: Option<SocketAddr>, now: Instant) {
        self.endpoint = endpoint;
        if let Some(found) = &mut self.found {
            found.is_here = false;
        }
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
        let full = match policy.mode {
            MtuMode::Unlimited | MtuMode::Given => interface,
            MtuMode::Within => self.route.map_or(interface, |route| route.min(interface)),
            MtuMode::Follow => {
                let unknown = DEFAULT_TUNNEL_MTU;
                self.announced.unwrap_or(unknown).min(self.route.unwrap_or(unknown))
            }
        };
        full.max(policy.floor.min(interface)).min(self.accepted())
    }

    /// The longest inner packet that is to be sent, in bytes; `u16::MAX` for no limit.
    pub(super) fn limit(&self, policy: MtuPolicy, interface: u16) -> u16 {
        let full = self.full(policy, interface);
        let narrow = self.found.filter(|found| found.passes < found.tried && found.passes < full);
        let least = policy.floor.min(interface);
        let limit = match (policy.mode, narrow) {
            (MtuMode::Unlimited, _) | (MtuMode::Given, None) => u16::MAX,
            (MtuMode::Given | MtuMode::Within | MtuMode::Follow, Some(found)) => found.passes.max(least),
            (MtuMode::Within | MtuMode::Follow, None) => full,
        };
        limit.min(self.accepted())
    }

    /// The longest packet that passes whole, in bytes, where that is less than what should.
    pub(super) fn narrow(&self) -> Option<u16> {
        self.found.filter(|found| found.passes < found.tried).map(|found| found.passes)
    }

    /// Length in bytes of the longest packet that passes whatever becomes of the path, as far as that is for probes to say.
    pub(super) fn surely_passes(policy: MtuPolicy) -> u16 {
        match policy.mode {
            MtuMode::Unlimited => u16::MAX,
            MtuMode::Given | MtuMode::Within | MtuMode::Follow => SHORT_PROBE.min(policy.floor),
        }
    }

    /// The longest packet that passes whole, in bytes, where longer ones are sent all the same: those pass in pieces at best.
    pub(super) fn loses_beyond(&self, policy: MtuPolicy, interface: u16) -> Option<u16> {
        let limit = self.limit(policy, interface);
        let is_lost = |found: &Found| found.is_here && found.passes < found.tried && found.passes < limit;
        self.found.filter(is_lost).map(|found| found.passes)
    }

    /// Whether the path loses what must pass, and no router on it cuts: datagrams are to be cut by the local system.
    pub(super) fn must_be_cut_here(&self, policy: MtuPolicy, interface: u16) -> bool {
        let is_v6 = self.endpoint.is_some_and(|endpoint| endpoint.ip().to_canonical().is_ipv6());
        is_v6 && self.limit(policy, interface) < u16::MAX && self.loses_beyond(policy, interface).is_some()
    }

    /// When [`PathMtu::poll`] has something to do; `None` while it is to be called at once, or never. `long`: since when packets
    /// are sent that a narrower path would lose.
    pub(super) fn next_timeout(&self, long: Option<Instant>) -> Option<Instant> {
        match &self.search {
            Search::Fresh => None,
            Search::Running(rounds) => Some(rounds.ends()),
            Search::Delayed { until } => Some(*until),
            Search::Resting { until, confirm } => {
                let confirm = long.zip(*confirm).map(|(long, confirm)| long.max(confirm));
                Some(confirm.map_or(*until, |at| at.min(*until)))
            }
        }
    }

    /// What is to be sent now to a peer that answers probes; `id` makes fresh numbers. Called when something has changed and
    /// when time has come; `long` as in [`PathMtu::next_timeout`].
    pub(super) fn poll(
        &mut self,
        policy: MtuPolicy,
        interface: u16,
        long: Option<Instant>,
        id: impl FnOnce() -> u32,
        now: Instant,
    ) -> Vec<Probe> {
        let full = self.full(policy, interface);
        let may_be_cut = match policy.mode {
            MtuMode::Unlimited => return Vec::new(),
            MtuMode::Given => true,
            MtuMode::Within | MtuMode::Follow => false,
        };
        let short = Self::surely_passes(policy);
        let mut sizes = self.begin_if_due(full, short, long, id, now);
        if let Search::Running(rounds) = &mut self.search
            && sizes.is_empty()
            && now >= rounds.ends()
        {
            match rounds.close(now) {
                Step::Ask(next) => sizes = next,
                Step::End(outcome) => self.settle(outcome, now),
            }
            if self.must_be_cut_here(policy, interface)
                && let Search::Resting { until, .. } = &mut self.search
            {
                *until = (*until).min(now + TRUSTED_TO_CUT);
            }
        }
        let probe = |(id, size)| Probe { id, size, may_be_cut: may_be_cut && size == full };
        sizes.into_iter().map(probe).collect()
    }

    /// Begins a search if it is time: numbers and sizes of its first probes.
    fn begin_if_due(
        &mut self,
        full: u16,
        short: u16,
        long: Option<Instant>,
        id: impl FnOnce() -> u32,
        now: Instant,
    ) -> Vec<(u32, u16)> {
        let in_use = self.narrow().map_or(full, |passes| passes.min(full));
        let is_outgrown = self.found.is_some_and(|found| found.is_outgrown_by(full));
        let confirms = match &self.search {
            Search::Delayed { until } if now < *until => return Vec::new(),
            Search::Fresh | Search::Delayed { .. } => None,
            Search::Running(rounds) => match rounds.confirms() {
                Some(until) if rounds.full() != in_use => Some(until),
                None if rounds.full() != full => None,
                Some(_) | None => return Vec::new(),
            },
            Search::Resting { until, .. } if now >= *until || is_outgrown => None,
            Search::Resting { until, confirm } => match long.zip(*confirm) {
                Some((_, confirm)) if now >= confirm => Some(*until),
                Some(_) | None => return Vec::new(),
            },
        };
        let about = if confirms.is_some() { in_use } else { full };
        if confirms.is_none() {
            self.searched = Some(now);
        }
        let (rounds, probes) = Rounds::begin(id(), about, short, confirms, now);
        self.search = Search::Running(rounds);
        probes
    }

    /// The number of the search under way, if there is one.
    pub(super) const fn search(&self) -> Option<u32> {
        match &self.search {
            Search::Running(rounds) => Some(rounds.id()),
            Search::Fresh | Search::Delayed { .. } | Search::Resting { .. } => None,
        }
    }

    /// How a search has just ended, if one has: asked once after [`PathMtu::poll`] and [`PathMtu::handle_answer`].
    pub(super) const fn take_ended(&mut self) -> Option<Ended> {
        self.ended.take()
    }

    /// The peer has received a probe of `size` bytes, and said so from where this search is about; `true` when that ends the
    /// search.
    pub(super) fn handle_answer(&mut self, id: u32, size: u16, now: Instant) -> bool {
        let Search::Running(rounds) = &mut self.search else { return false };
        let outcome = rounds.handle_answer(id, size);
        if let Some(outcome) = outcome {
            self.settle(outcome, now);
        }
        outcome.is_some()
    }

    fn settle(&mut self, outcome: Outcome, now: Instant) {
        let Search::Running(rounds) = &self.search else { return };
        let (full, confirms) = (rounds.full(), rounds.confirms());
        let narrow = self.narrow().is_some();
        let until = match (outcome, confirms) {
            // What is in use still passes; whether more would by now is for the next search to say.
            (Outcome::Passes(passes), Some(until)) if passes == full && narrow => until,
            (Outcome::Passes(passes), _) => {
                let before = confirms.and(self.found).map_or(0, |found| found.tried);
                self.found = Some(Found { passes, tried: full.max(before), is_here: true });
                now + TRUSTED
            }
            (Outcome::Nothing, Some(until)) => until,
            (Outcome::Nothing, None) => now + REST,
        };
        let can_narrow = full > rounds.short();
        self.search = Search::Resting { until, confirm: can_narrow.then(|| now + CONFIRM) };
        self.ended = Some(match outcome {
            Outcome::Passes(_) => Ended::Found,
            Outcome::Nothing => Ended::Nothing,
        });
    }
}

impl Found {
    /// Whether everything that was tried passed, and more is wanted now.
    const fn is_outgrown_by(self, full: u16) -> bool {
        self.passes == self.tried && full > self.tried
    }
}

#[cfg(test)]
mod tests;
