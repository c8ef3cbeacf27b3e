//! A real TUN device in a network namespace of its own, with the kernel's TCP and UDP at both ends.
//!
//! The device is a mirror: what the kernel sends to 10.9.0.2 comes back from there with the addresses exchanged,
//! which changes no checksum. So a connection to the far address ends in this host's own listener, after every
//! packet has passed through segmentation and coalescing twice.
#![cfg(target_os = "linux")]

mod netns;

use netns::Namespace;
use std::{
    io::{Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use vpn_core::{
    base::Endpoint,
    local_tun::{
        FrameFormat, MAX_FRAME_SIZE, Offloads, SuperPacket, Tun, TunConfig, TunError, TunQueue, TunWriter,
    },
    udp::{Cut, Interrupt, RecvBatch, SendBatch, UdpConfig, UdpSocket, Wake},
    wire::{
        hybrid::Features,
        payload::{Checksum, InnerPacket},
    },
};

const NEAR_V4: &str = "10.9.0.1";
const FAR_V4: &str = "10.9.0.2";
const NEAR_V6: &str = "fd00:9::1";
const FAR_V6: &str = "fd00:9::2";

/// What a mirror saw.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    frames: usize,
    super_packets: usize,
    packets: usize,
    written: usize,
    dropped: usize,
    writes: usize,
    /// Packets whose checksum an independent sum does not confirm.
    unsound: usize,
}

/// A thread that sends back what the kernel sends through the device.
struct Mirror {
    interrupt: Arc<Interrupt>,
    thread: JoinHandle<Seen>,
}

impl Mirror {
    fn start(queue: TunQueue) -> Self {
        let interrupt = Arc::new(Interrupt::new().expect("descriptors are left"));
        let waiter = Arc::clone(&interrupt);
        Self { interrupt, thread: thread::spawn(move || reflect(&queue, &waiter)) }
    }

    fn stop(self) -> Seen {
        self.interrupt.raise();
        let seen = self.thread.join().expect("the mirror does not panic");
        assert_eq!((seen.unsound, seen.dropped, seen.written), (0, 0, seen.packets), "{seen:?}");
        seen
    }
}

fn reflect(queue: &TunQueue, interrupt: &Interrupt) -> Seen {
    let mut seen = Seen::default();
    let mut writer = TunWriter::new();
    let mut frame = vec![0; MAX_FRAME_SIZE];
    let mut arena = vec![0; 1 << 20];
    let mut ranges: Vec<InnerPacket> = Vec::new();
    while interrupt.wait_readable(queue, None).expect("poll works") == Wake::Ready {
        let mut used = 0;
        ranges.clear();
        while used + MAX_FRAME_SIZE * 2 < arena.len() {
            let Some(len) = queue.read(&mut frame).expect("the device is there") else { break };
            let packet =
                SuperPacket::parse(&mut frame[..len], queue.format()).expect("kernels send sound frames");
            seen.frames += 1;
            seen.super_packets += usize::from(packet.segments() > 1);
            for index in 0..packet.segments() {
                let len = packet
                    .write_segment(index, &mut arena[used..], Features::NONE)
                    .expect("the arena has room");
                let packet = &mut arena[used..used + len];
                seen.unsound += usize::from(!is_sound(packet));
                exchange_addresses(packet);
                ranges.push(InnerPacket::as_is(used..used + len));
                used += len;
            }
        }
        seen.packets += ranges.len();
        let report = writer.write_packets(queue, &mut arena, &ranges);
        seen.written += report.written;
        seen.dropped += report.dropped;
        seen.writes += report.writes;
    }
    seen
}

fn exchange_addresses(packet: &mut [u8]) {
    let (at, len) = if packet[0] >> 4 == 4 { (12, 4) } else { (8, 16) };
    let (source, destination) = packet[at..at + 2 * len].split_at_mut(len);
    source.swap_with_slice(destination);
}

/// TCP and UDP checksums, summed in the obvious way; other protocols pass.
fn is_sound(packet: &[u8]) -> bool {
    let (start, protocol, addresses) = match packet[0] >> 4 {
        4 => (usize::from(packet[0] & 15) * 4, packet[9], &packet[12..20]),
        _ => (40, packet[6], &packet[8..40]),
    };
    if protocol != 6 && protocol != 17 {
        return true;
    }
    let len = (packet.len() - start) as u16;
    let pseudo = [addresses, &[0, protocol], &len.to_be_bytes()].concat();
    let words = pseudo.chunks(2).chain(packet[start..].chunks(2));
    let mut sum: u32 =
        words.map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum();
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum == 0xffff
}

fn bring_up(name: &str) {
    Namespace::ip(&format!("addr add {NEAR_V4}/24 dev {name}"));
    Namespace::ip(&format!("-6 addr add {NEAR_V6}/64 dev {name} nodad"));
    Namespace::ip(&format!("link set {name} mtu 1420 up"));
    // The kernel makes an IPv6 address reachable in the background; until then its packets would be dropped.
    let deadline = Instant::now() + Duration::from_secs(10);
    while !Namespace::ip("-6 route show table local").contains(&format!("local {NEAR_V6} ")) {
        assert!(Instant::now() < deadline, "{NEAR_V6} does not become reachable");
    }
}

fn device(offloads: Offloads) -> Tun {
    let tun = Tun::create(&TunConfig { offloads, ..TunConfig::new("vpn0") }).expect("root may");
    bring_up(tun.name());
    tun
}

fn socket_address(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().expect("an address"), port)
}

/// Sends 8 MB each way over one connection to `far` and checks them.
fn exchange_over_tcp(near: &str, far: &str) {
    let content: Vec<u8> = (0..8_u32 << 20).map(|at| (at ^ at >> 8 ^ at >> 16) as u8).collect();
    let listener = TcpListener::bind(socket_address(near, 0)).expect("free");
    let port = listener.local_addr().expect("bound").port();
    let echo = thread::spawn(move || {
        let (mut stream, from) = listener.accept().expect("somebody connects");
        let mut received = Vec::new();
        stream.read_to_end(&mut received).expect("the other end closes");
        stream.write_all(&received).expect("the other end reads");
        from
    });
    let mut stream = TcpStream::connect(socket_address(far, port)).expect("the mirror answers");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    stream.write_all(&content).expect("the other end reads");
    stream.shutdown(std::net::Shutdown::Write).expect("connected");
    let mut received = Vec::new();
    stream.read_to_end(&mut received).expect("the other end closes");
    assert!(received == content, "{} of {} bytes came back as they were", received.len(), content.len());
    assert_eq!(echo.join().expect("no panic").ip(), far.parse::<IpAddr>().expect("an address"));
}

#[test]
fn tcp_passes_in_super_packets_both_ways() {
    if Namespace::enter("tcp_passes_in_super_packets_both_ways").is_none() {
        return;
    }
    for (near, far) in [(NEAR_V4, FAR_V4), (NEAR_V6, FAR_V6)] {
        let tun = device(Offloads::ALL);
        assert!(tun.offloads().tcp, "every kernel since 2.6 has TSO on TUN devices");
        let mirror = Mirror::start(tun.into_queues().remove(0));
        exchange_over_tcp(near, far);
        let seen = mirror.stop();
        assert!(seen.super_packets > 50, "{seen:?}");
        assert!(seen.writes < seen.packets / 4, "{seen:?}");
    }
}

#[test]
fn tcp_passes_without_offload() {
    if Namespace::enter("tcp_passes_without_offload").is_none() {
        return;
    }
    let tun = device(Offloads::NONE);
    assert_eq!((tun.offloads(), tun.queues()[0].format()), (Offloads::NONE, FrameFormat::Plain));
    let mirror = Mirror::start(tun.into_queues().remove(0));
    exchange_over_tcp(NEAR_V4, FAR_V4);
    let seen = mirror.stop();
    assert_eq!((seen.super_packets, seen.writes), (0, seen.packets), "{seen:?}");
}

#[test]
fn tcp_passes_with_any_choice_of_offloads() {
    if Namespace::enter("tcp_passes_with_any_choice_of_offloads").is_none() {
        return;
    }
    let checksum = Offloads { checksum: true, ..Offloads::NONE };
    for offloads in [checksum, Offloads { tcp: true, ..checksum }, Offloads { udp: true, ..checksum }] {
        let mirror = Mirror::start(device(offloads).into_queues().remove(0));
        exchange_over_tcp(NEAR_V4, FAR_V4);
        let seen = mirror.stop();
        assert_eq!(
            (seen.super_packets > 0, seen.writes < seen.packets),
            (offloads.tcp, offloads.tcp),
            "{seen:?}"
        );
    }
}

/// A counter of the device `vpn0` in this namespace.
fn statistic(name: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/sys/class/net/vpn0/statistics/{name}")).expect("readable");
    text.trim().parse().expect("a number")
}

#[test]
fn offloads_are_tried_out_before_a_device_is_used_and_nothing_is_delivered() {
    if Namespace::enter("offloads_are_tried_out_before_a_device_is_used_and_nothing_is_delivered").is_none() {
        return;
    }
    let checksum = Offloads { checksum: true, ..Offloads::NONE };
    for (wanted, queues, frames) in [
        (Offloads::ALL, 1, 4),
        (Offloads::ALL, 3, 4),
        (Offloads { tcp: true, ..checksum }, 1, 2),
        (Offloads { udp: true, ..checksum }, 1, 2),
        (checksum, 1, 0),
        (Offloads::NONE, 1, 0),
    ] {
        let tun =
            Tun::create(&TunConfig { offloads: wanted, queues, ..TunConfig::new("vpn0") }).expect("root may");
        if tun.offloads() != wanted {
            continue; // an older kernel
        }
        assert_eq!((statistic("rx_packets"), statistic("rx_dropped")), (0, frames), "{wanted:?}");
        for queue in tun.queues() {
            assert_eq!((queue.offloads(), queue.offloads_in_force()), (wanted, wanted), "none was refused");
        }
        assert_eq!(statistic("rx_frame_errors"), 0, "the kernel has found nothing wrong with them");
    }
}

#[test]
fn udp_passes_with_its_boundaries() {
    if Namespace::enter("udp_passes_with_its_boundaries").is_none() {
        return;
    }
    for offloads in [Offloads::ALL, Offloads { udp: false, ..Offloads::ALL }] {
        let tun = device(offloads);
        let granted = tun.offloads();
        let mirror = Mirror::start(tun.into_queues().remove(0));
        for (near, far) in [(NEAR_V4, FAR_V4), (NEAR_V6, FAR_V6)] {
            exchange_over_udp(near, far);
        }
        let seen = mirror.stop();
        if granted.udp {
            assert!(seen.super_packets >= 2 && seen.writes < seen.packets / 2, "{seen:?}");
        } else {
            assert_eq!(seen.super_packets, 0, "{seen:?}");
        }
    }
}

/// Sends 41 datagrams as one run, the last shorter, and checks what arrives.
fn exchange_over_udp(near: &str, far: &str) {
    let sender = UdpSocket::bind(&UdpConfig::new(socket_address(near, 0))).expect("free");
    let receiver = UdpSocket::bind(&UdpConfig::new(socket_address(near, 0))).expect("free");
    let to = Endpoint::to(socket_address(far, receiver.local_addr().port()));
    let lens = [[1200; 40].as_slice(), &[333]].concat();
    let mut batch = SendBatch::new(0);
    for (index, len) in lens.iter().enumerate() {
        batch.slot(*len).expect("fits").fill(index as u8);
        batch.commit(to, Cut::ByPath, *len);
    }
    assert_eq!(sender.send(&mut batch).sent, lens.len());
    let interrupt = Interrupt::new().expect("descriptors are left");
    let mut batch = RecvBatch::new(256 << 10);
    let mut found = Vec::new();
    while found.len() < lens.len() {
        let wake = interrupt.wait_readable(&receiver, Some(Duration::from_secs(10))).expect("poll works");
        assert_eq!(wake, Wake::Ready, "{} datagrams arrived", found.len());
        receiver.recv(&mut batch).expect("sound");
        let (received, arena) = batch.parts_mut();
        for run in received {
            assert_eq!(run.from.remote.ip(), far.parse::<IpAddr>().expect("an address"));
            found.extend(run.datagrams().map(|range| arena[range].to_vec()));
        }
    }
    let expected = lens.iter().enumerate().map(|(index, len)| vec![index as u8; *len]);
    assert!(found.into_iter().eq(expected), "contents, sizes and order");
}

/// A UDP datagram as it is after it came without its checksum: the field is 0.
fn udp_without_checksum(source: SocketAddr, destination: SocketAddr, content: &[u8]) -> Vec<u8> {
    let len = 8 + content.len() as u16;
    let (mut packet, at) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut header = vec![0x45, 0, 0, 20 + len as u8, 0, 0, 0x40, 0, 64, 17, 0, 0];
            header.extend([source.octets(), destination.octets()].as_flattened());
            let sum: u32 = header.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
            let sum = !((sum >> 16) + (sum & 0xffff)) as u16;
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            (header, 20)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut header = vec![0x60, 0, 0, 0, 0, len as u8, 17, 64];
            header.extend([source.octets(), destination.octets()].as_flattened());
            (header, 40)
        }
        _ => panic!("both of one family"),
    };
    for field in [source.port(), destination.port(), len, 0] {
        packet.extend(field.to_be_bytes());
    }
    packet.extend(content);
    assert!(!is_sound(&packet) && packet.len() == at + usize::from(len));
    packet
}

/// Writes the packet to the device as one that came without its checksum, or as one with a wrong one.
fn write_one(queue: &TunQueue, mut packet: Vec<u8>, checksum: Checksum) {
    if checksum == Checksum::AsIs {
        let at = if packet[0] >> 4 == 4 { 26 } else { 46 };
        packet[at] = 0x55;
    }
    let whole = InnerPacket { range: 0..packet.len(), checksum };
    let report = TunWriter::new().write_packets(queue, &mut packet, &[whole]);
    assert_eq!((report.written, report.dropped), (1, 0));
}

#[test]
fn the_kernel_takes_a_packet_without_checksum_and_no_wrong_one() {
    if Namespace::enter("the_kernel_takes_a_packet_without_checksum_and_no_wrong_one").is_none() {
        return;
    }
    for offloads in [Offloads::ALL, Offloads::NONE] {
        let tun = device(offloads);
        for (near, far) in [(NEAR_V4, FAR_V4), (NEAR_V6, FAR_V6)] {
            let socket = std::net::UdpSocket::bind(socket_address(near, 0)).expect("free");
            socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
            let near = socket.local_addr().expect("bound");
            let packet = |content| udp_without_checksum(socket_address(far, 4000), near, content);
            write_one(&tun.queues()[0], packet(b"wrong"), Checksum::AsIs);
            write_one(&tun.queues()[0], packet(b"left out"), Checksum::LeftOut);
            let mut buffer = [0; 100];
            let (len, _) = socket.recv_from(&mut buffer).expect("it arrives");
            assert_eq!(&buffer[..len], b"left out", "{offloads:?}: the first that arrives");
        }
    }
}

#[test]
fn a_packet_without_checksum_that_the_kernel_forwards_leaves_it_with_the_right_one() {
    if Namespace::enter("a_packet_without_checksum_that_the_kernel_forwards_leaves_it_with_the_right_one")
        .is_none()
    {
        return;
    }
    let from = device(Offloads::ALL);
    // Without offload the kernel has to compute what it hands over, as for a network card that cannot.
    let config = TunConfig { offloads: Offloads::NONE, ..TunConfig::new("vpn1") };
    let to = Tun::create(&config).expect("root may");
    Namespace::ip("addr add 10.8.0.1/24 dev vpn1");
    Namespace::ip("link set vpn1 up");
    std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").expect("root may");
    let destination = socket_address("10.8.0.2", 4001);
    let packet = udp_without_checksum(socket_address(FAR_V4, 4000), destination, b"forwarded");
    write_one(&from.queues()[0], packet.clone(), Checksum::LeftOut);

    let interrupt = Interrupt::new().expect("descriptors are left");
    let mut buffer = [0; 2000];
    // The kernel has things of its own to say, too (IPv6 router solicitations).
    let forwarded = loop {
        let wake =
            interrupt.wait_readable(&to.queues()[0], Some(Duration::from_secs(10))).expect("poll works");
        assert_eq!(wake, Wake::Ready, "it is forwarded");
        let len = to.queues()[0].read(&mut buffer).expect("the device is there").unwrap_or_default();
        if len == packet.len() && buffer[..len].ends_with(b"forwarded") {
            break &buffer[..len];
        }
    };
    assert_eq!(forwarded[8], packet[8] - 1, "TTL");
    assert!(is_sound(forwarded));
}

#[test]
fn several_queues_serve_one_device() {
    if Namespace::enter("several_queues_serve_one_device").is_none() {
        return;
    }
    let tun = Tun::create(&TunConfig { queues: 3, ..TunConfig::new("vpn0") }).expect("root may");
    bring_up("vpn0");
    let offloads = tun.offloads();
    assert!(tun.queues().iter().all(|queue| queue.offloads() == offloads));
    let mirrors: Vec<Mirror> = tun.into_queues().into_iter().map(Mirror::start).collect();
    let connections: Vec<_> = (0..4).map(|_| thread::spawn(|| exchange_over_tcp(NEAR_V4, FAR_V4))).collect();
    for connection in connections {
        connection.join().expect("the connection passes");
    }
    let packets: usize = mirrors.into_iter().map(|mirror| mirror.stop().packets).sum();
    assert!(packets > 0);
}

#[test]
fn a_name_in_use_is_refused_and_free_again_after_the_end() {
    if Namespace::enter("a_name_in_use_is_refused_and_free_again_after_the_end").is_none() {
        return;
    }
    for queues in [1, 2] {
        let config = TunConfig { queues, ..TunConfig::new("vpn0") };
        let first = Tun::create(&config).expect("root may");
        let second = Tun::create(&config).expect_err("in use");
        assert!(matches!(&second, TunError::NameBusy { name, .. } if name == "vpn0"), "{second}");
        drop(first);
        Tun::create(&config).expect("not persistent");
    }
    let loopback = Tun::create(&TunConfig::new("lo")).expect_err("exists");
    assert!(matches!(loopback, TunError::NameBusy { .. }), "{loopback}");
}

#[test]
fn a_device_that_is_down_drops_and_a_removed_one_fails() {
    if Namespace::enter("a_device_that_is_down_drops_and_a_removed_one_fails").is_none() {
        return;
    }
    let tun = Tun::create(&TunConfig::new("vpn0")).expect("root may");
    let queue = &tun.queues()[0];
    let mut packet = [0_u8; 40];
    packet[0] = 0x60;
    packet[6] = 59;
    let report = TunWriter::new().write_packets(queue, &mut packet, &[InnerPacket::as_is(0..40)]);
    assert_eq!((report.written, report.dropped), (0, 1));
    assert_eq!(queue.read(&mut [0; 2000]).expect("nothing to read"), None);
    Namespace::ip("link delete vpn0");
    let interrupt = Interrupt::new().expect("descriptors are left");
    let wake = interrupt.wait_readable(queue, Some(Duration::from_secs(10))).expect("poll works");
    assert_eq!(wake, Wake::Ready, "a wait does not outlive the device");
    assert!(queue.read(&mut [0; 2000]).is_err());
}

#[test]
fn without_privilege_the_error_says_what_is_needed() {
    if Namespace::enter("without_privilege_the_error_says_what_is_needed").is_none() {
        return;
    }
    let name = "TUN_TEST_UNPRIVILEGED";
    if std::env::var_os(name).is_some() {
        let error = Tun::create(&TunConfig::new("vpn0")).expect_err("no capability");
        assert!(matches!(error, TunError::NotPermitted { .. }), "{error:?}");
        assert!(error.to_string().contains("CAP_NET_ADMIN"), "{error}");
        return;
    }
    let binary = std::env::current_exe().expect("tests know their binary");
    let status = std::process::Command::new("setpriv")
        .args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"])
        .arg(binary)
        .args(["--exact", "without_privilege_the_error_says_what_is_needed"])
        .env(name, "1")
        .status()
        .expect("setpriv is installed");
    assert!(status.success());
}

#[test]
fn a_device_that_another_process_opened_is_taken_over_as_it_is() {
    if Namespace::enter("a_device_that_another_process_opened_is_taken_over_as_it_is").is_none() {
        return;
    }
    for (offloads, queues) in [(Offloads::ALL, 1), (Offloads::NONE, 1), (Offloads::ALL, 2)] {
        let opened = Tun::create(&TunConfig { offloads, queues, ..TunConfig::new("vpn9") }).expect("made");
        let queue = &opened.queues()[0];
        let fd = queue.as_fd().try_clone_to_owned().expect("descriptors are left");
        let by_fd = Tun::from_fd(fd, Offloads::ALL).expect("a TUN device");
        let by_number = Tun::inherited(queue.as_fd().as_raw_fd(), Offloads::ALL).expect("a TUN device");
        for taken in [by_fd, by_number] {
            assert_eq!((taken.name(), taken.offloads()), ("vpn9", opened.offloads()));
            assert_eq!(taken.queues()[0].format(), queue.format());
            assert_eq!(taken.queues()[0].read(&mut [0; 64]).expect("readable"), None, "does not block");
        }
    }
}

#[test]
fn offloads_that_the_opener_of_a_device_had_switched_on_are_off_unless_asked_for() {
    let name = "offloads_that_the_opener_of_a_device_had_switched_on_are_off_unless_asked_for";
    if Namespace::enter(name).is_none() {
        return;
    }
    let opened = device(Offloads::ALL);
    let fd = opened.queues()[0].as_fd().try_clone_to_owned().expect("descriptors are left");
    let taken = Tun::from_fd(fd, Offloads::NONE).expect("a TUN device");
    assert_eq!((taken.offloads(), taken.queues()[0].format()), (Offloads::NONE, FrameFormat::VnetHeader));
    let mirror = Mirror::start(taken.into_queues().remove(0));
    exchange_over_tcp(NEAR_V4, FAR_V4);
    let seen = mirror.stop();
    assert_eq!((seen.super_packets, seen.writes), (0, seen.packets), "{seen:?}");
}
