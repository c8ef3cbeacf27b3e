//! Which peers claim the same addresses.
//!
//! Two peers may not share an allowed IP: cryptokey routing gives each address to one peer. A network inside
//! another peer's network would be decided by the longer prefix, but is far more often a slip than meant, so it is
//! refused as well. The exception is the default route (`0.0.0.0/0`, `::/0`): the peer that has it is the way out
//! for whatever no other peer claims.

use ipnet::IpNet;

/// One claim: a network and the number of the peer that claims it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    pub(super) network: IpNet,
    pub(super) peer: usize,
    /// Which of the peer's allowed IPs it is.
    pub(super) number: usize,
}

/// Pairs of claims by different peers that overlap: the later one in the configuration, and what it collides with.
/// At most one pair for each claim.
pub(super) fn overlaps(mut claims: Vec<Claim>) -> Vec<(Claim, Claim)> {
    // By first address, larger networks first: then whatever contains a network lies on the stack when it is reached.
    claims.sort_by_key(|claim| {
        let network = claim.network;
        (network.network(), network.prefix_len(), claim.peer, claim.number)
    });
    let mut found = Vec::new();
    let mut enclosing: Vec<Claim> = Vec::new();
    for claim in claims {
        while enclosing.last().is_some_and(|outer| !outer.network.contains(&claim.network)) {
            enclosing.pop();
        }
        let collides = |outer: &&Claim| {
            let default_route = outer.network.prefix_len() == 0 && claim.network.prefix_len() != 0;
            outer.peer != claim.peer && !default_route
        };
        if let Some(outer) = enclosing.iter().rev().find(collides) {
            let (earlier, later) = if (outer.peer, outer.number) < (claim.peer, claim.number) {
                (*outer, claim)
            } else {
                (claim, *outer)
            };
            found.push((later, earlier));
        }
        enclosing.push(claim);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn claims(networks: &[(usize, &str)]) -> Vec<Claim> {
        let claim = |(number, (peer, network)): (usize, &(usize, &str))| Claim {
            network: network.parse().expect("a network"),
            peer: *peer,
            number,
        };
        networks.iter().enumerate().map(claim).collect()
    }

    #[test]
    fn one_peer_may_nest_its_own_networks_and_a_default_route_holds_everything() {
        let fine = claims(&[
            (0, "10.0.0.0/8"),
            (0, "10.1.0.0/16"),
            (1, "0.0.0.0/0"),
            (2, "192.0.2.0/24"),
            (1, "::/0"),
            (2, "fd66::/64"),
        ]);
        assert_eq!(overlaps(fine), []);
    }

    #[test]
    fn two_default_routes_collide() {
        assert_eq!(overlaps(claims(&[(0, "0.0.0.0/0"), (1, "0.0.0.0/0")])).len(), 1);
    }

    proptest! {
        /// Against comparing every pair.
        #[test]
        fn a_claim_is_reported_exactly_if_it_overlaps_another_peers(
            raw in prop::collection::vec((0_usize..4, 0_u8..=255, 24_u8..=32), 0..24)
        ) {
            let all: Vec<Claim> = raw.iter().enumerate().map(|(number, (peer, last, length))| {
                let network = IpNet::new([10, 0, 0, *last].into(), *length).expect("a length up to 32").trunc();
                Claim { network, peer: *peer, number }
            }).collect();
            let any = all.iter().any(|a| all.iter().any(|b| {
                a.peer != b.peer && (a.network.contains(&b.network) || b.network.contains(&a.network))
            }));
            let found = overlaps(all);
            prop_assert_eq!(any, !found.is_empty());
            for (a, b) in found {
                prop_assert!(a.peer != b.peer && (a.network.contains(&b.network) || b.network.contains(&a.network)));
            }
        }
    }
}
