//! The control side of a device: handshake messages, peers, timers.

use super::{
    DataPlane, EarlyPacket, Forwarding, PeerStatus, Routes,
    admission::{Admission, Verdict},
    half_open::HalfOpenTable,
};
use crate::{
    asymmetric::{Identity, PublicKey},
    base::{DropCounters, DropReason, Endpoint, Epoch, PeerId},
    handshake::{
        HandshakeError, PresharedKey,
        hybrid::{CookieJar, InitGate, NetworkKey, ResponderSettings, init_hash, respond},
    },
    routing::AllowedIps,
    symmetric::{Hash, hash},
    tunnel::{
        Context, Event, IndexUse, PeerPlane, PeerSettings, SessionTable, StagingBudget, Transmit, Tunnel,
    },
    wire::{
        hybrid::{CookieReply, Finish, Init, Message, ParametersBytes, Response, SuiteSet},
        transport::TransportHeader,
    },
};
use ipnet::IpNet;
use rand_core::CryptoRng;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Instant,
};
use zerocopy::IntoBytes as _;

/// Early packets that wait to be polled; bounds memory when nobody does.
const MAX_READY: usize = 4096;

/// What a device is.
#[derive(Debug)]
pub struct DeviceSettings {
    /// Our identity.
    pub identity: Identity,
    /// Network keys in force; the first is the one that we initiate with. Empty for none.
    pub network_keys: Vec<NetworkKey>,
    /// The suites that this node can use.
    pub suites: SuiteSet,
    /// What this node says of itself.
    pub parameters: ParametersBytes,
    /// The addresses of this node's own tunnel interface.
    pub local: HashSet<IpAddr>,
    /// What to do with packets between peers.
    pub forwarding: Forwarding,
}

/// Many peers behind one UDP port and one tunnel interface: the control side.
#[expect(missing_debug_implementations, reason = "holds a random generator and every secret of the node")]
pub struct Device {
    identity: Identity,
    network_key: NetworkKey,
    gate: InitGate,
    suites: SuiteSet,
    parameters: ParametersBytes,
    local: HashSet<IpAddr>,
    forwarding: Forwarding,
    rng: Box<dyn CryptoRng + Send>,
    epoch: Epoch,
    table: Arc<SessionTable>,
    drops: Arc<DropCounters>,
    plane: Arc<DataPlane>,
    admission: Admission,
    cookies: CookieJar,
    half_open: HalfOpenTable,
    peers: BTreeMap<PeerId, Peer>,
    by_key: HashMap<PublicKey, PeerId>,
    next_peer: u32,
    schedule: BTreeSet<(Instant, PeerId)>,
    staging: StagingBudget,
    outbox: VecDeque<Transmit>,
    events: VecDeque<Event>,
    ready: VecDeque<EarlyPacket>,
}

struct Peer {
    tunnel: Tunnel,
    allowed_ips: Vec<IpNet>,
    scheduled: Option<Instant>,
}

/// The borrow of a device that a tunnel works with, beside the borrow of the tunnel itself.
macro_rules! context {
    ($device:ident, $now:expr) => {
        Context {
            now: $now,
            identity: &$device.identity,
            network_key: &$device.network_key,
            suites: $device.suites,
            parameters: $device.parameters,
            rng: &mut *$device.rng,
            table: &$device.table,
            staging: &mut $device.staging,
            drops: &$device.drops,
            outbox: &mut $device.outbox,
            events: &mut $device.events,
        }
    };
}

impl Device {
    /// A device without peers.
    pub fn new(settings: DeviceSettings, mut rng: Box<dyn CryptoRng + Send>, now: Instant) -> Self {
        let public_key = settings.identity.public_key();
        let network_key = settings.network_keys.first().map_or(NetworkKey::ZERO, NetworkKey::duplicate);
        let table = Arc::new(SessionTable::default());
        let drops = Arc::new(DropCounters::default());
        let routes = Routes {
            allowed_ips: AllowedIps::builder().build(),
            local: settings.local.clone(),
            forwarding: settings.forwarding,
        };
        Self {
            gate: InitGate::new(public_key, settings.network_keys),
            cookies: CookieJar::new(&mut *rng, now),
            admission: Admission::new(now),
            plane: Arc::new(DataPlane::new(Arc::clone(&table), routes, Arc::clone(&drops))),
            identity: settings.identity,
            network_key,
            suites: settings.suites,
            parameters: settings.parameters,
            local: settings.local,
            forwarding: settings.forwarding,
            rng,
            epoch: Epoch::starting_at(now),
            table,
            drops,
            half_open: HalfOpenTable::default(),
            peers: BTreeMap::new(),
            by_key: HashMap::new(),
            next_peer: 0,
            schedule: BTreeSet::new(),
            staging: StagingBudget::default(),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
            ready: VecDeque::new(),
        }
    }

    /// The packet path.
    pub fn plane(&self) -> Arc<DataPlane> {
        Arc::clone(&self.plane)
    }

    /// Our identity.
    pub fn public_key(&self) -> PublicKey {
        self.identity.public_key()
    }

    // ---- peers ----

    /// Adds a peer, or changes the one with this public key: sessions go on. `None` for our own public key and for
    /// keys that strict verification would refuse. [`Device::update_routes`] is to follow.
    pub fn set_peer(
        &mut self,
        settings: PeerSettings,
        allowed_ips: Vec<IpNet>,
        now: Instant,
    ) -> Option<PeerId> {
        let public_key = settings.public_key;
        if public_key == self.public_key() || !public_key.is_acceptable() {
            return None;
        }
        let mut cx = context!(self, now);
        let id = if let Some(id) = self.by_key.get(&public_key) {
            let peer = self.peers.get_mut(id)?;
            peer.allowed_ips = allowed_ips;
            peer.tunnel.set_settings(settings, &mut cx);
            *id
        } else {
            let id = PeerId(self.next_peer);
            self.next_peer += 1;
            let mut tunnel = Tunnel::new(settings, Arc::new(PeerPlane::new(id, self.epoch)));
            tunnel.start(&mut cx);
            self.by_key.insert(public_key, id);
            self.peers.insert(id, Peer { tunnel, allowed_ips, scheduled: None });
            id
        };
        self.reschedule(id);
        Some(id)
    }

    /// Removes a peer and its sessions. [`Device::update_routes`] is to follow.
    pub fn remove_peer(&mut self, public_key: &PublicKey) -> bool {
        let Some(mut peer) = self.by_key.remove(public_key).and_then(|id| {
            let peer = self.peers.remove(&id)?;
            if let Some(at) = peer.scheduled {
                self.schedule.remove(&(at, id));
            }
            Some(peer)
        }) else {
            return false;
        };
        peer.tunnel.stop(&mut self.staging);
        true
    }

    /// The public keys of all peers.
    pub fn peer_keys(&self) -> impl Iterator<Item = PublicKey> + '_ {
        self.by_key.keys().copied()
    }

    /// Publishes the allowed IPs of all peers to the packet path. Of a prefix that two peers name, the later has it.
    pub fn update_routes(&mut self) {
        let mut builder = AllowedIps::builder();
        for peer in self.peers.values() {
            for prefix in &peer.allowed_ips {
                // Beyond the routing table's own bound there is nothing better than to leave the rest out.
                let _full = builder.replace(*prefix, Arc::clone(peer.tunnel.plane()));
            }
        }
        self.plane.set_routes(Routes {
            allowed_ips: builder.build(),
            local: self.local.clone(),
            forwarding: self.forwarding,
        });
    }

    /// Takes new addresses for a peer, as its name resolved again.
    pub fn set_endpoints(&mut self, public_key: &PublicKey, endpoints: Vec<SocketAddr>, now: Instant) {
        if let Some(id) = self.by_key.get(public_key).copied() {
            self.with_tunnel(id, now, |tunnel, cx| tunnel.set_endpoints(endpoints, cx));
        }
    }

    /// This host's own addresses or routes changed: every live path is probed at once.
    pub fn handle_network_change(&mut self, now: Instant) {
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            self.with_tunnel(id, now, Tunnel::handle_network_change);
        }
    }

    /// All peers.
    pub fn peer_status(&self, now: Instant) -> Vec<PeerStatus> {
        self.peers.values().map(|peer| PeerStatus::of(&peer.tunnel, &peer.allowed_ips, now)).collect()
    }

    /// One peer.
    pub fn status_of(&self, id: PeerId, now: Instant) -> Option<PeerStatus> {
        self.peers.get(&id).map(|peer| PeerStatus::of(&peer.tunnel, &peer.allowed_ips, now))
    }

    // ---- messages ----

    /// A datagram that the packet path cannot deal with: a handshake message, or a transport message for a handshake
    /// that is not finished yet. [`Device::poll_early`] is to follow.
    pub fn handle_control(&mut self, datagram: &[u8], from: Endpoint, now: Instant) {
        let outcome = match Message::parse(datagram) {
            Some(Message::Init(init)) => self.handle_init(init, from, now),
            Some(Message::Response(response)) => self.handle_response(response, from, now),
            Some(Message::Finish(finish)) => self.handle_finish(finish, from, now),
            Some(Message::CookieReply(reply)) => self.handle_cookie_reply(reply, now),
            None => self.handle_early(datagram, from),
        };
        if let Err(reason) = outcome {
            self.drops.count(reason);
        }
    }

    /// A packet to a peer that the packet path could not send for want of a keypair.
    pub fn handle_outbound(&mut self, peer: PeerId, packet: &[u8], now: Instant) {
        self.with_tunnel(peer, now, |tunnel, cx| tunnel.handle_outbound(packet, cx));
    }

    /// The packet path asked for a look at a peer.
    pub fn handle_attention(&mut self, peer: PeerId, now: Instant) {
        self.with_tunnel(peer, now, Tunnel::handle_attention);
    }

    /// Data may follow the finish at once, and then arrives while the finish is being verified, or before it
    /// (protocol.md 7.1.4).
    fn handle_early(&mut self, datagram: &[u8], from: Endpoint) -> Result<(), DropReason> {
        let index = TransportHeader::parse(datagram).ok_or(DropReason::Malformed)?.receiver;
        match self.table.get(index) {
            Some(IndexUse::HalfOpen) if self.half_open.hold(index, datagram, from) => Ok(()),
            Some(IndexUse::Session(..)) if self.ready.len() < MAX_READY => {
                self.ready.push_back((datagram.to_vec(), from));
                Ok(())
            }
            Some(IndexUse::HalfOpen | IndexUse::Session(..)) => Err(DropReason::Full),
            Some(IndexUse::Initiation(_)) | None => Err(DropReason::UnknownIndex),
        }
    }

    fn handle_init(&mut self, init: &Init, from: Endpoint, now: Instant) -> Result<(), DropReason> {
        self.half_open.expire(now);
        self.cookies.rotate(&mut *self.rng, now);
        let cookies = || self.cookies.cookies_of(from.remote);
        let verified = self.gate.check(init, cookies)?;
        let init_hash = init_hash(init);
        if let Some(response) = self.half_open.repeat_response(&init_hash)? {
            let datagram = response.as_bytes().to_vec();
            self.outbox.push_back(Transmit { endpoint: from, datagram });
            return Ok(());
        }
        match self.admission.admit(from.remote, verified.has_cookie(), self.half_open.len(), now) {
            Verdict::Answer => {}
            Verdict::DemandCookie => {
                let reply = self.cookies.reply(&verified, from.remote, &mut *self.rng);
                self.outbox.push_back(Transmit { endpoint: from, datagram: reply.as_bytes().to_vec() });
                return Err(DropReason::CookieDemanded);
            }
            Verdict::RateLimited => return Err(DropReason::RateLimited),
        }
        if self.half_open.is_full() {
            return Err(DropReason::Full);
        }
        let settings =
            ResponderSettings { identity: &self.identity, suites: self.suites, parameters: self.parameters };
        let lease = self.table.lease(IndexUse::HalfOpen, &mut *self.rng);
        let (response, state) = respond(&verified, &settings, lease.index(), &mut *self.rng)?;
        self.outbox.push_back(Transmit { endpoint: from, datagram: response.as_bytes().to_vec() });
        self.half_open.insert(state, lease, response, init_hash, now);
        Ok(())
    }

    fn handle_response(
        &mut self,
        response: &Response,
        from: Endpoint,
        now: Instant,
    ) -> Result<(), DropReason> {
        let Some(IndexUse::Initiation(id)) = self.table.get(response.receiver) else {
            return Err(DropReason::UnknownIndex);
        };
        self.with_tunnel(id, now, |tunnel, cx| tunnel.handle_response(response, from, cx))
            .unwrap_or(Err(HandshakeError::UnknownIndex))
            .map_err(DropReason::from)
    }

    fn handle_cookie_reply(&mut self, reply: &CookieReply, now: Instant) -> Result<(), DropReason> {
        let Some(IndexUse::Initiation(id)) = self.table.get(reply.receiver) else {
            return Err(DropReason::UnknownIndex);
        };
        self.with_tunnel(id, now, |tunnel, cx| tunnel.handle_cookie_reply(reply, cx))
            .unwrap_or(Err(HandshakeError::UnknownIndex))
            .map_err(DropReason::from)
    }

    fn handle_finish(&mut self, finish: &Finish, from: Endpoint, now: Instant) -> Result<(), DropReason> {
        let finish_hash = hash(finish.as_bytes());
        match self.table.get(finish.receiver) {
            Some(IndexUse::HalfOpen) => self.complete_half_open(finish, finish_hash, from, now),
            Some(IndexUse::Session(_, plane)) => self
                .with_tunnel(plane.id(), now, |tunnel, cx| {
                    tunnel.handle_repeated_finish(finish.receiver, &finish_hash, from, cx)
                })
                .unwrap_or(Err(HandshakeError::UnknownIndex))
                .map_err(DropReason::from),
            Some(IndexUse::Initiation(_)) | None => Err(DropReason::UnknownIndex),
        }
    }

    fn complete_half_open(
        &mut self,
        finish: &Finish,
        finish_hash: Hash,
        from: Endpoint,
        now: Instant,
    ) -> Result<(), DropReason> {
        self.half_open.expire(now);
        let entry = self.half_open.get_mut(finish.receiver).ok_or(DropReason::UnknownIndex)?;
        let claimed = entry.state.read_identity(finish)?;
        // Constant work: an identity that is no peer is verified like any other, with a stand-in for the preshared key,
        // and then refused whatever came of it (protocol.md 6.5).
        let id = self.by_key.get(&claimed.identity()).copied();
        let preshared_key = id
            .and_then(|id| self.peers.get(&id))
            .map_or(PresharedKey::ZERO, |peer| peer.tunnel.settings().preshared_key.duplicate());
        let authenticated = claimed.authenticate(&entry.state, finish, &preshared_key);
        let outcome = match (authenticated, id) {
            (Ok(agreement), Some(id)) => Ok((agreement, id)),
            (_, None) => Err(DropReason::UnknownPeer),
            (Err(error), Some(_)) => Err(error.into()),
        };
        match outcome {
            Ok((agreement, id)) => {
                let entry = self.half_open.remove(finish.receiver).ok_or(DropReason::UnknownIndex)?;
                let room = MAX_READY.saturating_sub(self.ready.len());
                self.ready.extend(entry.early.into_iter().take(room));
                self.with_tunnel(id, now, |tunnel, cx| {
                    tunnel.handle_agreement(&agreement, entry.lease, entry.begun, finish_hash, from, cx);
                });
                Ok(())
            }
            Err(reason) => {
                if !entry.state.count_failure() {
                    self.half_open.remove(finish.receiver);
                }
                Err(reason)
            }
        }
    }

    // ---- timers and output ----

    /// When [`Device::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let peers = self.schedule.first().map(|(at, _)| *at);
        [peers, self.half_open.expires_at()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.half_open.expire(now);
        let due: Vec<PeerId> =
            self.schedule.iter().take_while(|(at, _)| *at <= now).map(|(_, peer)| *peer).collect();
        for peer in due {
            self.with_tunnel(peer, now, Tunnel::handle_timeout);
        }
    }

    /// The next transport message whose keypair was still being agreed on when it arrived: to be given to
    /// [`DataPlane::open`] as if it had just been received.
    pub fn poll_early(&mut self) -> Option<EarlyPacket> {
        self.ready.pop_front()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.outbox.pop_front()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    fn with_tunnel<T>(
        &mut self,
        id: PeerId,
        now: Instant,
        step: impl FnOnce(&mut Tunnel, &mut Context<'_>) -> T,
    ) -> Option<T> {
        let mut cx = context!(self, now);
        let result = step(&mut self.peers.get_mut(&id)?.tunnel, &mut cx);
        self.reschedule(id);
        Some(result)
    }

    fn reschedule(&mut self, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let at = peer.tunnel.poll_timeout();
        if at != peer.scheduled {
            if let Some(old) = peer.scheduled {
                self.schedule.remove(&(old, id));
            }
            if let Some(at) = at {
                self.schedule.insert((at, id));
            }
            peer.scheduled = at;
        }
        peer.tunnel.note_next_look(at);
    }
}
