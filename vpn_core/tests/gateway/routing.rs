//! Routes: a host with `eth0` to a gateway, beyond it the endpoint, and the tunnel device `vpn0`.

use std::{net::IpAddr, path::Path};

use ipnet::IpNet;
use vpn_core::{
    journal::{InterfaceName, Journal},
    routes::{
        DefaultRoute, InterfaceSetup, Lan, RouteError, RoutePlan, RouteRequest, Routes, RoutingMark,
        on_link_networks, plan, reserve_mark, tunnel_networks,
    },
};

use crate::namespace::{Echo, assert_same, echoes, inside, sh, succeeds, system};

const ENDPOINT: &str = "198.51.100.7:51820";

fn lay_out() {
    sh("ip netns add world
        ip link add eth0 type veth peer name eth0 netns world
        ip addr add 192.0.2.2/24 dev eth0; ip addr add 2001:db8::2/64 dev eth0 nodad; ip link set eth0 up
        ip -n world addr add 192.0.2.1/24 dev eth0; ip -n world addr add 2001:db8::1/64 dev eth0 nodad
        ip -n world addr add 198.51.100.7/32 dev lo; ip -n world addr add 2001:db8:7::7/128 dev lo
        ip -n world link set lo up; ip -n world link set eth0 up
        ip route add default via 192.0.2.1; ip route add default via 2001:db8::1
        ip tuntap add mode tun dev vpn0
        echo 1 | tee /proc/sys/net/ipv4/conf/*/rp_filter
        sleep 0.1");
    setup().apply().unwrap();
}

fn name() -> InterfaceName {
    InterfaceName::new("vpn0").unwrap()
}

fn setup() -> InterfaceSetup {
    let addresses = ["10.66.0.2/16", "fd66::2/64"].map(|text| text.parse().unwrap()).to_vec();
    InterfaceSetup { name: name(), mtu: 1420, addresses }
}

fn open(directory: &Path) -> Journal {
    Journal::open(directory, &name()).unwrap()
}

fn planned(allowed: &[&str], endpoints: &[&str], mark: RoutingMark) -> RoutePlan {
    planned_as(DefaultRoute::Ordinary, allowed, endpoints, mark)
}

/// A client's plan, with the private networks that it is on.
fn planned_for_client(allowed: &[&str], endpoints: &[&str], mark: RoutingMark) -> RoutePlan {
    let tunnel = tunnel_networks(&setup().addresses, &[], &[]);
    let lan = Lan::allow(&on_link_networks(&name()).unwrap(), &tunnel);
    planned_as(DefaultRoute::Full(&lan), allowed, endpoints, mark)
}

fn planned_as(
    default_route: DefaultRoute<'_>,
    allowed: &[&str],
    endpoints: &[&str],
    mark: RoutingMark,
) -> RoutePlan {
    let allowed: Vec<IpNet> = allowed.iter().map(|text| text.parse().unwrap()).collect();
    let endpoints: Vec<IpAddr> = endpoints.iter().map(|text| text.parse().unwrap()).collect();
    plan(&RouteRequest {
        interface: &name(),
        addresses: &setup().addresses,
        allowed_ips: &allowed,
        name_servers: &[],
        endpoints: &endpoints,
        listen_port: None,
        mark,
        default_route,
        inbound: None,
    })
    .unwrap()
}

/// Marks what leaves from UDP port 40000, as `SO_MARK` on our sockets does; except that the mark comes too late for the
/// choice of the source address, so such a socket has to be bound to one.
fn mark_our_socket(mark: RoutingMark) {
    let mark = mark.value();
    sh(&format!(
        "printf 'table inet test {{\\nchain output {{\\n type route hook output priority -151;\\n \
         udp sport 40000 meta mark set {mark}\\n}}\\n}}\\n' | nft -f -"
    ));
}

fn leads_to(destination: &str, device: &str) -> bool {
    sh(&format!("ip route get {destination}")).contains(&format!(" dev {device} "))
}

#[test]
fn with_a_default_route_the_endpoint_is_reached_and_everything_else_takes_the_tunnel() {
    let test = "routing::with_a_default_route_the_endpoint_is_reached_and_everything_else_takes_the_tunnel";
    if !inside(test, &[]) {
        return;
    }
    lay_out();
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    let mark = reserve_mark(&mut journal).unwrap();
    mark_our_socket(mark);
    let before = system();
    let _echo = [Echo::start("world", ENDPOINT), Echo::start("world", "[2001:db8:7::7]:51820")];
    assert!(echoes("192.0.2.2:40000", ENDPOINT, 25), "the echo server is up");

    let plan = planned(&["0.0.0.0/0", "::/0"], &["198.51.100.7"], mark);
    assert!(plan.needs_mark());
    let routes = Routes::apply(&plan, &mut journal).unwrap();
    assert!(leads_to("8.8.8.8", "vpn0") && leads_to("2001:4860::8888", "vpn0"));
    assert!(leads_to("198.51.100.7", "vpn0"), "unmarked traffic to the endpoint's host too");
    assert!(leads_to("192.0.2.1", "eth0"), "the local network stays local");
    assert!(leads_to(&format!("198.51.100.7 mark {}", mark.value()), "eth0"));
    assert!(echoes("192.0.2.2:40000", ENDPOINT, 5), "with rp_filter = 1");
    assert!(echoes("[2001:db8::2]:40000", "[2001:db8:7::7]:51820", 25), "an IPv6 endpoint");
    sh("nft delete table inet vpn_vpn0_marks");
    assert!(!echoes("192.0.2.2:40000", ENDPOINT, 3), "the filter does drop answers without the table");

    routes.stop(&mut journal).unwrap();
    assert_same(&before, &system());
}

#[test]
fn a_clients_default_route_beats_every_route_of_the_local_network() {
    if !inside("routing::a_clients_default_route_beats_every_route_of_the_local_network", &[]) {
        return;
    }
    lay_out();
    // What a hostile DHCP server hands out, and a private network that we are on.
    sh("ip addr add 192.168.7.2/24 dev eth0; ip -n world addr add 192.168.7.1/24 dev eth0
        ip route add 8.8.8.8/32 via 192.0.2.1; ip route add 0.0.0.0/1 via 192.0.2.1
        ip route add 128.0.0.0/1 via 192.0.2.1; ip route add 10.66.7.0/24 dev eth0
        ip -6 route add 2001:4860::/32 via 2001:db8::1");
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    let mark = reserve_mark(&mut journal).unwrap();
    mark_our_socket(mark);
    // As below: the kernel keeps another multicast route for an interface that was down once.
    sh("ip link set vpn0 down; ip link set vpn0 up");
    setup().apply().unwrap();
    let before = system();
    let _echo = Echo::start("world", ENDPOINT);
    assert!(echoes("192.0.2.2:40000", ENDPOINT, 25), "the echo server is up");

    let plan = planned_for_client(&["0.0.0.0/0", "::/0"], &["198.51.100.7"], mark);
    let mut routes = Routes::apply(&plan, &mut journal).unwrap();
    for address in
        ["8.8.8.8", "9.9.9.9", "198.51.100.7", "192.0.2.1", "10.66.7.1", "2001:4860::8888", "2001:db8::1"]
    {
        assert!(leads_to(address, "vpn0"), "{address}");
    }
    assert!(leads_to("192.168.7.1", "eth0"), "the private network we are on");
    assert!(leads_to(&format!("198.51.100.7 mark {}", mark.value()), "eth0"));
    assert!(leads_to("203.0.113.9 ipproto udp sport 68 dport 67", "eth0"), "a renewed lease");
    assert!(echoes("192.0.2.2:40000", ENDPOINT, 5), "with rp_filter = 1");
    let forget = || sh("ip -n world neigh del 192.0.2.2 dev eth0 || true");
    forget();
    assert!(echoes("192.0.2.2:40000", ENDPOINT, 5), "our router finds us");
    sh("nft delete table arp vpn_vpn0_marks");
    forget();
    assert!(!echoes("192.0.2.2:40000", ENDPOINT, 3), "the filter does drop its question without the table");

    // Somebody removes rules and routes.
    let held = || {
        sh(
            "ip rule; ip -6 rule; ip route show table 52000; ip -6 route show table 52000; ip route show table 52129",
        )
    };
    let before_removal = held();
    sh(
        "ip rule del pref 31258; ip rule del pref 31260; ip rule del pref 31263; ip rule del pref 31265; ip -6 rule del pref 31264; ip route flush table 52000; ip route flush table 52129",
    );
    routes.restore().unwrap();
    assert_eq!(before_removal, held());
    routes.restore_tables().unwrap();
    assert!(succeeds("nft list table arp vpn_vpn0_marks"));

    // What the tunnel lacks is refused, not leaked; all of it while the interface is down.
    routes.replace(&planned_for_client(&["0.0.0.0/0"], &["198.51.100.7"], mark), &mut journal).unwrap();
    assert!(leads_to("8.8.8.8", "vpn0") && !succeeds("ip route get 2001:4860::8888"));
    sh("ip link set vpn0 down");
    assert!(!succeeds("ip route get 8.8.8.8") && leads_to("192.168.7.1", "eth0"));
    sh("ip addr del 192.168.7.2/24 dev eth0");
    assert!(!succeeds("ip route get 192.168.7.1"), "the network was left, the rule for it is still there");
    sh("ip addr add 192.168.7.2/24 dev eth0");
    sh("ip link set vpn0 up");
    setup().apply().unwrap();
    routes.stop(&mut journal).unwrap();
    assert_same(&before, &system());
}

#[test]
fn a_peer_can_call_first_where_the_listen_port_is_known() {
    if !inside("routing::a_peer_can_call_first_where_the_listen_port_is_known", &[]) {
        return;
    }
    lay_out();
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    let mark = reserve_mark(&mut journal).unwrap();
    let interface = name();
    let addresses = setup().addresses;
    let mut request = RouteRequest {
        interface: &interface,
        addresses: &addresses,
        allowed_ips: &["0.0.0.0/0".parse().unwrap()],
        name_servers: &[],
        endpoints: &[],
        listen_port: None,
        mark,
        default_route: DefaultRoute::Ordinary,
        inbound: None,
    };
    // Known neighbours first: the filter drops ARP from such an address as well.
    sh("ip netns exec world ping -c 1 -W 1 192.0.2.2");
    let mut routes = Routes::apply(&plan(&request).unwrap(), &mut journal).unwrap();
    // The endpoint's address, because the gateway's is on-link and passes the filter anyway.
    let socket = std::net::UdpSocket::bind("0.0.0.0:40000").unwrap();
    socket.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
    let call = || {
        sh("ip netns exec world sh -c 'ip route replace 192.0.2.2 dev eth0 src 198.51.100.7; \
            bash -c \"echo hello > /dev/udp/192.0.2.2/40000\"'");
        socket.recv_from(&mut [0; 16]).is_ok()
    };
    assert!(!call());
    request.listen_port = Some(40000);
    routes.replace(&plan(&request).unwrap(), &mut journal).unwrap();
    assert!(call());
}

#[test]
fn a_prefix_over_the_endpoint_does_not_loop_and_longer_local_routes_win() {
    if !inside("routing::a_prefix_over_the_endpoint_does_not_loop_and_longer_local_routes_win", &[]) {
        return;
    }
    lay_out();
    sh("ip route add 198.51.100.128/25 via 192.0.2.1; ip route add 198.0.0.0/7 via 192.0.2.1");
    let before = system();
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    let mark = reserve_mark(&mut journal).unwrap();
    let plan = planned(&["198.51.100.0/24", "172.16.0.0/12"], &["198.51.100.7"], mark);
    let routes = Routes::apply(&plan, &mut journal).unwrap();
    assert!(leads_to("198.51.100.8", "vpn0"), "longer than the local /7");
    assert!(leads_to("198.51.100.200", "eth0"), "the local /25 is longer");
    assert!(leads_to("172.16.1.1", "vpn0"));
    assert!(leads_to("8.8.8.8", "eth0"));
    assert!(leads_to(&format!("198.51.100.7 mark {}", mark.value()), "eth0"));
    routes.stop(&mut journal).unwrap();
    assert_same(&before, &system());
}

#[test]
fn routes_of_a_crashed_instance_are_undone_at_the_next_start() {
    if !inside("routing::routes_of_a_crashed_instance_are_undone_at_the_next_start", &[]) {
        return;
    }
    lay_out();
    let before = system();
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    let mark = reserve_mark(&mut journal).unwrap();
    let plan = planned(&["0.0.0.0/0", "::/0", "192.168.9.0/24", "fd99::/64"], &["198.51.100.7"], mark);
    let _crashed = Routes::apply(&plan, &mut journal).unwrap();
    assert_ne!(before, system());
    journal.abandon();
    let mut journal = open(directory.path());
    assert_same(&before, &system());
    assert_eq!(reserve_mark(&mut journal).unwrap(), mark, "the mark is free again");
    // And where the device has gone with the process.
    let _crashed = Routes::apply(&plan, &mut journal).unwrap();
    journal.abandon();
    sh("ip link del vpn0");
    let journal = open(directory.path());
    assert!(!sh("ip rule; ip -6 rule; nft list tables").contains("52000"));
    journal.close().unwrap();
}

#[test]
fn replacing_a_plan_touches_only_the_differences() {
    if !inside("routing::replacing_a_plan_touches_only_the_differences", &[]) {
        return;
    }
    lay_out();
    let before = system();
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    let mark = reserve_mark(&mut journal).unwrap();
    let first = planned(&["192.168.1.0/24", "192.168.2.0/24", "10.0.0.0/8"], &[], mark);
    let mut routes = Routes::apply(&first, &mut journal).unwrap();
    // The peer has roamed into 10.0.0.0/8, another prefix is new, one is gone.
    let moved = "10.9.9.9";
    let address: IpAddr = moved.parse().unwrap();
    assert!(first.inner_networks().any(|inner| inner.contains(&address)));
    let second = planned(&["192.168.2.0/24", "192.168.3.0/24", "10.0.0.0/8"], &[moved], mark);
    routes.replace(&second, &mut journal).unwrap();
    assert!(
        leads_to("192.168.1.1", "eth0") && leads_to("192.168.2.1", "vpn0") && leads_to("192.168.3.1", "vpn0")
    );
    assert!(leads_to("10.1.1.1", "vpn0") && leads_to(&format!("{moved} mark {}", mark.value()), "eth0"));
    routes.replace(&first, &mut journal).unwrap();
    assert!(leads_to("192.168.1.1", "vpn0") && leads_to("10.1.1.1", "vpn0"));
    assert!(!succeeds("nft list table inet vpn_vpn0_marks"));
    routes.replace(&RoutePlan::empty(&name()), &mut journal).unwrap();
    assert_same(&before, &system());
}

#[test]
fn a_route_of_somebody_else_is_a_conflict_and_nothing_is_left_behind() {
    if !inside("routing::a_route_of_somebody_else_is_a_conflict_and_nothing_is_left_behind", &[]) {
        return;
    }
    lay_out();
    sh(
        "ip route add 192.168.2.0/24 via 192.0.2.1; ip route add 192.168.1.0/24 dev vpn0 proto static scope link",
    );
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    let mark = reserve_mark(&mut journal).unwrap();
    let same = planned(&["192.168.1.0/24"], &[], mark);
    let _tolerated = Routes::apply(&same, &mut journal).unwrap();
    let before = system();
    let conflicting = planned(&["0.0.0.0/0", "192.168.0.0/24", "192.168.2.0/24"], &[], mark);
    let error = Routes::apply(&conflicting, &mut journal).unwrap_err();
    assert!(matches!(error, RouteError::Conflict { .. }), "{error}");
    assert_same(&before, &system());
}

#[test]
fn two_instances_have_marks_of_their_own_and_stop_in_any_order() {
    if !inside("routing::two_instances_have_marks_of_their_own_and_stop_in_any_order", &[]) {
        return;
    }
    lay_out();
    sh("ip tuntap add mode tun dev vpn1; ip link set vpn1 up");
    let before = system();
    let directory = tempfile::tempdir().unwrap();
    let mut first = open(directory.path());
    let vpn1 = InterfaceName::new("vpn1").unwrap();
    let mut second = Journal::open(directory.path(), &vpn1).unwrap();
    let marks = [reserve_mark(&mut first).unwrap(), reserve_mark(&mut second).unwrap()];
    assert_ne!(marks[0], marks[1]);
    let one = Routes::apply(&planned(&["0.0.0.0/0"], &[], marks[0]), &mut first).unwrap();
    let plan = plan(&RouteRequest {
        interface: &vpn1,
        addresses: &[],
        allowed_ips: &["0.0.0.0/0".parse().unwrap()],
        name_servers: &[],
        endpoints: &[],
        listen_port: None,
        mark: marks[1],
        default_route: DefaultRoute::Ordinary,
        inbound: None,
    });
    let two = Routes::apply(&plan.unwrap(), &mut second).unwrap();
    one.stop(&mut first).unwrap();
    first.close().unwrap();
    let mut again = open(directory.path());
    let later = reserve_mark(&mut again).unwrap();
    assert!(later.value() > marks[1].value(), "who starts later has a later mark: {later:?} {marks:?}");
    again.close().unwrap();
    assert!(leads_to("8.8.8.8", "vpn1"));
    assert_eq!(sh("cat /proc/sys/net/ipv4/conf/all/src_valid_mark").trim(), "1");
    two.stop(&mut second).unwrap();
    assert_same(&before, &system());
}

#[test]
fn a_table_that_somebody_uses_is_not_taken() {
    if !inside("routing::a_table_that_somebody_uses_is_not_taken", &[]) {
        return;
    }
    lay_out();
    sh("ip route add 1.2.3.0/24 dev eth0 table 52007; ip -6 rule add lookup 52200");
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(reserve_mark(&mut open(directory.path())).unwrap().value(), 52400);
}

#[test]
fn the_interface_is_set_up_and_setting_it_up_again_changes_nothing() {
    if !inside("routing::the_interface_is_set_up_and_setting_it_up_again_changes_nothing", &[]) {
        return;
    }
    lay_out();
    let shown = || sh("ip -d link show vpn0; ip addr show vpn0");
    let first = shown();
    for expected in
        ["mtu 1420", "qlen 1000", "inet 10.66.0.2/16", "inet6 fd66::2/64", ",UP", "gso_max_segs 45"]
    {
        assert!(first.contains(expected), "{expected}: {first}");
    }
    assert!(!first.contains("tentative"));
    setup().apply().unwrap();
    assert_eq!(shown(), first);
    let missing = InterfaceSetup { name: InterfaceName::new("vpn9").unwrap(), ..setup() };
    assert!(matches!(missing.apply(), Err(RouteError::NoInterface { .. })));
}

#[test]
fn without_ipv6_the_ipv4_part_works() {
    if !inside("routing::without_ipv6_the_ipv4_part_works", &[]) {
        return;
    }
    sh("ip tuntap add mode tun dev vpn0; echo 1 > /proc/sys/net/ipv6/conf/vpn0/disable_ipv6");
    setup().apply().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    let mark = reserve_mark(&mut journal).unwrap();
    let plan = planned(&["0.0.0.0/0", "::/0", "fd99::/64"], &[], mark);
    let _routes = Routes::apply(&plan, &mut journal).unwrap();
    assert!(leads_to("8.8.8.8", "vpn0"));
    let ipv6_only = InterfaceSetup { addresses: vec!["fd66::2/64".parse().unwrap()], ..setup() };
    assert!(matches!(ipv6_only.apply(), Err(RouteError::Ipv6Disabled { .. })));
}
