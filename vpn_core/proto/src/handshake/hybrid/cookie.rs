//! Cookies (protocol.md 5): proof that an initiator receives at the address that it sends from.

use super::{CookieReplyKey, VerifiedInit, init_hash};
use crate::{
    base::SecretBytes,
    handshake::HandshakeError,
    symmetric::{Hash, keyed_hash, xopen, xseal},
    wire::hybrid::{COOKIE_SIZE, CookieReply, Header, SuiteSet, TYPE_COOKIE_REPLY},
};
use rand_core::CryptoRng;
use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// A cookie.
pub(super) type Cookie = [u8; COOKIE_SIZE];

/// How long a cookie secret is used; cookies of the one before are still taken.
pub const COOKIE_LIFETIME: Duration = Duration::from_secs(120);

/// The responder's rotating cookie secret. Keeps nothing per address.
#[derive(Debug)]
pub struct CookieJar {
    current: SecretBytes<32>,
    previous: SecretBytes<32>,
    rotate_at: Instant,
}

impl CookieJar {
    /// A jar with fresh secrets.
    pub fn new(rng: &mut dyn CryptoRng, now: Instant) -> Self {
        Self {
            current: SecretBytes::random(rng),
            previous: SecretBytes::random(rng),
            rotate_at: now + COOKIE_LIFETIME,
        }
    }

    /// The same jar for the packet path, made on purpose.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        let (current, previous) = (self.current.duplicate(), self.previous.duplicate());
        Self { current, previous, rotate_at: self.rotate_at }
    }

    /// Rotates the secret when it is old; tells whether it was. Called before the jar is used.
    pub fn rotate(&mut self, rng: &mut dyn CryptoRng, now: Instant) -> bool {
        if now < self.rotate_at {
            return false;
        }
        let fresh = SecretBytes::random(rng);
        // After a long quiet time the secret before is too old as well.
        let stale = now >= self.rotate_at + COOKIE_LIFETIME;
        let old = core::mem::replace(&mut self.current, fresh);
        self.previous = if stale { SecretBytes::random(rng) } else { old };
        self.rotate_at = now + COOKIE_LIFETIME;
        true
    }

    /// The cookies that `from` may hold: of the current secret and of the one before.
    pub fn cookies_of(&self, from: SocketAddr) -> [[u8; COOKIE_SIZE]; 2] {
        [cookie(&self.current, from), cookie(&self.previous, from)]
    }

    /// Answers `init`, received from `from`, with a cookie.
    pub fn reply(&self, init: &VerifiedInit<'_>, from: SocketAddr, rng: &mut dyn CryptoRng) -> CookieReply {
        let mut reply = CookieReply {
            header: Header::new(TYPE_COOKIE_REPLY, 0, SuiteSet::NONE),
            receiver: init.init().sender,
            nonce: [0; 24],
            cookie: cookie(&self.current, from),
            tag: [0; 16],
        };
        rng.fill_bytes(&mut reply.nonce);
        reply.tag = xseal(&init.reply_key().0, &reply.nonce, &init_hash(init.init()), &mut reply.cookie);
        reply
    }
}

/// Opens a cookie reply to the init with hash `init_hash`.
pub(super) fn open_reply(
    key: &CookieReplyKey,
    reply: &CookieReply,
    init_hash: &Hash,
) -> Result<Cookie, HandshakeError> {
    let mut cookie = reply.cookie;
    xopen(&key.0, &reply.nonce, init_hash, &mut cookie, &reply.tag).map_err(|_| HandshakeError::BadMac)?;
    Ok(cookie)
}

fn cookie(secret: &SecretBytes<32>, from: SocketAddr) -> Cookie {
    let mut bytes = [0; 18];
    let len = match from.ip().to_canonical() {
        IpAddr::V4(ip) => {
            bytes[..4].copy_from_slice(&ip.octets());
            4
        }
        IpAddr::V6(ip) => {
            bytes[..16].copy_from_slice(&ip.octets());
            16
        }
    };
    bytes[len..len + 2].copy_from_slice(&from.port().to_le_bytes());
    *keyed_hash(secret, &bytes[..len + 2]).first_chunk().expect("a hash is longer than a cookie")
}
