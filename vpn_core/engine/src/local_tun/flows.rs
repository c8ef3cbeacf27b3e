//! The flows of one batch, and the run that each may still extend.

use crate::wire::layout::{IpVersion, Layout};

/// Runs that may grow at the same time. At the bound the oldest one is closed, which costs a write, not an order.
const MAX_OPEN_FLOWS: usize = 16; // a batch holds some 45 packets of a bulk flow; more flows give short runs anyhow

/// What the packets of a flow have in common: addresses, ports, protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FlowKey {
    hosts: Hosts,
    ports: [u8; 4],
    protocol: u8,
}

/// Source and destination address; IPv4 padded with zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hosts {
    addresses: [u8; 32],
    version: u8,
}

impl Hosts {
    /// Of an IP packet of any protocol; `None` when it is shorter than an IP header.
    pub(super) fn of(packet: &[u8]) -> Option<Self> {
        let version = packet.first()? >> 4;
        let found = match version {
            4 => packet.get(12..20)?,
            6 => packet.get(8..40)?,
            _ => return None,
        };
        let mut addresses = [0; 32];
        addresses[..found.len()].copy_from_slice(found);
        Some(Self { addresses, version })
    }
}

impl FlowKey {
    /// Of a packet with the given layout.
    pub(super) fn of(packet: &[u8], layout: &Layout) -> Self {
        let (range, version) = match layout.version {
            IpVersion::V4 => (12..20, 4),
            IpVersion::V6 => (8..40, 6),
        };
        let mut addresses = [0; 32];
        addresses[..range.len()].copy_from_slice(&packet[range]);
        let mut ports = [0; 4];
        ports.copy_from_slice(&packet[layout.l4_start..layout.l4_start + 4]);
        Self { hosts: Hosts { addresses, version }, ports, protocol: layout.l4.protocol() }
    }
}

/// Which item of the batch each flow may still extend; a flow without an entry begins a new one.
#[derive(Debug)]
pub(super) struct OpenFlows {
    entries: [Option<(FlowKey, usize)>; MAX_OPEN_FLOWS],
    /// The entry to replace next when all are taken.
    oldest: usize,
}

impl OpenFlows {
    pub(super) const fn new() -> Self {
        Self { entries: [None; MAX_OPEN_FLOWS], oldest: 0 }
    }

    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }

    /// The item that a packet of this flow may extend.
    pub(super) fn get(&self, key: &FlowKey) -> Option<usize> {
        self.entries.iter().flatten().find(|(open, _)| open == key).map(|(_, item)| *item)
    }

    /// Makes `item` the newest of the flow.
    pub(super) fn open(&mut self, key: FlowKey, item: usize) {
        let taken = self.entries.iter().position(|entry| entry.is_some_and(|(open, _)| open == key));
        let slot = taken.or_else(|| self.entries.iter().position(Option::is_none)).unwrap_or_else(|| {
            let oldest = self.oldest;
            self.oldest = (oldest + 1) % MAX_OPEN_FLOWS;
            oldest
        });
        self.entries[slot] = Some((key, item));
    }

    /// Ends the run of a flow: nothing may be added before what comes now.
    pub(super) fn close(&mut self, key: &FlowKey) {
        self.close_where(|open| open == key);
    }

    /// Ends the runs of all flows between two hosts.
    pub(super) fn close_hosts(&mut self, hosts: &Hosts) {
        self.close_where(|open| open.hosts == *hosts);
    }

    fn close_where(&mut self, matches: impl Fn(&FlowKey) -> bool) {
        for entry in &mut self.entries {
            if entry.is_some_and(|(open, _)| matches(&open)) {
                *entry = None;
            }
        }
    }
}
