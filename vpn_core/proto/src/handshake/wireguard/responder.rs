//! The responder's side (paper, sections 5.4.2 and 5.4.3), in the steps between which the caller looks up the peer and
//! decides whether to go on.

use super::{
    IDENTIFIER, LocalKey, RemoteKey, Tai64n,
    pattern::{InitiatorKeys, read_first_payload, read_first_static, write_second},
    transcript::Transcript,
};
use crate::{
    asymmetric::{X25519PublicKey, X25519SecretKey},
    base::ReceiverIndex,
    handshake::{Agreement, HandshakeError, PresharedKey, Protocol, Role},
    symmetric::{Suite, TAG_SIZE},
    wire::{hybrid::ParametersBytes, wireguard as wire},
};
use rand_core::CryptoRng;
use std::time::Instant;

/// An initiation made for us by somebody who claims to be [`Self::initiator`]. Nothing is authenticated yet.
#[derive(Debug)]
pub struct ReceivedInitiation {
    transcript: Transcript,
    sender: ReceiverIndex,
    initiator: InitiatorKeys,
    sealed_timestamp: [u8; wire::TIMESTAMP_SIZE + TAG_SIZE],
}

/// An initiation that the peer made, newer than all before it.
#[derive(Debug)]
pub struct Authenticated {
    transcript: Transcript,
    sender: ReceiverIndex,
    initiator: InitiatorKeys,
}

/// Reads an initiation up to the initiator's static key, at the cost of one agreement. The caller verified its macs.
///
/// # Errors
/// [`HandshakeError::BadKey`] when its ephemeral key is of small order, [`HandshakeError::BadSeal`] when the static key
/// was not sealed for us.
pub fn read_initiation(
    local: &LocalKey,
    message: &wire::Initiation,
) -> Result<ReceivedInitiation, HandshakeError> {
    let mut transcript = Transcript::start(IDENTIFIER.as_bytes(), &local.public_key());
    let ephemeral = X25519PublicKey(message.ephemeral);
    let identity = read_first_static(&mut transcript, local.secret(), &ephemeral, &message.sealed_static)?;
    Ok(ReceivedInitiation {
        transcript,
        sender: message.sender,
        initiator: InitiatorKeys { ephemeral, identity },
        sealed_timestamp: message.sealed_timestamp,
    })
}

impl ReceivedInitiation {
    /// Who the initiator claims to be.
    pub const fn initiator(&self) -> X25519PublicKey {
        self.initiator.identity
    }

    /// Authenticates the initiation as made by `remote`, the peer with the key [`Self::initiator`], and new. Changes
    /// `remote` only if it is both.
    ///
    /// # Errors
    /// [`HandshakeError::BadKey`] when `remote` is another peer or its key is of small order,
    /// [`HandshakeError::BadSeal`] when the initiator does not own the key that it claims,
    /// [`HandshakeError::Replayed`] when a timestamp as great was seen, [`HandshakeError::TooFrequent`] when the
    /// initiation before was less than [`super::MIN_INITIATION_INTERVAL`] ago.
    pub fn authenticate(
        mut self,
        remote: &mut RemoteKey,
        now: Instant,
    ) -> Result<Authenticated, HandshakeError> {
        if remote.public_key() != self.initiator.identity {
            return Err(HandshakeError::BadKey);
        }
        let timestamp =
            read_first_payload(&mut self.transcript, remote.static_shared()?, &self.sealed_timestamp)?;
        remote.admit(Tai64n::received(timestamp), now)?;
        Ok(Authenticated { transcript: self.transcript, sender: self.sender, initiator: self.initiator })
    }
}

impl Authenticated {
    /// Makes the response under the index `sender`. The keypair of the agreement may send only after something was
    /// received with it: until then nobody but the owner of the recorded initiation is known to be there.
    ///
    /// # Errors
    /// [`HandshakeError::BadKey`] when one of the initiator's keys is of small order.
    pub fn respond(
        mut self,
        remote: &mut RemoteKey,
        preshared_key: &PresharedKey,
        sender: ReceiverIndex,
        rng: &mut dyn CryptoRng,
        now: Instant,
    ) -> Result<(Box<wire::Response>, Agreement), HandshakeError> {
        let ephemeral = X25519SecretKey::random(rng);
        let mut message = Box::new(wire::Response {
            kind: wire::TYPE_RESPONSE,
            sender,
            receiver: self.sender,
            ephemeral: ephemeral.public_key().0,
            sealed_nothing: [0; TAG_SIZE],
            mac1: [0; wire::MAC_SIZE],
            mac2: [0; wire::MAC_SIZE],
        });
        let payload = &mut message.sealed_nothing;
        write_second(&mut self.transcript, &ephemeral, &self.initiator, preshared_key, payload)?;
        remote.write_macs(&mut *message, now);
        let [receiving, sending] = self.transcript.transport_keys();
        let agreement = Agreement {
            protocol: Protocol::Wireguard,
            role: Role::Responder,
            local_index: sender,
            remote_index: self.sender,
            sending,
            receiving,
            suite: Suite::ChaCha20Poly1305,
            parameters: ParametersBytes::default(),
        };
        Ok((message, agreement))
    }
}
