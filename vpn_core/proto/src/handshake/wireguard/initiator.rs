//! The initiator's side (paper, sections 5.4.2 and 5.4.3).

use super::{
    IDENTIFIER, LocalKey, RemoteKey, Tai64n,
    pattern::{StaticKeys, read_second, write_first},
    transcript::Transcript,
};
use crate::{
    asymmetric::{X25519PublicKey, X25519SecretKey},
    base::ReceiverIndex,
    handshake::{Agreement, HandshakeError, PresharedKey, Protocol, Role},
    symmetric::Suite,
    wire::{hybrid::ParametersBytes, wireguard as wire},
};
use rand_core::CryptoRng;
use std::time::Instant;

/// Responses that may fail before the next ones have to come with a cookie.
const MAX_FAILURES: u8 = 16;

/// A handshake that waits for its response.
#[derive(Debug)]
pub struct Initiation {
    transcript: Transcript,
    ephemeral: X25519SecretKey,
    sender: ReceiverIndex,
    failures: u8,
}

/// A response that was refused; the handshake goes on.
///
/// Failures do not end the handshake, unlike in the hybrid one: anybody who knows our public key and sees an initiation
/// go by can make a response that costs two agreements to refuse, and could so end every handshake. The work is bounded
/// by [`Initiation::is_doubtful`].
#[derive(Debug)]
pub struct Rejected {
    /// The handshake, to be kept for the genuine response.
    pub state: Box<Initiation>,
    /// What was wrong.
    pub error: HandshakeError,
}

impl Initiation {
    /// Begins a handshake with `remote` under the index `sender`: the state, and the initiation to send. The peer
    /// refuses it unless `timestamp` is greater than those of all initiations before it.
    ///
    /// # Errors
    /// [`HandshakeError::BadKey`] when the peer's static key is of small order.
    pub fn start(
        local: &LocalKey,
        remote: &mut RemoteKey,
        sender: ReceiverIndex,
        timestamp: Tai64n,
        rng: &mut dyn CryptoRng,
        now: Instant,
    ) -> Result<(Self, Box<wire::Initiation>), HandshakeError> {
        let ephemeral = X25519SecretKey::random(rng);
        let mut message = Box::new(wire::Initiation {
            kind: wire::TYPE_INITIATION,
            sender,
            ephemeral: ephemeral.public_key().0,
            sealed_static: [0; 48],
            sealed_timestamp: [0; 28],
            mac1: [0; wire::MAC_SIZE],
            mac2: [0; wire::MAC_SIZE],
        });
        message.sealed_timestamp[..wire::TIMESTAMP_SIZE].copy_from_slice(timestamp.as_bytes());
        let keys = StaticKeys {
            initiator: local.public_key(),
            responder: remote.public_key(),
            shared: remote.static_shared()?,
        };
        let mut transcript = Transcript::start(IDENTIFIER.as_bytes(), &keys.responder);
        let (sealed_static, payload) = (&mut message.sealed_static, &mut message.sealed_timestamp);
        write_first(&mut transcript, &keys, &ephemeral, sealed_static, payload)?;
        remote.write_macs(&mut *message, now);
        Ok((Self { transcript, ephemeral, sender, failures: 0 }, message))
    }

    /// The index under which the response is expected.
    pub const fn sender(&self) -> ReceiverIndex {
        self.sender
    }

    /// Whether so many responses have failed that somebody seems to forge them: the caller then asks for a cookie
    /// before it reads another.
    pub const fn is_doubtful(&self) -> bool {
        self.failures >= MAX_FAILURES
    }

    /// Reads the response; `local` is the key that the handshake began with. Mac1 (and mac2 under load) were verified
    /// by the caller, who needs to know about them before it looks for the handshake.
    ///
    /// # Errors
    /// [`Rejected`], which gives the state back: a forgery must not end the handshake.
    pub fn read_response(
        self,
        response: &wire::Response,
        local: &LocalKey,
        preshared_key: &PresharedKey,
    ) -> Result<Agreement, Rejected> {
        self.agree(response, local, preshared_key).map_err(|error| {
            let failures = self.failures.saturating_add(1);
            Rejected { state: Box::new(Self { failures, ..self }), error }
        })
    }

    fn agree(
        &self,
        response: &wire::Response,
        local: &LocalKey,
        preshared_key: &PresharedKey,
    ) -> Result<Agreement, HandshakeError> {
        if response.receiver != self.sender {
            return Err(HandshakeError::UnknownIndex);
        }
        let mut transcript = self.transcript.duplicate();
        let []: [u8; 0] = read_second(
            &mut transcript,
            [&self.ephemeral, local.secret()],
            &X25519PublicKey(response.ephemeral),
            preshared_key,
            &response.sealed_nothing,
        )?;
        let [sending, receiving] = transcript.transport_keys();
        Ok(Agreement {
            protocol: Protocol::Wireguard,
            role: Role::Initiator,
            local_index: self.sender,
            remote_index: response.sender,
            sending,
            receiving,
            suite: Suite::ChaCha20Poly1305,
            parameters: ParametersBytes::default(),
        })
    }
}
