//! Which networks a client reaches beside a tunnel that takes everything else. Pure.

use ipnet::IpNet;

/// Private space: addresses that mean something only here. Not 100.64.0.0/10, which is a provider's network and not the
/// user's. A network that claims other addresses for itself would pull traffic out of the tunnel (TunnelCrack).
const PRIVATE: [&str; 6] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"];
/// To all hosts of the local network: multicast and broadcast.
const TO_MANY: [&str; 3] = ["224.0.0.0/4", "255.255.255.255/32", "ff00::/8"];

/// What of the local network is reached beside the tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lan {
    /// These networks, and multicast and broadcast.
    Allow(Vec<IpNet>),
    /// Nothing.
    Deny,
}

impl Lan {
    /// Allows those of the `on_link` networks that are private and none of the tunnel's own.
    pub fn allow(on_link: &[IpNet], tunnel: &[IpNet]) -> Self {
        let private = networks(&PRIVATE);
        let within = |outer: &[IpNet], inner: &IpNet| outer.iter().any(|outer| outer.contains(inner));
        let mut allowed: Vec<IpNet> = on_link
            .iter()
            .map(IpNet::trunc)
            .filter(|network| within(&private, network) && !within(tunnel, network))
            .collect();
        allowed.sort();
        allowed.dedup();
        Self::Allow(allowed)
    }

    /// The networks, those of multicast and broadcast last.
    pub fn networks(&self) -> Vec<IpNet> {
        self.private().iter().copied().chain(self.to_many()).collect()
    }

    /// The networks that this host is on.
    pub(super) fn private(&self) -> &[IpNet] {
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
    }
}
