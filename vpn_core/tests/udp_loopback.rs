//! The UDP socket on the loopback interface, and on a path with a small MTU in a network namespace of its own.
#![cfg(target_os = "linux")]

mod netns;

use netns::Namespace;
use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    time::{Duration, Instant},
};
use vpn_core::{
    base::Endpoint,
    udp::{Cut, Interrupt, RecvBatch, SendBatch, SendReport, UdpConfig, UdpError, UdpSocket, Wake, Watch},
};

const PATIENCE: Duration = Duration::from_secs(10);

fn bind(listen: &str) -> UdpSocket {
    UdpSocket::bind(&UdpConfig::new(address(listen))).expect("the address is free")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn empty_datagrams_do_not_keep_a_batch_from_being_served() {
    let (sender, receiver) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let plain = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port is free");
    let target = receiver.local_addr();
    let mut batch = SendBatch::new(0);
    batch.slot(3).expect("fits").copy_from_slice(b"abc");
    batch.commit(to("127.0.0.1", &receiver), Cut::ByPath, 3);
    assert_eq!(sender.send(&mut batch).sent, 1);
    let floods: usize = (0..600).map(|_| usize::from(plain.send_to(&[], target).is_ok())).sum();
    assert_eq!(floods, 600);
    let mut batch = RecvBatch::new(0);
    let first = receiver.recv(&mut batch).expect("the socket is sound");
    assert_eq!((first.datagrams, batch.received().len()), (1, 1));
    assert!(first.more, "there is more, but what was received comes first");
}

fn to(ip: &str, socket: &UdpSocket) -> Endpoint {
    Endpoint::to(SocketAddr::new(ip.parse().expect("an address"), socket.local_addr().port()))
}

/// Receives `count` datagrams, with the endpoint that each came from and the number of runs that carried them.
fn receive(socket: &UdpSocket, count: usize) -> (Vec<(Endpoint, Vec<u8>)>, usize) {
    let interrupt = Interrupt::new().expect("descriptors are left");
    let mut batch = RecvBatch::new(256 << 10);
    let (mut found, mut runs) = (Vec::new(), 0);
    while found.len() < count {
        assert_eq!(
            interrupt.wait_readable(socket, Some(PATIENCE)).expect("poll works"),
            Wake::Ready,
            "{} of {count} datagrams arrived",
            found.len()
        );
        let before = found.len();
        let report = socket.recv(&mut batch).expect("the socket is sound");
        let (received, arena) = batch.parts_mut();
        runs += received.len();
        for run in received {
            found.extend(run.datagrams().map(|range| (run.from, arena[range].to_vec())));
        }
        assert_eq!(report.datagrams, found.len() - before);
    }
    (found, runs)
}

fn datagram(index: usize, len: usize) -> Vec<u8> {
    (0..len).map(|at| (index * 31 + at) as u8).collect()
}

fn add(batch: &mut SendBatch, to: Endpoint, content: &[u8]) {
    batch.slot(content.len()).expect("the batch has room").copy_from_slice(content);
    batch.commit(to, Cut::ByPath, content.len());
}

/// Sends `lens` as one batch and checks that they arrive as they were; the number of runs received.
fn exchange(sender: &UdpSocket, receiver: &UdpSocket, ip: &str, lens: &[usize]) -> usize {
    let mut batch = SendBatch::new(256 << 10);
    let sent: Vec<Vec<u8>> = lens.iter().enumerate().map(|(index, len)| datagram(index, *len)).collect();
    for content in &sent {
        add(&mut batch, to(ip, receiver), content);
    }
    let report = sender.send(&mut batch);
    assert_eq!(report, SendReport { sent: lens.len(), ..SendReport::default() });
    assert!(batch.is_empty());
    let (found, runs) = receive(receiver, lens.len());
    assert!(found.iter().map(|(_, content)| content).eq(&sent), "contents and order");
    runs
}

#[test]
fn runs_cross_loopback_whole() {
    for (listen, ip) in [("127.0.0.1:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")] {
        let (sender, receiver) = (bind(listen), bind(listen));
        let lens = [[1452; 45].as_slice(), &[1452; 40], &[700], &[64; 30]].concat();
        let runs = exchange(&sender, &receiver, ip, &lens);
        if sender.gso() && receiver.gro() {
            assert!(runs <= 5, "{runs} runs instead of 4");
        }
    }
}

#[test]
fn without_offload_the_same_arrives_one_by_one() {
    let config = UdpConfig { gso: false, gro: false, ..UdpConfig::new(address("127.0.0.1:0")) };
    let sender = UdpSocket::bind(&config).expect("free");
    let receiver = UdpSocket::bind(&config).expect("free");
    assert_eq!(exchange(&sender, &receiver, "127.0.0.1", &[1000; 20]), 20);
}

#[test]
fn an_answer_leaves_from_the_address_that_was_asked() {
    for (server, client, ip) in [
        ("[::]:0", "127.0.0.1:0", "127.0.0.5"),
        ("0.0.0.0:0", "127.0.0.1:0", "127.0.0.5"),
        ("[::]:0", "[::1]:0", "::1"),
    ] {
        let (server, client) = (bind(server), bind(client));
        client.send_to(to(ip, &server), b"question").expect("loopback");
        let (found, _) = receive(&server, 1);
        let from = found[0].0;
        assert_eq!(from.remote, client.local_addr(), "IPv4 is not mapped");
        assert_eq!(from.local, Some(ip.parse().expect("an address")));
        let mut batch = SendBatch::new(0);
        add(&mut batch, from, b"answer one");
        add(&mut batch, from, b"answer two");
        assert_eq!(server.send(&mut batch).sent, 2);
        let (answers, _) = receive(&client, 2);
        assert_eq!(answers[1].1, b"answer two");
        assert_eq!(answers[1].0.remote, to(ip, &server).remote);
    }
}

#[test]
fn a_local_address_that_is_gone_is_left_out() {
    for (listen, ip, gone) in [
        ("[::]:0", "127.0.0.1", "192.0.2.77"),
        ("[::]:0", "::1", "2001:db8::77"),
        ("0.0.0.0:0", "127.0.0.1", "192.0.2.77"),
    ] {
        let (sender, receiver) = (bind(listen), bind(listen));
        let endpoint = Endpoint { local: Some(gone.parse().expect("an address")), ..to(ip, &receiver) };
        let mut batch = SendBatch::new(0);
        (0..3).for_each(|index| add(&mut batch, endpoint, &datagram(index, 100)));
        let report = sender.send(&mut batch);
        assert_eq!(report, SendReport { sent: 3, stale_sources: 1, ..SendReport::default() });
        assert!(sender.gso(), "not the fault of segmentation");
        receive(&receiver, 3);
        sender.send_to(endpoint, b"control").expect("loopback");
        receive(&receiver, 1);
    }
}

#[test]
fn a_datagram_that_cannot_be_sent_does_not_hold_up_the_others() {
    let (sender, receiver) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let mut batch = SendBatch::new(256 << 10);
    add(&mut batch, to("127.0.0.1", &receiver), b"before");
    add(&mut batch, to("127.0.0.1", &receiver), &vec![0; 65_600]);
    add(&mut batch, to("2001:db8::1", &receiver), b"no such family here");
    add(&mut batch, to("127.0.0.1", &receiver), b"after");
    assert_eq!(sender.send(&mut batch), SendReport { sent: 2, dropped: 2, ..SendReport::default() });
    let (found, _) = receive(&receiver, 2);
    assert_eq!(found[1].1, b"after");
}

#[test]
fn a_closed_port_does_not_disturb_the_socket() {
    let (sender, receiver) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    let closed = {
        let gone = bind("127.0.0.1:0");
        to("127.0.0.1", &gone)
    };
    for _ in 0..10 {
        let _ = sender.send_to(closed, b"nobody hears this");
    }
    exchange(&sender, &receiver, "127.0.0.1", &[100; 3]);
    exchange(&receiver, &sender, "127.0.0.1", &[100; 3]);
}

#[test]
fn an_empty_socket_yields_an_empty_batch() {
    let socket = bind("127.0.0.1:0");
    let mut batch = RecvBatch::new(0);
    let report = socket.recv(&mut batch).expect("sound");
    assert_eq!((report.datagrams, report.more, batch.received().len()), (0, false, 0));
}

#[test]
fn a_batch_that_is_full_leaves_the_rest_in_the_socket() {
    let (sender, receiver) = (bind("127.0.0.1:0"), bind("127.0.0.1:0"));
    for index in 0..4 {
        sender.send_to(to("127.0.0.1", &receiver), &datagram(index, 1000)).expect("loopback");
    }
    let mut batch = RecvBatch::new(0);
    for _ in 0..4 {
        let report = receiver.recv(&mut batch).expect("sound");
        assert_eq!((report.datagrams, report.more), (1, true));
    }
}

#[test]
fn errors_name_the_remedy() {
    let first = bind("127.0.0.1:0");
    let taken = UdpSocket::bind(&UdpConfig::new(first.local_addr())).expect_err("in use");
    assert!(matches!(taken, UdpError::AddressInUse { .. }));
    assert!(taken.to_string().contains(&format!("port {} is in use", first.local_addr().port())), "{taken}");
    let foreign = UdpSocket::bind(&UdpConfig::new(address("192.0.2.1:0"))).expect_err("not ours");
    assert!(matches!(foreign, UdpError::AddressNotAvailable { .. }));
}

#[test]
fn sockets_of_a_group_share_a_port_that_nobody_else_may_join() {
    let group = UdpSocket::bind_group(&UdpConfig::new(address("[::]:0")), 3).expect("a port is free");
    assert_eq!(group.len(), 3);
    let shared = group[0].local_addr();
    assert!(group.iter().all(|socket| socket.local_addr() == shared));
    for count in [1, 2] {
        let second = UdpSocket::bind_group(&UdpConfig::new(shared), count).expect_err("taken");
        assert!(matches!(second, UdpError::AddressInUse { .. }), "{second}");
    }
}

#[test]
fn all_datagrams_of_a_sender_go_to_one_socket_of_a_group_and_senders_are_spread() {
    let group = UdpSocket::bind_group(&UdpConfig::new(address("127.0.0.1:0")), 4).expect("a port is free");
    let senders: Vec<_> = (0..64).map(|_| bind("127.0.0.1:0")).collect();
    for sender in &senders {
        for _ in 0..3 {
            sender.send_to(to("127.0.0.1", &group[0]), b"hello").expect("loopback");
        }
    }
    let mut heard: HashMap<SocketAddr, Vec<usize>> = HashMap::new();
    let deadline = Instant::now() + PATIENCE;
    while heard.values().map(Vec::len).sum::<usize>() < 3 * senders.len() {
        assert!(Instant::now() < deadline, "{heard:?}");
        for (index, socket) in group.iter().enumerate() {
            let mut batch = RecvBatch::new(256 << 10);
            socket.recv(&mut batch).expect("sound");
            for received in batch.received() {
                let at = heard.entry(received.from.remote).or_default();
                at.extend(received.datagrams().map(|_| index));
            }
        }
    }
    assert_eq!(heard.len(), senders.len());
    assert!(heard.values().all(|at| at.len() == 3 && at.iter().all(|index| *index == at[0])), "{heard:?}");
    let used: HashSet<_> = heard.values().map(|at| at[0]).collect();
    assert!(used.len() > 1, "64 senders on one of four sockets");
}

#[test]
fn what_a_full_socket_does_not_take_stays_in_the_batch() {
    // A receiver's buffer is no limit to a sender, a slow interface is: bytes wait in the sender's buffer until they left.
    const NAME: &str = "what_a_full_socket_does_not_take_stays_in_the_batch";
    if Namespace::enter(NAME).is_none() {
        return;
    }
    Namespace::ip("link set lo up");
    if !Namespace::try_tc("qdisc add dev lo root tbf rate 2mbit burst 5kb limit 10mb") {
        Namespace::skip(NAME, "this kernel cannot slow an interface down");
        return;
    }
    let receiver = bind("127.0.0.1:0");
    let small = UdpConfig { send_buffer: 100 << 10, ..UdpConfig::new(address("127.0.0.1:0")) };
    let sender = UdpSocket::bind(&small).expect("free");
    let mut batch = SendBatch::new(1 << 20);
    let count = 6 * 45; // 1.5 s of that interface, and twice the room
    for index in 0..count {
        add(&mut batch, to("127.0.0.1", &receiver), &datagram(index, 1400));
    }
    let mut report = sender.send(&mut batch);
    assert!(report.blocked && report.sent > 0 && report.dropped == 0, "{report:?}");
    assert_eq!(batch.datagrams(), count - report.sent);
    let (mut found, interrupt) = (Vec::new(), Interrupt::new().expect("descriptors are left"));
    while report.blocked {
        let mut watched = [Watch::new(&sender).for_writing()];
        assert_eq!(interrupt.wait(&mut watched, Some(PATIENCE)).expect("poll works"), Wake::Ready);
        assert!(watched[0].is_writable());
        let sent = report.sent;
        report = sender.send(&mut batch);
        report.sent += sent;
        found.extend(receive(&receiver, 1).0);
    }
    assert_eq!((report.sent, report.dropped, batch.is_empty()), (count, 0, true));
    found.extend(receive(&receiver, count - found.len()).0);
    let contents: Vec<_> = found.into_iter().map(|(_, content)| content).collect();
    assert!(contents.iter().eq(&(0..count).map(|index| datagram(index, 1400)).collect::<Vec<_>>()));
}

#[test]
fn root_gets_deep_buffers_and_marks() {
    if !netns::is_root() {
        return;
    }
    let config = UdpConfig { fwmark: Some(51_820), ..UdpConfig::new(address("[::]:0")) };
    let (receive, send) = UdpSocket::bind(&config).expect("root may").buffer_sizes().expect("known options");
    assert!(receive >= 8 << 20 && send >= 8 << 20, "{receive} {send}");
}

#[test]
fn datagrams_longer_than_the_path_mtu_are_fragmented_and_gso_stays_on() {
    const NAME: &str = "datagrams_longer_than_the_path_mtu_are_fragmented_and_gso_stays_on";
    if Namespace::enter(NAME).is_none() {
        return;
    }
    Namespace::ip("link set lo up");
    let (sender, receiver) = (bind("[::]:0"), bind("[::]:0"));
    exchange(&sender, &receiver, "127.0.0.1", &[1452; 30]);
    Namespace::ip("link set lo mtu 1300");
    for ip in ["127.0.0.1", "::1"] {
        exchange(&sender, &receiver, ip, &[1452; 30]);
    }
    Namespace::ip("link set lo mtu 65536");
    assert!(sender.gso());
    assert!(exchange(&sender, &receiver, "127.0.0.1", &[1452; 30]) <= 2 || !receiver.gro());
}
