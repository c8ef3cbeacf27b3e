//! Looking up the addresses of a name beside the tunnel.

use super::{
    ResolvConf, Server, hosts,
    message::{Answer, Kind, question, read},
    socket,
};
use futures_util::future::{Either, select};
use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    os::fd::BorrowedFd,
    path::PathBuf,
    pin::pin,
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

/// UDP and TCP port of name servers.
const PORT: u16 = 53;
/// A server that is silent for so long is asked again after the others.
const PATIENCE: Duration = Duration::from_millis(1200);
/// How often each server is asked.
const ROUNDS: usize = 2;
/// How long the other family may take when one has answered.
const OTHER_FAMILY: Duration = Duration::from_millis(300);
/// Longest answer in a datagram, in bytes: nothing longer is asked for (RFC 1035 2.3.4), but some send it.
const MAX_DATAGRAM: usize = 4096;

/// Why a name has no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LookupError {
    /// The system has no servers that could be asked: it is not in a network.
    #[error("this host has no name server (is it online?)")]
    NoServer,
    /// A server says that there is no such name.
    #[error("there is no such name")]
    NoSuchName,
    /// The name has no address.
    #[error("the name has no address")]
    NoAddress,
    /// No server answered.
    #[error("no answer from {servers}: {reason}")]
    NoAnswer {
        /// The servers.
        servers: String,
        /// What the last one did.
        reason: String,
    },
}

/// The addresses of a name.
type Found = Result<Vec<IpAddr>, LookupError>;

/// Leads what a socket sends to an address beside the tunnel; the number is the mark of our own sockets.
pub type LeadOutside = fn(BorrowedFd<'_>, SocketAddr, u32) -> io::Result<()>;

/// Asks for names beside the tunnel.
#[derive(Clone, Debug)]
pub struct Lookup {
    /// The mark of our own sockets.
    pub mark: u32,
    /// What leads a socket's packets beside the tunnel.
    pub lead_outside: LeadOutside,
    /// Names that need no server.
    pub hosts: PathBuf,
    /// The port of the servers; 53.
    pub port: u16,
}

impl Lookup {
    /// Lookups from sockets that `lead_outside` prepares, as those of our own with `mark` are.
    pub fn new(mark: u32, lead_outside: LeadOutside, hosts: PathBuf) -> Self {
        Self { mark, lead_outside, hosts, port: PORT }
    }

    /// The addresses of `host`, those first that there is a route to; and of these IPv6 first, as RFC 6724 has it.
    ///
    /// # Errors
    /// [`LookupError`].
    pub async fn addresses(&self, host: &str, upstreams: &ResolvConf) -> Found {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let known = hosts::addresses_of(&fs::read_to_string(&self.hosts).unwrap_or_default(), host);
        if !known.is_empty() {
            return Ok(known);
        }
        let mut outcome = Err(LookupError::NoServer);
        for name in full_names(host, &upstreams.search) {
            outcome = self.both_families(&name, &upstreams.servers).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome.map(|found| self.by_preference(found))
    }

    async fn both_families(&self, name: &str, servers: &[Server]) -> Found {
        let ipv4 = pin!(self.ask(name, Kind::A, servers));
        let ipv6 = pin!(self.ask(name, Kind::Aaaa, servers));
        let (Either::Left((first, second)) | Either::Right((first, second))) = select(ipv4, ipv6).await;
        let (first, second) = with_other(first, second).await;
        let found: Vec<IpAddr> = [&first, &second].into_iter().flatten().flatten().copied().collect();
        match (found.is_empty(), first, second) {
            (false, _, _) => Ok(found),
            (true, Err(error), _) | (true, Ok(_), Err(error)) => Err(error),
            (true, Ok(_), Ok(_)) => Err(LookupError::NoAddress),
        }
    }

    async fn ask(&self, name: &str, kind: Kind, servers: &[Server]) -> Found {
        if servers.is_empty() {
            return Err(LookupError::NoServer);
        }
        let mut reason = String::new();
        for server in servers.iter().cycle().take(ROUNDS * servers.len()) {
            reason = match timeout(PATIENCE, self.exchange(server, name, kind)).await {
                Ok(Ok(Answer::Addresses(found))) => return Ok(found),
                Ok(Ok(Answer::NoSuchName)) => return Err(LookupError::NoSuchName),
                Ok(Ok(Answer::Refused | Answer::Truncated | Answer::Foreign)) => "it refused".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_elapsed) => "silence".to_owned(),
            };
        }
        let servers: Vec<String> = servers.iter().map(|server| server.address.to_string()).collect();
        Err(LookupError::NoAnswer { servers: servers.join(", "), reason })
    }

    async fn exchange(&self, server: &Server, name: &str, kind: Kind) -> io::Result<Answer> {
        let address = socket::address_of(server, self.port)?;
        let mut id = [0; 2];
        getrandom::fill(&mut id).map_err(io::Error::other)?;
        let id = u16::from_ne_bytes(id);
        let Some(question) = question(id, name, kind) else { return Ok(Answer::NoSuchName) };
        let socket = socket::datagrams(address, self.lead_outside, self.mark)?;
        socket.send(&question).await?;
        let mut bytes = [0; MAX_DATAGRAM];
        loop {
            let length = socket.recv(&mut bytes).await?;
            match read(&bytes[..length], id, name, kind) {
                // Somebody guesses; the true answer may still come.
                Answer::Foreign => {}
                Answer::Truncated => break,
                answer @ (Answer::Addresses(_) | Answer::NoSuchName | Answer::Refused) => return Ok(answer),
            }
        }
        let answer = self.exchange_by_stream(address, &question).await?;
        Ok(read(&answer, id, name, kind))
    }

    /// The same question over TCP (RFC 7766), where answers may be longer.
    async fn exchange_by_stream(&self, address: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = socket::stream(address, self.lead_outside, self.mark).await?;
        let length = u16::try_from(question.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
        let length = stream.read_u16().await?;
        let mut answer = vec![0; length.into()];
        stream.read_exact(&mut answer).await?;
        Ok(answer)
    }

    fn by_preference(&self, mut found: Vec<IpAddr>) -> Vec<IpAddr> {
        // Connecting a datagram socket sends nothing, but looks for a route.
        let unreachable = |address: &IpAddr| {
            socket::datagrams((*address, PORT).into(), self.lead_outside, self.mark).is_err()
        };
        found.sort_by_cached_key(|address| (unreachable(address), address.is_ipv4()));
        found
    }
}

/// One family's answer and the other's, which is not waited for long if the first has what is needed.
async fn with_other(first: Found, second: impl Future<Output = Found>) -> (Found, Found) {
    if first.as_ref().is_ok_and(|found| !found.is_empty()) {
        let second = timeout(OTHER_FAMILY, second).await;
        return (first, second.unwrap_or(Ok(Vec::new())));
    }
    (first, second.await)
}

/// The names that `host` may mean: a short one is looked for in the search domains first, as the C library does.
fn full_names(host: &str, search: &[String]) -> Vec<String> {
    if let Some(host) = host.strip_suffix('.') {
        return vec![host.to_owned()];
    }
    let in_domains = search.iter().filter(|_| !host.contains('.')).map(|domain| {
        let domain = domain.trim_end_matches('.');
        format!("{host}.{domain}")
    });
    in_domains.chain([host.to_owned()]).collect()
}

#[cfg(test)]
mod tests;
