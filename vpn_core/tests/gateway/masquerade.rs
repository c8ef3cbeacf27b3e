//! The gateway: a client behind `vpn0`, a server behind `eth0` that has no route back to the client.

use std::path::Path;

use vpn_core::{
    gateway::{Egress, Gateway, GatewayConfig, detect_egress},
    journal::{InterfaceName, Journal},
};

use crate::namespace::{assert_same, inside, sh, succeeds, system};

const PING: &str = "ip netns exec client ping -c 1 -W 2 203.0.113.2";
const PING6: &str = "ip netns exec client ping -c 1 -W 2 2001:db8::2";

fn lay_out() {
    sh("ip netns add client; ip netns add server
        ip link add vpn0 type veth peer name eth0 netns client
        ip link add eth0 type veth peer name eth0 netns server
        ip addr add 10.66.0.1/16 dev vpn0; ip addr add fd66::1/64 dev vpn0 nodad; ip link set vpn0 mtu 1420 up
        ip addr add 203.0.113.1/24 dev eth0; ip addr add 2001:db8::1/64 dev eth0 nodad; ip link set eth0 up
        ip -n client addr add 10.66.0.2/16 dev eth0; ip -n client addr add fd66::2/64 dev eth0 nodad
        ip -n client link set eth0 up
        ip -n client route add default via 10.66.0.1; ip -n client route add default via fd66::1
        ip -n server addr add 203.0.113.2/24 dev eth0; ip -n server addr add 2001:db8::2/64 dev eth0 nodad
        ip -n server link set eth0 up
        ip route add default via 203.0.113.2; ip route add default via 2001:db8::2
        sleep 0.1");
}

fn config() -> GatewayConfig {
    GatewayConfig {
        interface: InterfaceName::new("vpn0").unwrap(),
        nat: true,
        egress: Egress::Auto,
        pools: vec!["10.66.0.0/16".parse().unwrap(), "fd66::/64".parse().unwrap()],
        client_to_client: true,
    }
}

fn open(directory: &Path) -> Journal {
    Journal::open(directory, &InterfaceName::new("vpn0").unwrap()).unwrap()
}

#[test]
fn clients_reach_the_world_and_stopping_leaves_nothing() {
    if !inside("masquerade::clients_reach_the_world_and_stopping_leaves_nothing", &[]) {
        return;
    }
    lay_out();
    let before = system();
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    for egress in [Egress::Auto, Egress::Interface(InterfaceName::new("eth0").unwrap())] {
        let gateway = Gateway::start(&GatewayConfig { egress, ..config() }, &mut journal).unwrap();
        sh(PING);
        sh(PING6);
        gateway.stop(&mut journal).unwrap();
        assert_same(&before, &system());
    }
}

#[test]
fn a_crashed_gateway_is_undone_at_the_next_start() {
    if !inside("masquerade::a_crashed_gateway_is_undone_at_the_next_start", &[]) {
        return;
    }
    lay_out();
    // What the kernel changes along with ip_forward has to come back too.
    sh(
        "echo 1 > /proc/sys/net/ipv4/conf/eth0/forwarding; echo 0 > /proc/sys/net/ipv4/conf/all/accept_redirects",
    );
    let before = system();
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    let _crashed = Gateway::start(&config(), &mut journal).unwrap();
    journal.abandon();
    assert!(sh("nft list tables").contains("vpn_vpn0"));
    let mut journal = open(directory.path());
    assert_same(&before, &system());
    let gateway = Gateway::start(&config(), &mut journal).unwrap();
    sh(PING);
    gateway.stop(&mut journal).unwrap();
    assert_same(&before, &system());
}

#[test]
fn a_forward_policy_of_drop_is_opened_for_the_tunnel_only() {
    if !inside("masquerade::a_forward_policy_of_drop_is_opened_for_the_tunnel_only", &[]) {
        return;
    }
    lay_out();
    sh("iptables -P FORWARD DROP; iptables -A FORWARD -i docker0 -j ACCEPT; ip6tables -P FORWARD DROP");
    let before = system();
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    let gateway = Gateway::start(&config(), &mut journal).unwrap();
    sh(PING);
    sh(PING6);
    sh("ip -n server route add 10.66.0.0/16 via 203.0.113.1");
    assert!(!succeeds("ip netns exec server ping -c 1 -W 1 10.66.0.2"), "behind NAT only answers come in");
    gateway.stop(&mut journal).unwrap();
    assert_same(&before, &system());
}

#[test]
fn isolation_of_clients_is_in_the_table_and_the_world_stays_reachable() {
    if !inside("masquerade::isolation_of_clients_is_in_the_table_and_the_world_stays_reachable", &[]) {
        return;
    }
    lay_out();
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    let isolated = GatewayConfig { client_to_client: false, ..config() };
    let gateway = Gateway::start(&isolated, &mut journal).unwrap();
    assert!(sh("nft list table inet vpn_vpn0").contains("iifname \"vpn0\" oifname \"vpn0\" drop"));
    sh(PING);
    gateway.stop(&mut journal).unwrap();
}

#[test]
fn without_nft_iptables_does_the_same() {
    if !inside("masquerade::without_nft_iptables_does_the_same", &["nft"]) {
        return;
    }
    lay_out();
    // iptables makes its built-in chains on first use and never removes them.
    sh("for t in filter nat mangle; do iptables -t $t -P OUTPUT ACCEPT; ip6tables -t $t -P OUTPUT ACCEPT; done
        iptables -P FORWARD DROP");
    let before = system();
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    let gateway = Gateway::start(&config(), &mut journal).unwrap();
    sh(PING);
    sh(PING6);
    gateway.stop(&mut journal).unwrap();
    assert_same(&before, &system());
    let _crashed = Gateway::start(&config(), &mut journal).unwrap();
    journal.abandon();
    drop(open(directory.path()));
    assert_same(&before, &system());
}

#[test]
fn without_any_firewall_program_the_error_names_the_packages_and_nothing_changes() {
    let name = "masquerade::without_any_firewall_program_the_error_names_the_packages_and_nothing_changes";
    if !inside(name, &["nft", "iptables"]) {
        return;
    }
    lay_out();
    let before = system();
    let directory = tempfile::tempdir().unwrap();
    let error = Gateway::start(&config(), &mut open(directory.path())).unwrap_err().to_string();
    assert!(error.contains("nftables") && error.contains("iptables"), "{error}");
    assert_same(&before, &system());
}

#[test]
fn router_advertisements_are_still_heard_while_forwarding() {
    if !inside("masquerade::router_advertisements_are_still_heard_while_forwarding", &[]) {
        return;
    }
    lay_out();
    let before = system();
    assert!(before.contains("conf/eth0/accept_ra = 1"));
    let directory = tempfile::tempdir().unwrap();
    let mut journal = open(directory.path());
    let gateway = Gateway::start(&config(), &mut journal).unwrap();
    assert!(system().contains("conf/eth0/accept_ra = 2"));
    gateway.stop(&mut journal).unwrap();
    assert_same(&before, &system());
}

#[test]
fn the_egress_is_where_the_default_route_leads_but_never_the_tunnel() {
    if !inside("masquerade::the_egress_is_where_the_default_route_leads_but_never_the_tunnel", &[]) {
        return;
    }
    lay_out();
    let vpn0 = InterfaceName::new("vpn0").unwrap();
    assert_eq!(detect_egress(&vpn0).unwrap().as_deref(), Some("eth0"));
    sh("ip route del default; ip route add default via 10.66.0.2");
    assert_eq!(detect_egress(&vpn0).unwrap().as_deref(), Some("eth0"), "IPv6's");
    sh("ip -6 route del default");
    assert_eq!(detect_egress(&vpn0).unwrap(), None);
}
