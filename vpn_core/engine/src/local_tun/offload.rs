//! Which offloads a TUN device really has: asked for, tried out while it is still down, and given up where the kernel
//! refuses one later.

use super::vnet::{GSO_TCP_V4, GSO_TCP_V6, GSO_UDP_L4, Offloads, VNET_HEADER_SIZE, VnetHeader};
use crate::wire::{
    ip::{IPV4_HEADER_SIZE, IPV6_HEADER_SIZE},
    layout::{IpVersion, L4, Layout, put_u16},
};
use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicBool, Ordering},
};
use zerocopy::IntoBytes;

const TSO: libc::c_uint = libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
const USO: libc::c_uint = libc::TUN_F_USO4 | libc::TUN_F_USO6; // the kernel takes both or neither

/// Payload bytes in each of the two segments that are tried out.
const PROBE_SEGMENT: usize = 8;

/// Super-packets that the kernel has refused on a write, though it hands them over on a read. The queues of a device
/// share it.
#[derive(Debug)]
pub(super) struct RefusedWrites {
    interface: String,
    tcp: AtomicBool,
    udp: AtomicBool,
}

impl RefusedWrites {
    /// Nothing refused yet by the device of this name.
    pub(super) fn new(interface: &str) -> Self {
        Self { interface: interface.to_owned(), tcp: AtomicBool::new(false), udp: AtomicBool::new(false) }
    }

    /// What is left of `granted`.
    pub(super) fn remaining(&self, granted: Offloads) -> Offloads {
        Offloads {
            tcp: granted.tcp && !self.tcp.load(Ordering::Relaxed),
            udp: granted.udp && !self.udp.load(Ordering::Relaxed),
            ..granted
        }
    }

    /// Gives up super-packets of TCP, or of UDP. Logs the first time.
    pub(super) fn refuse(&self, l4: L4) {
        let (refused, offload) = match l4 {
            L4::Tcp => (&self.tcp, "tso"),
            L4::Udp => (&self.udp, "uso"),
        };
        if !refused.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                interface = self.interface,
                offload,
                "the kernel refuses super-packets on the TUN device: writing packets singly"
            );
        }
    }
}

/// Asks for `wanted`, then for less, until the kernel agrees; `set` is `TUNSETOFFLOAD`. What is not wanted is switched
/// off: who opened a device that is handed over may have switched it on. Logs each offload that is missing.
pub(super) fn request(
    interface: &str,
    wanted: Offloads,
    mut set: impl FnMut(libc::c_uint) -> io::Result<()>,
) -> Offloads {
    let wanted = if wanted.checksum { wanted } else { Offloads::NONE };
    let mut refused = None;
    for step in [
        wanted,
        Offloads { udp: false, ..wanted },
        Offloads { udp: false, tcp: false, ..wanted },
        Offloads::NONE,
    ] {
        if refused == Some(step) {
            continue;
        }
        match set(flags(step)) {
            Ok(()) => {
                log_missing(interface, wanted, step);
                return step;
            }
            Err(error) => tracing::debug!(interface, asked = ?step, %error, "offloads refused"),
        }
        refused = Some(step);
    }
    log_missing(interface, wanted, Offloads::NONE);
    Offloads::NONE
}

fn flags(offloads: Offloads) -> libc::c_uint {
    let flag = |wanted: bool, flag: libc::c_uint| if wanted { flag } else { 0 };
    flag(offloads.checksum, libc::TUN_F_CSUM) | flag(offloads.tcp, TSO) | flag(offloads.udp, USO)
}

fn log_missing(interface: &str, wanted: Offloads, granted: Offloads) {
    for (offload, wanted, granted) in [
        ("checksum", wanted.checksum, granted.checksum),
        ("tso", wanted.tcp, granted.tcp),
        ("uso", wanted.udp, granted.udp),
    ] {
        if wanted && !granted {
            tracing::info!(interface, offload, "the kernel lacks this offload: throughput will be lower");
        }
    }
}

/// Tries out super-packets of every kind in `granted` on a device that has just been made, and notes in `refused`
/// which the kernel does not take.
///
/// The device is still down, so nothing is delivered: the kernel looks at the `virtio_net_hdr` first (`EINVAL` for one
/// that it does not take) and then at the state of the device (`EIO`). Before Linux 5.1 it looks the other way round;
/// there a refusal shows at the first use, as it does where the device was handed over and may be up.
pub(super) fn probe_writes(
    granted: Offloads,
    refused: &RefusedWrites,
    mut write: impl FnMut(&[u8]) -> io::Result<usize>,
) {
    for (l4, version) in [
        (L4::Tcp, IpVersion::V4),
        (L4::Tcp, IpVersion::V6),
        (L4::Udp, IpVersion::V4),
        (L4::Udp, IpVersion::V6),
    ] {
        let in_use = match l4 {
            L4::Tcp => granted.tcp,
            L4::Udp => granted.udp,
        };
        if !in_use {
            continue;
        }
        let outcome = write(&super_packet(l4, version));
        if outcome.is_err_and(|error| error.kind() == io::ErrorKind::InvalidInput) {
            refused.refuse(l4);
        }
    }
}

/// A frame of two segments, from a loopback address to itself: should a device be up already, the kernel drops it,
/// because no such packet may come from outside.
fn super_packet(l4: L4, version: IpVersion) -> Vec<u8> {
    let l4_start = match version {
        IpVersion::V4 => IPV4_HEADER_SIZE,
        IpVersion::V6 => IPV6_HEADER_SIZE,
    };
    let header_len = l4_start
        + match l4 {
            L4::Tcp => 20,
            L4::Udp => 8,
        };
    let layout = Layout { version, l4, l4_start, header_len, total_len: header_len + 2 * PROBE_SEGMENT };
    let vnet = VnetHeader {
        gso_type: match (l4, version) {
            (L4::Tcp, IpVersion::V4) => GSO_TCP_V4,
            (L4::Tcp, IpVersion::V6) => GSO_TCP_V6,
            (L4::Udp, IpVersion::V4 | IpVersion::V6) => GSO_UDP_L4,
        },
        hdr_len: (header_len as u16).into(),
        gso_size: (PROBE_SEGMENT as u16).into(),
        ..VnetHeader::partial(&layout)
    };
    let mut frame = vec![0; VNET_HEADER_SIZE + layout.total_len];
    frame[..VNET_HEADER_SIZE].copy_from_slice(vnet.as_bytes());
    let packet = &mut frame[VNET_HEADER_SIZE..];
    match version {
        IpVersion::V4 => {
            packet[0] = 0x45;
            (packet[8], packet[9]) = (64, l4.protocol());
            packet[12..16].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
            packet[16..20].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
        }
        IpVersion::V6 => {
            packet[0] = 0x60;
            (packet[6], packet[7]) = (l4.protocol(), 64);
            packet[8..24].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
            packet[24..40].copy_from_slice(&Ipv6Addr::LOCALHOST.octets());
        }
    }
    if l4 == L4::Tcp {
        packet[l4_start + 12] = 5 << 4; // header length in words
    }
    layout.write_lengths(packet, 0);
    let partial = layout.pseudo_header_sum(packet);
    put_u16(packet, l4_start + l4.checksum_offset(), partial);
    frame
}

#[cfg(test)]
mod tests {
    use super::{
        super::{segment::SuperPacket, test_packets::is_sound, vnet::FrameFormat},
        *,
    };
    use crate::wire::hybrid::Features;

    /// A kernel that knows `known` and nothing else, as `TUNSETOFFLOAD` shows it; and what it was asked for.
    fn ask(known: libc::c_uint, wanted: Offloads) -> (Offloads, Vec<libc::c_uint>) {
        let mut asked = Vec::new();
        let granted = request("vpn0", wanted, |flags| {
            asked.push(flags);
            if flags & !known == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(libc::EINVAL)) }
        });
        (granted, asked)
    }

    const CSUM: libc::c_uint = libc::TUN_F_CSUM;
    const NO_USO: Offloads = Offloads { udp: false, ..Offloads::ALL };
    const CHECKSUM: Offloads = Offloads { checksum: true, ..Offloads::NONE };

    #[test]
    fn a_kernel_that_has_everything_is_asked_once() {
        assert_eq!(ask(CSUM | TSO | USO, Offloads::ALL), (Offloads::ALL, vec![CSUM | TSO | USO]));
    }

    #[test]
    fn a_kernel_without_uso_still_gives_tso() {
        assert_eq!(ask(CSUM | TSO, Offloads::ALL), (NO_USO, vec![CSUM | TSO | USO, CSUM | TSO]));
    }

    #[test]
    fn a_kernel_without_segmentation_still_gives_checksums_and_one_without_those_nothing() {
        assert_eq!(ask(CSUM, Offloads::ALL), (CHECKSUM, vec![CSUM | TSO | USO, CSUM | TSO, CSUM]));
        assert_eq!(ask(0, Offloads::ALL), (Offloads::NONE, vec![CSUM | TSO | USO, CSUM | TSO, CSUM, 0]));
        assert_eq!(ask(0, CHECKSUM), (Offloads::NONE, vec![CSUM, 0]));
        // An ioctl that fails whatever it is asked for.
        let granted = request("vpn0", Offloads::ALL, |_| Err(io::ErrorKind::Unsupported.into()));
        assert_eq!(granted, Offloads::NONE);
    }

    #[test]
    fn what_is_not_wanted_is_switched_off_and_nothing_more_is_asked_for() {
        let all = CSUM | TSO | USO;
        for (wanted, flags) in [
            (Offloads::NONE, 0),
            (CHECKSUM, CSUM),
            (NO_USO, CSUM | TSO),
            (Offloads { tcp: false, ..Offloads::ALL }, CSUM | USO),
        ] {
            assert_eq!(ask(all, wanted), (wanted, vec![flags]));
        }
        // Segments whose checksums are not left out do not exist.
        let wanted = Offloads { checksum: false, ..Offloads::ALL };
        assert_eq!(ask(all, wanted), (Offloads::NONE, vec![0]));
    }

    /// What is left of `granted` on a kernel that answers each kind of super-packet with an error; and the kinds that
    /// it was given.
    fn probe(granted: Offloads, answer: impl Fn(u8) -> libc::c_int) -> (Offloads, Vec<u8>) {
        let refused = RefusedWrites::new("vpn0");
        let mut kinds = Vec::new();
        probe_writes(granted, &refused, |frame| {
            kinds.push(frame[1]);
            Err(io::Error::from_raw_os_error(answer(frame[1])))
        });
        (refused.remaining(granted), kinds)
    }

    #[test]
    fn a_device_that_is_down_takes_what_it_does_not_call_invalid() {
        let kinds = vec![GSO_TCP_V4, GSO_TCP_V6, GSO_UDP_L4, GSO_UDP_L4];
        for errno in [libc::EIO, libc::ENOMEM, libc::EAGAIN] {
            assert_eq!(probe(Offloads::ALL, |_| errno), (Offloads::ALL, kinds.clone()), "{errno}");
        }
        let refused = RefusedWrites::new("vpn0");
        probe_writes(Offloads::ALL, &refused, |frame| Ok(frame.len()));
        assert_eq!(refused.remaining(Offloads::ALL), Offloads::ALL, "a kernel that drops it silently");
    }

    #[test]
    fn a_kind_that_the_kernel_calls_invalid_is_given_up_and_the_other_is_not() {
        let invalid = |kinds: &'static [u8]| {
            move |kind: u8| if kinds.contains(&kind) { libc::EINVAL } else { libc::EIO }
        };
        let no_tso = Offloads { tcp: false, ..Offloads::ALL };
        assert_eq!(probe(Offloads::ALL, invalid(&[GSO_UDP_L4])).0, NO_USO);
        assert_eq!(probe(Offloads::ALL, invalid(&[GSO_TCP_V4])).0, no_tso);
        assert_eq!(probe(Offloads::ALL, invalid(&[GSO_TCP_V6])).0, no_tso);
        assert_eq!(probe(Offloads::ALL, |_| libc::EINVAL).0, CHECKSUM);
    }

    #[test]
    fn what_was_not_granted_is_not_tried_out() {
        assert_eq!(probe(NO_USO, |_| libc::EIO).1, [GSO_TCP_V4, GSO_TCP_V6]);
        assert_eq!(probe(CHECKSUM, |_| libc::EINVAL), (CHECKSUM, vec![]));
        assert_eq!(probe(Offloads::NONE, |_| libc::EINVAL), (Offloads::NONE, vec![]));
    }

    #[test]
    fn what_is_tried_out_is_a_sound_super_packet_of_two() {
        for l4 in [L4::Tcp, L4::Udp] {
            for version in [IpVersion::V4, IpVersion::V6] {
                let mut frame = super_packet(l4, version);
                let packet = SuperPacket::parse(&mut frame, FrameFormat::VnetHeader).expect("sound");
                assert_eq!(packet.segments(), 2, "{l4:?} {version:?}");
                for index in 0..2 {
                    let mut segment = vec![0; packet.segment_len(index)];
                    packet.write_segment(index, &mut segment, Features::NONE).expect("fits");
                    let layout = Layout::parse(&segment).expect("sound");
                    assert_eq!((layout.l4, layout.version), (l4, version));
                    assert!(layout.is_plain() && is_sound(&segment));
                    assert_eq!(layout.payload_len(), PROBE_SEGMENT);
                }
            }
        }
    }
}
