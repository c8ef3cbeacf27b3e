//! A session's keypair: seals what we send, opens what we receive.

use super::{CounterRange, ReplayWindow, SendCounter, counter::CounterSource};
use crate::{
    base::ReceiverIndex,
    handshake::{Agreement, Protocol, Role},
    symmetric::{AeadKey, Suite, TAG_SIZE},
    wire::{
        hybrid::Features,
        transport::{HEADER_SIZE, OVERHEAD, TYPE_TRANSPORT, TransportHeader},
    },
};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::{
    sync::Mutex,
    time::{Duration, Instant},
};
use zerocopy::{FromBytes as _, little_endian};

/// Age of a keypair after which its initiator makes a new one, when there is something to send.
pub const REKEY_AFTER_TIME: Duration = Duration::from_secs(120);
/// Age of a keypair after which it neither seals nor opens.
pub const REJECT_AFTER_TIME: Duration = Duration::from_secs(180);
/// Pause before a handshake message is repeated.
pub const REKEY_TIMEOUT: Duration = Duration::from_secs(5);
/// Payloads of WireGuard sessions are multiples of this many bytes (its paper, section 5.4.6).
pub const PADDING: usize = 16;
/// Pause after which a receiver that has nothing to send sends an empty packet.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Messages after which a new keypair is wanted.
pub const fn rekey_after_messages(suite: Suite) -> u64 {
    match suite {
        Suite::ChaCha20Poly1305 => 1 << 60,
        // AES-GCM with one key stays far from the birthday bound of its 128-bit blocks.
        Suite::Aes256Gcm => 1 << 32,
    }
}

/// Messages after which a keypair neither seals nor opens any more.
pub(super) const fn reject_after_messages(suite: Suite) -> u64 {
    match suite {
        Suite::ChaCha20Poly1305 => u64::MAX - REPLAY_MARGIN,
        Suite::Aes256Gcm => (1 << 32) + (1 << 28),
    }
}

/// Room that keeps the receiver's window arithmetic away from the end of the counters, as in WireGuard.
const REPLAY_MARGIN: u64 = super::REPLAY_WINDOW;

/// Why nothing can be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The keypair is past [`REJECT_AFTER_TIME`] or out of counters.
    #[error("the keypair has expired")]
    Expired,
}

/// The two directional transport keys of a session.
#[derive(Debug)]
pub struct Keypair {
    protocol: Protocol,
    role: Role,
    suite: Suite,
    /// What the peer accepts to receive.
    accepted: Features,
    local_index: ReceiverIndex,
    remote_index: ReceiverIndex,
    sealing: AeadKey,
    opening: AeadKey,
    counters: CounterSource,
    replay: Mutex<ReplayWindow>,
    created: Instant,
    /// Age at which its initiator makes a new one.
    rekey_after: Duration,
    /// Whether anything authentic was received: confirms the keypair to its initiator.
    confirmed: AtomicBool,
    rekey_wanted: AtomicBool,
}

impl Keypair {
    /// The keypair of a handshake completed at `now`, whose initiator makes a new one after `rekey_after`
    /// ([`REKEY_AFTER_TIME`], or less in tests).
    pub fn new(agreement: &Agreement, rekey_after: Duration, now: Instant) -> Self {
        // The end that has the last word of the handshake knows that the other has it all; the other learns it from
        // the first packet.
        let confirmed = match agreement.protocol {
            Protocol::Hybrid => agreement.role == Role::Responder,
            Protocol::Wireguard => agreement.role == Role::Initiator,
        };
        Self {
            protocol: agreement.protocol,
            role: agreement.role,
            suite: agreement.suite,
            accepted: match agreement.protocol {
                Protocol::Hybrid => agreement.parameters.features,
                Protocol::Wireguard => Features::NONE,
            },
            local_index: agreement.local_index,
            remote_index: agreement.remote_index,
            sealing: AeadKey::new(agreement.suite, &agreement.sending),
            opening: AeadKey::new(agreement.suite, &agreement.receiving),
            counters: CounterSource::default(),
            replay: Mutex::default(),
            created: now,
            rekey_after,
            confirmed: AtomicBool::new(confirmed),
            rekey_wanted: AtomicBool::new(false),
        }
    }

    /// The handshake that made it.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Our role in the handshake that made it.
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Its cipher suite.
    pub const fn suite(&self) -> Suite {
        self.suite
    }

    /// What the peer accepts to receive beyond what every node does; nothing in a WireGuard session.
    pub const fn accepted(&self) -> Features {
        self.accepted
    }

    /// The index under which we receive.
    pub const fn local_index(&self) -> ReceiverIndex {
        self.local_index
    }

    /// When it was made.
    pub const fn created(&self) -> Instant {
        self.created
    }

    /// Whether the peer is known to have it too: in a hybrid session a responder's from the start, an initiator's once
    /// something authentic was received; in a WireGuard session the other way round.
    pub fn is_confirmed(&self) -> bool {
        self.confirmed.load(Relaxed)
    }

    /// Whether it neither seals nor opens any more.
    pub fn is_expired(&self, now: Instant) -> bool {
        now >= self.created + REJECT_AFTER_TIME
    }

    /// Reserves counters for `n` packets of one batch, in order.
    ///
    /// # Errors
    /// [`SealError::Expired`].
    pub fn reserve(&self, n: usize, now: Instant) -> Result<CounterRange, SealError> {
        if self.is_expired(now) {
            return Err(SealError::Expired);
        }
        self.counters.reserve(n, reject_after_messages(self.suite)).ok_or(SealError::Expired)
    }

    /// Length in bytes of the payload that carries a packet of `len` bytes: WireGuard's are padded to a multiple of
    /// [`PADDING`], but not beyond `mtu`, the tunnel's.
    pub fn payload_len(&self, len: usize, mtu: usize) -> usize {
        match self.protocol {
            Protocol::Hybrid => len,
            Protocol::Wireguard => len.next_multiple_of(PADDING).min(mtu.max(len)),
        }
    }

    /// Seals a frame in place: 16 bytes of header to be written, the payload, 16 bytes for the tag.
    ///
    /// # Panics
    /// When `frame` has no room for header and tag.
    pub fn seal(&self, counter: SendCounter, frame: &mut [u8]) {
        let counter = self.write_header(counter, frame);
        let split = frame.len() - TAG_SIZE;
        let (text, tag) = frame.split_at_mut(split);
        tag.copy_from_slice(&self.sealing.seal_in_place(counter, &[], &mut text[HEADER_SIZE..]));
    }

    /// Whether this keypair has sealed the transport message with `header`, to all appearances: it is for this peer's keypair.
    pub fn has_sealed(&self, header: &TransportHeader) -> bool {
        header.receiver == self.remote_index
    }

    /// Writes the header; answers the counter, which the cipher is to use now.
    pub(super) fn write_header(&self, counter: SendCounter, frame: &mut [u8]) -> u64 {
        assert!(frame.len() >= OVERHEAD, "a frame holds a header and a tag");
        let counter = counter.spend();
        let (header, _) = TransportHeader::mut_from_prefix(frame).expect("length checked above");
        *header = TransportHeader {
            kind: TYPE_TRANSPORT,
            receiver: self.remote_index,
            counter: little_endian::U64::new(counter),
        };
        counter
    }

    pub(super) const fn sealing(&self) -> &AeadKey {
        &self.sealing
    }

    pub(super) const fn opening(&self) -> &AeadKey {
        &self.opening
    }

    /// Whether a sender may have used `counter`.
    pub(super) const fn may_be_used(&self, counter: u64) -> bool {
        counter < reject_after_messages(self.suite)
    }

    /// Takes the replay window for a run of packets that were opened.
    pub fn replay(&self) -> std::sync::MutexGuard<'_, ReplayWindow> {
        // A panic while it was held cannot leave the window half changed in a way that accepts a replay.
        self.replay.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Notes that something authentic was received; `true` when that confirms an initiator's keypair.
    pub fn take_confirmation(&self) -> bool {
        !self.confirmed.load(Relaxed) && !self.confirmed.swap(true, Relaxed)
    }

    /// Whether sending with it should make a new keypair first (protocol.md 8.2): only its initiator does, after
    /// [`REKEY_AFTER_TIME`]; either end, after many messages. Answers `true` once.
    pub fn take_rekey_on_send(&self, now: Instant) -> bool {
        let old = self.role == Role::Initiator && now >= self.created + self.rekey_after;
        (old || self.counters.used() >= rekey_after_messages(self.suite))
            && !self.rekey_wanted.swap(true, Relaxed)
    }

    /// Whether receiving on it should make a new keypair: its initiator's, so late that a handshake begun at the next
    /// send might not be done before it expires. Answers `true` once.
    pub fn take_rekey_on_receive(&self, now: Instant) -> bool {
        let late = now + KEEPALIVE_TIMEOUT + REKEY_TIMEOUT >= self.created + REJECT_AFTER_TIME;
        self.role == Role::Initiator && late && !self.rekey_wanted.swap(true, Relaxed)
    }

    /// Whether one of the two calls above answered `true`.
    pub fn wants_rekey(&self) -> bool {
        self.rekey_wanted.load(Relaxed)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{base::SecretBytes, handshake::Protocol, wire::hybrid::ParametersBytes};

    pub(in super::super) fn responders(suite: Suite, now: Instant) -> Keypair {
        Keypair::new(&responders_agreement(suite), REKEY_AFTER_TIME, now)
    }

    fn responders_agreement(suite: Suite) -> Agreement {
        Agreement {
            protocol: Protocol::Hybrid,
            role: Role::Responder,
            local_index: ReceiverIndex::new(1),
            remote_index: ReceiverIndex::new(2),
            sending: SecretBytes::new([1; 32]),
            receiving: SecretBytes::new([2; 32]),
            suite,
            parameters: ParametersBytes::default(),
        }
    }

    #[test]
    fn a_peer_accepts_what_it_has_said_and_a_wireguard_peer_nothing() {
        let features = Features::CHECKSUM_LEFT_OUT;
        for (protocol, accepted) in [(Protocol::Hybrid, features), (Protocol::Wireguard, Features::NONE)] {
            let parameters = ParametersBytes { features, ..ParametersBytes::default() };
            let agreement = Agreement { protocol, parameters, ..responders_agreement(Suite::Aes256Gcm) };
            assert_eq!(Keypair::new(&agreement, REKEY_AFTER_TIME, Instant::now()).accepted(), accepted);
        }
    }

    #[test]
    fn many_messages_ask_either_end_for_a_new_keypair_once_and_end_this_one_later() {
        let now = Instant::now();
        for (suite, rekey, reject) in [
            (Suite::ChaCha20Poly1305, 1_u64 << 60, u64::MAX - (1 << 13)),
            (Suite::Aes256Gcm, 1 << 32, (1 << 32) + (1 << 28)),
        ] {
            let keypair = responders(suite, now);
            keypair.reserve((rekey - 1) as usize, now).expect("far from the limit");
            assert!(!keypair.take_rekey_on_send(now));
            keypair.reserve(1, now).expect("far from the limit");
            assert!(keypair.take_rekey_on_send(now));
            assert!(!keypair.take_rekey_on_send(now), "asks once");
            keypair.reserve((reject - rekey) as usize, now).expect("up to the limit");
            assert_eq!(keypair.reserve(1, now).expect_err("used up"), SealError::Expired);
        }
    }
}
