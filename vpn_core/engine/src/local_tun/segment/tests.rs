//! Tests of segmentation.

use super::{
    super::test_packets::{Spec, frame, is_sound, split, split_for},
    *,
};
use crate::wire::payload::{Checksum, check_left_out, take_mark};
use proptest::prelude::*;

const FIN_PSH_ACK_CWR: u8 = 0x01 | 0x08 | 0x10 | 0x80;

fn gso(gso_type: u8, size: u16) -> VnetHeader {
    VnetHeader { flags: FLAG_NEEDS_CSUM, gso_type, gso_size: size.into(), ..VnetHeader::default() }
}

#[test]
fn tcp_flags_of_one_end_stay_at_that_end() {
    let spec = Spec { flags: FIN_PSH_ACK_CWR, ..Spec::tcp(250) };
    let packets = split(frame(&gso(GSO_TCP_V4 | GSO_ECN, 100), &spec.build()));
    let flags: Vec<u8> = packets.iter().map(|packet| packet[33]).collect();
    assert_eq!(flags, [0x90, 0x10, 0x19]);
    let ids: Vec<u8> = packets.iter().map(|packet| packet[5]).collect();
    assert_eq!(ids, [7, 8, 9]);
    assert!(packets.iter().all(|packet| is_sound(packet)));
}

#[test]
fn a_partial_checksum_is_completed() {
    for spec in [
        Spec::tcp(99),
        Spec::udp(98),
        Spec { v6: true, ..Spec::udp(97) },
        // Only UDP has another form for zero, which would mean "none".
        Spec::tcp(98).with_a_checksum_of_zero(),
        Spec::udp(98).with_a_checksum_of_zero(),
        Spec { v6: true, ..Spec::udp(98) }.with_a_checksum_of_zero(),
    ] {
        let whole = spec.build();
        assert_eq!(split(partial(whole.clone())), std::slice::from_ref(&whole));
    }
}

#[test]
fn udp_checksum_that_comes_out_as_zero_is_written_in_its_other_form() {
    for v6 in [false, true] {
        let whole = Spec { v6, ..Spec::udp(98) }.with_a_checksum_of_zero().build();
        let at = if v6 { 46 } else { 26 };
        assert_eq!(whole[at..at + 2], [0xff, 0xff]);
        assert_eq!(split(frame(&gso(GSO_UDP_L4, 98), &whole)), [whole]);
    }
}

#[test]
fn udp_without_checksum_over_ipv4_has_none_in_its_segments_either() {
    let mut whole = Spec::udp(250).build();
    whole[26..28].fill(0);
    let packets = split(frame(&gso(GSO_UDP_L4, 100), &whole));
    assert_eq!(packets.len(), 3);
    assert!(packets.iter().all(|packet| packet[26..28] == [0, 0]));
    let mut whole = Spec { v6: true, ..Spec::udp(250) }.build();
    whole[46..48].fill(0);
    let packets = split(frame(&gso(GSO_UDP_L4, 100), &whole));
    assert!(packets.iter().all(|packet| is_sound(packet)), "IPv6 does not know that");
}

#[test]
fn packets_without_offload_pass_untouched_with_what_follows_them_cut_off() {
    let spec = Spec { checksum_is_wrong: true, ..Spec::tcp(10) };
    let packet = spec.build();
    let mut padded = packet.clone();
    padded.extend([0; 9]);
    assert_eq!(split(frame(&VnetHeader::default(), &padded)), std::slice::from_ref(&packet));
    let plain = SuperPacket::parse(&mut padded, FrameFormat::Plain).expect("sound");
    let mut out = vec![0; plain.segment_len(0)];
    assert_eq!(plain.write_segment(0, &mut out, Features::NONE), Some(packet.len()));
    assert_eq!(out, packet);
}

#[test]
fn headers_that_contradict_the_packet_are_refused() {
    let tcp = Spec::tcp(100).build();
    let refusal = |header: &VnetHeader, packet: &[u8]| {
        SuperPacket::parse(&mut frame(header, packet), FrameFormat::VnetHeader).map(|_| ()).unwrap_err()
    };
    assert_eq!(refusal(&gso(GSO_TCP_V6, 50), &tcp), FrameError::UnexpectedProtocol(6));
    assert_eq!(refusal(&gso(GSO_UDP_L4, 50), &tcp), FrameError::UnexpectedProtocol(6));
    assert_eq!(refusal(&gso(3, 50), &tcp), FrameError::UnknownGsoType(3));
    assert_eq!(refusal(&gso(GSO_TCP_V4, 0), &tcp), FrameError::ZeroSegmentSize);
    assert_eq!(refusal(&gso(GSO_TCP_V4, 50), &tcp[..80]), FrameError::NotIp);
    let mut fragment = tcp.clone();
    fragment[6] = 0x20;
    assert_eq!(refusal(&gso(GSO_TCP_V4, 50), &fragment), FrameError::Fragment);
    let outside = VnetHeader { flags: FLAG_NEEDS_CSUM, csum_start: 151.into(), ..VnetHeader::default() };
    assert_eq!(refusal(&outside, &tcp), FrameError::ChecksumOutside);
    let inside_ip = VnetHeader { flags: FLAG_NEEDS_CSUM, csum_start: 8.into(), ..VnetHeader::default() };
    assert_eq!(refusal(&inside_ip, &tcp), FrameError::ChecksumOutside);
    assert_eq!(
        SuperPacket::parse(&mut [0; 9], FrameFormat::VnetHeader).map(|_| ()),
        Err(FrameError::Truncated)
    );
}

#[test]
fn an_output_that_is_too_short_takes_nothing() {
    let mut bytes = frame(&gso(GSO_TCP_V4, 50), &Spec::tcp(100).build());
    let packet = SuperPacket::parse(&mut bytes, FrameFormat::VnetHeader).expect("sound");
    assert_eq!(packet.write_segment(0, &mut [0; 101], Features::NONE), None);
    assert_eq!(packet.write_segment(0, &mut [0; 102], Features::NONE), Some(102));
    assert_eq!(packet.write_segment(2, &mut [0; 2000], Features::NONE), None);
    assert_eq!(packet.segment_len(2), 0);
}

/// What a receiver makes of a payload, checksum computed, and whether it came without.
fn received(mut payload: Vec<u8>) -> (Vec<u8>, Checksum) {
    let checksum = take_mark(&mut payload[0]);
    if checksum == Checksum::LeftOut {
        let layout = Layout::parse(&payload).expect("only TCP and UDP are marked");
        assert_eq!(get_u16(&payload, layout.checksum_field()), 0, "nothing of ours is in the field");
        assert!(check_left_out(&mut payload));
    }
    checksum.complete(&mut payload);
    (payload, checksum)
}

/// How many of a frame's packets go out without checksum; checks that the receiver can restore every one.
fn left_out(frame: Vec<u8>) -> usize {
    let whole = split(frame.clone());
    let (restored, checksums): (Vec<_>, Vec<_>) =
        split_for(frame, Features::CHECKSUM_LEFT_OUT).into_iter().map(received).unzip();
    assert_eq!(restored, whole);
    checksums.into_iter().filter(|checksum| *checksum == Checksum::LeftOut).count()
}

/// A frame with `packet`, whose checksum is replaced by the pseudo-header sum.
fn partial(mut packet: Vec<u8>) -> Vec<u8> {
    let layout = Layout::parse(&packet).expect("sound");
    let pseudo = layout.pseudo_header_sum(&packet);
    put_u16(&mut packet, layout.checksum_field(), pseudo);
    frame(&VnetHeader::partial(&layout), &packet)
}

fn verified(packet: &[u8]) -> Vec<u8> {
    frame(&VnetHeader { flags: FLAG_DATA_VALID, ..VnetHeader::default() }, packet)
}

#[test]
fn a_checksum_that_is_known_to_be_good_is_left_out_where_that_is_accepted() {
    for udp in [false, true] {
        for v6 in [false, true] {
            let packet = Spec { v6, udp, ..Spec::tcp(99) }.build();
            for sent in [partial(packet.clone()), verified(&packet)] {
                assert_eq!(left_out(sent.clone()), 1);
                assert_eq!(split(sent), std::slice::from_ref(&packet), "and is there where it is not");
            }
            let payload = split_for(verified(&packet), Features::CHECKSUM_LEFT_OUT).remove(0);
            assert_eq!(payload[0], if v6 { 0x50 } else { 0x75 });
            assert_eq!(payload[1..20], packet[1..20], "an IPv4 header keeps its own checksum");
        }
    }
}

#[test]
fn a_checksum_that_nobody_has_looked_at_stays_right_or_wrong() {
    for checksum_is_wrong in [false, true] {
        let packet = Spec { checksum_is_wrong, ..Spec::tcp(10) }.build();
        assert_eq!(left_out(frame(&VnetHeader::default(), &packet)), 0);
        let mut bytes = packet.clone();
        let plain = SuperPacket::parse(&mut bytes, FrameFormat::Plain).expect("sound");
        let mut out = vec![0; packet.len()];
        plain.write_segment(0, &mut out, Features::SUPPORTED).expect("fits");
        assert_eq!(out, packet, "a device without header says nothing");
    }
}

#[test]
fn what_has_no_checksum_of_its_own_goes_as_it_is() {
    for v6 in [false, true] {
        let mut none = Spec { v6, ..Spec::udp(50) }.build();
        let at = if v6 { 46 } else { 26 };
        none[at..at + 2].fill(0);
        assert_eq!(left_out(verified(&none)), 0, "a UDP checksum of zero is none");
    }
    let tcp = Spec::tcp(50).build();
    for (what, at, value) in [("fragment", 6, 0x20), ("later fragment", 7, 1), ("another protocol", 9, 47)] {
        let mut packet = tcp.clone();
        packet[at] = value;
        assert_eq!(left_out(verified(&packet)), 0, "{what}");
    }
    let mut shorter = Spec::udp(50).build();
    shorter[25] -= 1;
    assert_eq!(left_out(verified(&shorter)), 0, "a UDP length that is not the packet's");
}

#[test]
fn a_partial_checksum_of_something_else_is_computed() {
    // The start and the field of another protocol's checksum inside, and a field with another sum than the pseudo-header's.
    for (start, offset, sum) in [(24, 16, 0), (24, 12, 0), (20, 18, 0), (20, 16, 1)] {
        let mut bytes = partial(Spec::tcp(50).build());
        bytes[6..8].copy_from_slice(&u16::to_ne_bytes(start));
        bytes[8..10].copy_from_slice(&u16::to_ne_bytes(offset));
        bytes[10 + 36] ^= sum;
        assert_eq!(left_out(bytes), 0, "{start} {offset} {sum}");
    }
    let whole = Spec::tcp(250).build();
    let elsewhere = VnetHeader { csum_start: 24.into(), csum_offset: 16.into(), ..gso(GSO_TCP_V4, 100) };
    assert_eq!(left_out(frame(&elsewhere, &whole)), 0);
    let unflagged = VnetHeader { flags: 0, ..gso(GSO_TCP_V4, 100) };
    assert_eq!(left_out(frame(&unflagged, &whole)), 0);
}

/// The packet with 4 bytes of IPv4 options or an IPv6 header of 8 bytes before TCP or UDP.
fn with_options(packet: &[u8]) -> Vec<u8> {
    let mut longer = packet.to_vec();
    if packet[0] >> 4 == 4 {
        longer.splice(20..20, [1, 1, 1, 0]);
        longer[0] += 1;
        let total = longer.len() as u16;
        put_u16(&mut longer, 2, total);
        put_u16(&mut longer, 10, 0);
        let sum = !ones_complement_sum(&longer[..24], 0);
        put_u16(&mut longer, 10, sum);
    } else {
        longer.splice(40..40, [packet[6], 0, 1, 4, 0, 0, 0, 0]);
        longer[6] = 60;
        let len = longer.len() as u16 - 40;
        put_u16(&mut longer, 4, len);
    }
    longer
}

proptest! {
    #[test]
    fn every_packet_arrives_as_it_would_with_its_checksum(
        udp: bool, v6: bool, ip_options: bool, wrong: bool, len in 0_usize..3000, size in 1_u16..1500,
        tcp_options in 0_usize..10, comes_out_as_zero: bool, kind in 0..4,
    ) {
        let options = vec![1; tcp_options * 4];
        let wrong = wrong && kind == 0;
        let spec = Spec { v6, udp, options, checksum_is_wrong: wrong, ..Spec::tcp(len) };
        let zero = comes_out_as_zero && !wrong && len >= 2 && len % 2 == 0;
        let mut packet = if zero { spec.with_a_checksum_of_zero() } else { spec }.build();
        if ip_options {
            packet = with_options(&packet);
        }
        let layout = Layout::parse(&packet).expect("sound");
        let sent = match kind {
            0 => frame(&VnetHeader::default(), &packet),
            1 => verified(&packet),
            2 => partial(packet),
            _ => {
                let gso_type = if udp { GSO_UDP_L4 } else if v6 { GSO_TCP_V6 } else { GSO_TCP_V4 };
                let vnet = VnetHeader::partial(&layout);
                frame(&VnetHeader { gso_type, gso_size: size.into(), ..vnet }, &packet)
            }
        };
        let packets = split(sent.clone()).len();
        // Options may give the pseudo-header another address than the header has.
        let expected = if kind == 0 || ip_options { 0 } else { packets };
        prop_assert_eq!(left_out(sent), expected);
    }

    #[test]
    fn segments_are_sound_and_carry_the_whole_payload(
        udp: bool, v6: bool, len in 0_usize..5000, size in 1_u16..1500, tcp_options in 0_usize..10
    ) {
        let options = vec![1; tcp_options * 4];
        let spec = Spec { udp, v6, options, sequence: u32::MAX - 700, ..Spec::tcp(len) };
        let gso_type = if udp { GSO_UDP_L4 } else if v6 { GSO_TCP_V6 } else { GSO_TCP_V4 };
        let packets = split(frame(&gso(gso_type, size), &spec.build()));
        let mut payload: Vec<u8> = Vec::new();
        for packet in &packets {
            prop_assert!(is_sound(packet));
            let layout = Layout::parse(packet).expect("sound");
            if !udp {
                let expected = spec.sequence.wrapping_add(payload.len() as u32);
                prop_assert_eq!(get_u32(packet, layout.l4_start + 4), expected);
            }
            payload.extend(&packet[layout.header_len..]);
        }
        prop_assert_eq!(payload, spec.payload);
    }

    #[test]
    fn no_frame_makes_parsing_or_writing_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        version in 0_usize..4,
        protocol in 0_usize..4,
        gso_type in 0_usize..5,
        small_offsets: bool,
    ) {
        // Random bytes rarely get past the first checks: make them look right with some probability.
        let len = bytes.len();
        if let (true, Some(packet)) = (small_offsets, bytes.get_mut(6..10)) {
            packet[0] %= 80;
            packet[1] = 0;
            packet[2] %= 80;
            packet[3] = 0;
        }
        if let Some(kind) = bytes.get_mut(1) {
            *kind = [*kind, 1, 4, 5, 0][gso_type];
        }
        if let Some(packet) = bytes.get_mut(10..).filter(|packet| packet.len() >= 40) {
            packet[0] = [packet[0], 0x45, 0x46, 0x60][version];
            let field = if packet[0] >> 4 == 4 { 2 } else { 4 };
            let stated = if field == 2 { len - 10 } else { len - 50 };
            put_u16(packet, field, stated as u16);
            let at = if field == 2 { 9 } else { 6 };
            packet[at] = [packet[at], 6, 17, 0][protocol];
            packet[6] &= if field == 2 { 0x40 } else { 0xff };
        }
        let claims_verified = bytes.first().is_some_and(|flags| flags & 3 == FLAG_DATA_VALID);
        if let Ok(packet) = SuperPacket::parse(&mut bytes, FrameFormat::VnetHeader) {
            let (mut whole, mut out) = ([0; 300], [0; 300]);
            for index in 0..packet.segments() {
                let len = packet.segment_len(index);
                prop_assert_eq!(packet.write_segment(index, &mut whole, Features::NONE), Some(len));
                prop_assert_eq!(packet.write_segment(index, &mut out, Features::SUPPORTED), Some(len));
                // Who says that it verified a checksum is believed, which random bytes are not worth.
                if !claims_verified {
                    prop_assert_eq!(&received(out[..len].to_vec()).0, &whole[..len]);
                }
            }
        }
    }
}
