//! An engine whose socket takes no more: the network is slower than the local system.

use super::{End, PATIENCE, netns::Namespace, socket};
use std::{
    net::UdpSocket as PlainSocket,
    time::{Duration, Instant},
};
use vpn_core::{
    base::DropReason,
    udp::{UdpConfig, UdpSocket},
};

/// Two ends, the first with little room in its socket, in a namespace whose loopback interface sends at `rate`, as `tc` takes
/// it, once there is a session. `None` where the kernel cannot do that.
fn slow_pair(test: &str, rate: &str) -> Option<(End, End)> {
    Namespace::ip("link set lo up");
    let config = UdpConfig { send_buffer: 32 << 10, ..UdpConfig::new(([127, 0, 0, 1], 5001).into()) };
    let a = End::start("slow0", 1, 2, UdpSocket::bind(&config).expect("free"), Some(5002), "10.9.0.2");
    let b = End::start("slow1", 2, 1, socket(5002), None, "10.9.1.1");
    a.reach(&b);
    if !Namespace::try_tc(&format!("qdisc add dev lo root tbf rate {rate} burst 5kb limit 10mb")) {
        Namespace::skip(test, "this kernel cannot slow an interface down");
        return None;
    }
    Some((a, b))
}

fn flood(end: &End, packets: usize) {
    let sender = PlainSocket::bind("0.0.0.0:0").expect("a socket");
    for _ in 0..packets {
        // What finds no room on the way is lost, here or there.
        let _ = sender.send_to(&[0; 1300], (end.far, 9));
    }
}

fn refused(end: &End) -> u64 {
    end.engine.plane().drops().get(DropReason::Refused)
}

#[test]
fn a_socket_that_is_full_makes_the_local_queue_overflow_and_loses_nothing_itself() {
    const NAME: &str =
        "blocked::a_socket_that_is_full_makes_the_local_queue_overflow_and_loses_nothing_itself";
    if Namespace::enter(NAME).is_none() {
        return;
    }
    let Some((a, b)) = slow_pair(NAME, "30mbit") else { return };
    flood(&a, 3000);
    let dropped = Namespace::ip("-s -j link show slow0");
    assert!(
        !dropped.contains("\"dropped\":0,\"carrier_errors\""),
        "the device's own queue was never full: {dropped}"
    );
    // The other direction, and this one when there is room again.
    b.reach(&a);
    a.reach(&b);
    assert_eq!(refused(&a), 0, "datagrams were dropped that only had to wait");
}

#[test]
fn an_interface_that_sends_nothing_any_more_does_not_hold_packets_for_ever() {
    const NAME: &str = "blocked::an_interface_that_sends_nothing_any_more_does_not_hold_packets_for_ever";
    if Namespace::enter(NAME).is_none() {
        return;
    }
    let Some((a, b)) = slow_pair(NAME, "1kbit") else { return };
    let deadline = Instant::now() + PATIENCE;
    while refused(&a) == 0 {
        assert!(Instant::now() < deadline, "the engine waits for a dead interface");
        flood(&a, 100);
        std::thread::sleep(Duration::from_millis(20));
    }
    Namespace::try_tc("qdisc delete dev lo root");
    a.reach(&b);
    b.reach(&a);
}
