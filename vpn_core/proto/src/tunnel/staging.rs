//! Packets that wait for a keypair.

use crate::{base::PeerId, wire::icmp::IcmpError};
use std::collections::VecDeque;

/// Packets that wait for one peer at the most; the oldest gives way. Bounds memory per silent peer.
pub const MAX_STAGED_PACKETS: usize = 128;
/// Bytes that wait for all peers of a device together at the most, however many peers are silent.
pub const MAX_STAGED_BYTES: usize = 32 << 20;

/// Packets that were given up and wait for their senders to be told, at the most. More senders are not told at once
/// anyway, nor are these worth memory.
const MAX_UNDELIVERED: usize = 128;

/// A packet that waits for a keypair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedPacket {
    /// The packet.
    pub bytes: Vec<u8>,
    /// Which peer it came from; `None` for the local system.
    pub from: Option<PeerId>,
}

impl StagedPacket {
    /// A packet of the local system.
    pub const fn local(bytes: Vec<u8>) -> Self {
        Self { bytes, from: None }
    }
}

/// Packets of a device that were given up, and why, oldest first.
#[derive(Debug, Default)]
pub struct Undelivered(VecDeque<(StagedPacket, IcmpError)>);

impl Undelivered {
    pub(super) fn push(&mut self, packet: StagedPacket, error: IcmpError) {
        if self.0.len() < MAX_UNDELIVERED {
            self.0.push_back((packet, error));
        }
    }

    /// The oldest.
    pub fn pop(&mut self) -> Option<(StagedPacket, IcmpError)> {
        self.0.pop_front()
    }
}

/// The bytes staged on a device.
#[derive(Debug, Default)]
pub struct StagingBudget {
    used: usize,
}

/// One peer's staged packets, oldest first.
#[derive(Debug, Default)]
pub(super) struct Staging {
    packets: VecDeque<StagedPacket>,
}

impl Staging {
    /// Takes `packet`; answers how many packets were dropped for it (possibly itself).
    pub(super) fn push(&mut self, packet: StagedPacket, budget: &mut StagingBudget) -> u64 {
        let (mut dropped, len) = (0, packet.bytes.len());
        while self.packets.len() >= MAX_STAGED_PACKETS
            || (budget.used + len > MAX_STAGED_BYTES && !self.packets.is_empty())
        {
            self.pop(budget);
            dropped += 1;
        }
        if budget.used + len > MAX_STAGED_BYTES {
            return dropped + 1;
        }
        budget.used += len;
        self.packets.push_back(packet);
        dropped
    }

    /// The oldest packet.
    pub(super) fn pop(&mut self, budget: &mut StagingBudget) -> Option<StagedPacket> {
        let packet = self.packets.pop_front()?;
        budget.used -= packet.bytes.len();
        Some(packet)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.packets.is_empty()
    }

    /// Takes all of them.
    pub(super) fn drain(&mut self, budget: &mut StagingBudget) -> Vec<StagedPacket> {
        core::iter::from_fn(|| self.pop(budget)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(first: u8) -> StagedPacket {
        StagedPacket::local(vec![first; 100])
    }

    #[test]
    fn packets_that_were_given_up_are_bounded() {
        let mut undelivered = Undelivered::default();
        for _ in 0..10 * MAX_UNDELIVERED {
            undelivered.push(packet(0), IcmpError::Unreachable);
        }
        assert_eq!(core::iter::from_fn(|| undelivered.pop()).count(), MAX_UNDELIVERED);
    }

    #[test]
    fn the_oldest_packet_gives_way_and_the_budget_balances() {
        let (mut staging, mut budget) = (Staging::default(), StagingBudget::default());
        for n in 0..MAX_STAGED_PACKETS {
            assert_eq!(staging.push(packet(n as u8), &mut budget), 0);
        }
        assert_eq!(staging.push(packet(200), &mut budget), 1);
        assert_eq!(staging.pop(&mut budget).expect("full").bytes[0], 1);
        assert_eq!(staging.drain(&mut budget).len(), MAX_STAGED_PACKETS - 1);
        assert_eq!(budget.used, 0);
    }

    #[test]
    fn many_silent_peers_share_one_bound() {
        let mut budget = StagingBudget::default();
        let packet = StagedPacket::local(vec![0; 1 << 16]);
        let mut peers: Vec<Staging> = (0..64).map(|_| Staging::default()).collect();
        for _ in 0..20 {
            for peer in &mut peers {
                peer.push(packet.clone(), &mut budget);
                assert!(budget.used <= MAX_STAGED_BYTES);
            }
        }
        for peer in &mut peers {
            drop(peer.drain(&mut budget));
        }
        assert_eq!(budget.used, 0);
    }
}
