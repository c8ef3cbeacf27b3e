//! Answers to packets that are too long for the path of their peer.

use crate::wire::icmp::{MAX_ANSWER, packet_too_big};
use std::time::{Duration, Instant};

/// Answers at once, and how many a second: a sender needs one for each of its flows.
const BURST: u32 = 64;
const PAUSE: Duration = Duration::from_millis(10); // 100 a second; Linux allows itself 1000

/// One thread's answers.
#[derive(Debug)]
pub struct TooBigAnswers {
    buffer: Box<[u8; MAX_ANSWER]>,
    left: u32,
    /// Up to when `left` is counted.
    counted: Option<Instant>,
}

impl Default for TooBigAnswers {
    fn default() -> Self {
        Self { buffer: Box::new([0; MAX_ANSWER]), left: BURST, counted: None }
    }
}

impl TooBigAnswers {
    /// The packet that tells the sender of `packet`, checksums in place, that it may be `mtu` bytes long; for whoever
    /// `packet` came from. `None` where nobody is to be told, or too many were.
    pub fn to(&mut self, packet: &[u8], mtu: u16, now: Instant) -> Option<&mut [u8]> {
        let len = packet_too_big(packet, mtu, &mut self.buffer)?;
        self.refill(now);
        self.left = self.left.checked_sub(1)?; // Last: what nobody is told of takes nobody's place.
        Some(&mut self.buffer[..len])
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

    #[test]
    fn what_nobody_is_told_of_takes_nobodys_place() {
        let mut packet = [0; 100];
        packet[..20]
            .copy_from_slice(&[0x45, 0, 0, 100, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 224, 0, 0, 2]);
        let (mut answers, now) = (TooBigAnswers::default(), Instant::now());
        assert!((0..100).all(|_| answers.to(&packet, 68, now).is_none()), "for many");
        packet[16] = 10;
        assert!(answers.to(&packet, 68, now).is_some());
    }

    #[test]
    fn answers_are_limited_and_come_back_with_time() {
        let mut packet = [0; 100];
        packet[..20]
            .copy_from_slice(&[0x45, 0, 0, 100, 0, 0, 0x40, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        let (mut answers, start) = (TooBigAnswers::default(), Instant::now());
        let mut given = |now: Instant| (0..1000).filter(|_| answers.to(&packet, 68, now).is_some()).count();
        assert_eq!(given(start), 64);
        assert_eq!(given(start + Duration::from_millis(9)), 0);
        assert_eq!(given(start + Duration::from_millis(35)), 3);
        assert_eq!(given(start + Duration::from_millis(40)), 1, "what is left of a pause counts");
        assert_eq!(given(start + Duration::from_secs(3600)), 64);
    }
}
