//! Which strangers get public-key work done (protocol.md 5.3): cookies under load, then a rate per source, and least for
//! sources that leave handshakes unfinished.

use super::half_open::BUSY_HALF_OPEN;
use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// Inits answered per second, from all sources together, before cookies are demanded. At about 130 µs each this is
/// 7 % of one core.
const FREE_INITS_PER_SECOND: u32 = 512;
/// Inits answered at once before cookies are demanded: a gateway's clients returning together.
const FREE_BURST: u32 = 1024;
/// Inits per second that one source may have answered once cookies are demanded.
const SOURCE_INITS_PER_SECOND: u32 = 20;
/// Inits at once of one source: several devices behind one address, each trying twice.
const SOURCE_BURST: u32 = 40;
/// What an IPv6 /48, which many customers get as a whole, may have answered: as much as so many of its /64.
const SUBNETS_PER_SITE: u32 = 8;
/// Inits that wait for control from which on cookies are demanded, and for how long after they were seen. With as many that
/// have a cookie nothing is left for doubted sources.
const BUSY_BACKLOG: usize = 64;
const BUSY_TIME: Duration = Duration::from_secs(1);
/// Sources remembered; bounds the memory that a stranger can take to about 5 MB. Only addresses that answered with a cookie
/// enter.
const MAX_SOURCES: usize = 48 << 10;

/// How long a source may leave a handshake unfinished before it is doubted: a finish is one round trip away.
const FINISH_GRACE: Duration = Duration::from_secs(1);
/// Unfinished handshakes of one source since its last finish from which on it is doubted, however young they are: several
/// devices behind one address.
const MAX_UNFINISHED: u32 = 4;
/// How long doubt lasts, unless a finish ends it: each source costs us one handshake in that time.
const DOUBT_TIME: Duration = Duration::from_secs(60);
/// Inits per second that all doubted sources together may have answered, and at once, while control keeps up: a tenth of a
/// core. Who shares an address with an attacker gets through by that, if later.
const DOUBTED_INITS_PER_SECOND: u32 = 512;
const DOUBTED_BURST: u32 = 64;

/// How often a full table is looked through for sources that may be forgotten: each look costs about as much as the
/// handshake that admission control is there to save, and a stranger with a whole IPv6 prefix is a new source each time.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// What to do with an init whose mac is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Do the work.
    Answer,
    /// Answer with a cookie.
    DemandCookie,
    /// Drop it.
    RateLimited,
}

/// The state of admission control.
#[derive(Debug)]
pub(super) struct Admission {
    free: Bucket,
    /// Until when control is taken to be behind.
    busy_until: Option<Instant>,
    sources: HashMap<Source, Record>,
    /// What is left for doubted sources.
    doubted: Bucket,
    /// Whether so many inits with a cookie wait for control that nothing is left.
    is_behind: bool,
    /// Not before this is a full table looked through.
    sweep_at: Instant,
}

/// A source that shares one rate: an IPv4 address, an IPv6 /64, or, with a rate of its own, the /48 around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    V4([u8; 4]),
    V6Subnet([u8; 8]),
    V6Site([u8; 6]),
}

impl Admission {
    /// Admission with full buckets.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            free: Bucket::full(FREE_BURST, now),
            busy_until: None,
            sources: HashMap::new(),
            doubted: Bucket::full(DOUBTED_BURST, now),
            is_behind: false,
            sweep_at: now,
        }
    }

    /// Decides on an init from `from`. `half_open` is the number of half-open handshakes.
    pub(super) fn admit(
        &mut self,
        from: SocketAddr,
        has_cookie: impl FnOnce() -> bool,
        half_open: usize,
        now: Instant,
    ) -> Verdict {
        let busy = half_open >= BUSY_HALF_OPEN || self.busy_until.is_some_and(|until| now < until);
        if !busy && self.takes_free(now) {
            return Verdict::Answer;
        }
        self.admit_doubtful(from, has_cookie, now)
    }

    /// Decides on a message from `from` as under load.
    pub(super) fn admit_doubtful(
        &mut self,
        from: SocketAddr,
        has_cookie: impl FnOnce() -> bool,
        now: Instant,
    ) -> Verdict {
        if !has_cookie() {
            return Verdict::DemandCookie;
        }
        if self.take_for(from.ip(), now) { Verdict::Answer } else { Verdict::RateLimited }
    }

    fn takes_free(&mut self, now: Instant) -> bool {
        self.free.refill(FREE_INITS_PER_SECOND, FREE_BURST, now);
        self.free.take()
    }

    /// Control found so many inits in its queues: those of strangers, and those with a cookie.
    pub(super) fn note_backlog(&mut self, strangers: usize, reachable: usize, now: Instant) {
        if strangers >= BUSY_BACKLOG {
            self.busy_until = Some(now + BUSY_TIME);
        }
        // Refusing is much faster than answering, so this is over soon, and nobody finds the queue full.
        self.is_behind = reachable >= BUSY_BACKLOG;
    }

    /// A handshake that was answered to `ip` came to its end: nobody from there is doubted.
    pub(super) fn note_finished(&mut self, ip: IpAddr) {
        let (site, own) = Source::of(ip);
        for source in site.into_iter().chain([own]) {
            if let Some(record) = self.sources.get_mut(&source) {
                record.unfinished = None;
            }
        }
    }

    /// Somebody at `ip` finished a handshake as nobody that we know: doubted at once.
    pub(super) fn note_failed(&mut self, ip: IpAddr, now: Instant) {
        let (_, own) = Source::of(ip);
        if let Some(record) = self.sources.get_mut(&own) {
            record.unfinished = Some(Unfinished { since: now, count: MAX_UNFINISHED });
        }
    }

    /// Takes one token of the address, and one of the site around it; neither if one of them has none, so that a subnet
    /// beyond its own rate takes nothing from its neighbours. Where one of the two is doubted, one of what is left for such.
    fn take_for(&mut self, ip: IpAddr, now: Instant) -> bool {
        let (site, own) = Source::of(ip);
        let mut is_doubted = false;
        for source in site.into_iter().chain([own]) {
            let Some(record) = self.record(source, now) else { return false };
            if !record.bucket.has_one() {
                return false;
            }
            is_doubted |= record.is_doubted(source, now);
        }
        if is_doubted {
            self.doubted.refill(DOUBTED_INITS_PER_SECOND, DOUBTED_BURST, now);
            if self.is_behind || !self.doubted.take() {
                return false;
            }
        }
        for source in site.into_iter().chain([own]) {
            if let Some(record) = self.record(source, now) {
                record.note_answered(now);
            }
        }
        true
    }

    /// What is known of `source`, its bucket filled up to `now`; `None` when the table is full of others.
    fn record(&mut self, source: Source, now: Instant) -> Option<&mut Record> {
        if !self.sources.contains_key(&source) && self.sources.len() >= MAX_SOURCES {
            if now < self.sweep_at {
                return None;
            }
            self.sweep_at = now + SWEEP_INTERVAL;
            // What a new record would say as well. If that is not enough: all that is not in the way of a rate.
            self.sources.retain(|source, record| !record.is_idle(source, now) || record.is_remembered(now));
            if self.sources.len() >= MAX_SOURCES {
                self.sources.retain(|source, record| !record.is_idle(source, now));
            }
            if self.sources.len() >= MAX_SOURCES {
                return None;
            }
        }
        let (rate, burst) = source.limits();
        let record = self
            .sources
            .entry(source)
            .or_insert_with(|| Record { bucket: Bucket::full(burst, now), unfinished: None });
        record.bucket.refill(rate, burst, now);
        Some(record)
    }
}

/// What is known of a source.
#[derive(Debug)]
struct Record {
    bucket: Bucket,
    /// The handshakes answered since the last one that was finished.
    unfinished: Option<Unfinished>,
}

#[derive(Clone, Copy, Debug)]
struct Unfinished {
    /// When the first of them was answered.
    since: Instant,
    count: u32,
}

impl Record {
    fn note_answered(&mut self, now: Instant) {
        let _granted = self.bucket.take();
        if !self.is_remembered(now) {
            self.unfinished = None;
        }
        self.unfinished.get_or_insert(Unfinished { since: now, count: 0 }).count += 1;
    }

    fn is_remembered(&self, now: Instant) -> bool {
        self.unfinished.is_some_and(|unfinished| now < unfinished.since + DOUBT_TIME)
    }

    /// Whether `source` takes answers and does not finish. A site has many customers: one of them alone says little.
    fn is_doubted(&self, source: Source, now: Instant) -> bool {
        let Some(Unfinished { since, count }) = self.unfinished.filter(|_| self.is_remembered(now)) else {
            return false;
        };
        match source {
            Source::V4(_) | Source::V6Subnet(_) => count >= MAX_UNFINISHED || now >= since + FINISH_GRACE,
            Source::V6Site(_) => count >= SUBNETS_PER_SITE * MAX_UNFINISHED,
        }
    }

    /// Whether its bucket is full.
    fn is_idle(&mut self, source: &Source, now: Instant) -> bool {
        let (rate, burst) = source.limits();
        self.bucket.is_full(rate, burst, now)
    }
}

impl Source {
    /// The source that an address is, and the site around it.
    fn of(ip: IpAddr) -> (Option<Self>, Self) {
        match ip.to_canonical() {
            IpAddr::V4(ip) => (None, Self::V4(ip.octets())),
            IpAddr::V6(ip) => {
                let octets = ip.octets();
                let site = octets.first_chunk().map(|prefix| Self::V6Site(*prefix));
                (site, Self::V6Subnet(*octets.first_chunk().expect("an address is 16 bytes")))
            }
        }
    }

    /// Inits per second, and at once.
    const fn limits(&self) -> (u32, u32) {
        match self {
            Self::V4(_) | Self::V6Subnet(_) => (SOURCE_INITS_PER_SECOND, SOURCE_BURST),
            Self::V6Site(_) => (SUBNETS_PER_SITE * SOURCE_INITS_PER_SECOND, SUBNETS_PER_SITE * SOURCE_BURST),
        }
    }
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Bucket {
    fn full(burst: u32, now: Instant) -> Self {
        Self { tokens: f64::from(burst), at: now }
    }

    fn refill(&mut self, rate: u32, burst: u32, now: Instant) {
        let elapsed: Duration = now.saturating_duration_since(self.at);
        self.tokens = (self.tokens + elapsed.as_secs_f64() * f64::from(rate)).min(f64::from(burst));
        self.at = self.at.max(now);
    }

    fn has_one(&self) -> bool {
        self.tokens >= 1.0
    }

    fn take(&mut self) -> bool {
        let granted = self.has_one();
        if granted {
            self.tokens -= 1.0;
        }
        granted
    }

    fn is_full(&mut self, rate: u32, burst: u32, now: Instant) -> bool {
        self.refill(rate, burst, now);
        self.tokens >= f64::from(burst)
    }
}

#[cfg(test)]
mod storm;

#[cfg(test)]
mod tests {
    use super::{storm::Flood, *};
    use std::net::{Ipv4Addr, Ipv6Addr};

    fn v4(n: u32) -> SocketAddr {
        (Ipv4Addr::from(0x0a00_0000 + n), 1).into()
    }

    #[test]
    fn a_flood_is_asked_for_cookies_and_quiet_returns() {
        let now = Instant::now();
        let mut admission = Admission::new(now);
        let answered =
            (0..5000).filter(|n| admission.admit(v4(*n), || false, 0, now) == Verdict::Answer).count();
        assert_eq!(answered, FREE_BURST as usize);
        assert_eq!(admission.admit(v4(1), || false, 0, now), Verdict::DemandCookie);
        assert_eq!(admission.admit(v4(1), || false, 0, now + Duration::from_secs(1)), Verdict::Answer);
    }

    #[test]
    fn many_half_open_handshakes_demand_cookies_even_when_slow() {
        let now = Instant::now();
        let mut admission = Admission::new(now);
        assert_eq!(admission.admit(v4(1), || false, BUSY_HALF_OPEN, now), Verdict::DemandCookie);
        assert_eq!(admission.admit(v4(1), || true, BUSY_HALF_OPEN, now), Verdict::Answer);
    }

    #[test]
    fn one_source_that_finishes_is_limited_and_an_ipv6_64_is_one_source() {
        let now = Instant::now();
        let mut admission = Admission::new(now);
        let from = |host: u16| (Ipv6Addr::new(0x2001, 0xdb8, 0, 1, host, 0, 0, host), 5).into();
        let answered = (0..500)
            .filter(|host| {
                admission.note_finished(SocketAddr::ip(&from(*host)));
                admission.admit(from(*host), || true, BUSY_HALF_OPEN, now) == Verdict::Answer
            })
            .count();
        assert_eq!(answered, SOURCE_BURST as usize);
        assert_eq!(admission.admit(v4(1), || true, BUSY_HALF_OPEN, now), Verdict::Answer, "another source");
    }

    #[test]
    fn a_site_with_many_subnets_is_limited_as_a_whole() {
        let now = Instant::now();
        let mut admission = Admission::new(now);
        let from = |subnet: u16| (Ipv6Addr::new(0x2001, 0xdb8, 7, subnet, 0, 0, 0, 1), 5).into();
        let answered = (0..5000)
            .filter(|subnet| {
                admission.note_finished(SocketAddr::ip(&from(*subnet)));
                admission.admit(from(*subnet), || true, BUSY_HALF_OPEN, now) == Verdict::Answer
            })
            .count();
        assert_eq!(answered, (SUBNETS_PER_SITE * SOURCE_BURST) as usize);
        assert_eq!(admission.sources.len(), answered + 1, "what is refused is not remembered");
    }

    #[test]
    fn a_backlog_demands_cookies_for_a_second() {
        let now = Instant::now();
        let mut admission = Admission::new(now);
        admission.note_backlog(BUSY_BACKLOG - 1, 0, now);
        assert_eq!(admission.admit(v4(1), || false, 0, now), Verdict::Answer);
        admission.note_backlog(BUSY_BACKLOG, 0, now);
        assert_eq!(admission.admit(v4(1), || false, 0, now), Verdict::DemandCookie);
        assert_eq!(admission.admit(v4(1), || true, 0, now), Verdict::Answer);
        assert_eq!(admission.admit(v4(1), || false, 0, now + BUSY_TIME), Verdict::Answer);
    }

    #[test]
    fn a_source_that_finishes_nothing_is_doubted_until_it_does() {
        let now = Instant::now();
        let mut admission = Admission::new(now);
        let answered = |admission: &mut Admission, source, at| {
            admission.admit(v4(source), || true, BUSY_HALF_OPEN, at) == Verdict::Answer
        };
        // What is left for doubted sources is taken by others.
        for source in 100..100 + DOUBTED_BURST {
            assert!(answered(&mut admission, source, now));
            admission.note_failed(v4(source).ip(), now);
            assert!(answered(&mut admission, source, now), "a doubted source has its share of what is left");
        }
        assert!((0..MAX_UNFINISHED).all(|_| answered(&mut admission, 1, now)));
        assert!(!answered(&mut admission, 1, now), "as many at once as a few devices behind one address");
        admission.note_finished(v4(1).ip());
        assert!(answered(&mut admission, 1, now));
        assert!(answered(&mut admission, 2, now));
        let spent = |admission: &mut Admission, at| {
            admission.doubted = Bucket { tokens: 0.0, at };
        };
        let late = now + FINISH_GRACE;
        spent(&mut admission, late);
        assert!(!answered(&mut admission, 2, late), "no finish came for a second");
        assert!(answered(&mut admission, 3, late), "a source that owes nothing");
        let forgiven = now + DOUBT_TIME;
        spent(&mut admission, forgiven);
        assert!(answered(&mut admission, 2, forgiven));
    }

    #[test]
    fn subnets_of_one_site_that_finish_nothing_are_doubted_together() {
        let now = Instant::now();
        let mut admission = Admission::new(now);
        admission.doubted = Bucket { tokens: 0.0, at: now };
        let from = |subnet: u16| (Ipv6Addr::new(0x2001, 0xdb8, 7, subnet, 0, 0, 0, 1), 5).into();
        let answered = (0..200)
            .filter(|subnet| admission.admit(from(*subnet), || true, BUSY_HALF_OPEN, now) == Verdict::Answer)
            .count();
        assert_eq!(answered, (SUBNETS_PER_SITE * MAX_UNFINISHED) as usize);
    }

    #[test]
    fn the_table_of_sources_is_bounded_and_recovers() {
        let now = Instant::now();
        let mut admission = Admission::new(now);
        for n in 0..MAX_SOURCES as u32 + 100 {
            admission.admit(v4(n), || true, BUSY_HALF_OPEN, now);
        }
        assert_eq!(admission.sources.len(), MAX_SOURCES);
        assert_eq!(admission.admit(v4(1 << 20), || true, BUSY_HALF_OPEN, now), Verdict::RateLimited);
        let later = now + Duration::from_secs(2);
        assert_eq!(admission.admit(v4(1 << 20), || true, BUSY_HALF_OPEN, later), Verdict::Answer);
        assert_eq!(admission.sources.len(), 1, "even those that are doubted give way to a newcomer");
    }

    /// The time that 95 of 100 honest clients stay below.
    fn p95(times: &[Duration]) -> Duration {
        times[times.len() * 95 / 100]
    }

    #[test]
    fn sources_that_return_cookies_and_finish_nothing_hold_nobody_up() {
        for (sources, inits_per_second, capacity) in
            [(300, 8_000, 4_000), (16_000, 8_000, 3_000), (16_000, 16_000, 4_000), (1_600, 1_000, 400)]
        {
            let flood = Flood { sources, inits_per_second, capacity };
            let p95 = p95(&flood.waiting_times(8..12, Instant::now()));
            assert!(p95 < Duration::from_millis(200), "{sources} at {inits_per_second}/s: {p95:?}");
        }
    }

    #[test]
    fn a_flood_whose_sources_are_not_known_yet_is_over_before_it_holds_many_up() {
        let flood = Flood { sources: 16_000, inits_per_second: 8_000, capacity: 5_000 };
        let p95 = p95(&flood.waiting_times(0..15, Instant::now()));
        assert!(p95 < Duration::from_secs(1), "{p95:?}");
    }
}
