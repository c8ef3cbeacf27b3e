//! Rules and routes of instances that have ended, found on the system itself: their journal may be lost, or cut.
//!
//! An instance's rules stand at the priorities of its mark, made in the kernel's name, and its routes in the tables of its mark
//! (`mark.rs`). They are taken for ours only where a rule also looks up such a table, or bears such a mark, so that a rule of
//! the administrator that happens to stand there is none. Routes alone are never taken for ours, but for the one that refuses.
//! Whether an instance lives, its sockets tell: they bear the mark for as long as it does, whatever has become of its files.

use std::{collections::BTreeMap, fmt, io};

use rtnetlink::packet_route::{
    route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType},
    rule::{RuleAction, RuleMessage},
};

use super::{
    RoutingMark,
    mark::TUNNEL_MARKS,
    walk::{destination_of_route, is_of_kernel, metric, outgoing},
};
use crate::journal::{
    DeviceRoute, Family, JournalError, PolicyRule, RefusingTable, RuleSelector, is_mark_borne,
    netlink::{Netlink, table_of_route, table_of_rule},
};

/// The rules and routes of a mark that no journal knows.
#[derive(Clone, Debug)]
pub struct Orphan {
    mark: RoutingMark,
    rules: Vec<PolicyRule>,
    routes: Vec<DeviceRoute>,
    refusal: Option<RefusingTable>,
    /// Whether a rule of them, or the route that refuses, cannot be anybody else's. Other routes never tell: an
    /// administrator may use a table of any number.
    is_certain: bool,
    /// The table among these that somebody else's rule looks up.
    used_by_others: Option<u32>,
}

impl Orphan {
    /// The mark.
    pub fn mark(&self) -> RoutingMark {
        self.mark
    }

    /// Why these rules and routes may be somebody else's, and what to do; `None` where they are ours.
    pub fn doubt(&self) -> Option<String> {
        if let Some(table) = self.used_by_others {
            return Some(format!(
                "another program's rule looks up their table {table}; see `ip rule` and `ip route show table {table}`, and remove \
                 what is not wanted"
            ));
        }
        let table = self.routes.first().map(|route| route.table).filter(|_| !self.is_certain)?;
        Some(format!(
            "no rule of this program leads to them, so they may be the administrator's; if they are not, run `ip route flush \
             table {table}`"
        ))
    }

    /// Keeps what is certain, or else what is worth naming; `None` where that is nothing.
    fn judged(mut self, used_by_others: &[u32]) -> Option<Self> {
        if self.is_certain {
            let rules = &self.rules;
            self.routes.retain(|route| rules.iter().any(|rule| rule.table == Some(route.table)));
        }
        let mut tables =
            self.routes.iter().map(|route| route.table).chain(self.refusal.map(|refusal| refusal.table));
        self.used_by_others = tables.find(|table| used_by_others.contains(table));
        (self.is_certain || !self.routes.is_empty()).then_some(self)
    }

    /// Removes the rules and routes.
    ///
    /// # Errors
    /// [`JournalError::Netlink`]: the kernel's answer.
    pub fn remove(&self) -> Result<(), JournalError> {
        let removed = Netlink::open().and_then(|mut netlink| {
            self.rules.iter().try_for_each(|rule| netlink.remove_rule(rule))?;
            self.routes.iter().try_for_each(|route| netlink.remove_route(route))?;
            self.refusal.map_or(Ok(()), |refusal| netlink.remove_refusal(refusal))
        });
        removed.map_err(JournalError::Netlink)
    }
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rules, routes) = (self.rules.len(), self.routes.len() + usize::from(self.refusal.is_some()));
        write!(f, "{rules} rules and {routes} routes of the firewall mark {}", self.mark.value())
    }
}

/// What there is of marks that are not among `held`, which the journals name. Their instances may live: see [`is_in_use`]; and
/// some may be the administrator's: see [`Orphan::doubt`].
///
/// # Errors
/// The system's answer.
pub fn orphans(held: &[u32]) -> io::Result<Vec<Orphan>> {
    let mut netlink = Netlink::open()?;
    let mut found = BTreeMap::new();
    let mut used_by_others = Vec::new();
    for family in [Family::V4, Family::V6] {
        for rule in netlink.rules(family)? {
            if !take_rule(&mut found, &rule) && rule.header.action == RuleAction::ToTable {
                used_by_others.push(table_of_rule(&rule));
            }
        }
        for route in netlink.routes(family)? {
            take_route(&mut found, &route, &mut netlink);
        }
    }
    let orphans = found.into_values().filter(|orphan| !held.contains(&orphan.mark.value()));
    Ok(orphans.filter_map(|orphan| orphan.judged(&used_by_others)).collect())
}

type Found = BTreeMap<u32, Orphan>;

fn of_mark(found: &mut Found, mark: RoutingMark) -> &mut Orphan {
    found.entry(mark.value()).or_insert(Orphan {
        mark,
        rules: Vec::new(),
        routes: Vec::new(),
        refusal: None,
        is_certain: false,
        used_by_others: None,
    })
}

/// Takes a rule that stands where only ours do, made as ours are; whether it was taken.
fn take_rule(found: &mut Found, message: &RuleMessage) -> bool {
    let Some(rule) = PolicyRule::of_message(message).filter(|_| is_of_kernel(message)) else { return false };
    let Some(mark) = RoutingMark::at_priority(rule.priority) else { return false };
    let bears_mark = match rule.selector {
        RuleSelector::NotMark(value) | RuleSelector::Mark(value) => value == mark.value(),
        RuleSelector::Marks { mark, mask } => (mark, mask) == TUNNEL_MARKS,
        RuleSelector::SuppressPrefixLength(_)
        | RuleSelector::To(_)
        | RuleSelector::Within(_)
        | RuleSelector::UdpPorts { .. }
        | RuleSelector::All => false,
    };
    let orphan = of_mark(found, mark);
    orphan.is_certain |= bears_mark || rule.table.and_then(RoutingMark::of_table) == Some(mark);
    orphan.rules.push(rule);
    true
}

fn take_route(found: &mut Found, message: &RouteMessage, netlink: &mut Netlink) {
    let table = table_of_route(message);
    let Some(mark) =
        RoutingMark::of_table(table).filter(|_| message.header.protocol == RouteProtocol::Static)
    else {
        return;
    };
    let destination = destination_of_route(message);
    match message.header.kind {
        RouteType::Unreachable if table == mark.refusing_table() && metric(message) == u32::MAX => {
            let orphan = of_mark(found, mark);
            orphan.refusal = Some(RefusingTable { table });
            orphan.is_certain = true;
        }
        RouteType::Unicast
            if table == mark.table(destination.prefix_len()) || table == mark.full_tunnel_table() =>
        {
            let by_gateway =
                message.attributes.iter().any(|attribute| matches!(attribute, RouteAttribute::Gateway(_)));
            let device = outgoing(message).and_then(|index| netlink.interface_name(index).ok());
            let Some(device) = device.filter(|_| !by_gateway) else { return };
            let orphan = of_mark(found, mark);
            orphan.routes.push(DeviceRoute { destination, device, table });
        }
        // What we never make. A foreign enum.
        _ => {}
    }
}

/// Whether a UDP socket of this network namespace bears the mark.
///
/// # Errors
/// As [`is_mark_borne`].
pub fn is_in_use(mark: RoutingMark) -> io::Result<bool> {
    is_mark_borne(mark.value())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::netlink::{route_message, rule_message};
    use rtnetlink::packet_route::rule::RuleAttribute;

    const TABLE: u32 = 52_000;

    fn rule(priority: u32, table: u32, made_by: RouteProtocol) -> RuleMessage {
        let selector = RuleSelector::NotMark(TABLE);
        let rule = PolicyRule { family: Family::V4, priority, selector, table: Some(table), goto: None };
        let mut message = rule_message(&rule);
        message.attributes.push(RuleAttribute::Protocol(made_by));
        message
    }

    fn found(rules: &[RuleMessage], others: &[u32]) -> Option<Orphan> {
        let mut found = BTreeMap::new();
        for rule in rules {
            take_rule(&mut found, rule);
        }
        let route =
            DeviceRoute { destination: "0.0.0.0/0".parse().unwrap(), device: "lo".into(), table: TABLE };
        // The loopback interface, which every network namespace has.
        take_route(&mut found, &route_message(&route, 1), &mut Netlink::open().unwrap());
        found.remove(&TABLE).and_then(|orphan| orphan.judged(others))
    }

    #[test]
    fn a_route_in_a_table_of_ours_is_certain_only_with_a_rule_of_ours_that_leads_to_it() {
        let ours = rule(RoutingMark::FIRST.full_tunnel_priority(), TABLE, RouteProtocol::Kernel);
        let theirs = rule(RoutingMark::FIRST.full_tunnel_priority(), TABLE, RouteProtocol::Static);
        for rules in [&[][..], &[theirs], &[rule(5_000, TABLE, RouteProtocol::Kernel)]] {
            let doubt = found(rules, &[]).unwrap().doubt().unwrap();
            assert!(doubt.contains("may be the administrator's"), "{doubt}");
        }
        let ours = [ours];
        assert_eq!(found(&ours, &[]).unwrap().doubt(), None);
        let doubt = found(&ours, &[TABLE]).unwrap().doubt().unwrap();
        assert!(doubt.contains("another program's rule"), "{doubt}");
        let other_table = rule(RoutingMark::FIRST.priority(8), TABLE + 8, RouteProtocol::Kernel);
        let kept = found(&[other_table], &[]).unwrap();
        assert!(kept.routes.is_empty() && kept.doubt().is_none(), "the route is somebody else's: {kept:?}");
    }
}
