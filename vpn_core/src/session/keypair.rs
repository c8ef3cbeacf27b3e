//! A session's keypair: seals what we send, opens what we receive.

use super::{CounterRange, ReplayWindow, SendCounter, counter::CounterSource};
use crate::{
    base::{DropReason, ReceiverIndex},
    handshake::{Agreement, Protocol, Role},
    symmetric::{AeadKey, Suite, TAG_SIZE},
    wire::transport::{HEADER_SIZE, OVERHEAD, TYPE_TRANSPORT, TransportHeader},
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
const fn reject_after_messages(suite: Suite) -> u64 {
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
        assert!(frame.len() >= OVERHEAD, "a frame holds a header and a tag");
        let counter = counter.spend();
        let (header, rest) = TransportHeader::mut_from_prefix(frame).expect("length checked above");
        *header = TransportHeader {
            kind: TYPE_TRANSPORT,
            receiver: self.remote_index,
            counter: little_endian::U64::new(counter),
        };
        let split = rest.len() - TAG_SIZE;
        let (payload, tag) = rest.split_at_mut(split);
        tag.copy_from_slice(&self.sealing.seal_in_place(counter, &[], payload));
    }

    /// Opens a transport message in place: its counter, to be shown to [`Keypair::replay`], and the payload, which
    /// begins [`HEADER_SIZE`] bytes into `datagram`.
    ///
    /// # Errors
    /// [`DropReason::Malformed`] when too short, [`DropReason::Expired`] also for a counter beyond the limit of messages,
    /// [`DropReason::BadTag`].
    pub fn open<'a>(&self, datagram: &'a mut [u8], now: Instant) -> Result<(u64, &'a mut [u8]), DropReason> {
        if datagram.len() < OVERHEAD {
            return Err(DropReason::Malformed);
        }
        if self.is_expired(now) {
            return Err(DropReason::Expired);
        }
        let (header, ciphertext) = datagram.split_at_mut(HEADER_SIZE);
        let header = TransportHeader::ref_from_bytes(header).expect("split at the header's size");
        let counter = header.counter.get();
        if counter >= reject_after_messages(self.suite) {
            return Err(DropReason::Expired); // No sender may have used it.
        }
        let payload = self.opening.open_in_place(counter, &[], ciphertext).map_err(|_| DropReason::BadTag)?;
        Ok((counter, payload))
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
mod tests {
    use super::*;
    use crate::{base::SecretBytes, handshake::Protocol, wire::hybrid::ParametersBytes};

    fn responders(suite: Suite, now: Instant) -> Keypair {
        let agreement = Agreement {
            protocol: Protocol::Hybrid,
            role: Role::Responder,
            local_index: ReceiverIndex::new(1),
            remote_index: ReceiverIndex::new(2),
            sending: SecretBytes::new([1; 32]),
            receiving: SecretBytes::new([2; 32]),
            suite,
            parameters: ParametersBytes::default(),
        };
        Keypair::new(&agreement, REKEY_AFTER_TIME, now)
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

    #[test]
    fn counters_that_no_sender_may_use_are_not_opened() {
        let now = Instant::now();
        for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
            let (keypair, key) = (responders(suite, now), AeadKey::new(suite, &SecretBytes::new([2; 32])));
            let limit = reject_after_messages(suite);
            for (counter, expected) in [(limit - 1, Ok(limit - 1)), (limit, Err(DropReason::Expired))] {
                let mut frame = [0; OVERHEAD];
                frame[8..HEADER_SIZE].copy_from_slice(&counter.to_le_bytes());
                frame[HEADER_SIZE..].copy_from_slice(&key.seal_in_place(counter, &[], &mut []));
                assert_eq!(keypair.open(&mut frame, now).map(|(counter, _)| counter), expected);
            }
        }
    }
}
