//! Which routes and rules the peers' allowed IPs need. Pure.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{
    Inbound, Lan, RouteError, RoutingMark, full,
    inbound::inbound_text,
    marks::{marks_text, neighbours_text},
};
use crate::journal::{
    DeviceRoute, Family, InterfaceName, MAIN_TABLE, PolicyRule, RefusingTable, RuleSelector,
};

/// What a plan is made from.
#[derive(Clone, Debug)]
pub struct RouteRequest<'a> {
    /// The tunnel interface.
    pub interface: &'a InterfaceName,
    /// The interface's own addresses with their prefixes: their networks are routed by the kernel.
    pub addresses: &'a [IpNet],
    /// All peers' allowed IPs.
    pub allowed_ips: &'a [IpNet],
    /// The name servers that are asked while the tunnel is up.
    pub name_servers: &'a [IpAddr],
    /// All addresses at which peers are or may be reached.
    pub endpoints: &'a [IpAddr],
    /// Our UDP port, where peers may call us first: lets their datagrams pass the reverse path filter.
    pub listen_port: Option<u16>,
    /// The mark of our UDP sockets.
    pub mark: RoutingMark,
    /// What a default route among the allowed IPs means.
    pub default_route: DefaultRoute<'a>,
    /// Answers to connections from outside leave as these came, beside the tunnel. What was connected before.
    pub inbound: Option<&'a Inbound>,
}

/// What a default route among the allowed IPs means.
#[derive(Clone, Copy, Debug)]
pub enum DefaultRoute<'a> {
    /// One route among others: what main routes by a longer prefix goes there. A gateway's.
    Ordinary,
    /// Everything takes the tunnel, but for what is said here. A client's.
    Full(&'a Lan),
}

/// Routes, rules and what they need, in the order in which they are applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePlan {
    pub(super) interface: InterfaceName,
    pub(super) routes: Vec<DeviceRoute>,
    pub(super) rules: Vec<PolicyRule>,
    pub(super) refusal: Option<RefusingTable>,
    /// The nftables batch that keeps the mark on answers.
    pub(super) marks: Option<String>,
    /// The nftables batch that lets neighbours find us, where a strict reverse path filter would not.
    pub(super) neighbours: Option<String>,
    /// The nftables batch that marks answers to connections from outside.
    pub(super) inbound: Option<String>,
    /// Whether the rules refuse what the tunnel does not carry: they are then for both families, whatever is routed.
    pub(super) is_full: bool,
    pub(super) connected: Vec<IpNet>,
    /// The prefixes that are routed into the tunnel and around no endpoint.
    inner: Vec<IpNet>,
}

impl RoutePlan {
    /// A plan without routes: replacing another by it removes that one's.
    pub fn empty(interface: &InterfaceName) -> Self {
        Self {
            interface: interface.clone(),
            routes: Vec::new(),
            rules: Vec::new(),
            refusal: None,
            marks: None,
            neighbours: None,
            inbound: None,
            is_full: false,
            connected: Vec::new(),
            inner: Vec::new(),
        }
    }

    /// The routes, those in the main table first.
    pub fn routes(&self) -> &[DeviceRoute] {
        &self.routes
    }

    /// The policy rules, in the order of their priority for each family.
    pub fn rules(&self) -> &[PolicyRule] {
        &self.rules
    }

    /// Whether our UDP sockets must carry the mark before this plan is applied.
    pub fn needs_mark(&self) -> bool {
        !self.rules.is_empty()
    }

    /// The networks in which no peer is reached: those of our addresses, and the prefixes that are routed into the tunnel. Of these a
    /// default route is none, nor is a prefix that covers an endpoint: our own datagrams leave beside it by their mark.
    pub fn inner_networks(&self) -> impl Iterator<Item = IpNet> + '_ {
        self.inner.iter().chain(&self.connected).copied()
    }

    #[cfg(target_os = "linux")]
    pub(super) fn has_ipv4_rules(&self) -> bool {
        self.rules.iter().any(|rule| rule.family == Family::V4)
    }

    #[cfg(target_os = "linux")]
    pub(super) fn has_ipv6_routes(&self) -> bool {
        self.routes.iter().any(|route| Family::of(&route.destination) == Family::V6)
    }

    /// Leaves out the IPv6 routes, for an interface that cannot have them, and rules that would be for these only.
    #[cfg(target_os = "linux")]
    pub(super) fn remove_ipv6_routes(&mut self) {
        self.routes.retain(|route| Family::of(&route.destination) == Family::V4);
        if !self.is_full {
            self.remove_ipv6_rules();
        }
    }

    /// Leaves out the IPv6 rules.
    #[cfg(target_os = "linux")]
    pub(super) fn remove_ipv6_rules(&mut self) {
        self.rules.retain(|rule| rule.family == Family::V4);
        if self.rules.is_empty() {
            self.marks = None;
        }
    }
}

/// Plans the routes for `request`.
///
/// # Errors
/// [`RouteError::EndpointInsideTunnel`].
pub fn plan(request: &RouteRequest<'_>) -> Result<RoutePlan, RouteError> {
    let connected: Vec<IpNet> = request.addresses.iter().map(IpNet::trunc).collect();
    for endpoint in request.endpoints {
        if let Some(network) = connected.iter().find(|network| network.contains(endpoint)) {
            return Err(RouteError::EndpointInsideTunnel { endpoint: *endpoint, network: *network });
        }
    }
    let prefixes: BTreeSet<IpNet> = request.allowed_ips.iter().map(IpNet::trunc).collect();
    if let DefaultRoute::Full(lan) = request.default_route
        && full::holds_default_route(&prefixes)
    {
        let prefixes = full::with_name_servers(prefixes, request.name_servers);
        return Ok(full_plan(request, &prefixes, connected, lan));
    }
    let (by_policy, ordinary): (Vec<IpNet>, Vec<IpNet>) = prefixes
        .into_iter()
        .filter(|prefix| !connected.iter().any(|network| network.contains(prefix)))
        .partition(|prefix| {
            prefix.prefix_len() == 0 || request.endpoints.iter().any(|endpoint| prefix.contains(endpoint))
        });
    let mut routes: Vec<DeviceRoute> =
        ordinary.iter().map(|prefix| route(request, *prefix, MAIN_TABLE)).collect();
    let table = |prefix: &IpNet| request.mark.table(prefix.prefix_len());
    routes.extend(by_policy.iter().map(|prefix| route(request, *prefix, table(prefix))));
    // With a default route our tunnel address is a client's address. A gateway without one may well be asked for its own
    // from its other networks.
    let guarded: Vec<Family> =
        by_policy.iter().filter(|prefix| prefix.prefix_len() == 0).map(Family::of).collect();
    let marks = (!by_policy.is_empty()).then(|| marks_text(request, &guarded));
    Ok(RoutePlan {
        interface: request.interface.clone(),
        routes,
        rules: rules(request.mark, &by_policy),
        refusal: None,
        marks,
        neighbours: None,
        inbound: request.inbound.map(|inbound| inbound_text(request, inbound)),
        is_full: false,
        connected,
        inner: ordinary,
    })
}

/// Whether these networks cover IPv4, IPv6 or both.
pub fn takes_default_route(allowed_ips: &[IpNet]) -> bool {
    full::holds_default_route(&allowed_ips.iter().map(IpNet::trunc).collect())
}

/// The networks that belong to the tunnel, whatever the local network claims: those of our addresses, and allowed IPs
/// that are more than a part of the default route. And the name servers that they cover: a client's address is most often
/// one host's, and says nothing of the servers beside it.
pub fn tunnel_networks(addresses: &[IpNet], allowed_ips: &[IpNet], name_servers: &[IpAddr]) -> Vec<IpNet> {
    let connected: Vec<IpNet> = addresses.iter().map(IpNet::trunc).collect();
    let prefixes = full::with_name_servers(allowed_ips.iter().map(IpNet::trunc).collect(), name_servers);
    full::networks(&prefixes, &connected).collect::<BTreeSet<_>>().into_iter().collect()
}

fn full_plan(
    request: &RouteRequest<'_>,
    prefixes: &BTreeSet<IpNet>,
    connected: Vec<IpNet>,
    lan: &Lan,
) -> RoutePlan {
    let table = request.mark.full_tunnel_table();
    let destinations = full::destinations(prefixes, &connected);
    let covers_endpoint =
        |network: &IpNet| request.endpoints.iter().any(|endpoint| network.contains(endpoint));
    let inner = full::networks(prefixes, &connected).filter(|network| !covers_endpoint(network)).collect();
    RoutePlan {
        interface: request.interface.clone(),
        routes: destinations.into_iter().map(|destination| route(request, destination, table)).collect(),
        rules: full::rules(request.mark, lan),
        refusal: Some(full::refusal(request.mark)),
        marks: Some(marks_text(request, &[Family::V4, Family::V6])),
        neighbours: Some(neighbours_text(request)),
        inbound: request.inbound.map(|inbound| inbound_text(request, inbound)),
        is_full: true,
        connected,
        inner,
    }
}

fn route(request: &RouteRequest<'_>, destination: IpNet, table: u32) -> DeviceRoute {
    DeviceRoute { destination, device: request.interface.to_string(), table }
}

/// Two rules for each family and prefix length, main's first: were ours there first, for a moment everything longer
/// in main would be routed into the tunnel. What carries a tunnel's mark passes over all of them.
fn rules(mark: RoutingMark, by_policy: &[IpNet]) -> Vec<PolicyRule> {
    let mut rules: Vec<PolicyRule> = by_policy
        .iter()
        .map(|prefix| (Family::of(prefix), prefix.prefix_len()))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .flat_map(|(family, bits)| {
            let priority = mark.priority(bits);
            let suppress = RuleSelector::SuppressPrefixLength(bits);
            [
                PolicyRule { family, priority, selector: suppress, table: Some(MAIN_TABLE), goto: None },
                PolicyRule {
                    family,
                    priority: priority + 1,
                    selector: RuleSelector::NotMark(mark.value()),
                    table: Some(mark.table(bits)),
                    goto: None,
                },
            ]
        })
        .collect();
    for family in by_policy.iter().map(Family::of).collect::<BTreeSet<_>>() {
        rules.extend([full::pass_over(mark, family, mark.first_priority()), full::resume(mark, family)]);
    }
    rules.sort_by_key(|rule| (rule.family, rule.priority));
    rules
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::Connection;

    const PASS_OVER: &str = "30999: from all fwmark 0xc000/0xffffc000 goto 31265";
    const RESUME: &str = "31265: from all lookup 52198";

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn planned(allowed: &[&str], endpoints: &[&str]) -> Result<RoutePlan, RouteError> {
        let endpoints: Vec<IpAddr> = endpoints.iter().map(|text| text.parse().unwrap()).collect();
        plan(&RouteRequest {
            interface: &InterfaceName::new("vpn0").unwrap(),
            addresses: &networks(&["10.66.0.2/16", "fd66::2/64"]),
            allowed_ips: &networks(allowed),
            name_servers: &[],
            endpoints: &endpoints,
            listen_port: None,
            mark: RoutingMark::FIRST,
            default_route: DefaultRoute::Ordinary,
            inbound: None,
        })
    }

    fn routes(plan: &RoutePlan) -> Vec<(String, u32)> {
        plan.routes().iter().map(|route| (route.destination.to_string(), route.table)).collect()
    }

    fn rules(plan: &RoutePlan) -> Vec<String> {
        plan.rules().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn ordinary_prefixes_become_routes_and_connected_ones_nothing() {
        let plan = planned(&["192.168.7.9/24", "10.66.3.0/24", "fd66::/64", "fd77::/48"], &["198.51.100.7"])
            .unwrap();
        assert_eq!(routes(&plan), [("192.168.7.0/24".into(), 254), ("fd77::/48".into(), 254)]);
        assert!(plan.rules().is_empty() && plan.marks.is_none() && !plan.needs_mark());
    }

    #[test]
    fn default_routes_are_routed_by_policy_in_both_families() {
        let plan = planned(&["0.0.0.0/0", "::/0"], &["198.51.100.7"]).unwrap();
        assert_eq!(routes(&plan), [("0.0.0.0/0".into(), 52000), ("::/0".into(), 52000)]);
        let expected = [
            PASS_OVER,
            "31256: from all lookup 254 suppress_prefixlength 0",
            "31257: not from all fwmark 52000 lookup 52000",
            RESUME,
        ];
        assert_eq!(rules(&plan), [expected, expected].concat());
    }

    #[test]
    fn a_prefix_over_an_endpoint_is_routed_by_policy_and_longer_tiers_come_first() {
        let plan = planned(&["0.0.0.0/0", "10.0.0.0/8", "172.16.0.0/12"], &["10.1.2.3"]).unwrap();
        assert_eq!(
            routes(&plan),
            [("172.16.0.0/12".into(), 254), ("0.0.0.0/0".into(), 52000), ("10.0.0.0/8".into(), 52008)]
        );
        assert_eq!(
            rules(&plan),
            [
                PASS_OVER,
                "31240: from all lookup 254 suppress_prefixlength 8",
                "31241: not from all fwmark 52000 lookup 52008",
                "31256: from all lookup 254 suppress_prefixlength 0",
                "31257: not from all fwmark 52000 lookup 52000",
                RESUME,
            ]
        );
    }

    #[test]
    fn a_default_route_in_halves_covers_the_endpoint_with_one_of_them() {
        let plan = planned(&["0.0.0.0/1", "128.0.0.0/1"], &["198.51.100.7"]).unwrap();
        assert_eq!(routes(&plan), [("0.0.0.0/1".into(), 254), ("128.0.0.0/1".into(), 52001)]);
    }

    #[test]
    fn an_endpoint_inside_the_tunnels_own_network_is_refused() {
        let error = planned(&["0.0.0.0/0"], &["10.66.9.9"]).unwrap_err();
        assert!(error.to_string().contains("10.66.0.0/16"), "{error}");
    }

    #[test]
    fn no_peer_is_reached_under_an_ordinary_route_nor_in_our_own_networks() {
        let plan = planned(&["10.0.0.0/8", "0.0.0.0/0"], &["198.51.100.7"]).unwrap();
        let inner: Vec<IpNet> = plan.inner_networks().collect();
        assert_eq!(inner, networks(&["10.0.0.0/8", "10.66.0.0/16", "fd66::/64"]));
    }

    #[test]
    fn a_clients_default_route_takes_everything_and_an_endpoint_within_it_does_not_loop() {
        let interface = InterfaceName::new("vpn0").unwrap();
        let (addresses, lan) = (networks(&["10.66.0.2/16"]), Lan::Deny);
        let name_servers = ["10.67.0.1", "172.16.0.1", "fd66::1"].map(|text| text.parse().unwrap());
        let mut request = RouteRequest {
            interface: &interface,
            addresses: &addresses,
            allowed_ips: &networks(&["0.0.0.0/0", "10.0.0.0/8"]),
            name_servers: &name_servers,
            endpoints: &["10.1.2.3".parse().unwrap()],
            listen_port: None,
            mark: RoutingMark::FIRST,
            default_route: DefaultRoute::Full(&lan),
            inbound: None,
        };
        let full = plan(&request).unwrap();
        assert_eq!(
            routes(&full),
            ["0.0.0.0/0", "10.0.0.0/8", "10.66.0.0/16", "10.67.0.1/32", "172.16.0.1/32"]
                .map(|to| (to.to_owned(), 52000)),
            "nothing in main, and nothing for a server that the tunnel does not reach"
        );
        assert_eq!(
            full.rules().iter().filter(|rule| rule.family == Family::V6).count(),
            8,
            "refused, not leaked"
        );
        let inner: BTreeSet<IpNet> = full.inner_networks().collect();
        let expected = networks(&["10.66.0.0/16", "10.67.0.1/32", "172.16.0.1/32"]);
        assert_eq!(
            inner,
            expected.into_iter().collect(),
            "neither the default route nor what covers the endpoint"
        );
        assert!(full.marks.is_some() && full.neighbours.is_some() && full.needs_mark());
        assert_eq!(
            tunnel_networks(&addresses, request.allowed_ips, &name_servers),
            networks(&["10.0.0.0/8", "10.66.0.0/16", "10.67.0.1/32", "172.16.0.1/32"])
        );
        let split = networks(&["10.0.0.0/8"]);
        request.allowed_ips = &split;
        let split = plan(&request).unwrap();
        request.default_route = DefaultRoute::Ordinary;
        assert_eq!(split, plan(&request).unwrap(), "without a default route a client is as everybody");
    }

    #[test]
    fn the_mark_follows_the_connection_and_only_a_default_route_guards_the_tunnel_address() {
        let text = planned(&["0.0.0.0/0"], &[]).unwrap().marks.unwrap();
        let expected = "\
add table inet vpn_vpn0_marks
delete table inet vpn_vpn0_marks
table inet vpn_vpn0_marks {
\tchain guard {
\t\ttype filter hook prerouting priority raw; policy accept;
\t\tiifname != \"vpn0\" ip daddr 10.66.0.2 fib saddr type != local drop
\t}
\tchain restore {
\t\ttype filter hook prerouting priority mangle; policy accept;
\t\tiifname != \"vpn0\" ct mark 52000 meta mark set 52000
\t}
\tchain save {
\t\ttype filter hook output priority mangle; policy accept;
\t\tmeta mark 52000 ct mark set 52000
\t}
}
";
        assert_eq!(text, expected);
        let text = planned(&["10.0.0.0/8"], &["10.1.2.3"]).unwrap().marks.unwrap();
        assert!(!text.contains("guard"));
    }

    #[test]
    fn only_what_comes_in_first_is_inbound_and_what_was_connected_before_is_named() {
        let interface = InterfaceName::new("vpn0").unwrap();
        let connection = |local: &str, remote: &str| Connection {
            local: local.parse().unwrap(),
            remote: remote.parse().unwrap(),
        };
        let before = Inbound {
            accepted: vec![connection("192.0.2.2:22", "203.0.113.2:40000")],
            opened: vec![connection("[2001:db8::2]:40000", "[2001:db8:8::8]:443")],
        };
        let request = RouteRequest {
            interface: &interface,
            addresses: &networks(&["10.66.0.2/16"]),
            allowed_ips: &networks(&["0.0.0.0/0"]),
            name_servers: &[],
            endpoints: &[],
            listen_port: None,
            mark: RoutingMark::FIRST,
            default_route: DefaultRoute::Full(&Lan::Deny),
            inbound: Some(&before),
        };
        let expected = "\
add table inet vpn_vpn0_inbound
delete table inet vpn_vpn0_inbound
table inet vpn_vpn0_inbound {
\tchain arriving {
\t\ttype filter hook prerouting priority mangle; policy accept;
\t\tiifname { \"lo\", \"vpn0\" } return
\t\tip saddr . tcp sport . ip daddr . tcp dport { 203.0.113.2 . 40000 . 192.0.2.2 . 22 } ct mark 0 ct mark set 52199
\t\tip6 saddr . udp sport . ip6 daddr . udp dport { 2001:db8:8::8 . 443 . 2001:db8::2 . 40000 } return
\t\ttcp flags & (fin | syn | rst | ack) == syn ct state new ct direction original ct mark 0 fib daddr type local ct mark set 117735
\t\ttcp flags & (fin | syn | rst | ack) == syn ct direction original ct mark 117735 meta mark 0 meta mark set 52199
\t\ttcp flags & (fin | syn | rst | ack) == syn | ack ct direction reply ct mark 117735 ct mark set 52199
\t\tmeta l4proto != tcp ct state new ct direction original ct mark 0 fib daddr type local ct mark set 52199
\t\tmeta mark 0 ct mark 52199 meta mark set 52199
\t}
\tchain answers {
\t\ttype route hook output priority mangle; policy accept;
\t\ttcp flags & (fin | syn | rst | ack) == syn | ack ct direction reply ct mark 117735 ct mark set 52199
\t\ttcp flags & (fin | syn | rst | ack) == rst | ack tcp sequence 0 meta mark 0 ct direction reply ct mark 117735 meta mark set 52199
\t\tmeta mark 0 ct direction reply ct mark 52199 meta mark set 52199
\t\tip daddr . tcp dport . ip saddr . tcp sport { 203.0.113.2 . 40000 . 192.0.2.2 . 22 } meta mark 0 ct mark { 0, 52199 } ct mark set 52199 meta mark set 52199
\t}
}
";
        assert_eq!(plan(&request).unwrap().inbound.unwrap(), expected);
        assert_eq!(plan(&RouteRequest { inbound: None, ..request }).unwrap().inbound, None);
    }

    /// The slow, obvious answer: the longest prefix of everything, the tunnel's on a tie.
    #[test]
    fn rules_and_tables_together_are_one_longest_prefix_match() {
        let allowed = networks(&["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "172.16.0.0/12"]);
        let main = networks(&["0.0.0.0/0", "10.0.0.0/7", "10.1.0.0/16", "10.1.2.128/25", "192.168.1.0/24"]);
        let plan = planned(
            &["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "172.16.0.0/12"],
            &["10.1.2.3"],
        )
        .unwrap();
        let longest = |table: &[IpNet], to: &IpAddr| {
            table.iter().filter(|prefix| prefix.contains(to)).map(IpNet::prefix_len).max()
        };
        let mut in_main = main.clone();
        in_main
            .extend(plan.routes().iter().filter(|route| route.table == 254).map(|route| route.destination));
        for to in [
            "10.1.2.3",
            "10.1.2.200",
            "10.1.9.9",
            "10.9.9.9",
            "11.1.1.1",
            "8.8.8.8",
            "192.168.1.1",
            "172.17.0.1",
        ] {
            let to: IpAddr = to.parse().unwrap();
            let into_tunnel = plan
                .rules()
                .iter()
                .find_map(|rule| match rule.selector {
                    RuleSelector::SuppressPrefixLength(bits) => {
                        longest(&in_main, &to).filter(|found| *found > bits).map(|found| {
                            plan.routes().iter().any(|route| {
                                route.table == 254
                                    && route.destination.contains(&to)
                                    && route.destination.prefix_len() == found
                            })
                        })
                    }
                    RuleSelector::NotMark(_) => plan
                        .routes()
                        .iter()
                        .any(|route| Some(route.table) == rule.table && route.destination.contains(&to))
                        .then_some(true),
                    RuleSelector::Mark(_)
                    | RuleSelector::To(_)
                    | RuleSelector::Within(_)
                    | RuleSelector::UdpPorts { .. } => panic!("not in such a plan"),
                    // Another tunnel's, and an empty table.
                    RuleSelector::Marks { .. } | RuleSelector::All => None,
                })
                .unwrap_or(false);
            assert_eq!(into_tunnel, longest(&allowed, &to) >= longest(&main, &to), "{to}");
        }
    }
}
