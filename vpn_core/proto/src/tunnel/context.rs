//! What a tunnel is given: its peer's settings, and for the length of a call what its device has.

use super::{Event, InnerNetworks, MtuPolicy, SessionTable, StagingBudget, Undelivered};
use crate::{
    base::{DropCounters, Endpoint},
    handshake::{PeerKey, PresharedKey, hybrid::LocalNode, wireguard::LocalKey},
    session::{Keypair, SendCounter},
    wire::transport::{HEADER_SIZE, OVERHEAD},
};
use rand_core::CryptoRng;
use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// What is configured for a peer.
#[derive(Debug)]
pub struct PeerSettings {
    /// Who it is, and thereby which handshake it speaks.
    pub key: PeerKey,
    /// The preshared key, all zero for none.
    pub preshared_key: PresharedKey,
    /// Where it may be reached, in order of preference; empty for a peer that calls us.
    pub endpoints: Vec<SocketAddr>,
    /// How often to send something when nothing else is sent or received; zero is the same as none.
    pub persistent_keepalive: Option<Duration>,
    /// Connect at once and never give up, as a client does with its gateway.
    pub stay_connected: bool,
}

/// A datagram to send.
#[derive(Debug)]
pub struct Transmit {
    /// Where to.
    pub endpoint: Endpoint,
    /// Its bytes.
    pub datagram: Vec<u8>,
    /// Whether it may arrive in pieces. A probe must not: whether it passes whole is the question.
    pub may_be_cut: bool,
    /// Whether it is a probe or an answer, which may as well be lost as wait.
    pub is_about_path: bool,
}

/// What a tunnel needs of its device for the length of a call.
#[expect(missing_debug_implementations, reason = "holds a random generator; lives for one call")]
pub struct Context<'a> {
    /// The time.
    pub now: Instant,
    /// The time as TAI64N wants it: since the Unix epoch, never going back.
    pub unix_time: Duration,
    /// What we are to hybrid peers.
    pub hybrid: Option<&'a LocalNode>,
    /// What we are to WireGuard peers.
    pub wireguard: Option<&'a LocalKey>,
    /// MTU of the tunnel interface in bytes; padding does not go beyond it.
    pub mtu: usize,
    /// Who decides how long a packet may be.
    pub mtu_policy: MtuPolicy,
    /// Age at which the initiator of a session makes a new one.
    pub rekey_after: Duration,
    /// Randomness.
    pub rng: &'a mut dyn CryptoRng,
    /// Indices.
    pub table: &'a Arc<SessionTable>,
    /// The bound on staged packets.
    pub staging: &'a mut StagingBudget,
    /// Where no peer is reached.
    pub inner: &'a InnerNetworks,
    /// Drop counters.
    pub drops: &'a DropCounters,
    /// Datagrams to send.
    pub outbox: &'a mut VecDeque<Transmit>,
    /// Events to report.
    pub events: &'a mut VecDeque<Event>,
    /// Packets that were given up.
    pub undelivered: &'a mut Undelivered,
}

impl Context<'_> {
    pub(super) fn send(&mut self, endpoint: Endpoint, datagram: Vec<u8>) {
        self.outbox.push_back(Transmit { endpoint, datagram, may_be_cut: true, is_about_path: false });
    }

    pub(super) fn send_path_message(&mut self, endpoint: Endpoint, datagram: Vec<u8>, may_be_cut: bool) {
        self.outbox.push_back(Transmit { endpoint, datagram, may_be_cut, is_about_path: true });
    }

    /// [`Context::mtu`] as the number of bytes that an IP packet can have.
    pub(super) fn interface_mtu(&self) -> u16 {
        u16::try_from(self.mtu).unwrap_or(u16::MAX)
    }

    /// Sends an empty packet that no timer knows of.
    pub(super) fn send_empty(&mut self, keypair: &Keypair, to: Endpoint) {
        let Some(counter) = keypair.reserve(1, self.now).ok().and_then(|mut counters| counters.next()) else {
            return;
        };
        let mut frame = vec![0; OVERHEAD];
        keypair.seal(counter, &mut frame);
        self.send(to, frame);
    }

    /// Seals `packet` for `keypair`: the frame, padded where the protocol asks for it.
    /// Nothing is padded beyond `longest`, the length of the longest packet that the peer is sent.
    pub(super) fn frame(
        &self,
        keypair: &Keypair,
        counter: SendCounter,
        packet: &[u8],
        longest: usize,
    ) -> Vec<u8> {
        let mut frame = vec![0; keypair.payload_len(packet.len(), self.mtu.min(longest)) + OVERHEAD];
        frame[HEADER_SIZE..HEADER_SIZE + packet.len()].copy_from_slice(packet);
        keypair.seal(counter, &mut frame);
        frame
    }
}
