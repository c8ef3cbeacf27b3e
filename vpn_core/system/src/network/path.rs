//! The ways to peers, and whether they have become others. Pure.

use super::NetworkEvent;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Endpoints whose paths are followed at the most. A client has one or two; what changes the default route of a gateway
/// with ten thousand clients changes the paths to these as well.
const MAX_FOLLOWED: usize = 64;

/// How this host would send to an address: what a change of network changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The number of the interface; 0 where the system does not say.
    pub interface: u32,
    /// The address that datagrams would come from, if the system says.
    pub source: Option<IpAddr>,
    /// The next router; none on-link.
    pub gateway: Option<IpAddr>,
    /// Whether the interface has a carrier: without, the system takes packets and loses them. True where it does not say.
    pub has_carrier: bool,
}

impl Path {
    /// One of which the system says nothing.
    pub const UNKNOWN: Self = Self { interface: 0, source: None, gateway: None, has_carrier: true };
}

/// Why nothing reaches an address, as far as this host knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// The system has no route to it.
    NoRoute,
    /// The route leads out of an interface without a carrier: its cable is out, or it has no access point.
    NoCarrier {
        /// The interface's number.
        interface: u32,
    },
}

/// What became of the paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Difference {
    /// Nothing that matters.
    None,
    /// At least one is another, or may be; at least one is there.
    Changed,
    /// There is none any more, or still.
    Gone,
}

/// The paths to all endpoints that are followed.
#[derive(Debug, Default)]
pub struct Paths {
    known: BTreeMap<IpAddr, Option<Path>>,
    came_up: BTreeSet<u32>,
}

impl Paths {
    /// Remembers an event until the next look.
    pub fn note(&mut self, event: NetworkEvent) {
        match event {
            NetworkEvent::CarrierUp { interface } => {
                self.came_up.insert(interface);
            }
            NetworkEvent::Other => {}
        }
    }

    /// Compares with what `ask` says of each of `endpoints` now. Endpoints that are new are taken as they are.
    pub fn look(
        &mut self,
        endpoints: impl IntoIterator<Item = IpAddr>,
        mut ask: impl FnMut(IpAddr) -> Option<Path>,
    ) -> Difference {
        let endpoints: BTreeSet<IpAddr> = endpoints.into_iter().collect();
        let fresh: BTreeMap<IpAddr, Option<Path>> =
            endpoints.into_iter().take(MAX_FOLLOWED).map(|endpoint| (endpoint, ask(endpoint))).collect();
        let came_up = core::mem::take(&mut self.came_up);
        let changed = fresh.iter().any(|(endpoint, path)| {
            let is_other = self.known.get(endpoint).is_some_and(|known| known != path);
            is_other || path.is_some_and(|path| came_up.contains(&path.interface))
        });
        self.known = fresh;
        match (self.is_reachable(), changed) {
            (false, _) => Difference::Gone,
            (true, true) => Difference::Changed,
            (true, false) => Difference::None,
        }
    }

    /// Whether there is a path with a carrier to any endpoint; also while none is known.
    pub fn is_reachable(&self) -> bool {
        self.known.is_empty() || self.known.values().any(|path| path.is_some_and(|path| path.has_carrier))
    }

    /// Why nothing reaches `endpoint`; `None` where nothing is known against it, as of an endpoint that is not followed.
    pub fn obstacle(&self, endpoint: IpAddr) -> Option<Obstacle> {
        match self.known.get(&endpoint)? {
            None => Some(Obstacle::NoRoute),
            Some(Path { interface, has_carrier: false, .. }) => {
                Some(Obstacle::NoCarrier { interface: *interface })
            }
            Some(Path { has_carrier: true, .. }) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(host: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, host])
    }

    fn path(interface: u32, source: u8) -> Path {
        let own = Some(IpAddr::from([192, 0, 2, source]));
        Path { interface, source: own, gateway: Some(IpAddr::from([192, 0, 2, 1])), has_carrier: true }
    }

    #[test]
    fn another_interface_address_or_router_is_a_change_and_the_same_is_none() {
        let mut paths = Paths::default();
        assert_eq!(paths.look([endpoint(1)], |_| Some(path(2, 7))), Difference::None, "the first look");
        assert_eq!(paths.look([endpoint(1)], |_| Some(path(2, 7))), Difference::None);
        assert_eq!(paths.look([endpoint(1)], |_| Some(path(2, 8))), Difference::Changed);
        assert_eq!(paths.look([endpoint(1)], |_| Some(path(3, 8))), Difference::Changed);
        let other = Some(Path { gateway: Some(IpAddr::from([192, 0, 2, 254])), ..path(3, 8) });
        assert_eq!(paths.look([endpoint(1)], |_| other), Difference::Changed);
        assert_eq!(paths.look([endpoint(1), endpoint(2)], |_| other), Difference::None, "a new endpoint");
    }

    #[test]
    fn a_network_that_goes_is_gone_and_one_that_returns_a_change() {
        let mut paths = Paths::default();
        paths.look([endpoint(1)], |_| Some(path(2, 7)));
        assert_eq!(paths.look([endpoint(1)], |_| None), Difference::Gone);
        assert!(!paths.is_reachable());
        assert_eq!(paths.look([endpoint(1)], |_| None), Difference::Gone);
        assert_eq!(
            paths.look([endpoint(1)], |_| Some(path(2, 7))),
            Difference::Changed,
            "though it is the one that was"
        );
    }

    #[test]
    fn a_path_without_a_carrier_is_none_though_its_route_stays() {
        let mut paths = Paths::default();
        let unplugged = Some(Path { has_carrier: false, ..path(2, 7) });
        paths.look([endpoint(1)], |_| Some(path(2, 7)));
        assert_eq!((paths.is_reachable(), paths.obstacle(endpoint(1))), (true, None));
        assert_eq!(paths.look([endpoint(1)], |_| unplugged), Difference::Gone);
        assert!(!paths.is_reachable());
        assert_eq!(paths.obstacle(endpoint(1)), Some(Obstacle::NoCarrier { interface: 2 }));
        assert_eq!(paths.look([endpoint(1)], |_| Some(path(2, 7))), Difference::Changed);
        assert_eq!(paths.obstacle(endpoint(1)), None);
        let both = [endpoint(1), endpoint(2)];
        paths.look(both, |asked| if asked == endpoint(1) { unplugged } else { None });
        assert_eq!(paths.obstacle(endpoint(2)), Some(Obstacle::NoRoute));
        assert_eq!(paths.obstacle(endpoint(3)), None, "one that is not followed");
    }

    #[test]
    fn one_of_two_endpoints_that_becomes_unreachable_is_a_change() {
        let mut paths = Paths::default();
        let both = [endpoint(1), endpoint(2)];
        paths.look(both, |_| Some(path(2, 7)));
        let second = |asked| (asked == endpoint(2)).then(|| path(2, 7));
        assert_eq!(paths.look(both, second), Difference::Changed);
    }

    #[test]
    fn a_carrier_that_comes_up_matters_on_the_interface_that_is_used() {
        let mut paths = Paths::default();
        paths.look([endpoint(1)], |_| Some(path(2, 7)));
        paths.note(NetworkEvent::CarrierUp { interface: 3 });
        paths.note(NetworkEvent::Other);
        assert_eq!(
            paths.look([endpoint(1)], |_| Some(path(2, 7))),
            Difference::None,
            "a container's interface"
        );
        paths.note(NetworkEvent::CarrierUp { interface: 2 });
        assert_eq!(paths.look([endpoint(1)], |_| Some(path(2, 7))), Difference::Changed);
        assert_eq!(paths.look([endpoint(1)], |_| Some(path(2, 7))), Difference::None, "once");
    }

    #[test]
    fn a_gateway_with_many_clients_asks_for_some_of_them() {
        let mut paths = Paths::default();
        let mut asked = 0;
        paths.look((0..=255).map(endpoint), |_| {
            asked += 1;
            None
        });
        assert_eq!(asked, MAX_FOLLOWED);
    }
}
