//! A small synchronous rtnetlink client on rtnetlink's message types.
//!
//! Synchronous, because changes are undone where there is no async runtime: before it exists, and in `Drop`. The kernel
//! answers these requests from its own tables at once.

use std::{io, net::IpAddr};

use ipnet::IpNet;
use rtnetlink::{
    packet_core::{
        NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    },
    packet_route::{
        AddressFamily, IpProtocol, RouteNetlinkMessage,
        address::AddressMessage,
        link::{LinkAttribute, LinkMessage},
        route::{
            RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
        },
        rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage, RulePortRange},
    },
    sys::{Socket, protocols::NETLINK_ROUTE},
};

use super::{
    DeviceRoute, Family, MAIN_TABLE, PolicyRule, RefusingTable, RuleSelector, netlink_message::ALIGNMENT,
};

/// The metric of a route that comes after all others of its table.
const LAST_METRIC: u32 = u32::MAX;

/// A socket for routing requests in the calling thread's network namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl Netlink {
    /// Opens a socket.
    ///
    /// # Errors
    /// The system's answer.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Sends a request and waits until it is done; gives what the kernel sent besides.
    ///
    /// # Errors
    /// The kernel's answer as an OS error.
    pub fn request(
        &mut self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.sequence += 1;
        let mut request = NetlinkMessage::from(message);
        request.header.flags = NLM_F_REQUEST | flags;
        // A dump ends by itself. Its two bits mean other things in other requests, such as NLM_F_EXCL.
        if flags & NLM_F_DUMP != NLM_F_DUMP {
            request.header.flags |= NLM_F_ACK;
        }
        request.header.sequence_number = self.sequence;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answers = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            let mut rest = &datagram[..];
            while !rest.is_empty() {
                let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(rest)
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
                let length = (answer.header.length as usize).next_multiple_of(ALIGNMENT);
                rest = rest.get(length..).unwrap_or_default();
                if answer.header.sequence_number != self.sequence {
                    continue;
                }
                match answer.payload {
                    NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                    NetlinkPayload::Error(error) if error.code.is_none() => return Ok(answers),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    NetlinkPayload::Done(done) if done.code == 0 => return Ok(answers),
                    NetlinkPayload::Done(done) => return Err(io::Error::from_raw_os_error(done.code.abs())),
                    // Noop, overrun (reported by recv as ENOBUFS) and what future kernels add.
                    _ => {}
                }
            }
        }
    }

    /// The index of the interface `name`.
    ///
    /// # Errors
    /// `ENODEV` where there is none.
    pub fn interface_index(&mut self, name: &str) -> io::Result<u32> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let answers = self.request(RouteNetlinkMessage::GetLink(message), 0)?;
        let index = answers.iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => Some(link.header.index),
            _ => None,
        });
        index.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }

    /// The name of the interface with this index.
    ///
    /// # Errors
    /// `ENODEV` where there is none.
    pub fn interface_name(&mut self, index: u32) -> io::Result<String> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let answers = self.request(RouteNetlinkMessage::GetLink(message), 0)?;
        let name = answers.into_iter().find_map(|answer| match answer {
            RouteNetlinkMessage::NewLink(link) => {
                link.attributes.into_iter().find_map(|attribute| match attribute {
                    LinkAttribute::IfName(name) => Some(name),
                    _ => None,
                })
            }
            _ => None,
        });
        name.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
    }

    /// All routes of a family, in all tables. None where the kernel lacks the family.
    ///
    /// # Errors
    /// The system's answer.
    pub fn routes(&mut self, family: Family) -> io::Result<Vec<RouteMessage>> {
        let mut message = RouteMessage::default();
        message.header.address_family = address_family(family);
        let answers = self.dump(RouteNetlinkMessage::GetRoute(message))?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                // A kernel without the family answers for all of them.
                RouteNetlinkMessage::NewRoute(route)
                    if route.header.address_family == address_family(family) =>
                {
                    Some(route)
                }
                _ => None,
            })
            .collect())
    }

    /// All addresses of all interfaces.
    ///
    /// # Errors
    /// The system's answer.
    pub fn addresses(&mut self) -> io::Result<Vec<AddressMessage>> {
        let answers = self.dump(RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewAddress(address) => Some(address),
                _ => None,
            })
            .collect())
    }

    /// All policy rules of a family. None where the kernel lacks the family.
    ///
    /// # Errors
    /// The system's answer.
    pub fn rules(&mut self, family: Family) -> io::Result<Vec<RuleMessage>> {
        let mut message = RuleMessage::default();
        message.header.family = address_family(family);
        let answers = self.dump(RouteNetlinkMessage::GetRule(message))?;
        Ok(answers
            .into_iter()
            .filter_map(|answer| match answer {
                RouteNetlinkMessage::NewRule(rule) => Some(rule),
                _ => None,
            })
            .collect())
    }

    /// Adds a policy rule.
    ///
    /// # Errors
    /// The kernel's answer; `EEXIST` where the same rule exists.
    pub fn add_rule(&mut self, rule: &PolicyRule) -> io::Result<()> {
        let mut message = rule_message(rule);
        // systemd-networkd removes rules that it does not know, unless they are the kernel's.
        message.attributes.push(RuleAttribute::Protocol(RouteProtocol::Kernel));
        self.request(RouteNetlinkMessage::NewRule(message), NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Removes a policy rule; that it is not there is no error.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn remove_rule(&mut self, rule: &PolicyRule) -> io::Result<()> {
        let message = RouteNetlinkMessage::DelRule(rule_message(rule));
        tolerate(self.request(message, 0), &[libc::ENOENT, libc::EAFNOSUPPORT, libc::EOPNOTSUPP])
    }

    /// Adds a route.
    ///
    /// # Errors
    /// The kernel's answer; `EEXIST` where a route with this destination is in the table.
    pub fn add_route(&mut self, route: &DeviceRoute) -> io::Result<()> {
        let index = self.interface_index(&route.device)?;
        let message = RouteNetlinkMessage::NewRoute(route_message(route, index));
        self.request(message, NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Removes a route; that it, or its device, is not there is no error.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn remove_route(&mut self, route: &DeviceRoute) -> io::Result<()> {
        let index = match self.interface_index(&route.device) {
            Ok(index) => index,
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => return Ok(()),
            Err(error) => return Err(error),
        };
        let mut message = route_message(route, index);
        message.header.scope = RouteScope::NoWhere; // any: earlier versions made them with another
        let gone = [libc::ESRCH, libc::ENODEV, libc::EAFNOSUPPORT, libc::EOPNOTSUPP];
        tolerate(self.request(RouteNetlinkMessage::DelRoute(message), 0), &gone)
    }

    /// Adds the one route of a table that refuses.
    ///
    /// # Errors
    /// The kernel's answer; `EEXIST` where it is there.
    pub fn add_refusal(&mut self, refusal: RefusingTable) -> io::Result<()> {
        let message = RouteNetlinkMessage::NewRoute(refusal_message(refusal));
        self.request(message, NLM_F_CREATE | NLM_F_EXCL).map(drop)
    }

    /// Removes the one route of a table that refuses; that it is not there is no error.
    ///
    /// # Errors
    /// The kernel's answer.
    pub fn remove_refusal(&mut self, refusal: RefusingTable) -> io::Result<()> {
        let message = RouteNetlinkMessage::DelRoute(refusal_message(refusal));
        tolerate(self.request(message, 0), &[libc::ESRCH, libc::EAFNOSUPPORT, libc::EOPNOTSUPP])
    }

    fn dump(&mut self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        match self.request(message, NLM_F_DUMP) {
            Err(error) if matches!(error.raw_os_error(), Some(libc::EAFNOSUPPORT | libc::EOPNOTSUPP)) => {
                Ok(Vec::new())
            }
            answers => answers,
        }
    }
}

/// The table of a route: the header has room for the first 256 only.
pub fn table_of_route(route: &RouteMessage) -> u32 {
    let attribute = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    attribute.unwrap_or_else(|| u32::from(route.header.table))
}

/// The table of a rule.
pub fn table_of_rule(rule: &RuleMessage) -> u32 {
    let attribute = rule.attributes.iter().find_map(|attribute| match attribute {
        RuleAttribute::Table(table) => Some(*table),
        _ => None,
    });
    attribute.unwrap_or_else(|| u32::from(rule.header.table))
}

fn tolerate(result: io::Result<Vec<RouteNetlinkMessage>>, gone: &[i32]) -> io::Result<()> {
    match result {
        Err(error) if error.raw_os_error().is_some_and(|code| gone.contains(&code)) => Ok(()),
        result => result.map(drop),
    }
}

/// netlink's number for a family.
pub fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

pub(crate) fn rule_message(rule: &PolicyRule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = address_family(rule.family);
    message.attributes.push(RuleAttribute::Priority(rule.priority));
    match (rule.table, rule.goto) {
        (Some(table), _) => {
            message.header.action = RuleAction::ToTable;
            message.attributes.push(RuleAttribute::Table(table));
        }
        (None, Some(goto)) => {
            message.header.action = RuleAction::Goto;
            message.attributes.push(RuleAttribute::Goto(goto));
        }
        (None, None) => message.header.action = RuleAction::Unreachable,
    }
    match rule.selector {
        RuleSelector::NotMark(mark) => {
            message.header.flags = RuleFlags::Invert;
            message.attributes.push(RuleAttribute::FwMark(mark));
            message.attributes.push(RuleAttribute::FwMask(u32::MAX));
        }
        RuleSelector::Mark(mark) => {
            message.attributes.push(RuleAttribute::FwMark(mark));
            message.attributes.push(RuleAttribute::FwMask(u32::MAX));
        }
        RuleSelector::Marks { mark, mask } => {
            message.attributes.push(RuleAttribute::FwMark(mark));
            message.attributes.push(RuleAttribute::FwMask(mask));
        }
        RuleSelector::To(network) | RuleSelector::Within(network) => {
            message.header.dst_len = network.prefix_len();
            message.attributes.push(RuleAttribute::Destination(network.network()));
        }
        RuleSelector::UdpPorts { source, destination } => {
            let port = |port| RulePortRange { start: port, end: port };
            message.attributes.push(RuleAttribute::IpProtocol(IpProtocol::Udp));
            message.attributes.push(RuleAttribute::SourcePortRange(port(source)));
            message.attributes.push(RuleAttribute::DestinationPortRange(port(destination)));
        }
        RuleSelector::SuppressPrefixLength(_) | RuleSelector::All => {}
    }
    if let Some(bits) = rule.selector.suppressed_bits() {
        message.attributes.push(RuleAttribute::SuppressPrefixLen(u32::from(bits)));
    }
    message
}

pub(crate) fn route_message(route: &DeviceRoute, index: u32) -> RouteMessage {
    let mut message = empty_route(Family::of(&route.destination), route.table);
    let destination = match route.destination.network() {
        IpAddr::V4(address) => RouteAddress::Inet(address),
        IpAddr::V6(address) => RouteAddress::Inet6(address),
    };
    message.header.destination_prefix_length = route.destination.prefix_len();
    message.header.scope = match route.destination {
        IpNet::V4(_) if route.table == MAIN_TABLE => RouteScope::Link, // no gateway, as `ip` says it
        // When somebody adds a route with a gateway, the kernel looks for the link that the gateway is on. By this scope it
        // passes our tables over.
        IpNet::V4(_) | IpNet::V6(_) => RouteScope::Universe,
    };
    message.header.kind = RouteType::Unicast;
    if route.destination.prefix_len() != 0 {
        message.attributes.push(RouteAttribute::Destination(destination));
    }
    message.attributes.push(RouteAttribute::Oif(index));
    message
}

fn refusal_message(refusal: RefusingTable) -> RouteMessage {
    let mut message = empty_route(Family::V4, refusal.table);
    message.header.kind = RouteType::Unreachable;
    message.header.scope = RouteScope::Universe; // see above
    message.attributes.push(RouteAttribute::Priority(LAST_METRIC));
    message
}

fn empty_route(family: Family, table: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(family);
    message.header.table = RouteHeader::RT_TABLE_UNSPEC; // the attribute has room for the number
    message.header.protocol = RouteProtocol::Static;
    message.attributes.push(RouteAttribute::Table(table));
    message
}
