//! Connections from outside to a host whose traffic takes the tunnel: their answers leave as they came. Pure.
//!
//! A connection that arrives at one of the host's own addresses, on another interface than the tunnel, gets a mark in
//! connection tracking. What belongs to it gets the same mark as a firewall mark, before it is routed, and one that the rules
//! of a tunnel pass over (`full.rs`). Only the first packet that comes *in* makes the mark: what this host begins itself never
//! has it, whatever arrives later.
//!
//! Connections that are there already need more. Connection tracking may begin only with the tunnel, and then takes the
//! direction of the first packet that it sees for that of the connection. So a TCP connection is inbound when this host, or a
//! container, has answered a SYN by its own SYN and ACK, which no connection does that it has opened: whoever forges a SYN for one
//! of those gets nothing out of the tunnel. What is established to a listening port at the start is named one by one, and
//! so is what programs of this host have opened by UDP.

use core::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::RouteRequest;
use crate::journal::InterfaceName;

/// So many connections are named at the most: each is an element of a set.
const MAX_NAMED: usize = 1024;

/// A connection between this host and another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// This host's end.
    pub local: SocketAddr,
    /// The other.
    pub remote: SocketAddr,
}

/// The connections that were there before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inbound {
    /// TCP, to a port of this host that listens.
    pub accepted: Vec<Connection>,
    /// UDP, of sockets with a remote end.
    pub opened: Vec<Connection>,
}

impl Inbound {
    /// Reads the tables of sockets that Linux shows in `/proc/net/tcp` and `/proc/net/udp`, and those of IPv6.
    pub fn read(tcp: &[&str], udp: &[&str]) -> Self {
        let tcp: Vec<(Connection, u8)> = tcp.iter().flat_map(|text| sockets(text)).collect();
        let listens =
            |port: u16| tcp.iter().any(|(socket, state)| *state == LISTEN && socket.local.port() == port);
        let accepted = tcp
            .iter()
            .filter(|(socket, state)| {
                *state == ESTABLISHED && is_elsewhere(socket) && listens(socket.local.port())
            })
            .map(|(socket, _)| *socket);
        let opened = udp.iter().flat_map(|text| sockets(text)).map(|(socket, _)| socket).filter(is_elsewhere);
        Self { accepted: at_most(accepted.collect()), opened: at_most(opened.collect()) }
    }
}

/// States of TCP, as the kernel numbers them.
const ESTABLISHED: u8 = 1;
const LISTEN: u8 = 10;

fn is_elsewhere(socket: &Connection) -> bool {
    let remote = socket.remote.ip();
    !remote.is_unspecified() && !remote.is_loopback() && remote != socket.local.ip()
}

/// The lowest ports first: they are the services'.
fn at_most(mut connections: Vec<Connection>) -> Vec<Connection> {
    connections.sort_unstable_by_key(|connection| (connection.local.port(), *connection));
    connections.truncate(MAX_NAMED);
    connections
}

/// The lines of such a table, with the states.
fn sockets(text: &str) -> Vec<(Connection, u8)> {
    let socket = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (local, remote) = (address(words.next()?)?, address(words.next()?)?);
        Some((Connection { local, remote }, u8::from_str_radix(words.next()?, 16).ok()?))
    };
    text.lines().skip(1).filter_map(socket).collect()
}

/// `0100007F:0016`: words of 32 bits as this machine holds them, and the port.
pub(super) fn address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let words: Vec<[u8; 4]> = address
        .as_bytes()
        .chunks(8)
        .map(|word| u32::from_str_radix(str::from_utf8(word).ok()?, 16).ok().map(u32::to_ne_bytes))
        .collect::<Option<_>>()?;
    let address: IpAddr = match words.concat()[..] {
        [a, b, c, d] => IpAddr::from([a, b, c, d]),
        ref bytes => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

/// The name of the nftables table, in family `inet`. Not another interface's gateway table: there `_` is doubled.
pub(super) fn inbound_table(interface: &InterfaceName) -> String {
    format!("vpn_{}_inbound", interface.to_identifier())
}

/// The batch that puts the table in place.
pub(super) fn inbound_text(request: &RouteRequest<'_>, inbound: &Inbound) -> String {
    let (table, tunnel) = (inbound_table(request.interface), request.interface);
    let mark = request.mark.inbound();
    let mut text = format!("add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n");
    // After connection tracking, and before a reverse path filter and the translation of a container's port.
    text.push_str("\tchain arriving {\n\t\ttype filter hook prerouting priority mangle; policy accept;\n");
    let _ = writeln!(text, "\t\tiifname {{ \"lo\", \"{tunnel}\" }} return");
    text.push_str(&named("tcp", &inbound.accepted, Side::Arriving, &format!("ct mark 0 ct mark set {mark}")));
    text.push_str(&named("udp", &inbound.opened, Side::Arriving, "return"));
    let unaccepted = request.mark.unaccepted();
    let new = "ct state new ct direction original ct mark 0 fib daddr type local ct mark set";
    let flags = "tcp flags & (fin | syn | rst | ack) ==";
    let accepted = format!("{flags} syn | ack ct direction reply ct mark {unaccepted} ct mark set {mark}");
    let _ = writeln!(text, "\t\t{flags} syn {new} {unaccepted}");
    // Also before it is accepted: the socket that accepts it takes the mark of this packet.
    let _ = writeln!(
        text,
        "\t\t{flags} syn ct direction original ct mark {unaccepted} meta mark 0 meta mark set {mark}"
    );
    let _ = writeln!(text, "\t\t{accepted}"); // a container's
    let _ = writeln!(text, "\t\tmeta l4proto != tcp {new} {mark}");
    let _ = writeln!(text, "\t\tmeta mark 0 ct mark {mark} meta mark set {mark}");
    text.push_str("\t}\n\tchain answers {\n\t\ttype route hook output priority mangle; policy accept;\n");
    let _ = writeln!(text, "\t\t{accepted}");
    // A closed port refuses with the number 0, as no connection that was ever open does (RFC 9293, 3.10.7.1).
    let _ = writeln!(
        text,
        "\t\t{flags} rst | ack tcp sequence 0 meta mark 0 ct direction reply ct mark {unaccepted} meta mark set {mark}"
    );
    let _ = writeln!(text, "\t\tmeta mark 0 ct direction reply ct mark {mark} meta mark set {mark}");
    let set = format!("meta mark 0 ct mark {{ 0, {mark} }} ct mark set {mark} meta mark set {mark}");
    text.push_str(&named("tcp", &inbound.accepted, Side::Leaving, &set));
    text.push_str("\t}\n}\n");
    text
}

/// Which way the packets go.
#[derive(Clone, Copy)]
enum Side {
    Arriving,
    Leaving,
}

/// A rule for each family that there are connections of.
fn named(protocol: &str, connections: &[Connection], side: Side, verdict: &str) -> String {
    let mut text = String::new();
    for (keyword, is_v4) in [("ip", true), ("ip6", false)] {
        let elements: Vec<String> = connections
            .iter()
            .filter(|connection| connection.remote.is_ipv4() == is_v4)
            .map(|Connection { local, remote }| {
                format!("{} . {} . {} . {}", remote.ip(), remote.port(), local.ip(), local.port())
            })
            .collect();
        if elements.is_empty() {
            continue;
        }
        let (theirs, ours) = match side {
            Side::Arriving => (("saddr", "sport"), ("daddr", "dport")),
            Side::Leaving => (("daddr", "dport"), ("saddr", "sport")),
        };
        let _ = writeln!(
            text,
            "\t\t{keyword} {} . {protocol} {} . {keyword} {} . {protocol} {} {{ {} }} {verdict}",
            theirs.0,
            theirs.1,
            ours.0,
            ours.1,
            elements.join(", ")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue
   0: 00000000:0016 00000000:0000 0A 00000000:00000000
   1: 020200C0:0016 027100CB:9C40 01 00000000:00000000
   2: 020200C0:A000 027100CB:01BB 01 00000000:00000000
   3: 0100007F:0016 0100007F:9C41 01 00000000:00000000
   4: 020200C0:0016 037100CB:9C40 06 00000000:00000000
";
    const TCP6: &str = "  sl  local_address                         remote_address                        st
   0: 0000000000000000FFFF0000020200C0:0016 0000000000000000FFFF0000047100CB:9C40 01
   1: B80D01200100000000000000020000 :0016
   2: B80D0120000001000000000002000000:0016 B80D0120000003000000000002000000:9C40 01
";
    const UDP: &str = "  sl  local_address rem_address   st
   1: 00000000:0035 00000000:0000 07
   2: 020200C0:9C40 08080808:01BB 01
";

    #[cfg(target_endian = "little")]
    #[test]
    fn what_a_listening_port_has_accepted_is_inbound_and_what_programs_opened_is_not() {
        let inbound = Inbound::read(&[TCP, TCP6], &[UDP]);
        let texts = |connections: &[Connection]| -> Vec<String> {
            connections.iter().map(|each| format!("{} {}", each.local, each.remote)).collect()
        };
        assert_eq!(
            texts(&inbound.accepted),
            [
                "192.0.2.2:22 203.0.113.2:40000",
                "192.0.2.2:22 203.0.113.4:40000",
                "[2001:db8:1::2]:22 [2001:db8:3::2]:40000"
            ]
        );
        assert_eq!(texts(&inbound.opened), ["192.0.2.2:40000 8.8.8.8:443"]);
        assert_eq!(Inbound::read(&[""], &["x\ny"]), Inbound::default());
    }

    #[test]
    fn no_more_than_a_thousand_connections_are_named() {
        let line = |port: u16| format!("1: 020200C0:0016 027100CB:{port:04X} 01\n");
        let many: String = (1..5000).map(line).collect();
        let inbound = Inbound::read(&[TCP, &format!("x\n{many}")], &[]);
        assert_eq!(inbound.accepted.len(), MAX_NAMED);
    }
}
