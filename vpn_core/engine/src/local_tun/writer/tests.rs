//! Tests of the writer, and through it of coalescing.

use super::{
    super::test_packets::{Spec, is_sound, split, without_checksum},
    *,
};
use proptest::prelude::*;

type Packet = (Vec<u8>, Checksum);

/// Writes `packets` as one batch; the frames that reached the device, and the report.
fn write(writer: &mut TunWriter, packets: &[Packet]) -> (Vec<Vec<u8>>, WriteReport) {
    write_as(FrameFormat::VnetHeader, writer, packets)
}

fn write_as(format: FrameFormat, writer: &mut TunWriter, packets: &[Packet]) -> (Vec<Vec<u8>>, WriteReport) {
    let mut frames = Vec::new();
    let report = write_with(format, writer, packets, &mut |slices| {
        frames.push(slices.iter().flat_map(|slice| slice.iter().copied()).collect());
        Ok(0)
    });
    (frames, report)
}

fn write_with(
    format: FrameFormat,
    writer: &mut TunWriter,
    packets: &[Packet],
    sink: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> WriteReport {
    let mut arena = Vec::new();
    let mut inner = Vec::new();
    for (packet, checksum) in packets {
        arena.extend([0xee; 16]);
        inner.push(InnerPacket { range: arena.len()..arena.len() + packet.len(), checksum: *checksum });
        arena.extend(packet);
    }
    writer.write_to(format, Offloads::ALL, &mut arena, &inner, sink)
}

fn as_is(packets: &[Vec<u8>]) -> Vec<Packet> {
    packets.iter().map(|packet| (packet.clone(), Checksum::AsIs)).collect()
}

/// The packets as they are after they came without their checksums.
fn left_out(packets: &[Vec<u8>]) -> Vec<Packet> {
    packets.iter().map(|packet| (without_checksum(packet), Checksum::LeftOut)).collect()
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
    frames_of_packets(&as_is(&build(specs)), &build(specs))
}

/// How many frames become of one flow that is to arrive as `expected`.
fn frames_of_packets(packets: &[Packet], expected: &[Vec<u8>]) -> usize {
    let (frames, report) = write(&mut TunWriter::new(), packets);
    assert_eq!(report, WriteReport { written: packets.len(), dropped: 0, writes: frames.len() });
    let split: Vec<Vec<u8>> = frames.iter().cloned().flat_map(split).collect();
    assert_eq!(split, expected, "one flow keeps its order and its bytes");
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
fn no_kernel_is_given_more_datagrams_at_once_than_the_oldest_one_takes() {
    assert_eq!(frames_of(&run_of(Spec::udp(10), &[10; 63])), 1);
    assert_eq!(frames_of(&run_of(Spec::udp(10), &[10; 64])), 2);
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
    let (frames, _) = write(&mut TunWriter::new(), &as_is(&build(&specs)));
    assert_eq!(frames.len(), 1);
    assert!(split(frames[0].clone()).iter().all(|packet| is_sound(packet)));
}

#[test]
fn interleaved_flows_coalesce_each() {
    let flows: Vec<Vec<Spec>> =
        (1..=10).map(|flow| run_of(Spec { flow, ..Spec::tcp(400) }, &[400; 5])).collect();
    let packets: Vec<Vec<u8>> =
        (0..6).flat_map(|step| flows.iter().map(move |flow| flow[step].build())).collect();
    let (frames, report) = write(&mut TunWriter::new(), &as_is(&packets));
    assert_eq!((frames.len(), report.written), (10, 60));
}

#[test]
fn more_flows_than_are_remembered_keep_their_order() {
    let flows: Vec<Vec<Spec>> =
        (0..40).map(|flow| run_of(Spec { flow, ..Spec::tcp(40) }, &[40; 3])).collect();
    let packets: Vec<Vec<u8>> =
        (0..4).flat_map(|step| flows.iter().map(move |flow| flow[step].build())).collect();
    let (frames, report) = write(&mut TunWriter::new(), &as_is(&packets));
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
    let (frames, _) = write(&mut TunWriter::new(), &as_is(&packets));
    assert_eq!(frames.iter().map(|frame| frame[10..].to_vec()).collect::<Vec<_>>(), packets);
    // Two that would make a run, and a fragment of their hosts between them.
    let mut packets = build(&run_of(Spec::tcp(500), &[500]));
    packets.insert(1, packets[0].clone());
    packets[1][6] |= 0x20;
    let (frames, _) = write(&mut TunWriter::new(), &as_is(&packets));
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
    let (frames, _) = write(&mut TunWriter::new(), &as_is(&packets));
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
    let first = write_with(FrameFormat::VnetHeader, &mut writer, &as_is(&packets), &mut refusing);
    assert_eq!(first, WriteReport { written: 3, dropped: 0, writes: 4 });
    let second = write_with(FrameFormat::VnetHeader, &mut writer, &as_is(&packets), &mut refusing);
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
        let places = (0..3).map(|index| InnerPacket::as_is(index * len..(index + 1) * len));
        writer.write_packets(&queue, &mut packets.concat(), &places.collect::<Vec<_>>()).writes
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
    let report = write_with(FrameFormat::VnetHeader, &mut TunWriter::new(), &as_is(&packets), &mut |_| {
        calls += 1;
        if calls == 2 { Err(io::Error::from_raw_os_error(5)) } else { Ok(0) }
    });
    assert_eq!(report, WriteReport { written: 2, dropped: 1, writes: 3 });
    let report = TunWriter::new().write_to(
        FrameFormat::Plain,
        Offloads::ALL,
        &mut [0; 10],
        &[InnerPacket::as_is(5..20), InnerPacket::as_is(3..3)],
        &mut |_| Ok(0),
    );
    assert_eq!(report, WriteReport { written: 0, dropped: 2, writes: 0 });
}

#[test]
fn without_offload_every_packet_is_written_alone_and_complete() {
    let packets = build(&run_of(Spec::tcp(50), &[50, 50]));
    for batch in [as_is(&packets), left_out(&packets)] {
        let (frames, _) = write_as(FrameFormat::Plain, &mut TunWriter::new(), &batch);
        assert_eq!(frames, packets);
    }
}

#[test]
fn packets_without_checksums_become_the_runs_that_they_would_be_with_them() {
    for udp in [false, true] {
        for v6 in [false, true] {
            let mut specs = run_of(Spec { v6, udp, ..Spec::tcp(1000) }, &[1000, 1000, 300, 1000, 1000]);
            specs[5].flags |= 0x08;
            let packets = build(&specs);
            let (with, _) = write(&mut TunWriter::new(), &as_is(&packets));
            let (without, _) = write(&mut TunWriter::new(), &left_out(&packets));
            assert_eq!(with.len(), 2, "udp {udp} v6 {v6}");
            assert_eq!(with, without, "udp {udp} v6 {v6}");
        }
    }
}

#[test]
fn a_run_may_mix_packets_with_and_without_checksums() {
    let packets = build(&run_of(Spec::tcp(500), &[500, 500, 500]));
    for odd in [0, 1] {
        let mut mixed = as_is(&packets);
        for (place, without) in left_out(&packets).into_iter().enumerate().filter(|(i, _)| i % 2 == odd) {
            mixed[place] = without;
        }
        assert_eq!(frames_of_packets(&mixed, &packets), 1);
    }
    let wrong = Spec { checksum_is_wrong: true, ..Spec::tcp(500) };
    let packets = build(&[wrong.clone(), mended(&wrong.following(500))]);
    let mixed = [as_is(&packets[..1]), left_out(&packets[1..])].concat();
    assert_eq!(frames_of_packets(&mixed, &packets), 2, "a wrong one stays wrong");
}

#[test]
fn a_single_packet_without_checksum_is_partial_for_the_kernel() {
    for (spec, start, offset) in [
        (Spec { flags: 0x02, ..Spec::tcp(0) }, 20, 16),
        (Spec { v6: true, ..Spec::tcp(9) }, 40, 16),
        (Spec::udp(0), 20, 6),
        (Spec { v6: true, ..Spec::udp(8) }.with_a_checksum_of_zero(), 40, 6),
    ] {
        let packet = spec.build();
        let (frames, _) = write(&mut TunWriter::new(), &left_out(std::slice::from_ref(&packet)));
        let [frame] = frames.as_slice() else { panic!("one packet is one frame") };
        let fields: Vec<u16> =
            frame[2..10].chunks(2).map(|field| u16::from_ne_bytes([field[0], field[1]])).collect();
        assert_eq!((frame[0], frame[1], fields), (1, 0, vec![0, 0, start, offset]));
        // Pseudo-header sum in the field: with it the rest adds up to the checksum.
        assert_eq!(split(frame.clone()), [packet]);
    }
}

#[test]
fn a_wrong_ipv4_header_checksum_is_not_laundered_either() {
    let mut packets = build(&run_of(Spec::tcp(500), &[500, 500]));
    packets[0][10] ^= 1;
    assert_eq!(frames_of_packets(&left_out(&packets), &packets), 2);
}

#[test]
fn a_kernel_that_refuses_super_packets_still_gets_partial_checksums() {
    let packets = build(&run_of(Spec::udp(500), &[500, 500]));
    let mut frames = Vec::new();
    let report = write_with(
        FrameFormat::VnetHeader,
        &mut TunWriter::new(),
        &[left_out(&packets[..2]), as_is(&packets[2..])].concat(),
        &mut |slices| {
            if slices[0][1] != 0 {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            frames.push(slices.iter().flat_map(|slice| slice.iter().copied()).collect::<Vec<u8>>());
            Ok(0)
        },
    );
    assert_eq!(report, WriteReport { written: 3, dropped: 0, writes: 4 });
    assert_eq!(frames.iter().map(|frame| frame[0]).collect::<Vec<_>>(), [1, 1, 0]);
    assert_eq!(frames.into_iter().flat_map(split).collect::<Vec<_>>(), packets);
}

/// One step of a random flow: which flow, how long a payload, what to change, and whether the checksum is left out.
fn steps() -> impl Strategy<Value = Vec<(u8, usize, u8, bool)>> {
    let len = prop_oneof![4 => Just(300_usize), 2 => Just(120_usize), 1 => 0..400_usize];
    let change = prop_oneof![6 => Just(0_u8), 1 => 1..10_u8];
    proptest::collection::vec((0..24_u8, len, change, any::<bool>()), 1..120)
}

proptest! {
    #[test]
    fn splitting_undoes_coalescing(steps in steps()) {
        let mut flows: Vec<Spec> = (0..24)
            .map(|flow| Spec { flow, udp: flow % 3 == 0, v6: flow % 2 == 0, ..Spec::tcp(0) })
            .collect();
        let mut packets = Vec::new();
        let mut batch = Vec::new();
        for (flow, len, change, without) in steps {
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
            let make = if without && !spec.checksum_is_wrong { left_out } else { as_is };
            batch.extend(make(&packets[packets.len() - 1..]));
        }
        let (frames, report) = write(&mut TunWriter::new(), &batch);
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
        format in prop_oneof![Just(FrameFormat::VnetHeader), Just(FrameFormat::Plain)],
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
        for checksum in [Checksum::AsIs, Checksum::LeftOut] {
            let batch: Vec<_> = packets.iter().map(|packet| (packet.clone(), checksum)).collect();
            let (_, report) = write_as(format, &mut TunWriter::new(), &batch);
            prop_assert_eq!(report.written + report.dropped, packets.len());
        }
    }
}
