//! What a tunnel is to carry of a family. Pure.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;

use crate::{
    journal::{Family, MAIN_TABLE},
    routes::{RoutePlan, RoutingMark, interface::ipv6_is_on},
};

/// So many addresses of a network are asked for: the first is often this host's own.
const ASKED_OF_A_NETWORK: usize = 2;
/// A default route is often written as its two halves, of this length.
const HALF: u8 = 1;

/// What of a family the tunnel is to carry.
pub(super) struct Carried {
    pub(super) is_full: bool,
    /// The destinations of the tunnel's routes, and the networks of its interface's addresses.
    pub(super) routed: Vec<IpNet>,
    /// These, and what peers are allowed.
    pub(super) networks: BTreeSet<IpNet>,
    /// The same, with neighbours made one.
    joined: Vec<IpNet>,
    /// The same without the default route of a full tunnel: what nothing else may take.
    pub(super) own: Vec<IpNet>,
    /// The number of the last rule that decides for the tunnel.
    pub(super) last_rule: u32,
}

impl Carried {
    /// `None` where the tunnel has nothing of this family.
    pub(super) fn of(plan: &RoutePlan, allowed_ips: &[IpNet], family: Family) -> Option<Self> {
        let rules = || plan.rules.iter().filter(|rule| rule.family == family);
        // A full tunnel refuses what it lacks; of another, what has no IPv6 has no routes of it.
        let has_family = match family {
            Family::V4 => true,
            Family::V6 => plan.is_full || ipv6_is_on(&plan.interface),
        };
        if !has_family || (plan.is_full && rules().next().is_none()) {
            return None;
        }
        let everything = match family {
            Family::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
            Family::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
        };
        let routes = plan.routes.iter().map(|route| route.destination);
        let routed: Vec<IpNet> = routes
            .chain(plan.connected.iter().copied())
            .chain(plan.is_full.then_some(everything))
            .filter(|network| Family::of(network) == family)
            .collect();
        let allowed = allowed_ips.iter().filter(|network| Family::of(network) == family).map(IpNet::trunc);
        let in_main = plan.routes.iter().any(|route| route.table == MAIN_TABLE) || !plan.connected.is_empty();
        let last_rule = if plan.is_full || !in_main { rules().map(|rule| rule.priority).max() } else { None };
        Self::new(plan.is_full, routed, allowed, last_rule.unwrap_or(RoutingMark::MAIN_PRIORITY))
    }

    pub(super) fn new(
        is_full: bool,
        routed: Vec<IpNet>,
        allowed: impl Iterator<Item = IpNet>,
        last_rule: u32,
    ) -> Option<Self> {
        let networks: BTreeSet<IpNet> = routed.iter().copied().chain(allowed).collect();
        let all: Vec<IpNet> = networks.iter().copied().collect();
        let is_own = |network: &&IpNet| !is_full || network.prefix_len() > HALF;
        let own = IpNet::aggregate(&all.iter().filter(is_own).copied().collect::<Vec<_>>());
        let joined = IpNet::aggregate(&all);
        (!networks.is_empty()).then_some(Self { is_full, routed, networks, joined, own, last_rule })
    }

    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.joined.iter().any(|network| network.contains(&address))
    }

    /// Whether the tunnel has an address by more than a default route.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        self.own.iter().any(|network| network.contains(&address))
    }

    /// A network of ours that lies within `outer`.
    pub(super) fn first_within(&self, outer: &IpNet) -> Option<IpNet> {
        self.networks.range(*outer..).next().copied().filter(|inner| outer.contains(inner))
    }
}

/// The bits of the longest network around an address; 0 where there is none.
pub(super) fn longest<'a>(networks: impl IntoIterator<Item = &'a IpNet>, address: IpAddr) -> u8 {
    let around = networks.into_iter().filter(|network| network.contains(&address));
    around.map(IpNet::prefix_len).max().unwrap_or_default()
}

/// Addresses of a network that may be hosts'. The first of an IPv6 network is its routers' (RFC 4291, 2.6.1).
pub(super) fn within(network: &IpNet) -> impl Iterator<Item = IpAddr> + use<> {
    let first_is_routers = network.addr().is_ipv6() && network.prefix_len() < 127;
    network.hosts().skip(usize::from(first_is_routers)).take(ASKED_OF_A_NETWORK)
}
