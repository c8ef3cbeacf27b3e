//! Questions for addresses, and what answers say (RFC 1035). Pure.

use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE, rdata::RData};
use std::net::IpAddr;

/// Names that stand for other names are followed so many times within an answer; servers give the whole chain.
const MAX_ALIASES: usize = 16;

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// IPv4.
    A,
    /// IPv6.
    Aaaa,
}

/// What an answer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The addresses of the name; none where it has none of this kind.
    Addresses(Vec<IpAddr>),
    /// There is no such name.
    NoSuchName,
    /// It does not fit into a datagram: to be asked again over TCP.
    Truncated,
    /// The server cannot or does not want to answer.
    Refused,
    /// No answer to the question: forged, or of another conversation.
    Foreign,
}

/// The question for `name`'s addresses; `None` where no question can be asked about such a name.
pub(super) fn question(id: u16, name: &str, kind: Kind) -> Option<Vec<u8>> {
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(
        Name::new(name).ok()?,
        kind.query(),
        QCLASS::CLASS(CLASS::IN),
        false,
    ));
    packet.build_bytes_vec().ok()
}

/// Reads what came back on the question `id` for `name`.
pub(super) fn read(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Answer {
    let (Ok(packet), Ok(name)) = (Packet::parse(bytes), Name::new(name)) else { return Answer::Foreign };
    let asked = |question: &Question<'_>| question.qtype == kind.query() && same(&question.qname, &name);
    if packet.id() != id
        || !packet.has_flags(PacketFlag::RESPONSE)
        || packet.questions.len() != 1
        || !packet.questions.iter().all(asked)
    {
        return Answer::Foreign;
    }
    match packet.rcode() {
        RCODE::NoError if packet.has_flags(PacketFlag::TRUNCATION) => Answer::Truncated,
        RCODE::NoError => Answer::Addresses(addresses(&packet, name, kind)),
        RCODE::NameError => Answer::NoSuchName,
        // A foreign enum: whatever else servers say, it is no answer.
        _ => Answer::Refused,
    }
}

fn addresses(packet: &Packet<'_>, name: Name<'_>, kind: Kind) -> Vec<IpAddr> {
    let mut name = name.into_owned();
    for _ in 0..MAX_ALIASES {
        let of_name = || packet.answers.iter().filter(|answer| same(&answer.name, &name));
        let found: Vec<IpAddr> = of_name().filter_map(|answer| kind.address(&answer.rdata)).collect();
        let alias = of_name().find_map(|answer| match &answer.rdata {
            RData::CNAME(alias) => Some(alias.0.clone().into_owned()),
            _ => None,
        });
        match alias {
            Some(alias) if found.is_empty() => name = alias,
            _ => return found,
        }
    }
    Vec::new()
}

/// Names are the same in either case of letters (RFC 4343).
fn same(a: &Name<'_>, b: &Name<'_>) -> bool {
    a.to_string().eq_ignore_ascii_case(&b.to_string())
}

impl Kind {
    fn query(self) -> QTYPE {
        QTYPE::TYPE(match self {
            Self::A => TYPE::A,
            Self::Aaaa => TYPE::AAAA,
        })
    }

    fn address(self, data: &RData<'_>) -> Option<IpAddr> {
        match (self, data) {
            (Self::A, RData::A(a)) => Some(IpAddr::V4(a.address.into())),
            (Self::Aaaa, RData::AAAA(aaaa)) => Some(IpAddr::V6(aaaa.address.into())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use simple_dns::{ResourceRecord, rdata};

    fn reply(to: &[u8], records: Vec<(&'static str, RData<'static>)>) -> Packet<'static> {
        let question = Packet::parse(to).unwrap();
        let mut reply = Packet::new_reply(question.id());
        reply.questions.extend(question.questions.into_iter().map(Question::into_owned));
        for (name, data) in records {
            reply.answers.push(ResourceRecord::new(Name::new_unchecked(name), CLASS::IN, 60, data));
        }
        reply
    }

    fn a(text: &str) -> RData<'static> {
        RData::A(rdata::A { address: text.parse::<std::net::Ipv4Addr>().unwrap().into() })
    }

    fn read_a(packet: &Packet<'_>) -> Answer {
        read(&packet.build_bytes_vec_compressed().unwrap(), 7, "gw.test", Kind::A)
    }

    #[test]
    fn addresses_are_found_through_aliases_and_strangers_records_are_not() {
        let question = question(7, "gw.test", Kind::A).unwrap();
        let alias = RData::CNAME(rdata::CNAME(Name::new_unchecked("real.test")));
        let packet = reply(
            &question,
            vec![("GW.test", alias), ("real.test", a("192.0.2.1")), ("other.test", a("192.0.2.9"))],
        );
        assert_eq!(read_a(&packet), Answer::Addresses(vec!["192.0.2.1".parse().unwrap()]));
    }

    #[test]
    fn aliases_in_a_circle_end() {
        let question = question(7, "gw.test", Kind::A).unwrap();
        let circle = RData::CNAME(rdata::CNAME(Name::new_unchecked("gw.test")));
        assert_eq!(read_a(&reply(&question, vec![("gw.test", circle)])), Answer::Addresses(Vec::new()));
    }

    #[test]
    fn what_is_no_answer_to_the_question_is_told_apart() {
        let question_bytes = question(7, "gw.test", Kind::A).unwrap();
        let mut packet = reply(&question_bytes, vec![("gw.test", a("192.0.2.1"))]);
        packet.set_id(8);
        assert_eq!(read_a(&packet), Answer::Foreign, "another number");
        assert_eq!(read_a(&reply(&question(7, "gw2.test", Kind::A).unwrap(), Vec::new())), Answer::Foreign);
        assert_eq!(read_a(&reply(&question(7, "gw.test", Kind::Aaaa).unwrap(), Vec::new())), Answer::Foreign);
        assert_eq!(read(&question_bytes, 7, "gw.test", Kind::A), Answer::Foreign, "the question itself");
        for cut in 0..question_bytes.len() {
            assert_eq!(read(&question_bytes[..cut], 7, "gw.test", Kind::A), Answer::Foreign);
        }
    }

    #[test]
    fn refusals_and_truncation_are_told_apart() {
        let question = question(7, "gw.test", Kind::A).unwrap();
        let mut packet = reply(&question, Vec::new());
        packet.set_flags(PacketFlag::TRUNCATION);
        assert_eq!(read_a(&packet), Answer::Truncated);
        let mut packet = reply(&question, Vec::new());
        *packet.rcode_mut() = RCODE::NameError;
        assert_eq!(read_a(&packet), Answer::NoSuchName);
        *packet.rcode_mut() = RCODE::ServerFailure;
        assert_eq!(read_a(&packet), Answer::Refused);
    }

    #[test]
    fn names_that_cannot_be_asked_for_are_no_panic() {
        for bad in ["", "..", &"x".repeat(64), &"a.".repeat(200)] {
            let _ = question(1, bad, Kind::A);
        }
        assert!(question(1, &"x".repeat(64), Kind::A).is_none());
    }
}
