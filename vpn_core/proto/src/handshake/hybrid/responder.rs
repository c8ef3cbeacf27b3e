//! The responder's side (protocol.md 4).

use super::{
    ResponseMacKey, VerifiedInit, init_hash,
    initiator::{FINISH_PREFIX, response_prefix},
    mac::choose_suite,
    transcript::{INITIATOR, RESPONDER, Transcript, signed_text},
};
use crate::{
    asymmetric::{Identity, PublicKey, X25519PublicKey, X25519SecretKey, encapsulate},
    base::{ReceiverIndex, SecretBytes},
    handshake::{Agreement, HandshakeError, PresharedKey, Protocol, Role},
    symmetric::Suite,
    wire::hybrid::{
        Finish, Header, MAC_SIZE, ParametersBytes, Response, SuiteSet, TYPE_RESPONSE, without_mac,
    },
};
use rand_core::CryptoRng;
use zerocopy::IntoBytes as _;

/// How many finishes whose first block opened may fail before a half-open handshake is given up (protocol.md 6.4).
pub const MAX_FINISH_FAILURES: u8 = 16;

/// What a responder brings to a handshake.
#[derive(Debug)]
pub struct ResponderSettings<'a> {
    /// Our identity.
    pub identity: &'a Identity,
    /// The suites that this node can use.
    pub suites: SuiteSet,
    /// What this node says of itself.
    pub parameters: ParametersBytes,
}

/// A handshake that was answered and waits for its finish. Holds no ephemeral secret any more.
pub struct HalfOpen {
    transcript: Transcript,
    responder: PublicKey,
    suite: Suite,
    flags: u8,
    local_index: ReceiverIndex,
    remote_index: ReceiverIndex,
    failures: u8,
}

/// A finish whose first block opened: somebody who made the init claims to be `identity`. Nothing is verified yet.
pub struct ClaimedIdentity {
    identity: PublicKey,
    signature: [u8; 64],
    signed: Vec<u8>,
    transcript: Transcript,
}

/// Answers a verified init under the index `local_index`: the response, and the state that awaits the finish.
///
/// # Errors
/// [`HandshakeError::BadKey`] when one of the initiator's ephemeral keys is invalid.
pub fn respond(
    verified: &VerifiedInit<'_>,
    settings: &ResponderSettings<'_>,
    local_index: ReceiverIndex,
    rng: &mut dyn CryptoRng,
) -> Result<(Box<Response>, HalfOpen), HandshakeError> {
    let init = verified.init();
    let ephemeral = X25519SecretKey::random(rng);
    let dh = ephemeral.agree(&X25519PublicKey(init.ephemeral)).map_err(|_| HandshakeError::BadKey)?;
    let (ciphertext, kem) = encapsulate(&init.encapsulation_key, &SecretBytes::random(rng))
        .map_err(|_| HandshakeError::BadKey)?;
    let suite = choose_suite(init.header.suites, settings.suites);
    let responder = settings.identity.public_key();

    let mut response = Box::new(Response {
        header: Header::new(TYPE_RESPONSE, 0, SuiteSet::only(suite)),
        sender: local_index,
        receiver: init.sender,
        ephemeral: ephemeral.public_key().0,
        ciphertext,
        sealed: [0; 88],
        mac: [0; MAC_SIZE],
    });
    let mut transcript = Transcript::start(verified.network_key(), &responder);
    transcript.mix_hash(without_mac(init));
    transcript.mix_hash(response_prefix(&response));
    let h = *transcript.hash();
    let k2 = transcript.mix_key(&[dh.expose(), kem.expose(), &h]);
    response.sealed[..64].copy_from_slice(&settings.identity.sign(&signed_text(RESPONDER, &h, None)));
    response.sealed[64..72].copy_from_slice(settings.parameters.as_bytes());
    transcript.seal(&k2, &mut response.sealed);
    response.mac = ResponseMacKey::new(init_hash(init)).make(&response);

    let state = HalfOpen {
        transcript,
        responder,
        suite,
        flags: response.header.flags,
        local_index,
        remote_index: init.sender,
        failures: 0,
    };
    Ok((response, state))
}

impl HalfOpen {
    /// Opens the first block of `finish`.
    ///
    /// # Errors
    /// [`HandshakeError::NotOffered`] or [`HandshakeError::BadSeal`]; the handshake goes on and nothing is counted,
    /// so that an injector cannot burn it.
    pub fn read_identity(&self, finish: &Finish) -> Result<ClaimedIdentity, HandshakeError> {
        if finish.header.flags != self.flags || finish.header.suites != SuiteSet::NONE {
            return Err(HandshakeError::NotOffered);
        }
        if finish.receiver != self.local_index {
            return Err(HandshakeError::UnknownIndex);
        }
        let mut transcript = self.transcript.duplicate();
        transcript.mix_hash(&finish.as_bytes()[..FINISH_PREFIX]);
        let h = *transcript.hash();
        let k3 = transcript.mix_key(&[]);
        let block: [u8; 96] = transcript.open(&k3, &finish.sealed_identity)?;
        let (identity, signature) = block.split_first_chunk::<32>().expect("96 bytes hold an identity");
        let identity = PublicKey(*identity);
        let signature = *signature.first_chunk::<64>().expect("96 bytes hold identity and signature");
        Ok(ClaimedIdentity {
            identity,
            signature,
            signed: signed_text(INITIATOR, &h, Some(&identity)),
            transcript,
        })
    }

    /// Counts a finish that failed behind its first block; `false` when the handshake has had enough of them.
    pub fn count_failure(&mut self) -> bool {
        self.failures += 1;
        self.failures < MAX_FINISH_FAILURES
    }

    /// The index under which the finish is expected.
    pub const fn local_index(&self) -> ReceiverIndex {
        self.local_index
    }
}

impl ClaimedIdentity {
    /// Who the initiator claims to be.
    pub const fn identity(&self) -> PublicKey {
        self.identity
    }

    /// Verifies the signature and opens the second block with the preshared key of the claimed peer. For an unknown
    /// identity it is called all the same, with any key, so that both cases cost the same (protocol.md 6.5).
    ///
    /// # Errors
    /// [`HandshakeError::BadSignature`], [`HandshakeError::BadSeal`] (wrong preshared key).
    pub fn authenticate(
        mut self,
        half_open: &HalfOpen,
        finish: &Finish,
        preshared_key: &PresharedKey,
    ) -> Result<Agreement, HandshakeError> {
        let signature = self.identity.verify(&self.signed, &self.signature);
        let k4 = self.transcript.mix_key(&[preshared_key.expose()]);
        let parameters: Result<[u8; 8], _> = self.transcript.open(&k4, &finish.sealed_parameters);
        signature.map_err(|_| HandshakeError::BadSignature)?;
        // A node's own identity is refused: nobody talks to itself (protocol.md 6.5).
        if self.identity == half_open.responder {
            return Err(HandshakeError::BadSignature);
        }
        let parameters: ParametersBytes = zerocopy::transmute!(parameters?);
        let (receiving, sending) = self.transcript.transport_keys();
        Ok(Agreement {
            protocol: Protocol::Hybrid,
            role: Role::Responder,
            local_index: half_open.local_index,
            remote_index: half_open.remote_index,
            sending,
            receiving,
            suite: half_open.suite,
            parameters,
        })
    }
}

impl core::fmt::Debug for HalfOpen {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("HalfOpen")
            .field("local_index", &self.local_index)
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}

impl core::fmt::Debug for ClaimedIdentity {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ClaimedIdentity({:?})", self.identity)
    }
}
