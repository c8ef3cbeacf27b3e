//! Which networks a client reaches beside a tunnel that takes everything else. Pure.

use ipnet::IpNet;

use crate::journal::Family;

/// Private space: addresses that mean something only here. Not 100.64.0.0/10, which is a provider's network and not the
/// user's. A network that claims other addresses for itself would pull traffic out of the tunnel (TunnelCrack).
const PRIVATE: [&str; 6] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"];
/// To all hosts of the local network: multicast and broadcast.
const TO_MANY: [&str; 3] = ["224.0.0.0/4", "255.255.255.255/32", "ff00::/8"];

/// So many networks of a family at the most. Anybody on the link can advertise any number, and each becomes a rule that
/// every packet passes.
const MOST: usize = 64;

/// What of the local network is reached beside the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lan {
    /// These networks, and multicast and broadcast.
    Allow(Vec<IpNet>),
    /// Nothing.
    Deny,
}

impl Lan {
    /// Allows those of the `on_link` networks that are private and none of the tunnel's own. Neighbouring ones become one; of
    /// more than 64 of a family the largest are taken, and in any case those of the link itself.
    pub fn allow(on_link: &[IpNet], tunnel: &[IpNet]) -> Self {
        let private = networks(&PRIVATE);
        let within = |outer: &[IpNet], inner: &IpNet| outer.iter().any(|outer| outer.contains(inner));
        let candidates: Vec<IpNet> = on_link
            .iter()
            .map(IpNet::trunc)
            .filter(|network| within(&private, network) && !within(tunnel, network))
            .collect();
        let (v4, v6) = IpNet::aggregate(&candidates).into_iter().partition(is_v4);
        let mut allowed = [at_most(v4), at_most(v6)].concat();
        allowed.sort();
        Self::Allow(allowed)
    }

    /// Whether there may be more private networks on the link than are allowed.
    pub fn is_cut_off(&self) -> bool {
        let v4 = self.private().iter().filter(|network| is_v4(network)).count();
        v4 == MOST || self.private().len() - v4 == MOST
    }

    /// The networks, those of multicast and broadcast last.
    pub fn networks(&self) -> Vec<IpNet> {
        self.private().iter().copied().chain(self.to_many()).collect()
    }

    /// The networks that this host is on.
    pub fn private(&self) -> &[IpNet] {
        match self {
            Self::Allow(allowed) => allowed,
            Self::Deny => &[],
        }
    }

    /// Multicast and broadcast.
    pub(super) fn to_many(&self) -> Vec<IpNet> {
        match self {
            Self::Allow(_) => networks(&TO_MANY),
            Self::Deny => Vec::new(),
        }
    }
}

fn is_v4(network: &IpNet) -> bool {
    Family::of(network) == Family::V4
}

fn at_most(mut networks: Vec<IpNet>) -> Vec<IpNet> {
    networks.sort_by_key(|network| (!is_link_local(network), network.prefix_len()));
    networks.truncate(MOST);
    networks
}

fn is_link_local(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.addr().is_link_local(),
        IpNet::V6(network) => network.addr().is_unicast_link_local(),
    }
}

fn networks(texts: &[&str]) -> Vec<IpNet> {
    // The constants above, read in the tests.
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_networks_on_the_link_are_allowed_and_nothing_that_a_hostile_one_could_claim() {
        let on_link = [
            "192.168.1.0/24",
            "192.168.1.0/24",
            "203.0.113.0/24",
            "10.66.3.0/24",
            "10.0.0.0/8",
            "0.0.0.0/1",
            "172.16.0.0/11",
            "100.64.0.0/10",
            "fe80::/64",
            "2001:db8::/64",
        ];
        let lan = Lan::allow(&networks(&on_link), &networks(&["10.66.0.0/16", "fd66::/64"]));
        let Lan::Allow(allowed) = &lan else { panic!("allowed") };
        assert_eq!(*allowed, networks(&["10.0.0.0/8", "192.168.1.0/24", "fe80::/64"]));
        assert_eq!(lan.networks().len(), allowed.len() + TO_MANY.len(), "all constants can be read");
        assert_eq!(networks(&PRIVATE).len(), PRIVATE.len());
        assert!(Lan::Deny.networks().is_empty());
        assert!(!lan.is_cut_off() && !Lan::Deny.is_cut_off());
    }

    #[test]
    fn neighbouring_networks_are_one_and_a_flood_of_them_leaves_the_largest_and_the_links_own() {
        let neighbours = networks(&["192.168.0.0/24", "192.168.1.0/24", "192.168.1.128/25"]);
        assert_eq!(Lan::allow(&neighbours, &[]).private(), networks(&["192.168.0.0/23"]));
        let flood = (0..5000_u16).map(|number| format!("fd00:{:x}::/64", 2 * number).parse().unwrap());
        let on_link: Vec<IpNet> =
            flood.chain(networks(&["fe80::/64", "fdff:1::/48", "10.1.0.0/16"])).collect();
        let lan = Lan::allow(&on_link, &[]);
        assert!(lan.is_cut_off() && lan.private().len() == MOST + 1);
        for kept in networks(&["fe80::/64", "fdff:1::/48", "10.1.0.0/16"]) {
            assert!(lan.private().contains(&kept), "{kept}");
        }
    }
}
