//! One key on two machines: how either end notices that sessions displace each other. Pure.
//!
//! Both machines make sessions, each replaces the other's, and answers go to whichever sent last. The peer of the two sees their
//! addresses in turn ([`Places`]); each of the two sees sessions that fall silent soon after they were made ([`CutSessions`]).

use crate::base::ReceiverIndex;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Addresses that are remembered: more machines than this with one key are noticed by those among them that return sooner.
const MAX_PLACES: usize = 4;
/// Returns to an earlier place that are no accident.
const RETURNS: usize = 4;
/// How long both places must have been known for a return to count, and the last return be past: packets of the old and the new
/// path overtake each other for a while after a move.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// The time in which as many returns are no accident; long enough for two machines that send keepalives only.
const RETURNS_WITHIN: Duration = Duration::from_secs(120);
/// How long after the last return the finding holds.
const RETURNS_HOLD: Duration = Duration::from_secs(60);

/// Sessions cut short that are no accident: a path may go and come back at such a moment once, or a peer be restarted.
const CUTS: usize = 3;
/// A silent peer that answers the first init so soon was there all the time.
const PROMPT: Duration = Duration::from_secs(1);
/// The time in which as many sessions cut short are no accident.
const CUTS_WITHIN: Duration = Duration::from_secs(180);
/// How long after the last of them the finding holds.
const CUTS_HOLD: Duration = Duration::from_secs(120);

/// Instants of which enough in a short time are a finding.
#[derive(Debug)]
struct Frequency<const N: usize> {
    /// Oldest first.
    last: [Option<Instant>; N],
    within: Duration,
    hold: Duration,
    is_reported: bool,
}

impl<const N: usize> Frequency<N> {
    const fn new(within: Duration, hold: Duration) -> Self {
        Self { last: [None; N], within, hold, is_reported: false }
    }

    fn note(&mut self, now: Instant) {
        self.is_reported &= self.holds(now);
        self.last.rotate_left(1);
        self.last[N - 1] = Some(now);
    }

    fn newest(&self) -> Option<Instant> {
        self.last[N - 1]
    }

    fn holds(&self, now: Instant) -> bool {
        let (Some(oldest), Some(newest)) = (self.last[0], self.newest()) else { return false };
        newest.saturating_duration_since(oldest) <= self.within && now < newest + self.hold
    }

    /// Returns true once for each time that the finding begins to hold.
    fn take_news(&mut self, now: Instant) -> bool {
        let holds = self.holds(now);
        holds && !core::mem::replace(&mut self.is_reported, true)
    }
}

/// An address, and the last session that was used from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    address: SocketAddr,
    session: ReceiverIndex,
    /// When the session was first used from there.
    since: Instant,
}

/// The addresses between which a peer's endpoint moves.
///
/// A machine that moves takes its session along, or makes a new one. Only a second machine makes the endpoint return to an earlier
/// address *on the session that was used there*, after another session was used elsewhere.
#[derive(Debug)]
pub(super) struct Places {
    /// Oldest first.
    recent: [Option<Place>; MAX_PLACES],
    returns: Frequency<RETURNS>,
}

impl Default for Places {
    fn default() -> Self {
        Self { recent: [None; MAX_PLACES], returns: Frequency::new(RETURNS_WITHIN, RETURNS_HOLD) }
    }
}

impl Places {
    /// Notes that the endpoint has moved to `address` with an authentic packet of `session`.
    pub(super) fn note_move(&mut self, address: SocketAddr, session: ReceiverIndex, now: Instant) {
        let is_settled = |since: Instant| now >= since + SETTLED_AFTER;
        let at = self.recent.iter().position(|known| known.is_some_and(|known| known.address == address));
        let known = at.and_then(|at| self.recent[at]).filter(|known| known.session == session);
        let last =
            self.recent[MAX_PLACES - 1].filter(|last| last.address != address && last.session != session);
        if let (Some(known), Some(last)) = (known, last)
            && is_settled(known.since)
            && is_settled(last.since)
            && self.returns.newest().is_none_or(is_settled)
        {
            self.returns.note(now);
        }
        // The place of this address, or else the oldest, becomes the newest.
        self.recent[at.unwrap_or(0)..].rotate_left(1);
        let since = known.map_or(now, |known| known.since);
        self.recent[MAX_PLACES - 1] = Some(Place { address, session, since });
    }

    /// The two addresses that the peer's key was used from last, newest first, while it is used from both in turn.
    pub(super) fn in_turn(&self, now: Instant) -> Option<[SocketAddr; 2]> {
        let [.., Some(other), Some(newest)] = self.recent else { return None };
        self.returns.holds(now).then_some([newest.address, other.address])
    }

    /// The same, once for each time that it begins.
    pub(super) fn take_news(&mut self, now: Instant) -> Option<[SocketAddr; 2]> {
        let places = self.in_turn(now)?;
        self.returns.take_news(now).then_some(places)
    }
}

/// Sessions of ours that fell silent while the peer was there: its first init after that was answered at once.
#[derive(Debug)]
pub(super) struct CutSessions {
    silence: Option<Instant>,
    cuts: Frequency<CUTS>,
}

impl Default for CutSessions {
    fn default() -> Self {
        Self { silence: None, cuts: Frequency::new(CUTS_WITHIN, CUTS_HOLD) }
    }
}

impl CutSessions {
    /// Notes that traffic has had no answer for so long that a handshake begins.
    pub(super) const fn note_silence(&mut self, now: Instant) {
        self.silence = Some(now);
    }

    /// Notes that we have completed a handshake as its initiator.
    pub(super) fn note_session(&mut self, now: Instant) {
        if self.silence.take().is_some_and(|at| now < at + PROMPT) {
            self.cuts.note(now);
        }
    }

    /// Returns true while one session after the other is cut short.
    pub(super) fn holds(&self, now: Instant) -> bool {
        self.cuts.holds(now)
    }

    /// The same, once for each time that it begins.
    pub(super) fn take_news(&mut self, now: Instant) -> bool {
        self.cuts.take_news(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIFI: u8 = 1;
    const MOBILE: u8 = 2;

    /// Feeds moves (second, host, session) and answers the seconds at which there was news.
    fn news(moves: impl IntoIterator<Item = (u64, u8, u32)>) -> Vec<u64> {
        let start = Instant::now();
        let mut places = Places::default();
        let mut news = Vec::new();
        for (second, host, session) in moves {
            let now = start + Duration::from_secs(second);
            let address = SocketAddr::from(([192, 0, 2, host], 51820));
            places.note_move(address, ReceiverIndex::new(session), now);
            if let Some([newest, _]) = places.take_news(now) {
                assert_eq!(newest, address);
                news.push(second);
            }
        }
        news
    }

    #[test]
    fn two_machines_that_take_turns_are_noticed_once_while_it_lasts() {
        let turns = |from: u64| (from..from + 100).map(|at| (at, (at % 2) as u8, (at % 2) as u32));
        assert_eq!(news(turns(0)), [9]);
        assert_eq!(news(turns(0).chain(turns(130))), [9], "a pause of half a minute is no end");
        assert_eq!(news(turns(0).chain(turns(200))), [9, 200], "after a whole minute it begins anew");
    }

    #[test]
    fn machines_that_make_new_sessions_again_and_again_are_noticed_too() {
        // Each renews its session after 15 s of silence, and sends keepalives meanwhile.
        let turns = (0..100).map(|at| (at * 5, (at % 2) as u8, (at / 6 * 2 + at % 2) as u32));
        assert_eq!(news(turns).len(), 1);
    }

    #[test]
    fn a_machine_that_roams_is_no_second_one_however_often_it_does() {
        let hosts = |at: u64| if at.is_multiple_of(2) { WIFI } else { MOBILE };
        let with_new_sessions = (0..1000).map(|at| (at * 3, hosts(at), at as u32));
        assert!(news(with_new_sessions).is_empty(), "a handshake after each change of network");
        assert!(
            news((0..1000).map(|at| (at, hosts(at), 1))).is_empty(),
            "one session behind a router with two uplinks"
        );
        let rekeyed = (0..1000).map(|at| (at, hosts(at), (at / 120) as u32));
        assert!(news(rekeyed).is_empty(), "the same over several sessions");
    }

    #[test]
    fn late_packets_of_the_path_that_was_are_no_second_machine() {
        let start = Instant::now();
        let mut places = Places::default();
        for movement in 0..20_u32 {
            // For a second and a half packets of both paths arrive in turn.
            for at in 0..150_u32 {
                let now = start + Duration::from_secs(10) * movement + Duration::from_millis(10) * at;
                let session = movement + at % 2;
                let address = SocketAddr::from(([192, 0, 2, (session % 2) as u8], 51820));
                places.note_move(address, ReceiverIndex::new(session), now);
                assert_eq!(places.in_turn(now), None);
            }
        }
    }

    #[test]
    fn three_sessions_cut_short_in_three_minutes_are_a_finding_and_slow_answers_are_none() {
        let start = Instant::now();
        let cut = |sessions: &mut CutSessions, second: u64, answer: Duration| {
            let now = start + Duration::from_secs(second);
            sessions.note_silence(now);
            sessions.note_session(now + answer);
            sessions.take_news(now + answer)
        };
        let prompt = Duration::from_millis(50);
        let mut sessions = CutSessions::default();
        let news: Vec<bool> = [0, 30, 60, 90].iter().map(|at| cut(&mut sessions, *at, prompt)).collect();
        assert_eq!(news, [false, false, true, false]);
        assert!(sessions.holds(start + Duration::from_secs(200)));
        assert!(!sessions.holds(start + Duration::from_secs(211)));
        let mut seldom = CutSessions::default();
        assert!(![0, 100, 200, 300].iter().any(|at| cut(&mut seldom, *at, prompt)), "a flaky path");
        let mut slow = CutSessions::default();
        let outage = Duration::from_secs(3);
        assert!(![0, 30, 60, 90].iter().any(|at| cut(&mut slow, *at, outage)), "it was away");
        let mut rekeyed = CutSessions::default();
        rekeyed.note_session(start);
        assert!(!rekeyed.holds(start), "nothing was silent");
    }
}
