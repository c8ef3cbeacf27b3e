//! The cheap proofs in front of the public-key work (protocol.md 4.2, 4.4, 5): macs and the keys they are made with.

use super::cookie::Cookie;
use crate::symmetric::Suite;
use crate::{
    asymmetric::PublicKey,
    base::SecretBytes,
    handshake::HandshakeError,
    symmetric::{DeriveKey, Hash, hash, keyed_hash},
    wire::hybrid::{FLAG_COOKIE, Init, MAC_SIZE, Response, SuiteSet, without_mac},
};
use subtle::ConstantTimeEq as _;
use zerocopy::IntoBytes as _;

/// A secret of all nodes of one network; all zero stands for none.
pub type NetworkKey = SecretBytes<32>;

const INIT_MAC_CONTEXT: &str = "VPN hybrid v1 init mac";
const COOKIE_REPLY_CONTEXT: &str = "VPN hybrid v1 cookie reply";

/// The key of an init's mac.
pub(super) fn init_mac_key(
    responder: &PublicKey,
    network_key: &NetworkKey,
    cookie: Option<&Cookie>,
) -> SecretBytes<32> {
    let key = DeriveKey::new(INIT_MAC_CONTEXT).with(&responder.0).with(network_key.expose());
    match cookie {
        Some(cookie) => key.with(cookie).finish(),
        None => key.finish(),
    }
}

/// First 8 bytes of keyed BLAKE3.
pub(super) fn mac(key: &SecretBytes<32>, bytes: &[u8]) -> [u8; MAC_SIZE] {
    *keyed_hash(key, bytes).first_chunk().expect("a hash is longer than a mac")
}

/// BLAKE3 of an init as it was sent: keys the response's mac, names the init in a cookie reply.
pub fn init_hash(init: &Init) -> Hash {
    hash(init.as_bytes())
}

/// The key of a response's mac: only somebody who saw the init can make one.
#[derive(Debug)]
pub struct ResponseMacKey(SecretBytes<32>);

impl ResponseMacKey {
    /// The key that belongs to `init_hash`.
    pub const fn new(init_hash: Hash) -> Self {
        Self(SecretBytes::new(init_hash))
    }

    pub(super) fn make(&self, response: &Response) -> [u8; MAC_SIZE] {
        mac(&self.0, without_mac(response))
    }

    /// Whether `response` answers our init.
    pub fn verifies(&self, response: &Response) -> bool {
        self.make(response).ct_eq(&response.mac).into()
    }
}

/// The key that seals cookies on their way to the initiator.
#[derive(Debug)]
pub struct CookieReplyKey(pub(super) SecretBytes<32>);

impl CookieReplyKey {
    /// The key of replies by `responder`.
    pub fn new(responder: &PublicKey, network_key: &NetworkKey) -> Self {
        Self(DeriveKey::new(COOKIE_REPLY_CONTEXT).with(&responder.0).with(network_key.expose()).finish())
    }
}

/// A responder's first gate: which inits deserve any work at all.
#[derive(Debug)]
pub struct InitGate {
    identity: PublicKey,
    /// One entry a network key in force: two while one is being rotated (protocol.md 4.2).
    keys: Vec<GateKey>,
}

#[derive(Debug)]
struct GateKey {
    network: NetworkKey,
    mac: SecretBytes<32>,
    reply: CookieReplyKey,
}

/// An init with a valid mac.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedInit<'a> {
    init: &'a Init,
    network_key: &'a NetworkKey,
    reply_key: &'a CookieReplyKey,
    has_cookie: bool,
}

impl<'a> VerifiedInit<'a> {
    /// The message.
    pub const fn init(&self) -> &'a Init {
        self.init
    }

    /// Whether the mac was made with a cookie of ours.
    pub const fn has_cookie(&self) -> bool {
        self.has_cookie
    }

    pub(super) const fn network_key(&self) -> &'a NetworkKey {
        self.network_key
    }

    /// The key for a cookie reply to this init.
    pub const fn reply_key(&self) -> &'a CookieReplyKey {
        self.reply_key
    }
}

impl InitGate {
    /// The gate of the node `identity`. Without network keys the all-zero one is in force.
    pub fn new(identity: PublicKey, network_keys: Vec<NetworkKey>) -> Self {
        let network_keys = if network_keys.is_empty() { vec![NetworkKey::ZERO] } else { network_keys };
        let keys = network_keys
            .into_iter()
            .map(|network_key| GateKey {
                mac: init_mac_key(&identity, &network_key, None),
                reply: CookieReplyKey::new(&identity, &network_key),
                network: network_key,
            })
            .collect();
        Self { identity, keys }
    }

    /// Checks the mac of `init`; `cookies` are those that its source address may hold.
    ///
    /// # Errors
    /// [`HandshakeError::BadMac`]; [`HandshakeError::NotOffered`] when the mandatory suite is missing.
    pub fn check<'a>(
        &'a self,
        init: &'a Init,
        cookies: impl FnOnce() -> [Cookie; 2],
    ) -> Result<VerifiedInit<'a>, HandshakeError> {
        let text = without_mac(init);
        let has_cookie = init.header.flags & FLAG_COOKIE != 0;
        let verifies = |key: &SecretBytes<32>| bool::from(mac(key, text).ct_eq(&init.mac));
        let matching = if has_cookie {
            let cookies = cookies();
            self.keys.iter().find(|key| {
                cookies
                    .iter()
                    .any(|cookie| verifies(&init_mac_key(&self.identity, &key.network, Some(cookie))))
            })
        } else {
            self.keys.iter().find(|key| verifies(&key.mac))
        };
        let Some(key) = matching else { return Err(HandshakeError::BadMac) };
        if !init.header.suites.contains(Suite::ChaCha20Poly1305) {
            return Err(HandshakeError::NotOffered);
        }
        Ok(VerifiedInit { init, network_key: &key.network, reply_key: &key.reply, has_cookie })
    }
}

/// AES-256-GCM where both have it, which is where both have instructions for it; otherwise ChaCha20-Poly1305
/// (protocol.md 4.3.2).
pub(super) fn choose_suite(offered: SuiteSet, supported: SuiteSet) -> Suite {
    if offered.contains(Suite::Aes256Gcm) && supported.contains(Suite::Aes256Gcm) {
        Suite::Aes256Gcm
    } else {
        Suite::ChaCha20Poly1305
    }
}
