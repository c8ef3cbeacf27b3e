//! The downlink's way into the TUN device: coalesces a batch of packets and writes it.

use super::{
    coalesce::{Coalescer, Item, MAX_RUN, Mergeable},
    vnet::{FrameFormat, Offloads, VNET_HEADER_SIZE, VnetHeader},
};
use crate::wire::{
    layout::{Layout, put_u16},
    payload::{Checksum, InnerPacket},
};
use std::io::{self, IoSlice};
use zerocopy::IntoBytes;

/// Packets of a batch for which memory is reserved at the start.
const EXPECTED_BATCH: usize = 1024; // more only grows the memory once

/// Slices of one write: the `virtio_net_hdr`, the first packet, the payloads of the others.
const MAX_SLICES: usize = 1 + MAX_RUN;

/// The longest headers that can begin a run: IPv6 and TCP with all options.
const MAX_RUN_HEADERS: usize = 40 + 60;

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteReport {
    /// Packets that the kernel took.
    pub written: usize,
    /// Packets that the kernel refused (the interface is down, a malformed packet) or that lie outside the arena.
    pub dropped: usize,
    /// System calls: fewer than packets where runs were coalesced.
    pub writes: usize,
}

/// Writes batches of packets to a TUN queue; one per thread that serves it. It owns its memory: nothing is allocated or
/// locked per packet.
#[derive(Debug)]
pub struct TunWriter {
    coalescer: Coalescer,
    /// Super-packets that this kernel has taken so far; one that it refuses switches its kind off.
    accepted: Mergeable,
}

impl Default for TunWriter {
    fn default() -> Self {
        Self::new()
    }
}

impl super::TunQueue {
    /// Writes one packet, all checksums in place. For the few that are made here: a batch goes through [`TunWriter`].
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        let header = [0; VNET_HEADER_SIZE]; // nothing left out, one segment
        let header = &header[..self.format().header_size()];
        self.write_frame(&[IoSlice::new(header), IoSlice::new(packet)]).map(drop)
    }
}

impl TunWriter {
    /// A writer that tries every kind of super-packet that its queue was opened for.
    pub fn new() -> Self {
        Self {
            coalescer: Coalescer::with_capacity(EXPECTED_BATCH),
            accepted: Mergeable { tcp: true, udp: true },
        }
    }

    /// Writes `packets`, which lie in `arena`, in the order of arrival within each flow. Runs of a flow become one write;
    /// headers in `arena` are overwritten. A checksum that was left out is partial for the kernel, or computed where the
    /// device cannot say so. A packet that the kernel refuses is counted and does not hold up the others.
    pub fn write_packets(
        &mut self,
        tun: &super::TunQueue,
        arena: &mut [u8],
        packets: &[InnerPacket],
    ) -> WriteReport {
        let offloads = tun.offloads_in_force();
        let report =
            self.write_to(tun.format(), offloads, arena, packets, &mut |slices| tun.write_frame(slices));
        tun.note_accepted(self.accepted);
        report
    }

    /// Writes as `write_packets` does, to anything that takes frames: `sink` gets all slices of one at once and returns the
    /// bytes that it took.
    pub fn write_to(
        &mut self,
        format: FrameFormat,
        offloads: Offloads,
        arena: &mut [u8],
        packets: &[InnerPacket],
        sink: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> WriteReport {
        let with_header = format == FrameFormat::VnetHeader;
        let mergeable = Mergeable {
            tcp: with_header && offloads.tcp && self.accepted.tcp,
            udp: with_header && offloads.udp && self.accepted.udp,
        };
        self.coalescer.group(arena, packets, mergeable);
        let mut report = WriteReport::default();
        for index in 0..self.coalescer.items() {
            let item = self.coalescer.item(index);
            match item.run_is_tcp() {
                None => self.write_singles(&item, format, arena, packets, sink, &mut report),
                Some(tcp) => self.write_run(&item, tcp, arena, packets, sink, &mut report),
            }
        }
        report
    }

    fn write_run(
        &mut self,
        item: &Item,
        tcp: bool,
        arena: &mut [u8],
        packets: &[InnerPacket],
        sink: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
        report: &mut WriteReport,
    ) {
        let Some(first) = self.coalescer.packets_of(item).next().map(|index| packets[index].range.clone())
        else {
            return;
        };
        let header_len = item.header_len();
        let headers = first.start..first.start + header_len;
        let mut saved = [0; MAX_RUN_HEADERS];
        saved[..header_len].copy_from_slice(&arena[headers.clone()]);
        let vnet = item.write_headers(&mut arena[first.clone()]);

        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        slices[0] = IoSlice::new(vnet.as_bytes());
        slices[1] = IoSlice::new(&arena[first]);
        for (slice, index) in slices[2..].iter_mut().zip(self.coalescer.packets_of(item).skip(1)) {
            let InnerPacket { range, .. } = &packets[index];
            *slice = IoSlice::new(&arena[range.start + header_len..range.end]);
        }
        report.writes += 1;
        let outcome = sink(&slices[..=item.count]);
        match outcome {
            Ok(_) => report.written += item.count,
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                arena[headers].copy_from_slice(&saved[..header_len]);
                let written = report.written;
                self.write_singles(item, FrameFormat::VnetHeader, arena, packets, sink, report);
                // What the kernel takes one by one but not as a whole shows that it lacks this kind of GSO.
                if report.written == written + item.count {
                    let accepted = if tcp { &mut self.accepted.tcp } else { &mut self.accepted.udp };
                    *accepted = false;
                }
            }
            Err(_) => report.dropped += item.count,
        }
    }

    fn write_singles(
        &self,
        item: &Item,
        format: FrameFormat,
        arena: &mut [u8],
        packets: &[InnerPacket],
        sink: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
        report: &mut WriteReport,
    ) {
        for index in self.coalescer.packets_of(item) {
            let InnerPacket { range, checksum } = &packets[index];
            let Some(packet) = arena.get_mut(range.clone()).filter(|packet| !packet.is_empty()) else {
                report.dropped += 1;
                continue;
            };
            let vnet = single_header(packet, *checksum, format);
            let slices = [IoSlice::new(&vnet.as_bytes()[..format.header_size()]), IoSlice::new(packet)];
            report.writes += 1;
            match sink(&slices) {
                Ok(_) => report.written += 1,
                Err(_) => report.dropped += 1,
            }
        }
    }
}

/// Makes `packet` fit for a write of its own, and answers what to write before it where the format has room for that.
fn single_header(packet: &mut [u8], checksum: Checksum, format: FrameFormat) -> VnetHeader {
    match (checksum, format) {
        (Checksum::AsIs, _) => VnetHeader::default(),
        (Checksum::LeftOut, FrameFormat::Plain) => {
            checksum.complete(packet);
            VnetHeader::default()
        }
        (Checksum::LeftOut, FrameFormat::VnetHeader) => {
            // Without a layout nothing can have been left out.
            let Ok(layout) = Layout::parse(packet) else { return VnetHeader::default() };
            let partial = layout.pseudo_header_sum(packet);
            put_u16(packet, layout.checksum_field(), partial);
            VnetHeader::partial(&layout)
        }
    }
}

#[cfg(test)]
mod tests;
