use super::*;
use crate::routes::walk::samples::{jump, refusing, route, rule, to};
use rtnetlink::packet_route::rule::RuleAttribute;

const TUNNEL: u32 = 9;
const ETH0: u32 = 2;
const TAILSCALE0: u32 = 5;
const FULL_TABLE: u32 = 52000;

fn networks(texts: &[&str]) -> Vec<IpNet> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn suppressing(priority: u32) -> RuleMessage {
    rule(priority, MAIN_TABLE, &[RuleAttribute::SuppressPrefixLen(0)])
}

/// A host with a default route by eth0, and what others have added.
fn tables(tunnel: &[(u32, &str)], rules: &[RuleMessage], routes: &[RouteMessage]) -> Tables {
    let of_host = [rule(0, LOCAL_TABLE, &[]), rule(32766, MAIN_TABLE, &[]), rule(32767, 253, &[])];
    let mut rules: Vec<RuleMessage> = rules.iter().cloned().chain(of_host).collect();
    let mut routes = [&[route(MAIN_TABLE, "0.0.0.0/0", ETH0)], routes].concat();
    for (table, destination) in tunnel {
        routes.push(route(*table, destination, TUNNEL));
        if *table != MAIN_TABLE {
            rules.push(rule(31263, *table, &[]));
        }
    }
    rules.sort_by_key(priority);
    Tables::new(rules, routes)
}

/// A full tunnel.
fn full(rules: &[RuleMessage], routes: &[RouteMessage], exempt: &Exempt) -> Vec<String> {
    let carried = Carried::new(true, networks(&["0.0.0.0/0"]), std::iter::empty(), 31265).unwrap();
    told(&View {
        tables: tables(&[(FULL_TABLE, "0.0.0.0/0")], rules, routes),
        carried,
        tunnel: TUNNEL,
        exempt,
    })
}

/// A tunnel with the address 10.8.0.1/24, and with 10.20.0.0/16 and two hosts among what its peers are allowed.
fn split(rules: &[RuleMessage], routes: &[RouteMessage], exempt: &Exempt) -> Vec<String> {
    let routed = networks(&["10.8.0.0/24", "10.20.0.0/16"]);
    let allowed = networks(&["10.8.0.2/32", "10.8.0.130/32", "10.20.0.0/16"]);
    let carried = Carried::new(false, routed, allowed.into_iter(), 32766).unwrap();
    let mut routes = routes.to_vec();
    let mut own = route(LOCAL_TABLE, "10.8.0.1/32", TUNNEL);
    own.header.kind = RouteType::Local;
    routes.push(own);
    let of_tunnel = [(MAIN_TABLE, "10.8.0.0/24"), (MAIN_TABLE, "10.20.0.0/16")];
    told(&View { tables: tables(&of_tunnel, rules, &routes), carried, tunnel: TUNNEL, exempt })
}

/// The causes of what passes, where the kernel answers as the walk does.
fn causes(view: &View<'_>) -> Causes {
    let mut causes = Causes::default();
    for destination in [view.own_destinations(), view.named_destinations()].concat() {
        let way = match view.tables.walk(destination, |_| true).and_then(|found| found.route) {
            Some(route) if route.header.kind == RouteType::Local => continue,
            Some(route) if outgoing(route) == Some(TUNNEL) => continue,
            Some(route) => outgoing(route).map_or(Way::None, Way::Interface),
            None => Way::None,
        };
        causes.add(view.cause_of(destination, way));
    }
    causes
}

fn told(view: &View<'_>) -> Vec<String> {
    let mut causes = causes(view).0;
    causes.sort_by_key(|cause| cause.weight);
    causes.into_iter().map(|cause| cause.text).collect()
}

/// A full tunnel whose own network is 10.8.0.0/24, and what is told of it.
fn past(rules: &[RuleMessage], routes: &[RouteMessage]) -> Past {
    let routed = networks(&["0.0.0.0/0", "10.8.0.0/24"]);
    let carried = Carried::new(true, routed, std::iter::empty(), 31265).unwrap();
    let of_tunnel = [(FULL_TABLE, "0.0.0.0/0"), (FULL_TABLE, "10.8.0.0/24")];
    let exempt = Exempt::default();
    let view = View { tables: tables(&of_tunnel, rules, routes), carried, tunnel: TUNNEL, exempt: &exempt };
    causes(&view).in_words(|index| Some(format!("if{index}")))
}

/// A second VPN with a table of its peers, as Tailscale's.
fn second_vpn() -> (RuleMessage, Vec<RouteMessage>) {
    let peers = (0..=200).map(|peer| route(52, &format!("100.64.0.{peer}/32"), TAILSCALE0));
    (rule(5270, 52, &[]), peers.collect())
}

#[test]
fn mains_longer_route_passes_a_full_tunnel_only_by_a_rule_before_ours() {
    let route = route(MAIN_TABLE, "9.9.9.0/24", ETH0);
    let passes = |rules: &[RuleMessage]| full(rules, std::slice::from_ref(&route), &Exempt::default());
    assert_eq!(passes(&[]), [""; 0]);
    assert_eq!(passes(&[suppressing(31300)]), [""; 0], "behind ours");
    assert_eq!(
        passes(&[suppressing(100)]),
        ["the rule \"100: from all lookup main suppress_prefixlength 0\" (there 9.9.9.0/24): \
          remove that rule, or give it a number above 31263 if it must stay"]
    );
    let beside = Exempt { networks: networks(&["9.9.9.0/24"]), longer_routes: false };
    assert_eq!(full(&[suppressing(100)], std::slice::from_ref(&route), &beside), [""; 0]);
}

#[test]
fn a_rule_that_leads_to_main_is_named_with_the_route_and_never_the_default_route_alone() {
    for (foreign, text) in [
        (rule(100, MAIN_TABLE, &[]), "100: from all lookup main"),
        (to("9.9.9.0/24", rule(100, MAIN_TABLE, &[])), "100: from all to 9.9.9.0/24 lookup main"),
        (jump(100, 32766), "100: from all goto 32766"),
    ] {
        let passes = full(&[foreign], &[], &Exempt::default());
        let start =
            format!("the rule \"{text}\" (there default): remove that rule, or give it a number above");
        assert!(passes.len() == 1 && passes[0].starts_with(&start), "{passes:?}");
    }
}

#[test]
fn a_gateway_is_told_of_rules_that_take_its_networks_and_of_no_longer_route_that_is_its_own() {
    let gateway = Exempt { networks: Vec::new(), longer_routes: true };
    let elsewhere = route(77, "0.0.0.0/0", ETH0);
    let passes = |rules: &[RuleMessage], routes: &[RouteMessage]| split(rules, routes, &gateway);
    assert_eq!(passes(&[], &[]), [""; 0]);
    assert_eq!(passes(&[], &[route(MAIN_TABLE, "10.20.1.0/24", ETH0)]), [""; 0], "a network of its own");
    assert_eq!(passes(&[], &[route(MAIN_TABLE, "10.8.0.64/26", ETH0)]), [""; 0], "no peer is there");
    // Also where the first address of the network is the gateway's.
    for network in ["10.0.0.0/8", "10.8.0.0/24", "10.8.0.128/25"] {
        let passes = passes(&[to(network, rule(100, 77, &[]))], std::slice::from_ref(&elsewhere));
        assert!(passes.len() == 1 && passes[0].contains("lookup 77\" (there default)"), "{passes:?}");
        assert!(passes[0].contains("above 32766"), "{passes:?}");
    }
    let passes = passes(&[], &[route(MAIN_TABLE, "10.8.0.128/25", ETH0)]);
    assert!(
        passes.len() == 1 && passes[0].starts_with("the route \"10.8.0.128/25\" of the main"),
        "{passes:?}"
    );
}

#[test]
fn a_longer_route_of_main_is_the_cause_even_where_a_rule_asks_main_first() {
    let route = route(MAIN_TABLE, "10.20.1.0/24", ETH0);
    let passes = split(&[rule(100, MAIN_TABLE, &[])], &[route], &Exempt::default());
    assert!(
        passes.len() == 1 && passes[0].starts_with("the route \"10.20.1.0/24\" of the main"),
        "{passes:?}"
    );
}

#[test]
fn routes_that_refuse_what_the_tunnel_is_to_carry_are_named() {
    for (kind, word) in [
        (RouteType::BlackHole, "blackhole"),
        (RouteType::Unreachable, "unreachable"),
        (RouteType::Prohibit, "prohibit"),
    ] {
        let route = refusing("10.20.1.0/24", kind);
        for longer_routes in [false, true] {
            let exempt = Exempt { networks: Vec::new(), longer_routes };
            let passes = split(&[], std::slice::from_ref(&route), &exempt);
            let start = format!("the route \"{word} 10.20.1.0/24\" of the main table: remove");
            assert!(passes.len() == 1 && passes[0].starts_with(&start), "{passes:?}");
        }
    }
    assert_eq!(split(&[], &[refusing("10.0.0.0/8", RouteType::BlackHole)], &Exempt::default()), [""; 0]);
}

#[test]
fn where_the_tunnels_own_route_is_missing_nobody_is_to_remove_the_default_route() {
    let carried = Carried::new(false, networks(&["10.20.0.0/16"]), std::iter::empty(), 32766).unwrap();
    let passes =
        told(&View { tables: tables(&[], &[], &[]), carried, tunnel: TUNNEL, exempt: &Exempt::default() });
    assert!(passes.len() == 1 && passes[0].ends_with("set its interface up"), "{passes:?}");
}

#[test]
fn a_tunnels_network_within_a_local_one_is_asked_for() {
    let beside = Exempt { networks: networks(&["10.0.0.0/8"]), longer_routes: false };
    let elsewhere = route(77, "0.0.0.0/0", ETH0);
    assert_eq!(split(&[rule(100, 77, &[])], &[elsewhere], &beside).len(), 1);
}

#[test]
fn every_rule_before_ours_that_can_lead_elsewhere_is_for_people_to_judge() {
    for rule in [suppressing(100), suppressing(31256), jump(5, 32766), rule(31264, 77, &[])] {
        assert!(may_come_before_tunnels(&rule), "{}", rule_text(&rule));
    }
    let mut nothing = rule(5, 0, &[]);
    nothing.header.action = RuleAction::Nop;
    for rule in [
        suppressing(32764),
        rule(100, LOCAL_TABLE, &[]),
        rule(1000, 0, &[RuleAttribute::L3MDev(true)]),
        rule(31263, FULL_TABLE, &[]),
        nothing,
    ] {
        assert!(!may_come_before_tunnels(&rule), "{}", rule_text(&rule));
    }
}

#[test]
fn a_second_vpns_networks_are_one_note_and_no_warning() {
    let (rule, peers) = second_vpn();
    let past = past(&[rule], &peers);
    assert_eq!(past.warnings, []);
    assert_eq!(
        past.notes.iter().map(|note| note.text.as_str()).collect::<Vec<_>>(),
        [
            "another program reaches its own networks through if5 by the rule \"5270: from all lookup 52\", and not \
          through the tunnel: nothing is to be done where that is wanted, as of a second VPN or of containers; else \
          stop that program, or remove the rule"
        ]
    );
}

#[test]
fn a_second_vpn_that_takes_everything_or_the_tunnels_own_network_is_a_warning() {
    for network in ["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "10.8.0.64/26", "10.0.0.0/8"] {
        let (rule, mut routes) = second_vpn();
        routes.push(route(52, network, TAILSCALE0));
        let past = past(&[rule], &routes);
        assert_eq!(past.notes, [], "{network}");
        assert!(past.warnings.len() == 1 && past.warnings[0].text.contains("remove that rule"), "{past:?}");
    }
}

#[test]
fn many_rules_hide_none_that_takes_everything() {
    let (second_vpn, mut routes) = second_vpn();
    routes.push(route(78, "0.0.0.0/0", ETH0));
    let of_containers = (0..200).map(|n| to(&format!("10.9.0.{n}/32"), rule(512, MAIN_TABLE, &[])));
    let elsewhere = (0..10).map(|n| to(&format!("20.{n}.0.0/16"), rule(600, 78, &[])));
    let takes_all = rule(6000, 78, &[]);
    let rules: Vec<RuleMessage> = of_containers.chain(elsewhere).chain([second_vpn, takes_all]).collect();
    let past = past(&rules, &routes);
    assert!(past.warnings[0].text.contains("\"6000: from all lookup 78\" (there default)"), "{past:?}");
    assert_eq!((past.warnings.len(), past.notes.len()), (MAX_TOLD, MAX_TOLD));
}

#[test]
fn another_example_of_the_same_rule_is_not_told_again() {
    let told = |network| past(&[suppressing(100)], &[route(MAIN_TABLE, network, ETH0)]).warnings;
    let (before, now) = (told("9.9.9.0/24"), told("11.9.9.0/24"));
    assert!(before != now && now[0].is_in(&before), "{now:?}");
    assert!(!now[0].is_in(&[]));
}

#[test]
fn a_rule_for_one_address_is_a_note_and_for_the_tunnels_own_a_warning() {
    let one = |address: &str| past(&[to(address, rule(512, MAIN_TABLE, &[]))], &[]);
    let container = one("10.7.0.5/32");
    assert!(container.warnings.is_empty() && container.notes.len() == 1, "{container:?}");
    for network in ["10.8.0.5/32", "10.7.0.0/24"] {
        let past = one(network);
        assert!(past.warnings.len() == 1 && past.notes.is_empty(), "{past:?}");
    }
}

#[test]
fn a_route_within_the_tunnels_network_is_found_among_very_many() {
    let many = (0..20_000_u32).map(|n| route(MAIN_TABLE, &format!("11.{}.{}.0/24", n >> 8, n & 255), ETH0));
    let routes: Vec<RouteMessage> = many.chain([route(MAIN_TABLE, "10.20.1.0/24", ETH0)]).collect();
    let passes = split(&[], &routes, &Exempt::default());
    assert!(passes.len() == 1 && passes[0].contains("10.20.1.0/24"), "{passes:?}");
}

#[test]
fn a_look_at_very_many_routes_compares_few() {
    let many = (0..20_000_u32).map(|n| route(MAIN_TABLE, &format!("11.{}.{}.0/24", n >> 8, n & 255), ETH0));
    let tables = tables(&[(FULL_TABLE, "0.0.0.0/0")], &[suppressing(100)], &many.collect::<Vec<_>>());
    let carried = Carried::new(true, networks(&["0.0.0.0/0"]), std::iter::empty(), 31265).unwrap();
    let view = View { tables, carried, tunnel: TUNNEL, exempt: &Exempt::default() };
    assert_eq!(told(&view).len(), 1);
    let compared = view.tables.table(MAIN_TABLE).unwrap().take_compared();
    // Each of some 40 destinations is walked for three times at the most, and main has two prefix lengths: 15 halvings each.
    assert!(compared < 40 * 3 * 2 * 16, "{compared}");
}
