//! Which strangers get public-key work done (protocol.md 5.3): cookies under load, then a rate per source.

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
/// Inits that wait for control from which on cookies are demanded, and for how long after they were seen.
const BUSY_BACKLOG: usize = 64;
const BUSY_TIME: Duration = Duration::from_secs(1);
/// Sources remembered; bounds the memory that a stranger can take. Only addresses that answered with a cookie enter.
const MAX_SOURCES: usize = 16_384;

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
    sources: HashMap<Source, Bucket>,
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
        Self { free: Bucket::full(FREE_BURST, now), busy_until: None, sources: HashMap::new(), sweep_at: now }
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

    /// Control found `waiting` inits in its queue.
    pub(super) fn note_backlog(&mut self, waiting: usize, now: Instant) {
        if waiting >= BUSY_BACKLOG {
            self.busy_until = Some(now + BUSY_TIME);
        }
    }

    /// Takes one token of the address, and one of the site around it; neither if one of them has none, so that a subnet
    /// beyond its own rate takes nothing from its neighbours.
    fn take_for(&mut self, ip: IpAddr, now: Instant) -> bool {
        let (site, own) = Source::of(ip);
        let site_has_one =
            site.is_none_or(|site| self.bucket(site, now).is_some_and(|bucket| bucket.has_one()));
        if !site_has_one || !self.bucket(own, now).is_some_and(Bucket::take) {
            return false;
        }
        site.is_none_or(|site| self.bucket(site, now).is_some_and(Bucket::take))
    }

    /// The bucket of `source`, filled up to `now`; `None` when the table is full of others.
    fn bucket(&mut self, source: Source, now: Instant) -> Option<&mut Bucket> {
        if !self.sources.contains_key(&source) && self.sources.len() >= MAX_SOURCES {
            if now < self.sweep_at {
                return None;
            }
            self.sweep_at = now + SWEEP_INTERVAL;
            // Full buckets say nothing that a new one would not.
            self.sources.retain(|source, bucket| {
                let (rate, burst) = source.limits();
                !bucket.is_full(rate, burst, now)
            });
            if self.sources.len() >= MAX_SOURCES {
                return None;
            }
        }
        let (rate, burst) = source.limits();
        let bucket = self.sources.entry(source).or_insert_with(|| Bucket::full(burst, now));
        bucket.refill(rate, burst, now);
        Some(bucket)
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
mod tests {
    use super::*;
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
    fn one_source_is_limited_and_an_ipv6_64_is_one_source() {
        let now = Instant::now();
        let mut admission = Admission::new(now);
        let from = |host: u16| (Ipv6Addr::new(0x2001, 0xdb8, 0, 1, host, 0, 0, host), 5).into();
        let answered = (0..500)
            .filter(|host| admission.admit(from(*host), || true, BUSY_HALF_OPEN, now) == Verdict::Answer)
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
            .filter(|subnet| admission.admit(from(*subnet), || true, BUSY_HALF_OPEN, now) == Verdict::Answer)
            .count();
        assert_eq!(answered, (SUBNETS_PER_SITE * SOURCE_BURST) as usize);
        assert_eq!(admission.sources.len(), answered + 1, "what is refused is not remembered");
    }

    #[test]
    fn a_backlog_demands_cookies_for_a_second() {
        let now = Instant::now();
        let mut admission = Admission::new(now);
        admission.note_backlog(BUSY_BACKLOG - 1, now);
        assert_eq!(admission.admit(v4(1), || false, 0, now), Verdict::Answer);
        admission.note_backlog(BUSY_BACKLOG, now);
        assert_eq!(admission.admit(v4(1), || false, 0, now), Verdict::DemandCookie);
        assert_eq!(admission.admit(v4(1), || true, 0, now), Verdict::Answer);
        assert_eq!(admission.admit(v4(1), || false, 0, now + BUSY_TIME), Verdict::Answer);
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
        assert_eq!(admission.sources.len(), 1);
    }
}
