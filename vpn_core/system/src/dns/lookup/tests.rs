use super::*;
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE, rdata};
use std::{fs, net::Ipv4Addr, sync::Arc};
use tokio::net::{TcpListener, UdpSocket};

/// What a server makes of a question: an answer, or silence.
type Behaviour = Arc<dyn Fn(&[u8], bool) -> Option<Vec<u8>> + Send + Sync>;

/// A name server on 127.0.0.x, whose sockets live as long as the test's runtime.
async fn serve(address: Ipv4Addr, port: u16, behaviour: Behaviour) -> u16 {
    let udp = UdpSocket::bind((address, port)).await.unwrap();
    let port = udp.local_addr().unwrap().port();
    let tcp = TcpListener::bind((address, port)).await.unwrap();
    let by_udp = behaviour.clone();
    tokio::spawn(async move {
        let mut bytes = [0; 1500];
        while let Ok((length, from)) = udp.recv_from(&mut bytes).await {
            if let Some(answer) = by_udp(&bytes[..length], false) {
                let _ = udp.send_to(&answer, from).await;
            }
        }
    });
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = tcp.accept().await {
            let length = stream.read_u16().await.unwrap();
            let mut bytes = vec![0; length.into()];
            stream.read_exact(&mut bytes).await.unwrap();
            let answer = behaviour(&bytes, true).unwrap();
            stream.write_u16(u16::try_from(answer.len()).unwrap()).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    });
    port
}

/// Answers with `address` to who asks for IPv4 addresses of `name`, and that there are none of IPv6.
fn answering(name: &'static str, address: &str) -> Behaviour {
    let address: Ipv4Addr = address.parse().unwrap();
    Arc::new(move |question, _| {
        let mut packet = reply(question);
        let asked = packet.questions[0].clone();
        if !asked.qname.to_string().eq_ignore_ascii_case(name) {
            *packet.rcode_mut() = RCODE::NameError;
        } else if asked.qtype == QTYPE::TYPE(TYPE::A) {
            let data = rdata::RData::A(rdata::A { address: address.into() });
            packet.answers.push(ResourceRecord::new(asked.qname, CLASS::IN, 60, data));
        }
        packet.build_bytes_vec().ok()
    })
}

fn reply(question: &[u8]) -> Packet<'static> {
    let question = Packet::parse(question).unwrap();
    let mut reply = Packet::new_reply(question.id());
    reply.questions = question.questions.into_iter().map(simple_dns::Question::into_owned).collect();
    reply
}

fn upstreams(addresses: &[Ipv4Addr]) -> ResolvConf {
    let servers = addresses.iter().map(|address| Server { address: (*address).into(), zone: None });
    ResolvConf { servers: servers.collect(), search: Vec::new() }
}

/// Mark 0 is what every socket has, so these tests need no privileges.
fn lookup(port: u16) -> Lookup {
    Lookup { mark: 0, lead_outside: |_, _, _| Ok(()), hosts: "/nonexistent".into(), port }
}

const FIRST: Ipv4Addr = Ipv4Addr::LOCALHOST;
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn one(address: &str) -> Vec<IpAddr> {
    vec![address.parse().unwrap()]
}

#[tokio::test]
async fn addresses_and_names_in_the_hosts_file_need_no_server() {
    let folder = tempfile::tempdir().unwrap();
    let hosts = folder.path().join("hosts");
    fs::write(&hosts, "192.0.2.7 gw.test\n").unwrap();
    let lookup = Lookup { hosts, ..lookup(9) };
    let nobody = ResolvConf::default();
    assert_eq!(lookup.addresses("2001:db8::1", &nobody).await, Ok(one("2001:db8::1")));
    assert_eq!(lookup.addresses("gw.test", &nobody).await, Ok(one("192.0.2.7")));
    assert_eq!(lookup.addresses("other.test", &nobody).await, Err(LookupError::NoServer));
}

#[tokio::test]
async fn a_silent_or_refusing_server_does_not_keep_the_next_from_being_asked() {
    let refusing: Behaviour = Arc::new(|question, _| {
        let mut packet = reply(question);
        *packet.rcode_mut() = RCODE::ServerFailure;
        packet.build_bytes_vec().ok()
    });
    for bad in [refusing, Arc::new(|_: &[u8], _| None) as Behaviour] {
        let port = serve(FIRST, 0, bad).await;
        serve(SECOND, port, answering("gw.test", "192.0.2.1")).await;
        assert_eq!(
            lookup(port).addresses("gw.test", &upstreams(&[FIRST, SECOND])).await,
            Ok(one("192.0.2.1"))
        );
    }
}

#[tokio::test]
async fn a_forged_answer_is_passed_over_and_the_true_one_taken() {
    let port = serve(FIRST, 0, answering("gw.test", "192.0.2.1")).await;
    // In front of the true server stands one that says something else first, with another number.
    let true_server = (FIRST, port);
    let front = UdpSocket::bind((SECOND, port)).await.unwrap();
    tokio::spawn(async move {
        let mut bytes = [0; 1500];
        while let Ok((length, from)) = front.recv_from(&mut bytes).await {
            let mut forged = reply(&bytes[..length]);
            forged.set_id(forged.id().wrapping_add(1));
            let _ = front.send_to(&forged.build_bytes_vec().unwrap(), from).await;
            let onward = UdpSocket::bind((FIRST, 0)).await.unwrap();
            onward.send_to(&bytes[..length], true_server).await.unwrap();
            let length = onward.recv(&mut bytes).await.unwrap();
            let _ = front.send_to(&bytes[..length], from).await;
        }
    });
    assert_eq!(lookup(port).addresses("gw.test", &upstreams(&[SECOND])).await, Ok(one("192.0.2.1")));
}

#[tokio::test]
async fn an_answer_too_long_for_a_datagram_is_asked_for_again_over_tcp() {
    let whole = answering("gw.test", "192.0.2.1");
    let cut_off: Behaviour = Arc::new(move |question, by_stream| {
        if by_stream {
            return whole(question, true);
        }
        let mut packet = reply(question);
        packet.set_flags(PacketFlag::TRUNCATION);
        packet.build_bytes_vec().ok()
    });
    let port = serve(FIRST, 0, cut_off).await;
    assert_eq!(lookup(port).addresses("gw.test", &upstreams(&[FIRST])).await, Ok(one("192.0.2.1")));
}

#[tokio::test]
async fn a_short_name_is_looked_for_in_the_search_domains() {
    let port = serve(FIRST, 0, answering("gw.home.test", "192.0.2.1")).await;
    let mut upstreams = upstreams(&[FIRST]);
    assert_eq!(lookup(port).addresses("gw", &upstreams).await, Err(LookupError::NoSuchName));
    upstreams.search = vec!["work.test".into(), "home.test.".into()];
    assert_eq!(lookup(port).addresses("gw", &upstreams).await, Ok(one("192.0.2.1")));
    assert_eq!(lookup(port).addresses("gw.", &upstreams).await, Err(LookupError::NoSuchName));
}

#[tokio::test]
async fn one_family_is_enough_while_the_other_stays_silent() {
    let ipv4_only = answering("gw.test", "192.0.2.1");
    let half: Behaviour = Arc::new(move |question, by_stream| {
        let asked = reply(question).questions[0].qtype;
        (asked == QTYPE::TYPE(TYPE::A)).then(|| ipv4_only(question, by_stream)).flatten()
    });
    let port = serve(FIRST, 0, half).await;
    let limit = Duration::from_secs(2); // well before PATIENCE * ROUNDS
    let found = timeout(limit, lookup(port).addresses("gw.test", &upstreams(&[FIRST]))).await;
    assert_eq!(found.expect("in time"), Ok(one("192.0.2.1")));
}

#[tokio::test]
async fn where_nobody_answers_the_error_names_who_was_asked() {
    let port = serve(FIRST, 0, Arc::new(|_: &[u8], _| None)).await;
    let error = lookup(port).addresses("gw.test", &upstreams(&[FIRST])).await.unwrap_err();
    assert_eq!(error.to_string(), "no answer from 127.0.0.1: silence");
}
