//! The routes of one routing table in the order of their destinations, as found by address. Pure.
//!
//! A router's main table may hold a million routes. To find the one for an address costs some twenty comparisons for each prefix length
//! that the table has, not one for each route.

use std::net::IpAddr;

use ipnet::IpNet;
use rtnetlink::packet_route::route::RouteMessage;

use super::walk::{destination_of_route, metric};

pub(super) struct Table {
    /// By destination, and the route that the kernel prefers first among those to the same one.
    entries: Vec<Entry>,
    /// The prefix lengths of the destinations, the longest first.
    lengths: Vec<u8>,
    /// How many destinations were compared.
    #[cfg(test)]
    compared: std::cell::Cell<usize>,
}

struct Entry {
    destination: IpNet,
    metric: u32,
    route: RouteMessage,
}

impl Table {
    pub(super) fn new(routes: Vec<RouteMessage>) -> Self {
        let entry =
            |route| Entry { destination: destination_of_route(&route), metric: metric(&route), route };
        let mut entries: Vec<Entry> = routes.into_iter().map(entry).collect();
        // Stable, so that of equal ones the kernel's first stays first; and fast, as the kernel's order is nearly this one.
        entries.sort_by_key(|entry| (entry.destination, entry.metric));
        let mut has_length = [false; 129];
        for entry in &entries {
            has_length[usize::from(entry.destination.prefix_len())] = true;
        }
        let lengths = (0..=128_u8).rev().filter(|length| has_length[usize::from(*length)]).collect();
        Self {
            entries,
            lengths,
            #[cfg(test)]
            compared: std::cell::Cell::default(),
        }
    }

    /// The route for packets to `to`, as the kernel chooses it.
    pub(super) fn longest(&self, to: IpAddr) -> Option<&RouteMessage> {
        self.lengths.iter().find_map(|length| {
            let network = IpNet::new(to, *length).ok()?.trunc();
            let entry = self.entries.get(self.place(&network))?;
            (entry.destination == network).then_some(&entry.route)
        })
    }

    /// The routes to `outer` and to networks in it.
    pub(super) fn within(&self, outer: &IpNet) -> impl Iterator<Item = &RouteMessage> {
        let inner = self.entries[self.place(outer)..].iter();
        inner.take_while(|entry| outer.contains(&entry.destination)).map(|entry| &entry.route)
    }

    /// All routes but the default one, those to the largest networks first.
    pub(super) fn widest(&self) -> impl Iterator<Item = &RouteMessage> {
        let lengths = self.lengths.iter().rev().filter(|length| **length > 0);
        lengths.flat_map(|length| {
            let of_length = self.entries.iter().filter(|entry| entry.destination.prefix_len() == *length);
            of_length.map(|entry| &entry.route)
        })
    }

    pub(super) fn has_default(&self) -> bool {
        self.lengths.last() == Some(&0)
    }

    /// The place of the first route whose destination is not before `network`.
    fn place(&self, network: &IpNet) -> usize {
        self.entries.partition_point(|entry| {
            #[cfg(test)]
            self.compared.set(self.compared.get() + 1);
            entry.destination < *network
        })
    }

    /// How many destinations were compared since the last call.
    #[cfg(test)]
    pub(super) fn take_compared(&self) -> usize {
        self.compared.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::walk::samples::route;
    use rtnetlink::packet_route::route::RouteAttribute;

    fn with_metric(destination: &str, device: u32, metric: u32) -> RouteMessage {
        let mut route = route(77, destination, device);
        route.attributes.push(RouteAttribute::Priority(metric));
        route
    }

    fn destinations<'a>(routes: impl Iterator<Item = &'a RouteMessage>) -> Vec<String> {
        routes.map(|route| destination_of_route(route).to_string()).collect()
    }

    #[test]
    fn the_longest_route_is_found_and_of_equal_ones_that_of_the_lower_metric() {
        let cheaper = with_metric("10.1.0.0/16", 3, 5);
        let routes = vec![
            with_metric("10.1.0.0/16", 2, 10),
            route(77, "10.1.2.0/24", 2),
            route(77, "10.0.0.0/8", 2),
            cheaper.clone(),
            route(77, "192.0.2.1/32", 2),
        ];
        let table = Table::new(routes.clone());
        let longest = |to: &str| table.longest(to.parse().unwrap());
        assert_eq!(longest("10.1.2.3"), Some(&routes[1]));
        assert_eq!(longest("10.1.3.3"), Some(&cheaper));
        assert_eq!(longest("10.9.9.9"), Some(&routes[2]));
        assert_eq!(longest("192.0.2.1"), Some(&routes[4]));
        assert_eq!(longest("192.0.2.2"), None);
        assert_eq!(longest("2001:db8::1"), None);
        assert!(!table.has_default());
        let inner = destinations(table.within(&"10.1.0.0/16".parse().unwrap()));
        assert_eq!(inner, ["10.1.0.0/16", "10.1.0.0/16", "10.1.2.0/24"]);
        let widest = destinations(table.widest());
        assert_eq!(widest, ["10.0.0.0/8", "10.1.0.0/16", "10.1.0.0/16", "10.1.2.0/24", "192.0.2.1/32"]);
    }

    #[test]
    fn one_route_of_many_is_found_with_few_comparisons() {
        let numbers = 0..1_u32 << 15;
        let routes = numbers.map(|number| {
            let [_, _, high, low] = number.to_be_bytes();
            route(77, &format!("11.{high}.{low}.0/24"), 2)
        });
        let table = Table::new(routes.chain([route(77, "0.0.0.0/0", 2)]).collect());
        assert!(table.longest("11.99.5.1".parse().unwrap()).is_some());
        assert!(table.longest("198.51.100.1".parse().unwrap()).is_some());
        // A halving of 32,769 routes for each of two prefix lengths, of each address.
        assert!(table.take_compared() <= 2 * 2 * 16);
    }
}
