//! Which strangers get public-key work done (protocol.md 5.3): cookies under load, then a rate per source.

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
/// Half-open handshakes from which on cookies are demanded; an eighth of the table.
const BUSY_HALF_OPEN: usize = super::MAX_HALF_OPEN / 8;
/// Inits per second that one source may have answered once cookies are demanded.
const SOURCE_INITS_PER_SECOND: u32 = 20;
/// Inits at once of one source: several devices behind one address, each trying twice.
const SOURCE_BURST: u32 = 40;
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
    sources: HashMap<Source, Bucket>,
    /// Not before this is a full table looked through.
    sweep_at: Instant,
}

/// A source that shares one rate: an IPv4 address or an IPv6 /64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Admission {
    /// Admission with full buckets.
    pub(super) fn new(now: Instant) -> Self {
        Self { free: Bucket::full(FREE_BURST, now), sources: HashMap::new(), sweep_at: now }
    }

    /// Decides on an init from `from`. `half_open` is the number of half-open handshakes.
    pub(super) fn admit(
        &mut self,
        from: SocketAddr,
        has_cookie: impl FnOnce() -> bool,
        half_open: usize,
        now: Instant,
    ) -> Verdict {
        let busy = half_open >= BUSY_HALF_OPEN;
        if !busy && self.free.take(FREE_INITS_PER_SECOND, FREE_BURST, now) {
            return Verdict::Answer;
        }
        if !has_cookie() {
            return Verdict::DemandCookie;
        }
        let source = Source::of(from.ip());
        if !self.sources.contains_key(&source) && self.sources.len() >= MAX_SOURCES {
            if now < self.sweep_at {
                return Verdict::RateLimited;
            }
            self.sweep_at = now + SWEEP_INTERVAL;
            // Full buckets say nothing that a new one would not.
            self.sources.retain(|_, bucket| !bucket.is_full(SOURCE_INITS_PER_SECOND, SOURCE_BURST, now));
            if self.sources.len() >= MAX_SOURCES {
                return Verdict::RateLimited;
            }
        }
        let bucket = self.sources.entry(source).or_insert_with(|| Bucket::full(SOURCE_BURST, now));
        if bucket.take(SOURCE_INITS_PER_SECOND, SOURCE_BURST, now) {
            Verdict::Answer
        } else {
            Verdict::RateLimited
        }
    }
}

impl Source {
    fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(ip) => Self::V4(ip.octets()),
            IpAddr::V6(ip) => Self::V6(*ip.octets().first_chunk().expect("an address is 16 bytes")),
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

    fn take(&mut self, rate: u32, burst: u32, now: Instant) -> bool {
        self.refill(rate, burst, now);
        let granted = self.tokens >= 1.0;
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
