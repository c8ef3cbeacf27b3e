//! The static keys of both ends, and what is kept beside them from one handshake to the next.

use super::{
    Tai64n,
    mac::{cookie_reply_key, mac1_key, verifies_mac1, write_macs},
};
use crate::{
    asymmetric::{X25519PublicKey, X25519SecretKey},
    base::{ReceiverIndex, SecretBytes},
    handshake::{HandshakeError, hybrid::COOKIE_LIFETIME},
    symmetric::{xopen, xseal},
    wire::wireguard::{COOKIE_SIZE, CookieReply, MAC_SIZE, TYPE_COOKIE_REPLY},
};
use rand_core::CryptoRng;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// At most 50 initiations a second of one peer are answered: each costs three agreements, and replays of recorded
/// ones are not the only way to make a responder work.
pub const MIN_INITIATION_INTERVAL: Duration = Duration::from_millis(20);

/// A cookie is used a little shorter than it is valid, for the time that a message is under way.
const COOKIE_USE: Duration = COOKIE_LIFETIME.saturating_sub(Duration::from_secs(5));

/// Our static key and what follows from it.
#[derive(Debug)]
pub struct LocalKey {
    secret: X25519SecretKey,
    public: X25519PublicKey,
    mac1_key: SecretBytes<32>,
    cookie_reply_key: SecretBytes<32>,
}

impl LocalKey {
    /// Takes our static key.
    pub fn new(secret: X25519SecretKey) -> Self {
        let public = secret.public_key();
        Self { secret, public, mac1_key: mac1_key(&public), cookie_reply_key: cookie_reply_key(&public) }
    }

    /// Our public key.
    pub const fn public_key(&self) -> X25519PublicKey {
        self.public
    }

    pub(super) const fn secret(&self) -> &X25519SecretKey {
        &self.secret
    }

    /// Whether mac1 of `message`, an initiation or a response, was made for us. To be asked before anything else is
    /// computed for a message; in constant time.
    pub fn verifies_mac1(&self, message: &[u8]) -> bool {
        verifies_mac1(&self.mac1_key, message)
    }

    /// Answers a message under load, instead of reading it: `to` is its sender index, `mac1` the mac that it carries
    /// and that was verified, `cookie` belongs to the address it came from.
    pub fn cookie_reply(
        &self,
        to: ReceiverIndex,
        mac1: &[u8; MAC_SIZE],
        cookie: [u8; COOKIE_SIZE],
        rng: &mut dyn CryptoRng,
    ) -> CookieReply {
        let mut reply =
            CookieReply { kind: TYPE_COOKIE_REPLY, receiver: to, nonce: [0; 24], cookie, tag: [0; 16] };
        rng.fill_bytes(&mut reply.nonce);
        reply.tag = xseal(&self.cookie_reply_key, &reply.nonce, mac1, &mut reply.cookie);
        reply
    }
}

/// A peer's static key, and what of the peer outlives its handshakes.
#[derive(Debug)]
pub struct RemoteKey {
    public: X25519PublicKey,
    /// The agreement of both static keys, the same in each handshake; `None` if the peer's key is of small order, or
    /// while we have none.
    static_shared: Option<SecretBytes<32>>,
    mac1_key: SecretBytes<32>,
    cookie_reply_key: SecretBytes<32>,
    newest_timestamp: Option<Tai64n>,
    last_initiation: Option<Instant>,
    cookie: Option<HeldCookie>,
    /// The mac1 that a cookie reply would answer.
    last_mac1: Option<[u8; MAC_SIZE]>,
}

/// A cookie that the peer gave us.
#[derive(Debug)]
struct HeldCookie {
    cookie: SecretBytes<COOKIE_SIZE>,
    received: Instant,
}

impl RemoteKey {
    /// A peer that was never heard of. With a `public` key of small order every handshake fails.
    pub fn new(local: &LocalKey, public: X25519PublicKey) -> Self {
        Self {
            public,
            static_shared: local.secret.agree(&public).ok(),
            mac1_key: mac1_key(&public),
            cookie_reply_key: cookie_reply_key(&public),
            newest_timestamp: None,
            last_initiation: None,
            cookie: None,
            last_mac1: None,
        }
    }

    /// The same peer after our own key changed to `local`, or was taken away: of the old one nothing is left, and without
    /// one every handshake fails. What was seen of the peer stays, above all its newest timestamp: initiations to the old
    /// key cannot be replayed to the new one, but those to a key that comes back can.
    #[must_use]
    pub fn with_local_key(self, local: Option<&LocalKey>) -> Self {
        let static_shared = local.and_then(|local| local.secret.agree(&self.public).ok());
        Self { static_shared, ..self }
    }

    /// The peer's public key.
    pub const fn public_key(&self) -> X25519PublicKey {
        self.public
    }

    /// # Errors
    /// [`HandshakeError::BadKey`] when the peer's key is of small order.
    pub(super) fn static_shared(&self) -> Result<&SecretBytes<32>, HandshakeError> {
        self.static_shared.as_ref().ok_or(HandshakeError::BadKey)
    }

    /// Takes a cookie reply to the message sent last: what is sent in the next two minutes carries its cookie. Nothing
    /// is to be sent because of it. One reply is taken for a message.
    ///
    /// # Errors
    /// [`HandshakeError::NotOffered`] when no message waits for a cookie, [`HandshakeError::BadMac`] when the reply is
    /// not by the peer or answers another message.
    pub fn read_cookie_reply(&mut self, reply: &CookieReply, now: Instant) -> Result<(), HandshakeError> {
        let Some(mac1) = &self.last_mac1 else { return Err(HandshakeError::NotOffered) };
        let mut cookie = SecretBytes::new(reply.cookie);
        xopen(&self.cookie_reply_key, &reply.nonce, mac1, cookie.expose_mut(), &reply.tag)
            .map_err(|_| HandshakeError::BadMac)?;
        self.cookie = Some(HeldCookie { cookie, received: now });
        self.last_mac1 = None;
        Ok(())
    }

    /// Writes the macs of a message to this peer and remembers what a cookie reply has to answer.
    pub(super) fn write_macs<M: FromBytes + IntoBytes + Immutable>(&mut self, message: &mut M, now: Instant) {
        self.cookie.take_if(|held| now.saturating_duration_since(held.received) >= COOKIE_USE);
        let cookie = self.cookie.as_ref().map(|held| &held.cookie);
        self.last_mac1 = Some(write_macs(message.as_mut_bytes(), &self.mac1_key, cookie));
    }

    /// Accepts an authentic initiation, or refuses it as old or as one too many.
    pub(super) fn admit(&mut self, timestamp: Tai64n, now: Instant) -> Result<(), HandshakeError> {
        if self.newest_timestamp.is_some_and(|newest| timestamp <= newest) {
            return Err(HandshakeError::Replayed);
        }
        let since = |last| now.saturating_duration_since(last);
        if self.last_initiation.is_some_and(|last| since(last) < MIN_INITIATION_INTERVAL) {
            return Err(HandshakeError::TooFrequent);
        }
        self.newest_timestamp = Some(timestamp);
        self.last_initiation = Some(now);
        Ok(())
    }
}
