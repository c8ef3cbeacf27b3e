//! Attackers who really receive at their addresses: they return every cookie, and finish no handshake.

use crate::gateway;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};
use vpn_core::{
    base::{Endpoint, ReceiverIndex, SecretBytes},
    handshake::hybrid::{Initiation, InitiatorSettings},
    symmetric::{DeriveKey, hash, keyed_hash, xopen},
    udp::{Interrupt, RecvBatch, UdpConfig, UdpSocket},
    wire::hybrid::{CookieReply, FLAG_COOKIE, Init, MAC_SIZE, Message, SuiteSet},
};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// As many as a /16 has.
pub(crate) const MAX_SOURCES: u32 = 1 << 16;
/// The first attacker's address on the loopback interface.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 128, 0, 0);
/// Pause between two bursts.
const TICK: Duration = Duration::from_millis(5);

/// What they did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Inits sent.
    pub(crate) sent: u64,
    /// Those with a cookie.
    pub(crate) with_cookie: u64,
    /// Responses received.
    pub(crate) answered: u64,
}

pub(crate) struct Flood {
    udp: UdpSocket,
    interrupt: Interrupt,
    gateway: SocketAddr,
    inits_per_second: f64,
    /// An init with valid keys. Each that is sent differs in its index, and so in its mac.
    init: Box<Init>,
    plain_key: SecretBytes<32>,
    reply_key: SecretBytes<32>,
    /// The mac key of those sources that have a cookie.
    keys: Vec<Option<SecretBytes<32>>>,
    counts: Counts,
}

impl Flood {
    pub(crate) fn new(sources: u32, inits_per_second: f64, gateway: SocketAddr) -> Self {
        let responder = gateway::public_key();
        let settings = InitiatorSettings {
            responder,
            network_key: &SecretBytes::ZERO,
            suites: SuiteSet::CHACHA20_POLY1305,
        };
        let mut rng = rand_core::UnwrapErr(getrandom::SysRng);
        let (state, _) = Initiation::start(&settings, ReceiverIndex::new(0), &mut rng);
        let init = Init::read_from_bytes(state.init().as_bytes()).expect("as long as itself");
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        Self {
            udp: UdpSocket::bind(&UdpConfig::new(any)).expect("a port is free"),
            interrupt: Interrupt::new().expect("descriptors are left"),
            gateway,
            inits_per_second,
            init: Box::new(init),
            plain_key: mac_key(None),
            reply_key: DeriveKey::new("VPN hybrid v1 cookie reply")
                .with(&responder.0)
                .with(&[0; 32])
                .finish(),
            keys: (0..sources).map(|_| None).collect(),
            counts: Counts::default(),
        }
    }

    /// Floods until `is_over`.
    pub(crate) fn run(&mut self, is_over: &AtomicBool) -> Counts {
        let mut batch = RecvBatch::new(256 << 10);
        let began = Instant::now();
        let mut last = began;
        let mut credit = 0.0;
        while !is_over.load(Ordering::Relaxed) {
            self.receive(&mut batch);
            let now = Instant::now();
            credit += (now - last).as_secs_f64() * self.inits_per_second;
            // What was missed while others had the processor is made up for, but not all of it at once.
            credit = f64::min(credit, self.inits_per_second / 10.0);
            last = now;
            while credit >= 1.0 {
                credit -= 1.0;
                self.send();
            }
            self.interrupt.wait_readable(&self.udp, Some(TICK)).expect("poll works");
        }
        self.counts
    }

    /// Sends the next source's init, with a cookie if it has one.
    fn send(&mut self) {
        let source = (self.counts.sent % self.keys.len() as u64) as usize;
        let key = self.keys[source].as_ref();
        // So that a reply finds its source's init again, those without a cookie are always the same.
        let index = if key.is_some() { self.counts.sent as u32 } else { source as u32 };
        let init = signed(&mut self.init, index, key, &self.plain_key);
        self.counts.sent += 1;
        self.counts.with_cookie += u64::from(key.is_some());
        let local = Ipv4Addr::from(u32::from(FIRST) + source as u32);
        let to = Endpoint { remote: self.gateway, local: Some(local.into()) };
        // What finds no room is lost: there is more of it.
        let _sent = self.udp.send_to(to, init.as_bytes());
    }

    fn receive(&mut self, batch: &mut RecvBatch) {
        self.udp.recv(batch).expect("the socket works");
        let (received, arena) = batch.parts_mut();
        for run in received {
            let Some(IpAddr::V4(local)) = run.from.local else { continue };
            let source = u32::from(local).wrapping_sub(u32::from(FIRST)) as usize;
            for datagram in run.datagrams() {
                match Message::parse(&arena[datagram]) {
                    Some(Message::CookieReply(reply)) if source < self.keys.len() => {
                        let init = signed(&mut self.init, source as u32, None, &self.plain_key);
                        self.keys[source] =
                            cookie(&self.reply_key, reply, init).map(|cookie| mac_key(Some(cookie)));
                    }
                    Some(Message::Response(_)) => self.counts.answered += 1,
                    Some(Message::CookieReply(_) | Message::Init(_) | Message::Finish(_)) | None => {}
                }
            }
        }
    }
}

/// The init under another index, its mac made anew (protocol.md 4.2.3).
fn signed<'a>(
    init: &'a mut Init,
    index: u32,
    key: Option<&SecretBytes<32>>,
    plain_key: &SecretBytes<32>,
) -> &'a Init {
    init.header.flags = if key.is_some() { FLAG_COOKIE } else { 0 };
    init.sender = ReceiverIndex::new(index);
    let text = &init.as_bytes()[..size_of::<Init>() - MAC_SIZE];
    init.mac =
        *keyed_hash(key.unwrap_or(plain_key), text).first_chunk().expect("a hash is longer than a mac");
    init
}

fn mac_key(cookie: Option<[u8; 16]>) -> SecretBytes<32> {
    let key = DeriveKey::new("VPN hybrid v1 init mac").with(&gateway::public_key().0).with(&[0; 32]);
    match cookie {
        Some(cookie) => key.with(&cookie).finish(),
        None => key.finish(),
    }
}

/// The cookie in a reply to `init` (protocol.md 5.2).
fn cookie(key: &SecretBytes<32>, reply: &CookieReply, init: &Init) -> Option<[u8; 16]> {
    let mut cookie = reply.cookie;
    xopen(key, &reply.nonce, &hash(init.as_bytes()), &mut cookie, &reply.tag).ok()?;
    Some(cookie)
}
