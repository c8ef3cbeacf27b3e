//! Packets that wait for a keypair.

use std::collections::VecDeque;

/// Packets that wait for one peer at the most; the oldest gives way. Bounds memory per silent peer.
pub const MAX_STAGED_PACKETS: usize = 128;
/// Bytes that wait for all peers of a device together at the most, however many peers are silent.
pub const MAX_STAGED_BYTES: usize = 32 << 20;

/// The bytes staged on a device.
#[derive(Debug, Default)]
pub struct StagingBudget {
    used: usize,
}

/// One peer's staged packets, oldest first.
#[derive(Debug, Default)]
pub(super) struct Staging {
    packets: VecDeque<Vec<u8>>,
}

impl Staging {
    /// Takes `packet`; answers how many packets were dropped for it (possibly itself).
    pub(super) fn push(&mut self, packet: &[u8], budget: &mut StagingBudget) -> u64 {
        let mut dropped = 0;
        while self.packets.len() >= MAX_STAGED_PACKETS
            || (budget.used + packet.len() > MAX_STAGED_BYTES && !self.packets.is_empty())
        {
            self.pop(budget);
            dropped += 1;
        }
        if budget.used + packet.len() > MAX_STAGED_BYTES {
            return dropped + 1;
        }
        budget.used += packet.len();
        self.packets.push_back(packet.to_vec());
        dropped
    }

    /// The oldest packet.
    pub(super) fn pop(&mut self, budget: &mut StagingBudget) -> Option<Vec<u8>> {
        let packet = self.packets.pop_front()?;
        budget.used -= packet.len();
        Some(packet)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Drops all of them; answers how many.
    pub(super) fn clear(&mut self, budget: &mut StagingBudget) -> u64 {
        core::iter::from_fn(|| self.pop(budget)).count() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_packet_gives_way_and_the_budget_balances() {
        let (mut staging, mut budget) = (Staging::default(), StagingBudget::default());
        for n in 0..MAX_STAGED_PACKETS {
            assert_eq!(staging.push(&[n as u8; 100], &mut budget), 0);
        }
        assert_eq!(staging.push(&[200; 100], &mut budget), 1);
        assert_eq!(staging.pop(&mut budget).expect("full")[0], 1);
        assert_eq!(staging.clear(&mut budget), MAX_STAGED_PACKETS as u64 - 1);
        assert_eq!(budget.used, 0);
    }

    #[test]
    fn many_silent_peers_share_one_bound() {
        let mut budget = StagingBudget::default();
        let packet = vec![0; 1 << 16];
        let mut peers: Vec<Staging> = (0..64).map(|_| Staging::default()).collect();
        for _ in 0..20 {
            for peer in &mut peers {
                peer.push(&packet, &mut budget);
                assert!(budget.used <= MAX_STAGED_BYTES);
            }
        }
        for peer in &mut peers {
            peer.clear(&mut budget);
        }
        assert_eq!(budget.used, 0);
    }
}
