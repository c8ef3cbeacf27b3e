//! The kill switch as nftables text. Pure.

use core::fmt::Write as _;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::{
    journal::{Family, InterfaceName},
    routes::{Lan, RoutingMark},
};

/// DNS and DNS over TLS.
const NAME_PORTS: &str = "53, 853";
/// IPv6's neighbour discovery without redirects, and asking for a router. Only from the link: no router forwards 255.
const NEIGHBOURS_OUT: &str =
    "ip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept";
const NEIGHBOURS_IN: &str =
    "ip6 hoplimit 255 icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept";
/// What tells the link which groups this host listens to: not needed for the tunnel, and not the link's business, unless that
/// is reached.
const NO_MEMBERSHIP_OUT: [&str; 2] = [
    "meta l4proto igmp drop",
    "icmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } drop",
];
/// Membership reports. They go no further than the link: no router forwards a packet at its last hop.
const MEMBERSHIP_V4: &str = "ip ttl 1 meta l4proto igmp accept";
const MEMBERSHIP_V6: &str =
    "ip6 hoplimit 1 icmpv6 type { mld-listener-report, mld-listener-done, mld2-listener-report } accept";
/// The question for them by a switch that has no address of its own. Others' come from an address of the network.
const MEMBERSHIP_QUERY: &str = "ip saddr 0.0.0.0 ip ttl 1 igmp type membership-query accept";
/// Whoever sends is told at once, by this host itself; what would wait for an answer fails instead.
const REFUSE: &str = "reject with icmpx admin-prohibited";

/// What a kill switch is made from.
#[derive(Clone, Copy, Debug)]
pub struct KillSwitchRequest<'a> {
    /// The tunnel interface. It need not exist yet.
    pub interface: &'a InterfaceName,
    /// The mark of our UDP sockets.
    pub mark: RoutingMark,
    /// The interface's own addresses.
    pub addresses: &'a [IpNet],
    /// The networks that belong to the tunnel, whatever the local network claims.
    pub tunnel: &'a [IpNet],
    /// Our UDP port, where peers may call us first.
    pub listen_port: Option<u16>,
    /// What is reached beside the tunnel.
    pub lan: &'a Lan,
    /// Whether connections from outside come in, and their answers leave.
    pub inbound: bool,
}

impl KillSwitchRequest<'_> {
    /// The marks of tunnels of other instances, as a set: their datagrams are encrypted.
    fn other_marks(&self) -> String {
        let marks: Vec<String> = self.mark.others().map(|mark| mark.value().to_string()).collect();
        format!("{{ {} }}", marks.join(", "))
    }

    /// The rule that lets everything of connections from outside pass; `routes` gives these the mark.
    fn inbound_rule(&self) -> Option<String> {
        self.inbound.then(|| format!("meta mark {} accept", self.mark.inbound()))
    }
}

/// The rules of a kill switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KillSwitchRules {
    /// The name of the table, in family `inet`.
    pub(super) table: String,
    /// The batch for `nft -f -` that puts the table in place of any earlier one in one transaction: no packet finds it
    /// missing.
    pub(super) text: String,
}

/// The name of the table. Not another interface's gateway table: there `_` is doubled.
fn table_name(interface: &InterfaceName) -> String {
    format!("vpn_{}_kill_switch", interface.to_identifier())
}

/// Makes the rules for `request`.
pub fn rules(request: &KillSwitchRequest<'_>) -> KillSwitchRules {
    let table = table_name(request.interface);
    let mut text = format!("add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n");
    chain(&mut text, "input", &input(request));
    chain(&mut text, "forward", &forward(request));
    chain(&mut text, "output", &output(request));
    text.push_str("}\n");
    KillSwitchRules { table, text }
}

fn chain(text: &mut String, hook: &str, rules: &[String]) {
    let _ = writeln!(text, "\tchain {hook} {{\n\t\ttype filter hook {hook} priority filter; policy drop;");
    for rule in rules {
        let _ = writeln!(text, "\t\t{rule}");
    }
    text.push_str("\t}\n");
}

fn input(request: &KillSwitchRequest<'_>) -> Vec<String> {
    let KillSwitchRequest { interface, mark, .. } = request;
    let own: Vec<IpNet> = request.addresses.iter().map(|address| IpNet::from(address.addr())).collect();
    let mut rules = vec![format!("iifname {{ \"lo\", \"{interface}\" }} accept")];
    // Nobody outside may learn what our address in the tunnel is (CVE-2019-14899).
    rules.extend(for_networks(&own, "daddr", "drop"));
    // Answers to our datagrams, and the errors that routers send about them.
    rules.push(format!("ct mark {} accept", mark.value()));
    rules.push(format!("ct mark {} accept", request.other_marks()));
    rules.extend(request.inbound_rule());
    rules.extend(request.listen_port.map(|port| format!("udp dport {port} accept")));
    rules.push("meta nfproto ipv4 udp sport 67 udp dport 68 accept".to_owned());
    rules.push("meta nfproto ipv6 udp sport 547 udp dport 546 accept".to_owned());
    rules.push(NEIGHBOURS_IN.to_owned());
    if !request.lan.private().is_empty() {
        rules.push(MEMBERSHIP_QUERY.to_owned());
    }
    rules.extend(for_networks(&request.lan.networks(), "saddr", "accept"));
    rules
}

/// Virtual machines and containers may use the tunnel, and the local network among itself. What the other end of the tunnel
/// sends there is let through as an answer only: this host is no way into its local network.
fn forward(request: &KillSwitchRequest<'_>) -> Vec<String> {
    let interface = request.interface;
    let mut rules = vec![
        format!("iifname \"{interface}\" ct state established,related accept"),
        format!("oifname \"{interface}\" accept"),
    ];
    // Connections from outside that are translated to a container.
    rules.extend(request.inbound_rule());
    rules.push(format!("meta l4proto {{ tcp, udp }} th dport {{ {NAME_PORTS} }} drop"));
    rules.extend(for_networks(request.tunnel, "daddr", "drop"));
    let local = request.lan.networks();
    for (family, keyword) in FAMILIES {
        let set = set(&local, family);
        rules.extend(set.map(|set| format!("{keyword} saddr {set} {keyword} daddr {set} accept")));
    }
    rules
}

fn output(request: &KillSwitchRequest<'_>) -> Vec<String> {
    let KillSwitchRequest { interface, mark, .. } = request;
    let mark = mark.value();
    let mut rules = vec![
        format!("oifname {{ \"lo\", \"{interface}\" }} accept"),
        format!("meta mark {mark} ct mark set {mark} accept"),
        format!("meta mark {} ct mark set meta mark accept", request.other_marks()),
    ];
    rules.extend(request.inbound_rule());
    rules.extend([
        // Before the local network: its resolver would learn every name.
        format!("meta l4proto {{ tcp, udp }} th dport {{ {NAME_PORTS} }} {REFUSE}"),
        "meta nfproto ipv4 udp sport 68 udp dport 67 accept".to_owned(),
        "meta nfproto ipv6 udp sport 546 udp dport 547 accept".to_owned(),
        NEIGHBOURS_OUT.to_owned(),
    ]);
    // By the address that the kernel takes for it, which is that of the interface: only on links that are reached.
    for ((family, keyword), rule) in FAMILIES.into_iter().zip([MEMBERSHIP_V4, MEMBERSHIP_V6]) {
        rules.extend(set(request.lan.private(), family).map(|set| format!("{keyword} saddr {set} {rule}")));
    }
    rules.extend(NO_MEMBERSHIP_OUT.map(str::to_owned));
    rules.extend(for_networks(request.tunnel, "daddr", REFUSE));
    rules.extend(for_networks(&request.lan.networks(), "daddr", "accept"));
    rules.push(REFUSE.to_owned());
    rules
}

const FAMILIES: [(Family, &str); 2] = [(Family::V4, "ip"), (Family::V6, "ip6")];

/// One rule for each family that there are networks of.
fn for_networks(networks: &[IpNet], side: &str, verdict: &str) -> Vec<String> {
    let rule =
        |(family, keyword)| set(networks, family).map(|set| format!("{keyword} {side} {set} {verdict}"));
    FAMILIES.into_iter().filter_map(rule).collect()
}

/// A set cannot hold a network and a part of it: such become one.
fn set(networks: &[IpNet], family: Family) -> Option<String> {
    let of_family: Vec<IpNet> =
        networks.iter().map(IpNet::trunc).filter(|network| Family::of(network) == family).collect();
    let elements: Vec<String> = IpNet::aggregate(&of_family).iter().map(element).collect();
    (!elements.is_empty()).then(|| format!("{{ {} }}", elements.join(", ")))
}

fn element(network: &IpNet) -> String {
    if network.prefix_len() == network.max_prefix_len() {
        IpAddr::to_string(&network.addr())
    } else {
        network.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn others() -> String {
        let marks: Vec<String> = (1..64).map(|number| (52_000 + 200 * number).to_string()).collect();
        format!("{{ {} }}", marks.join(", "))
    }

    fn text_with(lan: &Lan, listen_port: Option<u16>) -> String {
        text_for(lan, listen_port, false)
    }

    fn text_for(lan: &Lan, listen_port: Option<u16>, inbound: bool) -> String {
        let request = KillSwitchRequest {
            interface: &InterfaceName::new("vpn0").unwrap(),
            mark: RoutingMark::FIRST,
            addresses: &networks(&["10.66.0.2/16", "fd66::2/64"]),
            tunnel: &networks(&["10.66.0.0/16", "10.66.3.0/24", "fd66::/64"]),
            listen_port,
            lan,
            inbound,
        };
        rules(&request).text
    }

    #[test]
    fn nothing_passes_but_the_tunnel_our_datagrams_and_what_the_link_needs() {
        let expected = "\
add table inet vpn_vpn0_kill_switch
delete table inet vpn_vpn0_kill_switch
table inet vpn_vpn0_kill_switch {
\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t\tiifname { \"lo\", \"vpn0\" } accept
\t\tip daddr { 10.66.0.2 } drop
\t\tip6 daddr { fd66::2 } drop
\t\tct mark 52000 accept
\t\tct mark OTHERS accept
\t\tmeta nfproto ipv4 udp sport 67 udp dport 68 accept
\t\tmeta nfproto ipv6 udp sport 547 udp dport 546 accept
\t\tip6 hoplimit 255 icmpv6 type { nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept
\t}
\tchain forward {
\t\ttype filter hook forward priority filter; policy drop;
\t\tiifname \"vpn0\" ct state established,related accept
\t\toifname \"vpn0\" accept
\t\tmeta l4proto { tcp, udp } th dport { 53, 853 } drop
\t\tip daddr { 10.66.0.0/16 } drop
\t\tip6 daddr { fd66::/64 } drop
\t}
\tchain output {
\t\ttype filter hook output priority filter; policy drop;
\t\toifname { \"lo\", \"vpn0\" } accept
\t\tmeta mark 52000 ct mark set 52000 accept
\t\tmeta mark OTHERS ct mark set meta mark accept
\t\tmeta l4proto { tcp, udp } th dport { 53, 853 } reject with icmpx admin-prohibited
\t\tmeta nfproto ipv4 udp sport 68 udp dport 67 accept
\t\tmeta nfproto ipv6 udp sport 546 udp dport 547 accept
\t\tip6 hoplimit 255 icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept
\t\tmeta l4proto igmp drop
\t\ticmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, mld2-listener-report } drop
\t\tip daddr { 10.66.0.0/16 } reject with icmpx admin-prohibited
\t\tip6 daddr { fd66::/64 } reject with icmpx admin-prohibited
\t\treject with icmpx admin-prohibited
\t}
}
";
        assert_eq!(text_with(&Lan::Deny, None).replace(&others(), "OTHERS"), expected);
    }

    #[test]
    fn the_local_network_comes_after_names_and_the_tunnels_own() {
        let text = text_with(&Lan::allow(&networks(&["192.168.1.0/24", "10.0.0.0/8"]), &[]), Some(51820));
        let set = "{ 10.0.0.0/8, 192.168.1.0/24, 224.0.0.0/4, 255.255.255.255 }";
        let (input, rest) = text.split_once("chain forward").unwrap();
        let (forward, output) = rest.split_once("chain output").unwrap();
        assert!(
            input.contains("udp dport 51820 accept") && input.contains(&format!("ip saddr {set} accept"))
        );
        assert!(forward.contains(&format!("ip saddr {set} ip daddr {set} accept")));
        let at = |part: &str| output.find(part).unwrap();
        let allowed = at(&format!("ip daddr {set} accept"));
        assert!(at("th dport") < allowed && at("ip daddr { 10.66.0.0/16 } reject") < allowed);
        assert!(at("mld2-listener-report") < at("ip6 daddr { ff00::/8 } accept"));
    }

    #[test]
    fn membership_is_told_to_the_private_links_alone_and_no_further() {
        let text = text_with(&Lan::allow(&networks(&["192.168.7.0/24", "fe80::/64"]), &[]), None);
        let (_, output) = text.split_once("chain output").unwrap();
        let at = |part: &str| output.find(part).unwrap_or_else(|| panic!("{part} is not in {output}"));
        assert!(at("ip saddr { 192.168.7.0/24 } ip ttl 1 meta l4proto igmp accept") < at("igmp drop"));
        assert!(
            at("ip6 saddr { fe80::/64 } ip6 hoplimit 1 icmpv6 type { mld-listener-report") < at("} drop")
        );
        assert!(text.contains("igmp type membership-query accept"));
        assert!(!text_with(&Lan::Deny, None).contains("hoplimit 1 "));
        let only_multicast = text_with(&Lan::allow(&[], &[]), None);
        assert!(!only_multicast.contains("igmp accept") && !only_multicast.contains("membership-query"));
    }

    #[test]
    fn connections_from_outside_pass_where_they_are_asked_for_and_nowhere_else() {
        let (refused, allowed) = (text_for(&Lan::Deny, None, false), text_for(&Lan::Deny, None, true));
        assert!(!refused.contains("52199"));
        let fresh: Vec<&str> = allowed.lines().filter(|line| !refused.contains(*line)).collect();
        assert_eq!(
            fresh,
            ["\t\tmeta mark 52199 accept", "\t\tmeta mark 52199 accept", "\t\tmeta mark 52199 accept"]
        );
    }
}
