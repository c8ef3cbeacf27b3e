//! Rules and routes of instances that have ended, found on the system itself: their journal may be lost, or cut.
//!
//! An instance's rules stand at the priorities of its mark, made in the kernel's name, and its routes in the tables of its mark
//! (`mark.rs`). They are taken for ours only where one of them also looks up such a table, or bears such a mark, so
//! that a rule of the administrator that happens to stand there is none. Whether an instance lives, its sockets tell: they bear
//! the mark for as long as it does, whatever has become of its journal and control socket.

use std::{collections::BTreeMap, fmt, io};

use rtnetlink::{
    packet_route::{
        route::{RouteAttribute, RouteMessage, RouteProtocol, RouteType},
        rule::RuleMessage,
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG},
};

use super::{
    RoutingMark,
    mark::TUNNEL_MARKS,
    marks::marks_table,
    walk::{destination_of_route, is_of_kernel, metric, outgoing},
};
use crate::journal::{
    DeviceRoute, Family, InterfaceName, JournalError, PolicyRule, RefusingTable, RuleSelector, installed,
    netlink::{Netlink, table_of_route},
    run,
};

/// The rules and routes of a mark that no journal knows.
#[derive(Clone, Debug)]
pub struct Orphan {
    mark: RoutingMark,
    rules: Vec<PolicyRule>,
    routes: Vec<DeviceRoute>,
    refusal: Option<RefusingTable>,
    /// Whether one of them cannot be anybody else's.
    is_certain: bool,
}

impl Orphan {
    /// The mark.
    pub fn mark(&self) -> RoutingMark {
        self.mark
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

/// What there is of marks that are not among `held`, which the journals name. Their instances may live: see [`is_in_use`].
///
/// # Errors
/// The system's answer.
pub fn orphans(held: &[u32]) -> io::Result<Vec<Orphan>> {
    let mut netlink = Netlink::open()?;
    let mut found = BTreeMap::new();
    for family in [Family::V4, Family::V6] {
        for rule in netlink.rules(family)? {
            take_rule(&mut found, &rule);
        }
        for route in netlink.routes(family)? {
            take_route(&mut found, &route, &mut netlink);
        }
    }
    let is_orphan = |orphan: &Orphan| orphan.is_certain && !held.contains(&orphan.mark.value());
    Ok(found.into_values().filter(is_orphan).collect())
}

type Found = BTreeMap<u32, Orphan>;

fn of_mark(found: &mut Found, mark: RoutingMark) -> &mut Orphan {
    found.entry(mark.value()).or_insert(Orphan {
        mark,
        rules: Vec::new(),
        routes: Vec::new(),
        refusal: None,
        is_certain: false,
    })
}

fn take_rule(found: &mut Found, message: &RuleMessage) {
    let Some(rule) = PolicyRule::of_message(message).filter(|_| is_of_kernel(message)) else { return };
    let Some(mark) = RoutingMark::at_priority(rule.priority) else { return };
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
            orphan.is_certain = true;
        }
        // What we never make. A foreign enum.
        _ => {}
    }
}

/// The mark that the firewall table of `interface` keeps on answers; `None` where there is no such table.
pub fn mark_of(interface: &InterfaceName) -> Option<RoutingMark> {
    const KEPT: &str = "ct mark set ";
    if !installed("nft") {
        return None;
    }
    let text = run("nft", &["-n", "list", "table", "inet", &marks_table(interface)], None).ok()?;
    let value = text.split_once(KEPT)?.1.split_whitespace().next()?;
    let value =
        value.strip_prefix("0x").map_or_else(|| value.parse().ok(), |hex| u32::from_str_radix(hex, 16).ok());
    value.and_then(RoutingMark::of_socket_mark)
}

/// `SOCK_DIAG_BY_FAMILY`, also the type of the answers, and the end of these.
const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `NLM_F_REQUEST` and `NLM_F_DUMP`.
const DUMP: u16 = 0x301;
/// Bytes of a message's header, of `inet_diag_req_v2`, of `inet_diag_msg`, and of an attribute's header.
const HEADER: usize = 16;
const REQUEST: usize = 56;
const ANSWER: usize = 72;
const ATTRIBUTE: usize = 4;
/// `INET_DIAG_MARK`.
const MARK: u16 = 15;
/// Messages and attributes start at multiples of this many bytes.
const ALIGNMENT: usize = 4;

/// Whether a UDP socket of this network namespace bears the mark.
///
/// # Errors
/// The system's answer: only root is shown marks, and a kernel may lack the module `udp_diag`.
pub fn is_in_use(mark: RoutingMark) -> io::Result<bool> {
    let mut socket = Socket::new(NETLINK_SOCK_DIAG)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    for family in [libc::AF_INET, libc::AF_INET6] {
        socket.send(&question(u8::try_from(family).unwrap_or_default()), 0)?;
        loop {
            let (datagram, _) = socket.recv_from_full()?;
            match read_answers(&datagram, mark.value())? {
                Answers::Borne => return Ok(true),
                Answers::More => {}
                Answers::End => break,
            }
        }
    }
    Ok(false)
}

fn question(family: u8) -> Vec<u8> {
    let length = HEADER + REQUEST;
    let mut bytes = (length as u32).to_ne_bytes().to_vec();
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    bytes.resize(HEADER, 0);
    bytes.extend([family, libc::IPPROTO_UDP as u8, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes()); // in every state
    bytes.resize(length, 0);
    bytes
}

#[derive(Debug, PartialEq, Eq)]
enum Answers {
    /// A socket bears the mark.
    Borne,
    /// None so far.
    More,
    /// None at all.
    End,
}

fn read_answers(mut bytes: &[u8], mark: u32) -> io::Result<Answers> {
    while let Some(length) = u32_at(bytes, 0).map(|length| length as usize) {
        let Some(message) = bytes.get(..length).filter(|message| message.len() >= HEADER) else { break };
        match u16_at(message, 4) {
            Some(DONE) => return Ok(Answers::End),
            Some(ERROR) => {
                let code = u32_at(message, HEADER).unwrap_or_default().cast_signed();
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            Some(BY_FAMILY) if mark_of_socket(message) == Some(mark) => return Ok(Answers::Borne),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(ALIGNMENT)..).unwrap_or_default();
    }
    Ok(Answers::More)
}

fn mark_of_socket(message: &[u8]) -> Option<u32> {
    let mut attributes = message.get(HEADER + ANSWER..)?;
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        if length < ATTRIBUTE {
            return None;
        }
        if u16_at(attributes, 2)? == MARK {
            return u32_at(attributes, ATTRIBUTE);
        }
        attributes = attributes.get(length.next_multiple_of(ALIGNMENT)..)?;
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_ne_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(mark: u32) -> Vec<u8> {
        let attributes = [[8, 0, 1, 0], [9; 4], [8, 0, 15, 0], mark.to_ne_bytes()].concat();
        let mut bytes = u32::try_from(HEADER + ANSWER + attributes.len()).unwrap().to_ne_bytes().to_vec();
        bytes.extend(BY_FAMILY.to_ne_bytes());
        bytes.resize(HEADER + ANSWER, 0);
        bytes.extend(attributes);
        bytes
    }

    #[test]
    fn the_mark_of_a_socket_is_found_among_answers_and_nothing_cut_off_panics() {
        let mut done = 20_u32.to_ne_bytes().to_vec();
        done.extend(DONE.to_ne_bytes());
        done.resize(20, 0);
        let bytes = [answer(7), answer(52_000), done].concat();
        assert_eq!(read_answers(&bytes, 52_000).unwrap(), Answers::Borne);
        assert_eq!(read_answers(&bytes, 52_200).unwrap(), Answers::End);
        assert_eq!(read_answers(&answer(7), 52_000).unwrap(), Answers::More);
        for cut in 0..bytes.len() {
            let _ = read_answers(&bytes[..cut], 52_200);
        }
        assert_eq!(read_answers(&[0; 64], 52_000).unwrap(), Answers::More);
    }
}
