//! The control side of a device: peers, timers, and which part deals with a message.

use super::{
    DataPlane, EarlyPacket, Forwarding, PeerStatus, Routes, admission::Admission, gate::Gate,
    half_open::HalfOpenTable,
};
use crate::{
    asymmetric::X25519SecretKey,
    base::{DropCounters, DropReason, Endpoint, Epoch, PeerId},
    handshake::{
        PeerKey,
        hybrid::{CookieJar, InitGate, LocalNode, NetworkKey},
        wireguard::LocalKey,
    },
    routing::AllowedIps,
    session::REKEY_AFTER_TIME,
    tunnel::{
        Context, Event, IndexUse, InnerNetworks, MtuPolicy, PeerPlane, PeerSettings, SessionTable,
        StagedPacket, StagingBudget, Transmit, Tunnel, Undelivered,
    },
    wire::{HandshakeMessage, hybrid, icmp::IcmpError, transport::TransportHeader, wireguard},
};
use ipnet::IpNet;
use rand_core::CryptoRng;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

/// Early packets that wait to be polled; bounds memory when nobody does.
pub(super) const MAX_READY: usize = 4096;

/// What a device is.
#[derive(Debug)]
pub struct DeviceSettings {
    /// What it is to hybrid peers; `None` serves none.
    pub hybrid: Option<LocalNode>,
    /// Its static key for WireGuard peers; `None` serves none. Nothing is shared with the identity.
    pub wireguard: Option<X25519SecretKey>,
    /// The time since the Unix epoch, for the timestamps of WireGuard initiations.
    pub unix_time: Duration,
    /// MTU of the tunnel interface, in bytes.
    pub mtu: u16,
    /// Who decides how long packets to a peer may be.
    pub mtu_policy: MtuPolicy,
    /// Age at which the initiator of a session makes a new one; [`REKEY_AFTER_TIME`] but in tests.
    pub rekey_after: Duration,
    /// The addresses of this node's own tunnel interface.
    pub local: HashSet<IpAddr>,
    /// The networks of these addresses; [`Routes::networks`].
    pub networks: Vec<IpNet>,
    /// What to do with packets between peers.
    pub forwarding: Forwarding,
}

/// Many peers behind one UDP port and one tunnel interface: the control side.
#[expect(missing_debug_implementations, reason = "holds a random generator and every secret of the node")]
pub struct Device {
    pub(super) hybrid: Option<LocalNode>,
    pub(super) init_gate: Option<Arc<InitGate>>,
    pub(super) wireguard: Option<Arc<LocalKey>>,
    /// The time since the Unix epoch at an instant. Never goes back, whatever the wall clock does.
    clock: (Instant, Duration),
    rekey_after: Duration,
    pub(super) mtu_policy: MtuPolicy,
    local: HashSet<IpAddr>,
    networks: Vec<IpNet>,
    forwarding: Forwarding,
    pub(super) rng: Box<dyn CryptoRng + Send>,
    epoch: Epoch,
    pub(super) table: Arc<SessionTable>,
    pub(super) drops: Arc<DropCounters>,
    plane: Arc<DataPlane>,
    /// Where no peer is reached.
    inner: Arc<InnerNetworks>,
    /// Whether the owner has said what that is; otherwise it is assumed from the allowed IPs.
    is_inner_given: bool,
    pub(super) admission: Admission,
    pub(super) cookies: CookieJar,
    pub(super) half_open: HalfOpenTable,
    pub(super) peers: BTreeMap<PeerId, Peer>,
    pub(super) by_key: HashMap<PeerKey, PeerId>,
    next_peer: u32,
    schedule: BTreeSet<(Instant, PeerId)>,
    staging: StagingBudget,
    pub(super) outbox: VecDeque<Transmit>,
    events: VecDeque<Event>,
    pub(super) ready: VecDeque<EarlyPacket>,
    undelivered: Undelivered,
}

pub(super) struct Peer {
    pub(super) tunnel: Tunnel,
    allowed_ips: Vec<IpNet>,
    scheduled: Option<Instant>,
}

/// The borrow of a device that a tunnel works with, beside the borrow of the tunnel itself.
macro_rules! context {
    ($device:ident, $now:expr) => {
        Context {
            now: $now,
            unix_time: $device.clock.1 + $now.saturating_duration_since($device.clock.0),
            hybrid: $device.hybrid.as_ref(),
            wireguard: $device.wireguard.as_deref(),
            mtu: $device.plane.mtu(),
            mtu_policy: $device.mtu_policy,
            rekey_after: $device.rekey_after,
            rng: &mut *$device.rng,
            table: &$device.table,
            staging: &mut $device.staging,
            inner: &$device.inner,
            drops: &$device.drops,
            outbox: &mut $device.outbox,
            events: &mut $device.events,
            undelivered: &mut $device.undelivered,
        }
    };
}

impl Device {
    /// A device without peers.
    pub fn new(settings: DeviceSettings, mut rng: Box<dyn CryptoRng + Send>, now: Instant) -> Self {
        let init_gate = settings.hybrid.as_ref().map(|node| {
            let network_keys = node.network_keys.iter().map(NetworkKey::duplicate).collect();
            Arc::new(InitGate::new(node.identity.public_key(), network_keys))
        });
        let wireguard = settings.wireguard.map(|key| Arc::new(LocalKey::new(key)));
        let cookies = CookieJar::new(&mut *rng, now);
        let gate =
            Gate { hybrid: init_gate.clone(), wireguard: wireguard.clone(), cookies: cookies.duplicate() };
        let table = Arc::new(SessionTable::default());
        let drops = Arc::new(DropCounters::default());
        let routes = Routes {
            allowed_ips: AllowedIps::builder().build(),
            local: settings.local.clone(),
            networks: settings.networks.clone(),
            forwarding: settings.forwarding,
        };
        Self {
            init_gate,
            cookies,
            admission: Admission::new(now),
            plane: Arc::new(DataPlane::new(
                Arc::clone(&table),
                routes,
                gate,
                Arc::clone(&drops),
                settings.mtu,
                settings.hybrid.as_ref().map_or(hybrid::Features::NONE, |node| node.parameters.features),
            )),
            inner: Arc::default(),
            is_inner_given: false,
            hybrid: settings.hybrid,
            wireguard,
            clock: (now, settings.unix_time),
            rekey_after: settings.rekey_after.min(REKEY_AFTER_TIME),
            mtu_policy: settings.mtu_policy,
            local: settings.local,
            networks: settings.networks,
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
            undelivered: Undelivered::default(),
        }
    }

    /// The packet path.
    pub fn plane(&self) -> Arc<DataPlane> {
        Arc::clone(&self.plane)
    }

    /// Takes another WireGuard key, or none: sessions made with the old one end.
    pub fn set_wireguard_key(&mut self, key: Option<X25519SecretKey>, now: Instant) {
        self.wireguard = key.map(|key| Arc::new(LocalKey::new(key)));
        self.update_gate();
        self.for_all(now, Tunnel::handle_wireguard_key);
    }

    /// Shows the packet path our keys and cookie secrets as they are now.
    fn update_gate(&self) {
        self.plane.set_gate(Gate {
            hybrid: self.init_gate.clone(),
            wireguard: self.wireguard.clone(),
            cookies: self.cookies.duplicate(),
        });
    }

    /// Rotates the cookie secret when it is old.
    pub(super) fn rotate_cookies(&mut self, now: Instant) {
        if self.cookies.rotate(&mut *self.rng, now) {
            self.update_gate();
        }
    }

    /// The wall clock stands at `unix_time`, a time since the Unix epoch. One that was set forward is followed, as after
    /// a start before the time was known: peers refuse initiations from before those that they have seen. One that was
    /// set back is not.
    pub fn note_unix_time(&mut self, unix_time: Duration, now: Instant) {
        if unix_time > self.clock.1 + now.saturating_duration_since(self.clock.0) {
            self.clock = (now, unix_time);
        }
    }

    /// Control is behind by so many inits, of strangers and of those who returned a cookie: a sign of load (protocol.md 5.3).
    pub fn note_backlog(&mut self, strangers: usize, reachable: usize, now: Instant) {
        self.admission.note_backlog(strangers, reachable, now);
    }

    /// Whether `key` is our own.
    fn is_own(&self, key: &PeerKey) -> bool {
        match key {
            PeerKey::Hybrid(key) => {
                self.hybrid.as_ref().is_some_and(|node| node.identity.public_key() == *key)
            }
            PeerKey::Wireguard(key) => {
                self.wireguard.as_ref().is_some_and(|local| local.public_key() == *key)
            }
        }
    }

    // ---- peers ----

    /// Adds a peer, or changes the one with this key: sessions go on. `None` for our own key, and for an identity that
    /// strict verification would refuse. A peer whose handshake this device has no key for stays idle.
    /// [`Device::update_routes`] is to follow.
    pub fn set_peer(
        &mut self,
        settings: PeerSettings,
        allowed_ips: Vec<IpNet>,
        now: Instant,
    ) -> Option<PeerId> {
        let key = settings.key;
        let refused = matches!(key, PeerKey::Hybrid(identity) if !identity.is_acceptable());
        if refused || self.is_own(&key) {
            return None;
        }
        let mut cx = context!(self, now);
        let id = if let Some(id) = self.by_key.get(&key) {
            let peer = self.peers.get_mut(id)?;
            peer.allowed_ips = allowed_ips;
            peer.tunnel.set_settings(settings, &mut cx);
            *id
        } else {
            let id = PeerId(self.next_peer);
            self.next_peer += 1;
            let mut tunnel = Tunnel::new(settings, Arc::new(PeerPlane::new(id, self.epoch)));
            tunnel.start(&mut cx);
            self.by_key.insert(key, id);
            self.peers.insert(id, Peer { tunnel, allowed_ips, scheduled: None });
            id
        };
        self.reschedule(id);
        Some(id)
    }

    /// Removes a peer and its sessions. [`Device::update_routes`] is to follow.
    pub fn remove_peer(&mut self, key: &PeerKey) -> bool {
        let Some(mut peer) = self.by_key.remove(key).and_then(|id| {
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

    /// The keys of all peers.
    pub fn peer_keys(&self) -> impl Iterator<Item = PeerKey> + '_ {
        self.by_key.keys().copied()
    }

    /// Publishes the allowed IPs of all peers to the packet path. Of a prefix that two peers name, the later has it.
    /// A peer whose endpoint lies inside the tunnel by that is sent to at its next configured one.
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
            networks: self.networks.clone(),
            forwarding: self.forwarding,
        });
        if !self.is_inner_given {
            let allowed_ips = self.peers.values().flat_map(|peer| peer.allowed_ips.iter().copied());
            let own = self.local.iter().copied().map(IpNet::from);
            self.replace_inner(InnerNetworks::assumed(own, allowed_ips));
        }
    }

    /// Says what lies inside the tunnel, for an owner who knows the routes: every network to which our own datagrams would travel
    /// inside. Until then the allowed IPs are taken for it, but for default routes (protocol.md 9.3).
    pub fn set_inner_networks(&mut self, networks: InnerNetworks, now: Instant) {
        self.is_inner_given = true;
        if self.replace_inner(networks) {
            self.for_all(now, Tunnel::start); // One whose endpoints all were inside may have one now.
        }
    }

    /// Returns whether anything is different.
    fn replace_inner(&mut self, inner: InnerNetworks) -> bool {
        if *self.inner == inner {
            return false;
        }
        self.inner = Arc::new(inner);
        self.plane.set_inner(Arc::clone(&self.inner));
        for peer in self.peers.values_mut() {
            peer.tunnel.leave_inner_endpoint(&self.inner, &mut self.events);
        }
        true
    }

    /// Takes new addresses for a peer, as its name resolved again.
    pub fn set_endpoints(&mut self, key: &PeerKey, endpoints: Vec<SocketAddr>, now: Instant) {
        if let Some(id) = self.by_key.get(key).copied() {
            self.with_tunnel(id, now, |tunnel, cx| tunnel.set_endpoints(endpoints, cx));
        }
    }

    /// Sends to `endpoint` from now on, wherever the peer has roamed to.
    pub fn move_endpoint(&mut self, key: &PeerKey, endpoint: SocketAddr, now: Instant) {
        if let Some(id) = self.by_key.get(key).copied() {
            self.with_tunnel(id, now, |tunnel, cx| tunnel.move_endpoint(endpoint, cx));
        }
    }

    /// This host's own addresses or routes changed: paths to peers that we connect to are probed at once, other peers are
    /// shown our new address.
    pub fn handle_network_change(&mut self, now: Instant) {
        self.for_all(now, Tunnel::handle_network_change);
    }

    /// All peers.
    pub fn peer_status(&self, now: Instant) -> Vec<PeerStatus> {
        self.peers.values().map(|peer| PeerStatus::of(&peer.tunnel, &peer.allowed_ips, now)).collect()
    }

    /// One peer.
    pub fn status_of(&self, id: PeerId, now: Instant) -> Option<PeerStatus> {
        self.peers.get(&id).map(|peer| PeerStatus::of(&peer.tunnel, &peer.allowed_ips, now))
    }

    /// This host was suspended for `slept`, which `now` does not count: keys are older by that, whatever was under way is
    /// over, and paths are probed as after a network change.
    pub fn handle_sleep(&mut self, slept: Duration, now: Instant) {
        self.half_open = HalfOpenTable::default();
        self.cookies = CookieJar::new(&mut *self.rng, now);
        self.update_gate();
        self.for_all(now, |tunnel, cx| tunnel.handle_sleep(slept, cx));
    }

    /// The socket is another one, because silent peers may not hear the old one: asks them again.
    pub fn handle_rebind(&mut self, now: Instant) {
        self.for_all(now, Tunnel::handle_rebind);
    }

    /// The system could not send `transmit`, for want of a route or a source address. What concerns an init of ours goes
    /// to the peer's next endpoint at once, and is polled next.
    pub fn handle_unsent(&mut self, transmit: &Transmit, now: Instant) {
        if let Some(id) = self.initiator_of(transmit) {
            self.with_tunnel(id, now, |tunnel, cx| tunnel.handle_unsent(transmit.endpoint.remote, cx));
        }
    }

    /// The system did not permit to send `transmit`, as a firewall may. [`Device::handle_unsent`] is to follow.
    pub fn handle_forbidden(&mut self, transmit: &Transmit, now: Instant) {
        if let Some(id) = self.initiator_of(transmit) {
            self.with_tunnel(id, now, |tunnel, _| tunnel.handle_forbidden());
        }
    }

    /// The peer that `transmit` is an init of ours for.
    fn initiator_of(&self, transmit: &Transmit) -> Option<PeerId> {
        let sender = match HandshakeMessage::parse(&transmit.datagram)? {
            HandshakeMessage::Hybrid(hybrid::Message::Init(init)) => init.sender,
            HandshakeMessage::Wireguard(wireguard::Message::Initiation(message)) => message.sender,
            HandshakeMessage::Hybrid(_) | HandshakeMessage::Wireguard(_) => return None,
        };
        match self.table.get(sender) {
            Some(IndexUse::Initiation(id)) => Some(id),
            Some(IndexUse::HalfOpen | IndexUse::Session(..)) | None => None,
        }
    }

    // ---- messages ----

    /// A datagram that the packet path cannot deal with: a handshake message, or a transport message for a handshake
    /// that is not finished yet. [`Device::poll_early`] is to follow.
    pub fn handle_control(&mut self, datagram: &[u8], from: Endpoint, now: Instant) {
        let outcome = match HandshakeMessage::parse(datagram) {
            // Its answer would go into the tunnel. Honest messages that somebody has given such a source are still to come.
            Some(message) if wants_answer(&message) && self.inner.contains(from.remote.ip()) => {
                Err(DropReason::InnerAddress)
            }
            Some(HandshakeMessage::Hybrid(message)) => self.handle_hybrid(message, from, now),
            Some(HandshakeMessage::Wireguard(message)) => self.handle_wireguard(message, from, now),
            None => self.handle_early(datagram, from),
        };
        if let Err(reason) = outcome {
            self.drops.count(reason);
        }
    }

    /// A packet to a peer that the packet path could not send for want of a keypair.
    pub fn handle_outbound(&mut self, peer: PeerId, packet: StagedPacket, now: Instant) {
        self.with_tunnel(peer, now, |tunnel, cx| tunnel.handle_outbound(packet, cx));
    }

    /// The packet path asked for a look at a peer.
    pub fn handle_attention(&mut self, peer: PeerId, now: Instant) {
        self.with_tunnel(peer, now, Tunnel::handle_attention);
    }

    fn handle_hybrid(
        &mut self,
        message: hybrid::Message<'_>,
        from: Endpoint,
        now: Instant,
    ) -> Result<(), DropReason> {
        match message {
            hybrid::Message::Init(init) => self.handle_init(init, from, now),
            hybrid::Message::Response(response) => self.handle_response(response, from, now),
            hybrid::Message::Finish(finish) => self.handle_finish(finish, from, now),
            hybrid::Message::CookieReply(reply) => self.handle_cookie_reply(reply, from, now),
        }
    }

    fn handle_wireguard(
        &mut self,
        message: wireguard::Message<'_>,
        from: Endpoint,
        now: Instant,
    ) -> Result<(), DropReason> {
        match message {
            wireguard::Message::Initiation(message) => self.handle_wireguard_initiation(message, from, now),
            wireguard::Message::Response(message) => self.handle_wireguard_response(message, from, now),
            wireguard::Message::CookieReply(message) => self.handle_wireguard_cookie_reply(message, now),
        }
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

    /// The next packet that was given up, and why: its peer does not answer, or it is too long. Its sender is to be told (ICMP).
    pub fn poll_undelivered(&mut self) -> Option<(StagedPacket, IcmpError)> {
        self.undelivered.pop()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        while let Some(transmit) = self.outbox.pop_front() {
            if !self.inner.contains(transmit.endpoint.remote.ip()) {
                return Some(transmit);
            }
            // Made before its target came to lie inside the tunnel, or for a source that is there.
            self.drops.count(DropReason::InnerAddress);
        }
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn for_all(&mut self, now: Instant, step: impl Fn(&mut Tunnel, &mut Context<'_>)) {
        let ids: Vec<PeerId> = self.peers.keys().copied().collect();
        for id in ids {
            self.with_tunnel(id, now, &step);
        }
    }

    pub(super) fn with_tunnel<T>(
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
        let at = peer.tunnel.publish_timeout();
        if at != peer.scheduled {
            if let Some(old) = peer.scheduled {
                self.schedule.remove(&(old, id));
            }
            if let Some(at) = at {
                self.schedule.insert((at, id));
            }
            peer.scheduled = at;
        }
    }
}

/// Returns true for a message that is answered to where it came from.
const fn wants_answer(message: &HandshakeMessage<'_>) -> bool {
    match message {
        HandshakeMessage::Hybrid(hybrid::Message::Init(_) | hybrid::Message::Finish(_))
        | HandshakeMessage::Wireguard(wireguard::Message::Initiation(_)) => true,
        HandshakeMessage::Hybrid(hybrid::Message::Response(_) | hybrid::Message::CookieReply(_))
        | HandshakeMessage::Wireguard(wireguard::Message::Response(_) | wireguard::Message::CookieReply(_)) => {
            false
        }
    }
}
