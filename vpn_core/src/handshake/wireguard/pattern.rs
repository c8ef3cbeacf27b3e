//! The two messages of the Noise pattern IKpsk2, without WireGuard's framing:
//!
//! ```text
//! <- s
//! ...
//! -> e, es, s, ss, payload
//! <- e, ee, se, psk, payload
//! ```
//! Both ends of a message stand together here, so that one can be read against the other. A message is refused with
//! [`HandshakeError::BadKey`] for a public key of small order, and with [`HandshakeError::BadSeal`] for a block that
//! does not open; the transcript is then spoilt and to be thrown away.

use super::transcript::Transcript;
use crate::{
    asymmetric::{X25519PublicKey, X25519SecretKey},
    base::SecretBytes,
    handshake::{HandshakeError, PresharedKey},
    symmetric::TAG_SIZE,
};

/// A static key, sealed.
pub(super) type SealedStatic = [u8; 32 + TAG_SIZE];

/// The initiator's view of the static keys.
pub(super) struct StaticKeys<'a> {
    /// Our own key.
    pub(super) initiator: X25519PublicKey,
    /// The peer's key.
    pub(super) responder: X25519PublicKey,
    /// Their agreement.
    pub(super) shared: &'a SecretBytes<32>,
}

/// Writes the first message. `payload` comes with room for its tag.
pub(super) fn write_first(
    transcript: &mut Transcript,
    keys: &StaticKeys<'_>,
    ephemeral: &X25519SecretKey,
    sealed_static: &mut SealedStatic,
    payload: &mut [u8],
) -> Result<(), HandshakeError> {
    transcript.mix_ephemeral(&ephemeral.public_key());
    let key = transcript.mix_key(&agree(ephemeral, &keys.responder)?);
    sealed_static[..32].copy_from_slice(&keys.initiator.0);
    transcript.seal(&key, sealed_static);
    let key = transcript.mix_key(keys.shared);
    transcript.seal(&key, payload);
    Ok(())
}

/// Reads the first message up to the initiator's static key, by which the responder knows its peer.
pub(super) fn read_first_static(
    transcript: &mut Transcript,
    local: &X25519SecretKey,
    ephemeral: &X25519PublicKey,
    sealed_static: &SealedStatic,
) -> Result<X25519PublicKey, HandshakeError> {
    transcript.mix_ephemeral(ephemeral);
    let key = transcript.mix_key(&agree(local, ephemeral)?);
    transcript.open(&key, sealed_static).map(X25519PublicKey)
}

/// Reads the rest of the first message: it opens only if the initiator owns the static key that it sent.
pub(super) fn read_first_payload<const SEALED: usize, const PLAIN: usize>(
    transcript: &mut Transcript,
    static_shared: &SecretBytes<32>,
    payload: &[u8; SEALED],
) -> Result<[u8; PLAIN], HandshakeError> {
    let key = transcript.mix_key(static_shared);
    transcript.open(&key, payload)
}

/// The initiator's public keys, to which the responder answers.
#[derive(Debug)]
pub(super) struct InitiatorKeys {
    /// Of this handshake.
    pub(super) ephemeral: X25519PublicKey,
    /// Of the peer.
    pub(super) identity: X25519PublicKey,
}

/// Writes the second message. `payload` comes with room for its tag.
pub(super) fn write_second(
    transcript: &mut Transcript,
    ephemeral: &X25519SecretKey,
    initiator: &InitiatorKeys,
    preshared_key: &PresharedKey,
    payload: &mut [u8],
) -> Result<(), HandshakeError> {
    transcript.mix_ephemeral(&ephemeral.public_key());
    transcript.mix_secret(&agree(ephemeral, &initiator.ephemeral)?);
    transcript.mix_secret(&agree(ephemeral, &initiator.identity)?);
    let key = transcript.mix_preshared_key(preshared_key);
    transcript.seal(&key, payload);
    Ok(())
}

/// Reads the second message with our own `ephemeral` and static keys.
pub(super) fn read_second<const SEALED: usize, const PLAIN: usize>(
    transcript: &mut Transcript,
    [ephemeral, local]: [&X25519SecretKey; 2],
    responder_ephemeral: &X25519PublicKey,
    preshared_key: &PresharedKey,
    payload: &[u8; SEALED],
) -> Result<[u8; PLAIN], HandshakeError> {
    transcript.mix_ephemeral(responder_ephemeral);
    transcript.mix_secret(&agree(ephemeral, responder_ephemeral)?);
    transcript.mix_secret(&agree(local, responder_ephemeral)?);
    let key = transcript.mix_preshared_key(preshared_key);
    transcript.open(&key, payload)
}

fn agree(ours: &X25519SecretKey, theirs: &X25519PublicKey) -> Result<SecretBytes<32>, HandshakeError> {
    ours.agree(theirs).map_err(|_| HandshakeError::BadKey)
}
