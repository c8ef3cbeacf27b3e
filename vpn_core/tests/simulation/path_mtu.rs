//! Paths that lose what is too long for them and tell nobody, and what a gateway tells the sender of a packet that is.

use super::{
    network::{Kind, Network, Wire, millis, secs},
    node::{NodeSettings, Peering},
};
use std::net::SocketAddr;
use vpn_core::{
    base::DropReason,
    device::Forwarding,
    tunnel::{Event, MtuMode, MtuPolicy},
    wire::{hybrid::Features, transport::OVERHEAD},
};

const CLIENT: usize = 0;
const GATEWAY: usize = 1;
const SECOND: usize = 2;

/// What the narrow path takes of a packet in the tunnel, in bytes.
const NARROW: usize = 1340;

/// A client that follows its path, connected with a gateway and another client.
fn network(client: MtuMode, features: Features) -> Network {
    let mut net = Network::new();
    let policy = |mode| MtuPolicy { mode, floor: 1280 };
    let nodes = [
        NodeSettings { mtu_policy: policy(client), features, ..NodeSettings::new(1) },
        NodeSettings {
            mtu_policy: policy(MtuMode::Within),
            forwarding: Forwarding::BetweenPeers,
            ..NodeSettings::new(2)
        },
        NodeSettings { mtu_policy: policy(MtuMode::Follow), ..NodeSettings::new(3) },
    ];
    for settings in nodes {
        net.add(settings);
    }
    for client in [CLIENT, SECOND] {
        let towards_client = net.peering(client);
        net.nodes[GATEWAY].set_peer(towards_client, net.now);
        let mut towards_gateway = net.peering(GATEWAY);
        towards_gateway.allowed_ips = vec!["10.0.0.0/24".to_owned()];
        towards_gateway.stay_connected = true;
        net.nodes[client].set_peer(towards_gateway, net.now);
    }
    net
}

/// Loses what is longer than [`NARROW`] between the first client and the gateway, in either direction.
fn black_hole(net: &mut Network) {
    let narrow = net.nodes[CLIENT].address;
    net.rule(move |wire: &Wire| {
        wire.datagram.len() <= NARROW + OVERHEAD || (wire.to != narrow && wire.from != narrow)
    });
}

fn mtu(net: &Network, node: usize, peer: usize) -> u16 {
    net.nodes[node].status_of(net.key(peer), net.now).mtu
}

/// How many probes a node has sent: data, though nobody gave it a packet.
fn probes(net: &Network, node: usize) -> usize {
    net.sent(node, Kind::Data)
}

#[test]
fn a_black_hole_is_found_from_both_ends_within_three_seconds_of_the_handshake() {
    let mut net = network(MtuMode::Follow, Features::SUPPORTED);
    black_hole(&mut net);
    net.run_for(secs(3));
    for (node, peer) in [(CLIENT, GATEWAY), (GATEWAY, CLIENT)] {
        let found = usize::from(mtu(&net, node, peer));
        assert!((NARROW - 4..=NARROW).contains(&found), "node {node}: {found}");
    }
    assert_eq!((mtu(&net, SECOND, GATEWAY), mtu(&net, GATEWAY, SECOND)), (1420, 1420), "the others' paths");
    assert!(probes(&net, CLIENT) < 100, "{} probes and answers", probes(&net, CLIENT));
}

#[test]
fn a_given_mtu_stays_where_datagrams_are_cut_and_arrive() {
    let mut net = network(MtuMode::Given, Features::SUPPORTED);
    let narrow = net.nodes[CLIENT].address;
    net.rule(move |wire: &Wire| {
        wire.may_be_cut
            || wire.datagram.len() <= NARROW + OVERHEAD
            || (wire.to != narrow && wire.from != narrow)
    });
    net.run_for(secs(3));
    assert_eq!(mtu(&net, CLIENT, GATEWAY), 1420, "what the gateway accepts, and no less");
    assert!(usize::from(mtu(&net, GATEWAY, CLIENT)) <= NARROW, "the gateway wants what passes whole");

    net.clear_rules();
    black_hole(&mut net);
    net.nodes[CLIENT].device.handle_network_change(net.now);
    net.run_for(secs(3));
    assert!(usize::from(mtu(&net, CLIENT, GATEWAY)) <= NARROW, "cut or not, nothing longer arrives");
}

#[test]
fn a_path_that_widens_is_used_within_ten_minutes_and_at_once_when_it_is_another_one() {
    let mut net = network(MtuMode::Follow, Features::SUPPORTED);
    black_hole(&mut net);
    net.run_for(secs(3));
    net.clear_rules();
    net.run_for(secs(605));
    assert_eq!(mtu(&net, CLIENT, GATEWAY), 1420);

    black_hole(&mut net);
    net.nodes[CLIENT].device.handle_network_change(net.now);
    net.run_for(secs(3));
    assert!(usize::from(mtu(&net, CLIENT, GATEWAY)) <= NARROW);
    net.clear_rules();
    net.nodes[CLIENT].device.handle_network_change(net.now);
    net.run_for(secs(3));
    assert_eq!(mtu(&net, CLIENT, GATEWAY), 1420);
}

#[test]
fn a_client_that_roams_onto_a_narrow_path_is_noticed_by_the_gateway() {
    let mut net = network(MtuMode::Follow, Features::SUPPORTED);
    net.run_for(secs(6));
    assert_eq!(mtu(&net, GATEWAY, CLIENT), 1420);
    net.nodes[CLIENT].address.set_port(4000);
    black_hole(&mut net);
    net.send(CLIENT, GATEWAY);
    net.run_for(secs(3));
    assert!(usize::from(mtu(&net, GATEWAY, CLIENT)) <= NARROW);
}

#[test]
fn a_client_whose_address_moves_with_every_packet_gets_no_more_than_a_few_probes_there() {
    let mut net = network(MtuMode::Follow, Features::SUPPORTED);
    net.run_for(secs(6));
    let before = probes(&net, GATEWAY);
    // Nothing comes back from there: it is somebody else's.
    let to_client = net.nodes[CLIENT].address.ip();
    net.rule(move |wire: &Wire| wire.to.ip() != to_client);
    for port in 4000..4400 {
        net.nodes[CLIENT].address.set_port(port);
        net.send(CLIENT, GATEWAY);
        net.run_for(millis(50));
    }
    let sent = probes(&net, GATEWAY) - before;
    assert!((2..=10).contains(&sent), "{sent} probes in 20 s");
}

#[test]
fn a_responders_first_message_in_a_session_is_the_empty_one() {
    let mut net = network(MtuMode::Follow, Features::SUPPORTED);
    net.run_for(secs(1));
    let from_gateway = |wire: &&Wire| wire.sender == GATEWAY && matches!(wire.kind, Kind::Data | Kind::Empty);
    let first = net.capture.iter().find(from_gateway).expect("a message");
    assert_eq!((first.kind, &first.datagram[8..16]), (Kind::Empty, &[0; 8][..]), "counter 0");
    assert!(probes(&net, GATEWAY) > 0, "probes follow");
}

#[test]
fn a_silent_peer_is_not_probed() {
    let mut net = network(MtuMode::Follow, Features::SUPPORTED);
    net.run_for(secs(6));
    net.cut();
    net.send(CLIENT, GATEWAY);
    net.run_for(secs(17));
    assert_eq!(net.nodes[CLIENT].count(|event| matches!(event, Event::PeerDead { .. })), 1);
    let before = probes(&net, CLIENT);
    let (gateway, second) = (net.key(GATEWAY), net.nodes[SECOND].address);
    net.nodes[CLIENT].device.move_endpoint(&gateway, second, net.now);
    net.run_for(secs(30));
    assert_eq!(probes(&net, CLIENT), before);
}

#[test]
fn loss_alone_makes_no_path_narrow() {
    let mut net = network(MtuMode::Follow, Features::SUPPORTED);
    net.weather.loss = 15;
    net.run_for(secs(30));
    assert_eq!((mtu(&net, CLIENT, GATEWAY), mtu(&net, GATEWAY, CLIENT)), (1420, 1420));
}

#[test]
fn a_path_that_narrows_under_way_is_found_from_both_ends_and_used_again_when_it_widens() {
    let mut net = network(MtuMode::Follow, Features::SUPPORTED);
    net.run_for(secs(30));
    black_hole(&mut net);
    let narrows = net.now;
    let is_wide = |net: &Network| mtu(net, CLIENT, GATEWAY).max(mtu(net, GATEWAY, CLIENT)) > NARROW as u16;
    while is_wide(&net) {
        assert!(
            net.now - narrows < secs(10),
            "{:?}",
            [mtu(&net, CLIENT, GATEWAY), mtu(&net, GATEWAY, CLIENT)]
        );
        net.send_long(CLIENT, GATEWAY, false, 1400);
        net.send_long(GATEWAY, CLIENT, false, 1400);
        net.run_for(millis(100));
    }
    let fits = net.send_long(GATEWAY, CLIENT, false, mtu(&net, GATEWAY, CLIENT).into());
    net.run_for(secs(1));
    assert!(net.is_delivered(fits));
    net.clear_rules();
    net.run_for(secs(605));
    assert!(is_wide(&net));
}

#[test]
fn short_packets_and_silence_ask_for_no_probes() {
    let mut net = network(MtuMode::Follow, Features::SUPPORTED);
    net.run_for(secs(6));
    let mut packets = 0;
    let before = [probes(&net, CLIENT), probes(&net, GATEWAY)];
    for _ in 0..120 {
        net.send_long(CLIENT, GATEWAY, false, 1200);
        packets += 1;
        net.run_for(millis(500));
    }
    assert_eq!([probes(&net, CLIENT) - packets, probes(&net, GATEWAY)], before);
}

#[test]
fn forty_per_cent_of_loss_narrow_no_path_while_long_packets_flow() {
    let mut net = network(MtuMode::Follow, Features::SUPPORTED);
    net.run_for(secs(6));
    net.weather.loss = 40;
    for _ in 0..3000 {
        net.send_long(CLIENT, GATEWAY, false, 1400);
        net.send_long(GATEWAY, CLIENT, false, 1400);
        net.run_for(millis(100));
        assert_eq!((mtu(&net, CLIENT, GATEWAY), mtu(&net, GATEWAY, CLIENT)), (1420, 1420));
    }
}

#[test]
fn what_was_found_at_one_address_is_said_of_no_other() {
    let mut net = Network::new();
    for (seed, mode) in [(1, MtuMode::Follow), (2, MtuMode::Within)] {
        let node =
            net.add(NodeSettings { mtu_policy: MtuPolicy { mode, floor: 1280 }, ..NodeSettings::new(seed) });
        let address: SocketAddr = format!("[2001:db8::{seed}]:51820").parse().expect("an address");
        (net.nodes[node].address, net.nodes[node].local) = (address, address.ip());
    }
    let towards_client = net.peering(CLIENT);
    net.nodes[GATEWAY].set_peer(towards_client, net.now);
    let towards_gateway = Peering { stay_connected: true, ..net.peering(GATEWAY) };
    net.nodes[CLIENT].set_peer(towards_gateway, net.now);
    // The client answers short probes alone.
    let (own, victim) = (net.nodes[CLIENT].address, "[2001:db8::3]:51820".parse().expect("an address"));
    net.rule(move |wire: &Wire| {
        wire.to != victim && (wire.to != own || wire.datagram.len() <= 1200 + OVERHEAD)
    });
    net.run_for(secs(10));
    let told = |net: &Network| -> Vec<SocketAddr> {
        let events = net.nodes[GATEWAY].events.iter();
        let remote = |event: &Event| match event {
            Event::PathLosesDatagrams { endpoint, .. } => Some(endpoint.remote),
            _ => None,
        };
        events.filter_map(|(_, event)| remote(event)).collect()
    };
    assert_eq!(told(&net), [own]);
    for second in 0..120 {
        // Then it sends from the victim's, for good, and in turn with its own.
        net.nodes[CLIENT].address = if second < 60 || second % 2 == 0 { victim } else { own };
        net.send(CLIENT, GATEWAY);
        net.run_for(secs(1));
    }
    assert_eq!(net.nodes[GATEWAY].status_of(net.key(CLIENT), net.now).mtu, 1280, "its own packets");
    assert!(told(&net).iter().all(|told| *told == own), "{:?}", told(&net));
}

#[test]
fn no_packet_and_no_probe_is_longer_than_its_receiver_announces() {
    for mode in [MtuMode::Unlimited, MtuMode::Given, MtuMode::Within, MtuMode::Follow] {
        for (announced, counts) in [(0, 576), (1000, 1000), (1300, 1300)] {
            let mut net = Network::new();
            let policy = MtuPolicy { mode, floor: 1280 };
            let sender = net.add(NodeSettings { mtu_policy: policy, ..NodeSettings::new(1) });
            let receiver = net.add(NodeSettings { announced, ..NodeSettings::new(2) });
            for (own, other) in [(sender, receiver), (receiver, sender)] {
                let peering = net.peering(other);
                net.nodes[own].set_peer(peering, net.now);
            }
            net.send(sender, receiver);
            net.run_for(secs(5));
            assert_eq!(mtu(&net, sender, receiver), counts, "{mode:?}, {announced}");
            let longest = net.captured(Kind::Data).iter().map(|wire| wire.datagram.len()).max();
            assert!(longest <= Some(usize::from(counts) + OVERHEAD), "{mode:?}, {announced}: {longest:?}");
        }
    }
}

#[test]
fn packets_that_waited_for_the_session_are_no_longer_than_its_peer_announces() {
    let mut net = Network::new();
    let sender = net.add(NodeSettings::new(1));
    let receiver = net.add(NodeSettings { announced: 1000, ..NodeSettings::new(2) });
    for (own, other) in [(sender, receiver), (receiver, sender)] {
        let peering = net.peering(other);
        net.nodes[own].set_peer(peering, net.now);
    }
    net.send_long(sender, receiver, false, 1400);
    net.send_long(sender, receiver, true, 1400);
    let fits = net.send_long(sender, receiver, false, 1000);
    assert_eq!(net.captured(Kind::Data).len(), 0, "all of them wait");
    net.run_for(secs(1));
    let sizes: Vec<usize> =
        net.captured(Kind::Data).iter().map(|wire| wire.datagram.len()).filter(|len| *len > 300).collect();
    assert!(sizes.iter().all(|len| *len <= 1000 + OVERHEAD), "{sizes:?}");
    assert_eq!(sizes.len(), 3, "two fragments, and what fits: {sizes:?}");
    assert!(net.is_delivered(fits));
    let (_, answer) = net.nodes[sender].received.last().expect("an ICMP message");
    assert_eq!((answer[9], answer[20], answer[21]), (1, 3, 4), "fragmentation needed");
    assert_eq!(u16::from_be_bytes([answer[26], answer[27]]), 1000);
    assert_eq!(net.nodes[sender].drops(DropReason::TooBig), 1);
}

#[test]
fn an_mtu_that_changes_is_announced_at_once() {
    let mut net = network(MtuMode::Follow, Features::SUPPORTED);
    net.run_for(secs(3));
    for announced in [1300, 1400] {
        net.nodes[CLIENT].device.set_mtu(announced, MtuMode::Given, net.now);
        net.run_for(millis(200));
        assert_eq!(mtu(&net, GATEWAY, CLIENT), announced);
    }
}

#[test]
fn who_has_not_announced_it_gets_no_probe() {
    let mut net = network(MtuMode::Unlimited, Features::CHECKSUM_LEFT_OUT);
    black_hole(&mut net);
    net.run_for(secs(60));
    let to_client = net.nodes[CLIENT].address;
    assert!(net.captured(Kind::Data).iter().all(|wire| wire.to != to_client));
    assert_eq!(
        (probes(&net, CLIENT), mtu(&net, CLIENT, GATEWAY), mtu(&net, GATEWAY, CLIENT)),
        (0, 1420, 1420)
    );
}

#[test]
fn probing_keeps_no_peer_busy_and_is_no_sign_of_death() {
    let mut net = network(MtuMode::Follow, Features::SUPPORTED);
    black_hole(&mut net);
    net.run_for(secs(3));
    let before = net.capture.len();
    net.run_for(secs(60));
    assert_eq!(net.capture.len(), before, "an idle tunnel is silent");
    assert_eq!(net.nodes[CLIENT].count(|event| matches!(event, Event::PeerDead { .. })), 0);
}

#[test]
fn the_sender_of_a_packet_to_a_peer_behind_a_narrow_path_is_told() {
    let mut net = network(MtuMode::Follow, Features::SUPPORTED);
    black_hole(&mut net);
    net.run_for(secs(3));
    let limit = mtu(&net, GATEWAY, CLIENT);
    let (source, destination) = (net.nodes[SECOND].inner.octets(), net.nodes[CLIENT].inner.octets());

    net.send_long(SECOND, CLIENT, false, 1400);
    net.run_for(secs(1));
    let (_, answer) = net.nodes[SECOND].received.last().expect("an ICMP message");
    assert_eq!((answer[9], answer[20], answer[21]), (1, 3, 4), "fragmentation needed");
    assert_eq!(u16::from_be_bytes([answer[26], answer[27]]), limit);
    assert_eq!((&answer[12..16], &answer[16..20]), (&destination[..], &source[..]));

    net.send_long(SECOND, CLIENT, true, 1400);
    let fits = net.send_long(SECOND, CLIENT, false, limit.into());
    net.run_for(secs(1));
    assert_eq!(net.nodes[SECOND].received.len(), 1, "what may be cut, and what fits, is sent");
    assert!(net.is_delivered(fits));
    assert_eq!(net.nodes[GATEWAY].drops(DropReason::TooBig), 1);
}
