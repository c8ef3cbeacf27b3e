//! Policy rules as the kernel shows them, read as those that we make.

use ipnet::IpNet;
use rtnetlink::packet_route::{
    AddressFamily, IpProtocol,
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage, RulePortRange},
};

use super::{Family, PolicyRule, RuleSelector};

/// What a rule looks at and does, as far as rules of ours have it.
#[derive(Default)]
struct Parts {
    priority: u32,
    table: Option<u32>,
    goto: Option<u32>,
    mark: Option<u32>,
    mask: Option<u32>,
    suppressed: Option<u32>,
    destination: Option<IpNet>,
    is_udp: bool,
    source_port: Option<u16>,
    destination_port: Option<u16>,
}

impl PolicyRule {
    /// Reads a rule; `None` where it is of a kind that we never make.
    pub fn of_message(message: &RuleMessage) -> Option<Self> {
        let family = match message.header.family {
            AddressFamily::Inet => Family::V4,
            AddressFamily::Inet6 => Family::V6,
            _ => return None,
        };
        if message.header.src_len != 0 || message.header.tos != 0 {
            return None;
        }
        let mut parts = Parts { table: Some(u32::from(message.header.table)), ..Parts::default() };
        for attribute in &message.attributes {
            parts.take(attribute, message.header.dst_len)?;
        }
        let (table, goto) = match message.header.action {
            RuleAction::ToTable => (parts.table, None),
            RuleAction::Goto => (None, Some(parts.goto?)),
            RuleAction::Unreachable => (None, None),
            _ => return None,
        };
        let selector = parts.selector(message.header.flags.contains(RuleFlags::Invert))?;
        Some(Self { family, priority: parts.priority, selector, table, goto })
    }
}

impl Parts {
    /// Takes what `attribute` says; `None` where rules of ours have no such thing.
    fn take(&mut self, attribute: &RuleAttribute, destination_bits: u8) -> Option<()> {
        let one_port = |range: &RulePortRange| (range.start == range.end).then_some(range.start);
        match attribute {
            RuleAttribute::Priority(priority) => self.priority = *priority,
            RuleAttribute::Table(table) => self.table = Some(*table),
            RuleAttribute::Goto(goto) => self.goto = Some(*goto),
            RuleAttribute::FwMark(mark) => self.mark = Some(*mark),
            RuleAttribute::FwMask(mask) => self.mask = Some(*mask),
            RuleAttribute::SuppressPrefixLen(bits) => {
                self.suppressed = Some(*bits).filter(|bits| *bits != u32::MAX);
            }
            RuleAttribute::Destination(network) => {
                self.destination = Some(IpNet::new(*network, destination_bits).ok()?);
            }
            RuleAttribute::IpProtocol(IpProtocol::Udp) => self.is_udp = true,
            RuleAttribute::SourcePortRange(range) => self.source_port = Some(one_port(range)?),
            RuleAttribute::DestinationPortRange(range) => self.destination_port = Some(one_port(range)?),
            RuleAttribute::Source(_)
            | RuleAttribute::Iifname(_)
            | RuleAttribute::Oifname(_)
            | RuleAttribute::IpProtocol(_)
            | RuleAttribute::UidRange(_)
            | RuleAttribute::TunId(_)
            | RuleAttribute::L3MDev(true) => return None,
            // Who made it, and what the kernel sets by itself. A foreign enum.
            _ => {}
        }
        Some(())
    }

    fn selector(&self, is_inverted: bool) -> Option<RuleSelector> {
        let bits = self.suppressed.map(u8::try_from).transpose().ok()?;
        Some(match (self.mark, self.destination, bits) {
            (Some(mark), None, None) if is_inverted => RuleSelector::NotMark(mark),
            _ if is_inverted => return None,
            (Some(mark), None, None) => match self.mask {
                None | Some(u32::MAX) => RuleSelector::Mark(mark),
                Some(mask) => RuleSelector::Marks { mark, mask },
            },
            (None, Some(network), None) => RuleSelector::To(network),
            (None, Some(network), Some(bits)) if network.prefix_len().checked_sub(1) == Some(bits) => {
                RuleSelector::Within(network)
            }
            (None, None, Some(bits)) => RuleSelector::SuppressPrefixLength(bits),
            (None, None, None) if self.is_udp => {
                RuleSelector::UdpPorts { source: self.source_port?, destination: self.destination_port? }
            }
            (None, None, None) if self.source_port.is_none() && self.destination_port.is_none() => {
                RuleSelector::All
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::netlink::rule_message;
    use super::*;

    #[test]
    fn every_kind_of_rule_is_read_as_it_was_made_and_others_are_not() {
        let network: IpNet = "10.0.0.0/8".parse().unwrap();
        let selectors = [
            RuleSelector::NotMark(52_000),
            RuleSelector::SuppressPrefixLength(0),
            RuleSelector::Mark(52_000),
            RuleSelector::Marks { mark: 0xc000, mask: 0xffff_c000 },
            RuleSelector::To(network),
            RuleSelector::Within(network),
            RuleSelector::UdpPorts { source: 68, destination: 67 },
            RuleSelector::All,
        ];
        for selector in selectors {
            for (table, goto) in [(Some(52_129), None), (None, Some(31_265)), (None, None)] {
                let rule = PolicyRule { family: Family::V4, priority: 31_000, selector, table, goto };
                let message = rule_message(&rule);
                assert_eq!(PolicyRule::of_message(&message), Some(rule));
                let mut other = message.clone();
                other.attributes.push(RuleAttribute::Iifname("eth0".into()));
                assert_eq!(PolicyRule::of_message(&other), None);
                let mut other = message;
                other.header.src_len = 8;
                assert_eq!(PolicyRule::of_message(&other), None);
            }
        }
    }
}
