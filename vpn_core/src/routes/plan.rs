//! Which routes and rules the peers' allowed IPs need. Pure.

use core::fmt::Write as _;
use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use super::{RouteError, RoutingMark};
use crate::journal::{DeviceRoute, Family, InterfaceName, MAIN_TABLE, PolicyRule, RuleSelector};

/// What a plan is made from.
#[derive(Clone, Debug)]
pub struct RouteRequest<'a> {
    /// The tunnel interface.
    pub interface: &'a InterfaceName,
    /// The interface's own addresses with their prefixes: their networks are routed by the kernel.
    pub addresses: &'a [IpNet],
    /// All peers' allowed IPs.
    pub allowed_ips: &'a [IpNet],
    /// All addresses at which peers are or may be reached.
    pub endpoints: &'a [IpAddr],
    /// Our UDP port, where peers may call us first: lets their datagrams pass the reverse path filter.
    pub listen_port: Option<u16>,
    /// The mark of our UDP sockets.
    pub mark: RoutingMark,
}

/// Routes, rules and what they need, in the order in which they are applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePlan {
    pub(super) interface: InterfaceName,
    pub(super) routes: Vec<DeviceRoute>,
    pub(super) rules: Vec<PolicyRule>,
    /// The nftables batch that keeps the mark on answers.
    pub(super) marks: Option<String>,
    connected: Vec<IpNet>,
}

impl RoutePlan {
    /// A plan without routes: replacing another by it removes that one's.
    pub fn empty(interface: &InterfaceName) -> Self {
        Self {
            interface: interface.clone(),
            routes: Vec::new(),
            rules: Vec::new(),
            marks: None,
            connected: Vec::new(),
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

    /// Whether datagrams to `endpoint` would go into the tunnel: a peer has roamed to where a route of the main table
    /// covers it. Plan again with this endpoint, then.
    pub fn would_loop(&self, endpoint: IpAddr) -> bool {
        let unmarked = self.routes.iter().filter(|route| route.table == MAIN_TABLE);
        unmarked
            .map(|route| route.destination)
            .chain(self.connected.iter().copied())
            .any(|p| p.contains(&endpoint))
    }

    #[cfg(target_os = "linux")]
    pub(super) fn has_ipv4_rules(&self) -> bool {
        self.rules.iter().any(|rule| rule.family == Family::V4)
    }

    /// The plan for a host without IPv6.
    #[cfg(target_os = "linux")]
    pub(super) fn without_ipv6(&self) -> Self {
        let mut plan = self.clone();
        plan.routes.retain(|route| Family::of(&route.destination) == Family::V4);
        plan.rules.retain(|rule| rule.family == Family::V4);
        if plan.rules.is_empty() {
            plan.marks = None;
        }
        plan
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
    let (by_policy, ordinary): (Vec<IpNet>, Vec<IpNet>) = prefixes
        .into_iter()
        .filter(|prefix| !connected.iter().any(|network| network.contains(prefix)))
        .partition(|prefix| {
            prefix.prefix_len() == 0 || request.endpoints.iter().any(|endpoint| prefix.contains(endpoint))
        });
    let route =
        |destination: IpNet, table| DeviceRoute { destination, device: request.interface.to_string(), table };
    let mut routes: Vec<DeviceRoute> = ordinary.into_iter().map(|prefix| route(prefix, MAIN_TABLE)).collect();
    routes.extend(by_policy.iter().map(|prefix| route(*prefix, request.mark.table(prefix.prefix_len()))));
    let marks = (!by_policy.is_empty()).then(|| marks_text(request, &by_policy));
    Ok(RoutePlan {
        interface: request.interface.clone(),
        routes,
        rules: rules(request.mark, &by_policy),
        marks,
        connected,
    })
}

/// Two rules for each family and prefix length, main's first: were ours there first, for a moment everything longer
/// in main would be routed into the tunnel.
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
                PolicyRule { family, priority, selector: suppress, table: MAIN_TABLE },
                PolicyRule {
                    family,
                    priority: priority + 1,
                    selector: RuleSelector::NotMark(mark.value()),
                    table: mark.table(bits),
                },
            ]
        })
        .collect();
    rules.sort_by_key(|rule| (rule.family, rule.priority));
    rules
}

/// The name of the nftables table, in family `inet`. Not another interface's gateway table: there `_` is doubled.
pub(super) fn marks_table(interface: &InterfaceName) -> String {
    format!("vpn_{}_marks", interface.to_identifier())
}

fn marks_text(request: &RouteRequest<'_>, by_policy: &[IpNet]) -> String {
    let table = marks_table(request.interface);
    let tunnel = request.interface;
    let mark = request.mark.value();
    let mut text = format!("add table inet {table}\ndelete table inet {table}\ntable inet {table} {{\n");
    // With a default route our tunnel address is a client's address; on other interfaces nobody may probe for it
    // (CVE-2019-14899). A gateway without a default route may well be asked from its other networks.
    let guarded = request.addresses.iter().filter(|address| {
        by_policy.iter().any(|prefix| prefix.prefix_len() == 0 && Family::of(prefix) == Family::of(address))
    });
    let guards: Vec<String> = guarded
        .map(|address| {
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
    let _ = writeln!(text, "\t\tmeta l4proto udp meta mark {mark} ct mark set {mark}");
    text.push_str("\t}\n}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn planned(allowed: &[&str], endpoints: &[&str]) -> Result<RoutePlan, RouteError> {
        let endpoints: Vec<IpAddr> = endpoints.iter().map(|text| text.parse().unwrap()).collect();
        plan(&RouteRequest {
            interface: &InterfaceName::new("vpn0").unwrap(),
            addresses: &networks(&["10.66.0.2/16", "fd66::2/64"]),
            allowed_ips: &networks(allowed),
            endpoints: &endpoints,
            listen_port: None,
            mark: RoutingMark::FIRST,
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
            "31256: from all lookup 254 suppress_prefixlength 0",
            "31257: not from all fwmark 52000 lookup 52000",
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
                "31240: from all lookup 254 suppress_prefixlength 8",
                "31241: not from all fwmark 52000 lookup 52008",
                "31256: from all lookup 254 suppress_prefixlength 0",
                "31257: not from all fwmark 52000 lookup 52000",
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
    fn roaming_under_an_ordinary_route_is_noticed() {
        let plan = planned(&["10.0.0.0/8", "0.0.0.0/0"], &["198.51.100.7"]).unwrap();
        assert!(plan.would_loop("10.1.2.3".parse().unwrap()));
        assert!(!plan.would_loop("203.0.113.1".parse().unwrap()));
        assert!(plan.would_loop("10.66.0.9".parse().unwrap()), "the connected network");
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
\t\tmeta l4proto udp meta mark 52000 ct mark set 52000
\t}
}
";
        assert_eq!(text, expected);
        let text = planned(&["10.0.0.0/8"], &["10.1.2.3"]).unwrap().marks.unwrap();
        assert!(!text.contains("guard"));
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
                        .any(|route| route.table == rule.table && route.destination.contains(&to))
                        .then_some(true),
                })
                .unwrap_or(false);
            assert_eq!(into_tunnel, longest(&allowed, &to) >= longest(&main, &to), "{to}");
        }
    }
}
