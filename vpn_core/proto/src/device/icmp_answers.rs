//! Answers to packets that go no further: too long for the path of their peer, or for nobody.

use crate::wire::icmp::{IcmpError, MAX_ANSWER, icmp_error};
use std::time::{Duration, Instant};

/// Answers of a kind at once, and how many a second: a sender needs one for each of its flows.
const BURST: u32 = 64;
const PAUSE: Duration = Duration::from_millis(10); // 100 a second; Linux allows itself 1000

/// One thread's answers.
#[derive(Debug)]
pub struct IcmpAnswers {
    buffer: Box<[u8; MAX_ANSWER]>,
    /// Kinds have limits of their own: who scans for addresses must not hide from others how long packets may be.
    too_big: Limit,
    unreachable: Limit,
}

impl Default for IcmpAnswers {
    fn default() -> Self {
        let limit = Limit { left: BURST, counted: None };
        Self { buffer: Box::new([0; MAX_ANSWER]), too_big: limit, unreachable: limit }
    }
}

impl IcmpAnswers {
    /// The packet that tells the sender of `packet`, checksums in place, of `error`; for whoever `packet` came from.
    /// `None` where nobody is to be told, or too many were.
    pub fn to(&mut self, packet: &[u8], error: IcmpError, now: Instant) -> Option<&mut [u8]> {
        let len = icmp_error(packet, error, &mut self.buffer)?;
        let limit = match error {
            IcmpError::TooBig { .. } => &mut self.too_big,
            IcmpError::Unreachable => &mut self.unreachable,
        };
        limit.take(now)?; // Last: what nobody is told of takes nobody's place.
        Some(&mut self.buffer[..len])
    }
}

/// A token bucket.
#[derive(Clone, Copy, Debug)]
struct Limit {
    left: u32,
    /// Up to when `left` is counted.
    counted: Option<Instant>,
}

impl Limit {
    fn take(&mut self, now: Instant) -> Option<()> {
        self.refill(now);
        self.left = self.left.checked_sub(1)?;
        Some(())
    }

    fn refill(&mut self, now: Instant) {
        let counted = self.counted.get_or_insert(now);
        let pauses = now.saturating_duration_since(*counted).as_millis() / PAUSE.as_millis();
        let pauses = u32::try_from(pauses).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(pauses).min(BURST);
        *counted += PAUSE * pauses.min(BURST);
        if pauses > BURST {
            *counted = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOO_BIG: IcmpError = IcmpError::TooBig { mtu: 68 };

    #[test]
    fn what_nobody_is_told_of_takes_nobodys_place() {
        let mut packet = [0; 100];
        packet[..20]
            .copy_from_slice(&[0x45, 0, 0, 100, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 224, 0, 0, 2]);
        let (mut answers, now) = (IcmpAnswers::default(), Instant::now());
        assert!((0..100).all(|_| answers.to(&packet, TOO_BIG, now).is_none()), "for many");
        packet[16] = 10;
        assert!(answers.to(&packet, TOO_BIG, now).is_some());
    }

    #[test]
    fn answers_are_limited_and_come_back_with_time() {
        let mut packet = [0; 100];
        packet[..20]
            .copy_from_slice(&[0x45, 0, 0, 100, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let (mut answers, start) = (IcmpAnswers::default(), Instant::now());
        let mut given =
            |now: Instant| (0..1000).filter(|_| answers.to(&packet, TOO_BIG, now).is_some()).count();
        assert_eq!(given(start), 64);
        assert_eq!(given(start + Duration::from_millis(9)), 0);
        assert_eq!(given(start + Duration::from_millis(35)), 3);
        assert_eq!(given(start + Duration::from_millis(40)), 1, "what is left of a pause counts");
        assert_eq!(given(start + Duration::from_secs(3600)), 64);
    }

    #[test]
    fn who_scans_for_addresses_takes_no_answer_about_lengths() {
        let mut packet = [0; 100];
        packet[..20]
            .copy_from_slice(&[0x45, 0, 0, 100, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let (mut answers, now) = (IcmpAnswers::default(), Instant::now());
        let scan = (0..1000).filter(|_| answers.to(&packet, IcmpError::Unreachable, now).is_some());
        assert_eq!(scan.count(), 64);
        assert!(answers.to(&packet, TOO_BIG, now).is_some());
    }
}
