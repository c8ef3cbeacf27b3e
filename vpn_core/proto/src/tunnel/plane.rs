//! What one peer's control side shares with the packet path. Touched once a batch, never once a packet.

use crate::{
    base::{AtomicTime, Endpoint, Epoch, PeerId, WakeTime},
    handshake::Protocol,
    session::{CounterRange, KEEPALIVE_TIMEOUT, Keypair, SealError},
    tunnel::{DEAD_PEER_TIME, duplicate::Places, life::ASK_AFTER},
    wire::{fragment::may_be_cut, hybrid::Features, ip::IPV6_MIN_MTU, transport::TransportHeader},
};
use arc_swap::ArcSwapOption;
use core::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Instant,
};

/// A peer as the packet path sees it.
#[derive(Debug)]
pub struct PeerPlane {
    id: PeerId,
    epoch: Epoch,
    sending: ArcSwapOption<Keypair>,
    endpoint: RwLock<Option<Endpoint>>,
    pub(super) marks: Marks,
    /// Locked only when the endpoint has moved.
    places: Mutex<Places>,
    /// The longest inner packet that it is sent, in bytes; 65535 for no limit.
    mtu: AtomicU16,
    /// The longest that it accepts, in bytes, and not more than it gets in pieces either; 65535 where it has not said.
    accepted: AtomicU16,
    /// The longest that passes whatever becomes of the path, in bytes; 65535 where the path cannot be asked.
    surely_passes: AtomicU16,
    /// Whether the path loses what must pass: the local system is to cut datagrams as it has been told.
    is_cut_here: AtomicBool,
    rx_bytes: AtomicU64,
    tx_bytes: AtomicU64,
}

/// Instants from which control computes its timers.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// The first payload sent since something authentic was received.
    pub(super) unanswered: AtomicTime,
    /// The first payload received since something was sent.
    pub(super) unacknowledged: AtomicTime,
    /// The last authentic packet sent or received.
    pub(super) last_traffic: AtomicTime,
    /// The last authentic packet received, but for the peer's own probes.
    pub(super) last_received: AtomicTime,
    /// When control wakes up for this peer anyway.
    pub(super) wake: WakeTime,
    /// The first packet, since the path was last looked at, that a narrower one would lose.
    pub(super) long: AtomicTime,
}

/// Why a peer cannot be sent to at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotReady {
    /// There is no valid keypair: the packet is to be staged, which starts a handshake.
    NoKeypair,
    /// The peer's address is not known.
    NoEndpoint,
}

/// What authentic packets say of ours, from little to much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// Probes only: questions, which the peer asks whether it has had our packets or not.
    Probes,
    /// Keepalives, or answers to probes.
    Answers,
    /// Payloads, which want an answer themselves.
    Payloads,
}

/// Leave to send a batch to one peer.
#[derive(Debug)]
pub struct Outbound {
    /// Seals it.
    pub keypair: Arc<Keypair>,
    /// One counter a packet.
    pub counters: CounterRange,
    /// Where it goes.
    pub endpoint: Endpoint,
}

impl PeerPlane {
    /// The shared side of a new peer.
    pub fn new(id: PeerId, epoch: Epoch) -> Self {
        Self {
            id,
            epoch,
            sending: ArcSwapOption::empty(),
            endpoint: RwLock::new(None),
            marks: Marks::default(),
            places: Mutex::default(),
            mtu: AtomicU16::new(u16::MAX),
            accepted: AtomicU16::new(u16::MAX),
            surely_passes: AtomicU16::new(u16::MAX),
            is_cut_here: AtomicBool::new(false),
            rx_bytes: AtomicU64::new(0),
            tx_bytes: AtomicU64::new(0),
        }
    }

    /// Its number on this device.
    pub const fn id(&self) -> PeerId {
        self.id
    }

    /// Bytes of datagrams received from it and authenticated; handshake messages as far as they name it.
    pub fn rx_bytes(&self) -> u64 {
        self.rx_bytes.load(Relaxed)
    }

    /// Bytes of datagrams sent to it; handshake messages as far as it was known whom they are for.
    pub fn tx_bytes(&self) -> u64 {
        self.tx_bytes.load(Relaxed)
    }

    /// Its address, where known.
    pub fn endpoint(&self) -> Option<Endpoint> {
        *self.endpoint.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_endpoint(&self, endpoint: Option<Endpoint>) {
        *self.endpoint.write().unwrap_or_else(PoisonError::into_inner) = endpoint;
    }

    /// Lets the kernel choose again which of our addresses to send from.
    pub(super) fn forget_local_address(&self) {
        // Under the lock: the peer may roam at this moment, and must not be moved back.
        let mut endpoint = self.endpoint.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = &mut *endpoint {
            endpoint.local = None;
        }
    }

    /// The longest inner packet that it is sent, in bytes, unless that may be cut or is within the least MTU of IPv6. One
    /// comparison for each packet; [`PeerPlane::refuses`] for the few that are longer.
    pub fn mtu(&self) -> usize {
        self.limit().into()
    }

    /// What the path takes, and no more than the peer accepts: that is known a moment sooner.
    fn limit(&self) -> u16 {
        self.mtu.load(Relaxed).min(self.accepted.load(Relaxed))
    }

    /// Why a packet that is longer than [`PeerPlane::mtu`] is not sent: the MTU, in bytes, that its sender is to be told.
    /// `None` for one that is sent all the same: in fragments, or as IPv6 of up to 1280 bytes, whose datagram is cut. What the
    /// peer does not accept is not. `packet` begins with a header that was checked.
    pub fn refuses(&self, packet: &[u8], len: usize) -> Option<u16> {
        if may_be_cut(packet) {
            return None;
        }
        let is_v6 = packet[0] >> 4 == 6;
        let mtu = self.limit().max(if is_v6 { IPV6_MIN_MTU } else { 0 });
        let is_accepted = len <= usize::from(self.accepted.load(Relaxed));
        let passes = len <= usize::from(mtu);
        (!is_accepted || !passes).then_some(mtu)
    }

    pub(super) fn set_accepted(&self, accepted: u16) {
        self.accepted.store(accepted, Relaxed);
    }

    /// Takes another limit; whether packets of another length are sent from now on.
    pub(super) fn set_mtu(&self, mtu: u16) -> bool {
        self.mtu.swap(mtu, Relaxed) != mtu
    }

    /// Whether what ICMP says of the path counts for datagrams to this peer: where it cannot be probed, and where probes have
    /// found that the path loses what must pass.
    pub fn follows_icmp(&self, keypair: &Keypair) -> bool {
        keypair.protocol() == Protocol::Wireguard || self.is_cut_here.load(Relaxed)
    }

    pub(super) fn set_cut_here(&self, is_cut_here: bool) {
        self.is_cut_here.store(is_cut_here, Relaxed);
    }

    /// Notes the length in bytes of the longest packet of a batch that was sent; `true` asks for control's attention: whether the
    /// path still takes such packets is to be confirmed.
    pub fn note_length(&self, longest: usize, now: Instant) -> bool {
        longest > usize::from(self.surely_passes.load(Relaxed))
            && self.marks.long.set_if_unset(self.epoch, now)
    }

    pub(super) fn set_surely_passes(&self, len: u16) {
        self.surely_passes.store(len, Relaxed);
    }

    pub(super) fn set_sending(&self, keypair: Option<Arc<Keypair>>) {
        self.sending.store(keypair);
    }

    pub(super) fn sending(&self) -> Option<Arc<Keypair>> {
        self.sending.load_full()
    }

    pub(super) const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The keypair to send with and the address to send to; asked once a run of packets.
    ///
    /// # Errors
    /// [`NotReady`].
    pub fn outlet(&self) -> Result<(Arc<Keypair>, Endpoint), NotReady> {
        let endpoint = self.endpoint().ok_or(NotReady::NoEndpoint)?;
        let keypair = self.sending().ok_or(NotReady::NoKeypair)?;
        Ok((keypair, endpoint))
    }

    /// Whether `packet`, which is to be sealed for this peer, carries what was sealed for it already: somebody's routes lead our
    /// datagrams into our own tunnel (protocol.md 9.3). `packet` begins with a header that was checked.
    pub fn is_sealed_already(&self, packet: &[u8]) -> bool {
        TransportHeader::carried_by(packet)
            .is_some_and(|header| self.sending().is_some_and(|keypair| keypair.has_sealed(header)))
    }

    /// Reserves counters for `n` packets to this peer.
    ///
    /// # Errors
    /// [`NotReady`].
    pub fn begin_send(&self, n: usize, now: Instant) -> Result<Outbound, NotReady> {
        let (keypair, endpoint) = self.outlet()?;
        match keypair.reserve(n, now) {
            Ok(counters) => Ok(Outbound { keypair, counters, endpoint }),
            Err(SealError::Expired) => Err(NotReady::NoKeypair),
        }
    }

    /// Notes a batch of payloads that is about to be sent with `keypair`; `true` asks for control's attention. Before it is
    /// sent: noted after the answer to it, it would wait for another one.
    pub fn note_sent(&self, keypair: &Keypair, bytes: usize, now: Instant) -> bool {
        self.note_sent_empty(bytes, now);
        let Marks { unanswered, wake, .. } = &self.marks;
        let is_asked = keypair.accepted().contains(Features::PATH_PROBES); // protocol.md 8.4.3
        let patience = if is_asked { ASK_AFTER } else { DEAD_PEER_TIME };
        wake.start_timer(unanswered, patience, self.epoch, now) | keypair.take_rekey_on_send(now)
    }

    /// Counts a handshake message sent.
    pub(super) fn count_sent(&self, bytes: usize) {
        self.tx_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Counts a handshake message received and authenticated.
    pub(super) fn count_received(&self, bytes: usize) {
        self.rx_bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Notes an empty packet that is about to be sent: it needs no answer.
    pub(super) fn note_sent_empty(&self, bytes: usize, now: Instant) {
        self.tx_bytes.fetch_add(bytes as u64, Relaxed);
        self.marks.last_traffic.set(self.epoch, now);
        self.marks.unacknowledged.clear();
    }

    /// Notes a run of authentic packets received over `keypair` from `from`, of which the most telling is
    /// `content`; `true` asks for control's attention. `may_move_to` is asked only about an address that is not the
    /// endpoint already.
    pub fn note_received(
        &self,
        keypair: &Arc<Keypair>,
        from: Endpoint,
        bytes: usize,
        content: Content,
        may_move_to: impl FnOnce(IpAddr) -> bool,
        now: Instant,
    ) -> bool {
        self.rx_bytes.fetch_add(bytes as u64, Relaxed);
        self.marks.last_traffic.set(self.epoch, now);
        if content > Content::Probes {
            self.marks.last_received.set(self.epoch, now);
            self.marks.unanswered.clear();
        }
        let known = self.endpoint();
        let is_elsewhere = known.is_none_or(|known| known.remote != from.remote);
        let moves = !is_elsewhere || may_move_to(from.remote.ip());
        if moves && known != Some(from) {
            self.set_endpoint(Some(from)); // Roaming: protocol.md 9.3.
        }
        let roamed = moves && is_elsewhere && known.is_some();
        if roamed {
            self.places().note_move(from.remote, keypair.local_index(), now);
        }
        let confirmed = keypair.take_confirmation();
        if confirmed && keypair.protocol() == Protocol::Wireguard {
            // At once, and not when control comes to it: the local system answers what it is given now, and a peer that
            // has restarted knows no other session. (Of hybrid sessions control says which serves: protocol.md 6.8.)
            self.set_sending(Some(Arc::clone(keypair)));
        }
        let Marks { unacknowledged, wake, .. } = &self.marks;
        (content == Content::Payloads && wake.start_timer(unacknowledged, KEEPALIVE_TIMEOUT, self.epoch, now))
            | keypair.take_rekey_on_receive(now)
            | confirmed
            | roamed // Another path, which may be narrower.
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The addresses that its key is used from in turn, newest first.
    pub(super) fn places_in_turn(&self, now: Instant) -> Option<[SocketAddr; 2]> {
        self.places().in_turn(now)
    }

    /// The same, once for each time that this begins.
    pub(super) fn take_news_of_places(&self, now: Instant) -> Option<[SocketAddr; 2]> {
        self.places().take_news(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn only_what_is_too_long_and_must_not_be_cut_is_refused(
            mtu in 576_u16..,
            len in 40_usize..65_536,
            accepted in 576_u16..,
            dont_fragment: bool,
            is_v6: bool,
        ) {
            let peer = PeerPlane::new(PeerId(1), Epoch::starting_at(Instant::now()));
            let mut packet = [0; 40];
            packet[0] = if is_v6 { 0x60 } else { 0x45 };
            packet[6] = if dont_fragment { 0x40 } else { 0 }; // in IPv6 the next header, which says nothing here
            prop_assert_eq!(peer.refuses(&packet, len), None, "no limit yet");
            prop_assert!(peer.set_mtu(mtu) == (mtu != u16::MAX) && !peer.set_mtu(mtu));
            let told = match (is_v6, dont_fragment) {
                (true, _) => Some(mtu.max(1280)),
                (false, true) => Some(mtu),
                (false, false) => None,
            };
            let is_cut = told.is_none();
            prop_assert_eq!(peer.refuses(&packet, len), told.filter(|mtu| len > usize::from(*mtu)));
            // What passes the packet path's one comparison is never refused.
            prop_assert!(len > peer.mtu() || peer.refuses(&packet, len).is_none());
            let mtu = mtu.min(accepted);
            peer.set_mtu(mtu);
            peer.set_accepted(accepted);
            prop_assert!(len <= usize::from(accepted) || is_cut || peer.refuses(&packet, len) >= Some(mtu));
            prop_assert!(len > peer.mtu() || peer.refuses(&packet, len).is_none());
        }
    }
}
