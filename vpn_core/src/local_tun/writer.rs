//! The downlink's way into the TUN device: coalesces a batch of packets and writes it.

use super::{
    coalesce::{Coalescer, Item, MAX_RUN, Mergeable},
    vnet::{FrameFormat, Offloads, VnetHeader},
};
use std::{
    io::{self, IoSlice},
    ops::Range,
};
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

/// Writes batches of packets to a TUN queue; one per downlink thread. It owns its memory: nothing is allocated or
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

impl TunWriter {
    /// A writer that tries every kind of super-packet that its queue was opened for.
    pub fn new() -> Self {
        Self {
            coalescer: Coalescer::with_capacity(EXPECTED_BATCH),
            accepted: Mergeable { tcp: true, udp: true },
        }
    }

    /// Writes `packets`, ranges of `arena` that hold one IP packet each, in the order of arrival within each flow.
    /// Runs of a flow become one write; their headers in `arena` are overwritten. A packet that the kernel refuses
    /// is counted and does not hold up the others.
    #[cfg(target_os = "linux")]
    pub fn write_packets(
        &mut self,
        tun: &super::TunQueue,
        arena: &mut [u8],
        packets: &[Range<usize>],
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
        packets: &[Range<usize>],
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
        packets: &[Range<usize>],
        sink: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
        report: &mut WriteReport,
    ) {
        let Some(first) = self.coalescer.packets_of(item).next().map(|index| packets[index].clone()) else {
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
            *slice = IoSlice::new(&arena[packets[index].start + header_len..packets[index].end]);
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
        arena: &[u8],
        packets: &[Range<usize>],
        sink: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
        report: &mut WriteReport,
    ) {
        let untouched = VnetHeader::default();
        for index in self.coalescer.packets_of(item) {
            let Some(packet) = arena.get(packets[index].clone()).filter(|packet| !packet.is_empty()) else {
                report.dropped += 1;
                continue;
            };
            let slices = [IoSlice::new(&untouched.as_bytes()[..format.header_size()]), IoSlice::new(packet)];
            report.writes += 1;
            match sink(&slices) {
                Ok(_) => report.written += 1,
                Err(_) => report.dropped += 1,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::test_packets::{Spec, is_sound, split},
        *,
    };
    use proptest::prelude::*;

    /// Writes `packets` as one batch; the frames that reached the device, and the report.
    fn write(writer: &mut TunWriter, packets: &[Vec<u8>]) -> (Vec<Vec<u8>>, WriteReport) {
        let mut frames = Vec::new();
        let report = write_with(writer, packets, &mut |slices| {
            frames.push(slices.iter().flat_map(|slice| slice.iter().copied()).collect());
            Ok(0)
        });
        (frames, report)
    }

    fn write_with(
        writer: &mut TunWriter,
        packets: &[Vec<u8>],
        sink: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> WriteReport {
        let mut arena = Vec::new();
        let mut ranges = Vec::new();
        for packet in packets {
            arena.extend([0xee; 16]);
            ranges.push(arena.len()..arena.len() + packet.len());
            arena.extend(packet);
        }
        writer.write_to(FrameFormat::VnetHeader, Offloads::ALL, &mut arena, &ranges, sink)
    }

    fn run_of(first: Spec, sizes: &[usize]) -> Vec<Spec> {
        let mut specs = vec![first];
        for size in sizes {
            let next = specs.last().expect("not empty").following(*size);
            specs.push(next);
        }
        specs
    }

    fn build(specs: &[Spec]) -> Vec<Vec<u8>> {
        specs.iter().map(Spec::build).collect()
    }

    fn frames_of(specs: &[Spec]) -> usize {
        let packets = build(specs);
        let (frames, report) = write(&mut TunWriter::new(), &packets);
        assert_eq!(report, WriteReport { written: packets.len(), dropped: 0, writes: frames.len() });
        let split: Vec<Vec<u8>> = frames.iter().cloned().flat_map(split).collect();
        assert_eq!(split, packets, "one flow keeps its order and its bytes");
        frames.len()
    }

    #[test]
    fn a_run_becomes_one_write() {
        for udp in [false, true] {
            for v6 in [false, true] {
                let specs = run_of(Spec { v6, udp, ..Spec::tcp(1000) }, &[1000, 1000, 1000, 300]);
                assert_eq!(frames_of(&specs), 1, "udp {udp} v6 {v6}");
            }
        }
    }

    #[test]
    fn a_short_packet_ends_its_run() {
        assert_eq!(frames_of(&run_of(Spec::tcp(1000), &[1000, 300, 1000, 1000])), 2);
        assert_eq!(frames_of(&run_of(Spec::tcp(300), &[1000, 1000])), 2);
    }

    #[test]
    fn psh_ends_a_run_and_is_kept() {
        let mut specs = run_of(Spec::tcp(500), &[500, 500, 500]);
        specs[1].flags |= 0x08;
        assert_eq!(frames_of(&specs), 2);
        let mut specs = run_of(Spec::tcp(500), &[500]);
        specs[0].flags |= 0x08;
        assert_eq!(frames_of(&specs), 2);
    }

    #[test]
    fn super_packets_stay_within_the_length_field() {
        assert_eq!(frames_of(&run_of(Spec::tcp(1448), &[1448; 44])), 1);
        assert_eq!(frames_of(&run_of(Spec::tcp(1448), &[1448; 45])), 2);
        assert_eq!(frames_of(&run_of(Spec::tcp(10), &[10; MAX_RUN - 1])), 1);
        assert_eq!(frames_of(&run_of(Spec::tcp(10), &[10; MAX_RUN])), 2);
    }

    #[test]
    fn packets_that_differ_in_more_than_their_place_are_not_merged() {
        type Change = fn(&mut Spec);
        let changes: [(&str, Change); 14] = [
            ("gap", |spec| spec.sequence += 1),
            ("retransmission", |spec| spec.sequence -= 500),
            ("acknowledgement", |spec| spec.acknowledgement += 1),
            ("window", |spec| spec.window += 1),
            ("fin", |spec| spec.flags |= 0x01),
            ("syn", |spec| spec.flags |= 0x02),
            ("rst", |spec| spec.flags |= 0x04),
            ("urg", |spec| spec.flags |= 0x20),
            ("ece", |spec| spec.flags |= 0x40),
            ("cwr", |spec| spec.flags |= 0x80),
            ("congestion experienced", |spec| spec.tos |= 3),
            ("ttl", |spec| spec.ttl -= 1),
            ("options", |spec| spec.options[11] += 1),
            ("wrong checksum", |spec| spec.checksum_is_wrong = true),
        ];
        for (name, change) in changes {
            for v6 in [false, true] {
                let mut specs = run_of(Spec { v6, ..Spec::tcp(500) }, &[500]);
                change(&mut specs[1]);
                assert_eq!(frames_of(&specs), 2, "{name}");
            }
        }
        let mut specs = run_of(Spec::tcp(500), &[500]);
        specs[1].df = true;
        assert_eq!(frames_of(&specs), 2, "df");
        let mut specs = run_of(Spec::tcp(500), &[500]);
        specs[1].id += 1;
        assert_eq!(frames_of(&specs), 2, "identification without df");
    }

    #[test]
    fn a_wrong_checksum_in_the_first_packet_is_not_laundered() {
        let specs = run_of(Spec { checksum_is_wrong: true, ..Spec::tcp(500) }, &[500, 500]);
        let specs = [specs[..1].to_vec(), specs[1..].iter().map(mended).collect()].concat();
        assert_eq!(frames_of(&specs), 2);
    }

    fn mended(spec: &Spec) -> Spec {
        Spec { checksum_is_wrong: false, ..spec.clone() }
    }

    #[test]
    fn identification_does_not_matter_with_df() {
        let mut specs = run_of(Spec { df: true, ..Spec::tcp(500) }, &[500, 500]);
        for spec in &mut specs {
            spec.id = 0;
        }
        let (frames, _) = write(&mut TunWriter::new(), &build(&specs));
        assert_eq!(frames.len(), 1);
        assert!(split(frames[0].clone()).iter().all(|packet| is_sound(packet)));
    }

    #[test]
    fn interleaved_flows_coalesce_each() {
        let flows: Vec<Vec<Spec>> =
            (1..=10).map(|flow| run_of(Spec { flow, ..Spec::tcp(400) }, &[400; 5])).collect();
        let packets: Vec<Vec<u8>> =
            (0..6).flat_map(|step| flows.iter().map(move |flow| flow[step].build())).collect();
        let (frames, report) = write(&mut TunWriter::new(), &packets);
        assert_eq!((frames.len(), report.written), (10, 60));
    }

    #[test]
    fn more_flows_than_are_remembered_keep_their_order() {
        let flows: Vec<Vec<Spec>> =
            (0..40).map(|flow| run_of(Spec { flow, ..Spec::tcp(40) }, &[40; 3])).collect();
        let packets: Vec<Vec<u8>> =
            (0..4).flat_map(|step| flows.iter().map(move |flow| flow[step].build())).collect();
        let (frames, report) = write(&mut TunWriter::new(), &packets);
        assert_eq!((report.written, report.dropped), (160, 0));
        let out: Vec<Vec<u8>> = frames.into_iter().flat_map(split).collect();
        for flow in flows {
            let of_flow = out.iter().filter(|packet| packet[21] == flow[0].flow);
            assert!(of_flow.eq(&build(&flow)));
        }
    }

    #[test]
    fn a_fragment_or_an_empty_segment_is_not_overtaken() {
        let run = run_of(Spec::tcp(500), &[500, 0, 500, 500]);
        assert_eq!(frames_of(&run), 3);
        let mut packets = build(&run_of(Spec::tcp(500), &[500, 500]));
        packets[1][6] |= 0x20;
        let (frames, _) = write(&mut TunWriter::new(), &packets);
        assert_eq!(frames.iter().map(|frame| frame[10..].to_vec()).collect::<Vec<_>>(), packets);
        // Two that would make a run, and a fragment of their hosts between them.
        let mut packets = build(&run_of(Spec::tcp(500), &[500]));
        packets.insert(1, packets[0].clone());
        packets[1][6] |= 0x20;
        let (frames, _) = write(&mut TunWriter::new(), &packets);
        assert_eq!(frames.iter().map(|frame| frame[10..].to_vec()).collect::<Vec<_>>(), packets);
    }

    #[test]
    fn udp_without_a_checksum_does_not_gain_one() {
        // Also where zero would be the right checksum.
        let specs = run_of(Spec::udp(500), &[500]).into_iter().map(Spec::with_a_checksum_of_zero);
        let mut packets = build(&specs.collect::<Vec<_>>());
        for packet in &mut packets {
            packet[26..28].fill(0);
        }
        let (frames, _) = write(&mut TunWriter::new(), &packets);
        assert_eq!(frames.iter().map(|frame| frame[10..].to_vec()).collect::<Vec<_>>(), packets);
    }

    #[test]
    fn a_kernel_that_refuses_super_packets_gets_single_ones_from_then_on() {
        let packets = build(&run_of(Spec::tcp(500), &[500, 500]));
        let mut writer = TunWriter::new();
        let mut seen = Vec::new();
        let mut refusing = |slices: &[IoSlice<'_>]| {
            if slices[0][1] != 0 {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            seen.push(slices[1].to_vec());
            Ok(0)
        };
        let first = write_with(&mut writer, &packets, &mut refusing);
        assert_eq!(first, WriteReport { written: 3, dropped: 0, writes: 4 });
        let second = write_with(&mut writer, &packets, &mut refusing);
        assert_eq!(second, WriteReport { written: 3, dropped: 0, writes: 3 });
        assert_eq!(seen, [packets.clone(), packets].concat());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_one_writer_was_refused_the_other_writers_of_its_queue_do_not_try() {
        let null = std::fs::OpenOptions::new().write(true).open("/dev/null").expect("exists everywhere");
        let queue = super::super::TunQueue::into_file(null);
        let writes = |writer: &mut TunWriter, first: Spec| {
            let packets = build(&run_of(first, &[500, 500]));
            let len = packets[0].len();
            writer
                .write_packets(&queue, &mut packets.concat(), &[0..len, len..2 * len, 2 * len..3 * len])
                .writes
        };
        assert_eq!(writes(&mut TunWriter::new(), Spec::tcp(500)), 1);
        let accepted = Mergeable { tcp: false, udp: true };
        assert_eq!(writes(&mut TunWriter { accepted, ..TunWriter::new() }, Spec::tcp(500)), 3);
        assert_eq!(queue.offloads_in_force(), Offloads { tcp: false, ..Offloads::ALL });
        assert_eq!(writes(&mut TunWriter::new(), Spec::tcp(500)), 3);
        assert_eq!(writes(&mut TunWriter::new(), Spec::udp(500)), 1, "UDP was not refused");
    }

    #[test]
    fn refused_and_impossible_packets_are_counted_and_the_rest_is_written() {
        let packets = build(&[Spec::tcp(5), Spec::udp(6), Spec { v6: true, ..Spec::udp(7) }]);
        let mut calls = 0;
        let report = write_with(&mut TunWriter::new(), &packets, &mut |_| {
            calls += 1;
            if calls == 2 { Err(io::Error::from_raw_os_error(5)) } else { Ok(0) }
        });
        assert_eq!(report, WriteReport { written: 2, dropped: 1, writes: 3 });
        let report = TunWriter::new().write_to(
            FrameFormat::Plain,
            Offloads::ALL,
            &mut [0; 10],
            &[5..20, 3..3],
            &mut |_| Ok(0),
        );
        assert_eq!(report, WriteReport { written: 0, dropped: 2, writes: 0 });
    }

    #[test]
    fn without_offload_every_packet_is_written_alone() {
        let packets = build(&run_of(Spec::tcp(50), &[50, 50]));
        let mut arena = packets.concat();
        let ranges: Vec<_> = (0..3).map(|i| i * packets[0].len()..(i + 1) * packets[0].len()).collect();
        let mut frames = Vec::new();
        TunWriter::new().write_to(FrameFormat::Plain, Offloads::NONE, &mut arena, &ranges, &mut |slices| {
            frames.push(slices.concat_bytes());
            Ok(0)
        });
        assert_eq!(frames, packets);
    }

    trait ConcatBytes {
        fn concat_bytes(&self) -> Vec<u8>;
    }

    impl ConcatBytes for [IoSlice<'_>] {
        fn concat_bytes(&self) -> Vec<u8> {
            self.iter().flat_map(|slice| slice.iter().copied()).collect()
        }
    }

    /// One step of a random flow: which flow, how long a payload, and what to change.
    fn steps() -> impl Strategy<Value = Vec<(u8, usize, u8)>> {
        let len = prop_oneof![4 => Just(300_usize), 2 => Just(120_usize), 1 => 0..400_usize];
        let change = prop_oneof![6 => Just(0_u8), 1 => 1..10_u8];
        proptest::collection::vec((0..24_u8, len, change), 1..120)
    }

    proptest! {
        #[test]
        fn splitting_undoes_coalescing(steps in steps()) {
            let mut flows: Vec<Spec> = (0..24)
                .map(|flow| Spec { flow, udp: flow % 3 == 0, v6: flow % 2 == 0, ..Spec::tcp(0) })
                .collect();
            let mut packets = Vec::new();
            for (flow, len, change) in steps {
                // Most steps belong to a few flows, so that there are runs.
                let flow = if flow > 4 { usize::from(flow % 4) } else { usize::from(flow) * 4 };
                let mut spec = flows[flow].following(len);
                match change {
                    1 => spec.sequence = spec.sequence.wrapping_add(9),
                    2 => spec.ttl ^= 1,
                    3 if !spec.df => spec.id = spec.id.wrapping_add(5), // with DF it would not come back
                    4 => spec.df = !spec.df,
                    _ => {}
                }
                flows[flow] = spec.clone();
                // These do not outlive the packet.
                match change {
                    5 => spec.flags |= 0x08,
                    6 => spec.flags |= 0x01,
                    7 => spec.flags |= 0x80,
                    8 => spec.checksum_is_wrong = true,
                    9 => spec.tos = 3,
                    _ => {}
                }
                packets.push(spec.build());
            }
            let (frames, report) = write(&mut TunWriter::new(), &packets);
            prop_assert_eq!(report.written, packets.len());
            let mut out: Vec<Vec<u8>> = frames.into_iter().flat_map(split).collect();
            // Flows may move against each other, packets of one flow may not: stable sorting shows that.
            let flow_of = |packet: &Vec<u8>| {
                let at = if packet[0] >> 4 == 4 { 20 } else { 40 };
                [packet[0], packet[at + 1]]
            };
            packets.sort_by_key(flow_of);
            out.sort_by_key(flow_of);
            prop_assert_eq!(out, packets);
        }

        #[test]
        fn no_bytes_make_coalescing_panic(
            mut packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..90), 0..20),
            looks: [u8; 20],
        ) {
            for (packet, look) in packets.iter_mut().zip(looks) {
                let len = packet.len();
                if len >= 40 {
                    packet[0] = [0x45, 0x60, 0x4f, packet[0]][usize::from(look % 4)];
                    if packet[0] >> 4 == 4 {
                        packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
                        packet[9] = [6, 17][usize::from(look >> 7)];
                        packet[6] = 0;
                        packet[7] = 0;
                    } else {
                        packet[4..6].copy_from_slice(&(len as u16 - 40).to_be_bytes());
                        packet[6] = [6, 17][usize::from(look >> 7)];
                    }
                }
            }
            let (_, report) = write(&mut TunWriter::new(), &packets);
            prop_assert_eq!(report.written + report.dropped, packets.len());
        }
    }
}
