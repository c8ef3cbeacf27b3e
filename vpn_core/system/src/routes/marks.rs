//! The nftables text that keeps the mark on what belongs to our own datagrams. Pure.

use core::fmt::Write as _;

use ipnet::IpNet;

use super::RouteRequest;
use crate::journal::{Family, InterfaceName};

/// The name of the nftables tables, in families `inet` and `arp`. Not another interface's gateway table: there `_` is
/// doubled.
pub(super) fn marks_table(interface: &InterfaceName) -> String {
    format!("vpn_{}_marks", interface.to_identifier())
}

/// The batch that puts the table of family `inet` in place. Our tunnel addresses of the `guarded` families are a
/// client's address: on other interfaces nobody may probe for them (CVE-2019-14899).
pub(super) fn marks_text(request: &RouteRequest<'_>, guarded: &[Family]) -> String {
    let tunnel = request.interface;
    let mark = request.mark.value();
    let mut text = opening("inet", tunnel);
    let guards: Vec<String> = request
        .addresses
        .iter()
        .filter(|address| guarded.contains(&Family::of(address)))
        .map(|address: &IpNet| {
            let keyword = if address.addr().is_ipv4() { "ip" } else { "ip6" };
            let address = address.addr();
            format!("\t\tiifname != \"{tunnel}\" {keyword} daddr {address} fib saddr type != local drop\n")
        })
        .collect();
    if !guards.is_empty() {
        text.push_str("\tchain guard {\n\t\ttype filter hook prerouting priority raw; policy accept;\n");
        text.push_str(&guards.concat());
        text.push_str("\t}\n");
    }
    // Before routing, so before the reverse path filter; after connection tracking.
    text.push_str("\tchain restore {\n\t\ttype filter hook prerouting priority mangle; policy accept;\n");
    let _ = writeln!(text, "\t\tiifname != \"{tunnel}\" ct mark {mark} meta mark set {mark}");
    if let Some(port) = request.listen_port {
        let _ = writeln!(
            text,
            "\t\tiifname != \"{tunnel}\" udp dport {port} fib daddr type local meta mark set {mark}"
        );
    }
    text.push_str("\t}\n\tchain save {\n\t\ttype filter hook output priority mangle; policy accept;\n");
    let _ = writeln!(text, "\t\tmeta mark {mark} ct mark set {mark}");
    text.push_str("\t}\n}\n");
    text
}

/// The batch for a table of family `arp`, for hosts with a strict reverse path filter: that looks at ARP requests as well,
/// and where the local network is not excepted from the tunnel, our router would get no answer to its own.
pub(super) fn neighbours_text(request: &RouteRequest<'_>) -> String {
    let mut text = opening("arp", request.interface);
    text.push_str("\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n");
    let _ = writeln!(text, "\t\tmeta mark set {}", request.mark.value());
    text.push_str("\t}\n}\n");
    text
}

/// `add` first, so that `delete` finds a table: one transaction replaces what was there.
fn opening(family: &str, interface: &InterfaceName) -> String {
    let table = marks_table(interface);
    format!("add table {family} {table}\ndelete table {family} {table}\ntable {family} {table} {{\n")
}
