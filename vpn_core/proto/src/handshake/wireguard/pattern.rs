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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::symmetric::{AeadKey, Suite};
    use serde_json::Value;

    fn bytes(vector: &Value, field: impl serde_json::value::Index) -> Vec<u8> {
        let text = vector[field].as_str().expect("a field of hexadecimal digits");
        let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
        (0..text.len()).step_by(2).map(digits).collect()
    }

    fn secret(vector: &Value, field: impl serde_json::value::Index) -> SecretBytes<32> {
        SecretBytes::new(bytes(vector, field).try_into().expect("32 bytes"))
    }

    fn seal(key: &SecretBytes<32>, counter: u64, payload: &[u8]) -> Vec<u8> {
        let mut text = payload.to_vec();
        let tag = AeadKey::new(Suite::ChaCha20Poly1305, key).seal_in_place(counter, &[], &mut text);
        [text, tag.to_vec()].concat()
    }

    /// The published vector has a prologue of its own and payloads of 16 and 15 bytes.
    #[test]
    fn both_ends_compute_the_published_vector() {
        let vector: Value =
            serde_json::from_str(include_str!("../../../../tests/vectors/noise_ikpsk2.json")).expect("JSON");
        let [initiator, responder] =
            ["init_static", "resp_static"].map(|name| X25519SecretKey::new(&secret(&vector, name)));
        let [ours, theirs] =
            ["init_ephemeral", "resp_ephemeral"].map(|name| X25519SecretKey::new(&secret(&vector, name)));
        let psk = secret(&vector["init_psks"], 0);
        let shared = initiator.agree(&responder.public_key()).expect("an honest key");
        let start = || Transcript::start(&bytes(&vector, "init_prologue"), &responder.public_key());
        let message = |at: usize| &vector["messages"][at];
        let (mut initiators, mut responders) = (start(), start());

        let keys = StaticKeys {
            initiator: initiator.public_key(),
            responder: responder.public_key(),
            shared: &shared,
        };
        let (mut sealed_static, mut first) = ([0; 48], [0; 32]);
        first[..16].copy_from_slice(&bytes(message(0), "payload"));
        write_first(&mut initiators, &keys, &ours, &mut sealed_static, &mut first).expect("honest keys");
        let sent = [&ours.public_key().0[..], &sealed_static, &first].concat();
        assert_eq!(sent, bytes(message(0), "ciphertext"));
        let from = read_first_static(&mut responders, &responder, &ours.public_key(), &sealed_static);
        assert_eq!(from.expect("opens"), initiator.public_key());
        let payload: [u8; 16] = read_first_payload(&mut responders, &shared, &first).expect("opens");
        assert_eq!(payload[..], bytes(message(0), "payload"));

        let to = InitiatorKeys { ephemeral: ours.public_key(), identity: initiator.public_key() };
        let mut second = [0; 31];
        second[..15].copy_from_slice(&bytes(message(1), "payload"));
        write_second(&mut responders, &theirs, &to, &psk, &mut second).expect("honest keys");
        assert_eq!([&theirs.public_key().0[..], &second].concat(), bytes(message(1), "ciphertext"));
        let own = [&ours, &initiator];
        let payload: [u8; 15] =
            read_second(&mut initiators, own, &theirs.public_key(), &psk, &second).expect("opens");
        assert_eq!(payload[..], bytes(message(1), "payload"));

        for transcript in [&initiators, &responders] {
            assert_eq!(transcript.hash()[..], bytes(&vector, "handshake_hash"));
            let keys = transcript.transport_keys();
            for at in 2..6 {
                let counter = (at as u64 - 2) / 2;
                let sealed = seal(&keys[at % 2], counter, &bytes(message(at), "payload"));
                assert_eq!(sealed, bytes(message(at), "ciphertext"), "message {at}");
            }
        }
    }
}
