//! Doubt about a peer that counts as up: what is known against it, and probes that make it known soon (protocol.md 8.4.3).

use super::{Context, Tunnel};
use crate::{
    session::KEEPALIVE_TIMEOUT,
    tunnel::{Doubt, Event},
    wire::path::PATH_MESSAGE_SIZE,
};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// How long payloads may be without an answer before the peer is asked for one.
pub(in crate::tunnel) const ASK_AFTER: Duration = Duration::from_secs(3);
/// The pause before it is asked again: twice before [`REPORT_AFTER`], since one probe may be lost.
const ASK_AGAIN: Duration = Duration::from_millis(1500);
/// How long nothing may come back from a peer that is asked before that is reported.
const REPORT_AFTER: Duration = Duration::from_secs(6);
/// The same for a peer that cannot be asked. One that only receives sends an empty packet after [`KEEPALIVE_TIMEOUT`], and that
/// needs time to travel.
const REPORT_UNASKED_AFTER: Duration = KEEPALIVE_TIMEOUT.saturating_add(Duration::from_secs(2));

/// Answers to the shortest probe, of one a round, without which a search says nothing: the others may have been lost by chance.
const SHORTEST_ANSWERS: u32 = 2;

/// Finds a path that loses every size that data has: its search has no answer, and the shortest probe beside it does.
#[derive(Debug, Default)]
pub(super) struct ShortestProbes {
    /// The search under way.
    search: Option<u32>,
    /// Answers to the shortest probe in it.
    answers: u32,
    /// Whether a longer one was answered as well.
    takes_longer: bool,
    /// What the last search has found.
    only_shortest: bool,
}

impl ShortestProbes {
    /// Notes a round of the search `id`; returns true if the shortest probe is to be sent beside, as after one without answer.
    pub(super) fn note_round(&mut self, id: u32) -> bool {
        let is_first = self.search.replace(id) != Some(id);
        if is_first {
            (self.answers, self.takes_longer) = (0, false);
        }
        !is_first
    }

    /// Notes an answer to a probe of `size` bytes; the shortest ones of a search have its number `id`.
    pub(super) fn note_answer(&mut self, id: u32, size: u16) {
        if usize::from(size) > PATH_MESSAGE_SIZE {
            (self.takes_longer, self.only_shortest) = (true, false);
        } else if self.search == Some(id) {
            self.answers += 1; // Others were asked in doubt.
        }
    }

    /// Notes the end of the search.
    pub(super) fn note_end(&mut self) {
        self.only_shortest = !self.takes_longer && self.answers >= SHORTEST_ANSWERS;
    }
}

impl Tunnel {
    /// What speaks against traffic passing as it should, most telling first.
    pub fn doubts(&self, now: Instant) -> Vec<Doubt> {
        let places = self.plane.places_in_turn(now);
        let key_in_two_places = places.map(|places| Doubt::KeyInTwoPlaces { places });
        let cut_short = self.cut_sessions.holds(now).then_some(Doubt::SessionsCutShort);
        let is_live = self.is_live(now);
        let nothing_back =
            self.nothing_back(now).filter(|_| is_live).map(|since| Doubt::NothingBack { since });
        [key_in_two_places, cut_short, nothing_back, self.short_only().filter(|_| is_live)]
            .into_iter()
            .flatten()
            .collect()
    }

    fn short_only(&self) -> Option<Doubt> {
        if self.shortest_probes.only_shortest {
            return Some(Doubt::ShortOnly { up_to: None });
        }
        self.lost_beyond.map(|passes| Doubt::ShortOnly { up_to: Some(passes) })
    }

    /// When the first of the payloads was sent that should have had an answer by now.
    fn nothing_back(&self, now: Instant) -> Option<Instant> {
        let patience = if self.probed_over().is_some() { REPORT_AFTER } else { REPORT_UNASKED_AFTER };
        self.plane.marks.unanswered.get(self.plane.epoch()).filter(|since| now >= *since + patience)
    }

    /// When the peer is to be asked for an answer next: while payloads stay without, and until that counts as silence.
    pub(super) fn doubt_timeout(&self) -> Option<Instant> {
        self.probed_over().filter(|_| !self.is_silent())?;
        let first = self.plane.marks.unanswered.get(self.plane.epoch())? + ASK_AFTER;
        Some(self.asked.map_or(first, |asked| first.max(asked + ASK_AGAIN)))
    }

    /// Asks a peer whose answers are missing for one: traffic in one direction only has none for 10 s, and is well.
    pub(super) fn ask_in_doubt(&mut self, cx: &mut Context<'_>) {
        if self.doubt_timeout().is_some_and(|at| cx.now >= at)
            && let Some(keypair) = self.probed_over().map(Arc::clone)
        {
            self.ask(&keypair, cx);
        }
    }

    /// Reports once that the peer's key, or ours, is used on two machines.
    pub(super) fn report_duplicates(&mut self, cx: &mut Context<'_>) {
        let peer = self.plane.id();
        if let Some(places) = self.plane.take_news_of_places(cx.now) {
            cx.events.push_back(Event::KeyInTwoPlaces { peer, places });
        }
        if self.cut_sessions.take_news(cx.now) {
            cx.events.push_back(Event::SessionsCutShort { peer });
        }
    }
}
