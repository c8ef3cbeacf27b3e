//! The initiator's side (protocol.md 4).

use super::{
    CookieReplyKey, NetworkKey, ResponseMacKey,
    cookie::open_reply,
    init_hash,
    mac::{init_mac_key, mac},
    transcript::{INITIATOR, RESPONDER, Transcript, signed_text},
};
use crate::{
    asymmetric::{DecapsulationKey, Identity, PublicKey, X25519PublicKey, X25519SecretKey},
    base::ReceiverIndex,
    handshake::{Agreement, HandshakeError, PresharedKey, Protocol, Role},
    symmetric::{Hash, Suite},
    wire::hybrid::{
        CookieReply, FLAG_COOKIE, Finish, Header, Init, MAC_SIZE, ParametersBytes, Response, SuiteSet,
        TYPE_FINISH, TYPE_INIT, without_mac,
    },
};
use rand_core::CryptoRng;
use zerocopy::IntoBytes as _;

/// How many responses with a valid mac may fail before a handshake is given up (protocol.md 6.4).
pub const MAX_RESPONSE_FAILURES: u8 = 16;

/// What an initiator brings to a handshake.
#[derive(Debug)]
pub struct InitiatorSettings<'a> {
    /// Who is called.
    pub responder: PublicKey,
    /// The network key, all zero for none.
    pub network_key: &'a NetworkKey,
    /// The suites that this node can use.
    pub suites: SuiteSet,
}

/// A handshake that waits for its response.
pub struct Initiation {
    responder: PublicKey,
    network_key: NetworkKey,
    init: Box<Init>,
    ephemeral: X25519SecretKey,
    decapsulation_key: DecapsulationKey,
    /// What was sent: without a cookie, and, after a cookie reply, with one. Either may be answered.
    sent: SentInit,
    sent_with_cookie: Option<SentInit>,
    failures: u8,
}

/// What is remembered of one init.
struct SentInit {
    transcript: Transcript,
    hash: Hash,
}

/// A handshake whose response was accepted. "Up" only on the first authenticated transport packet.
#[derive(Debug)]
pub struct Completed {
    /// The message to send, and to repeat as it is until confirmed.
    pub finish: Box<Finish>,
    /// Keys, indices and the responder's parameters.
    pub agreement: Agreement,
}

/// A response that was refused. The handshake goes on unless `state` is `None`.
#[derive(Debug)]
pub struct Rejected {
    /// The handshake, to be kept for the genuine response.
    pub state: Option<Box<Initiation>>,
    /// What was wrong.
    pub error: HandshakeError,
}

impl Initiation {
    /// Begins a handshake under the index `sender`: the state, and the init to send.
    pub fn start(
        settings: &InitiatorSettings<'_>,
        sender: ReceiverIndex,
        rng: &mut dyn CryptoRng,
    ) -> (Self, Box<Init>) {
        let ephemeral = X25519SecretKey::random(rng);
        let decapsulation_key = DecapsulationKey::random(rng);
        let mut init = Box::new(Init {
            header: Header::new(TYPE_INIT, 0, settings.suites),
            sender,
            ephemeral: ephemeral.public_key().0,
            encapsulation_key: *decapsulation_key.encapsulation_key(),
            mac: [0; MAC_SIZE],
        });
        init.mac = mac(&init_mac_key(&settings.responder, settings.network_key, None), without_mac(&*init));
        let network_key = settings.network_key.duplicate();
        let sent = SentInit::new(&init, &network_key, &settings.responder);
        let state = Self {
            responder: settings.responder,
            network_key,
            init: init.clone(),
            ephemeral,
            decapsulation_key,
            sent,
            sent_with_cookie: None,
            failures: 0,
        };
        (state, init)
    }

    /// The index under which the response is expected.
    pub fn sender(&self) -> ReceiverIndex {
        self.init.sender
    }

    /// The init as it was sent first, to be repeated byte for byte.
    pub fn init(&self) -> &Init {
        &self.init
    }

    /// Takes a cookie reply: the same init again, its mac made with the cookie. Responses to both are accepted, so
    /// that a forged or stale reply can delay a handshake but not end it. One reply is taken for an init, none for
    /// an init that already carries a cookie.
    ///
    /// # Errors
    /// [`HandshakeError::BadMac`] when the reply does not answer our init, [`HandshakeError::NotOffered`] when one
    /// was taken already or it sets flags: they are not authenticated, so there can be none.
    pub fn read_cookie_reply(&mut self, reply: &CookieReply) -> Result<Box<Init>, HandshakeError> {
        if self.sent_with_cookie.is_some() {
            return Err(HandshakeError::NotOffered);
        }
        if reply.header.flags != 0 || reply.header.suites != SuiteSet::NONE {
            return Err(HandshakeError::NotOffered);
        }
        let reply_key = CookieReplyKey::new(&self.responder, &self.network_key);
        let cookie = open_reply(&reply_key, reply, &self.sent.hash)?;
        let mut init = self.init.clone();
        init.header.flags |= FLAG_COOKIE;
        init.mac = mac(&init_mac_key(&self.responder, &self.network_key, Some(&cookie)), without_mac(&*init));
        self.sent_with_cookie = Some(SentInit::new(&init, &self.network_key, &self.responder));
        Ok(init)
    }

    /// Reads the response and makes the finish.
    ///
    /// # Errors
    /// [`Rejected`], which gives the state back: a forgery must not end the handshake (protocol.md 6.4).
    pub fn read_response(
        mut self,
        response: &Response,
        identity: &Identity,
        preshared_key: &PresharedKey,
        parameters: ParametersBytes,
    ) -> Result<Completed, Rejected> {
        let Some(sent) = self.answered_init(response) else {
            return Err(Rejected { state: Some(Box::new(self)), error: HandshakeError::BadMac });
        };
        match self.complete(sent.transcript.duplicate(), response, identity, preshared_key, parameters) {
            Ok(completed) => Ok(completed),
            Err(error) => {
                // Only who saw the init can make the mac, so this counts; an off-path forger never comes here.
                self.failures += 1;
                let state = (self.failures < MAX_RESPONSE_FAILURES).then(|| Box::new(self));
                Err(Rejected { state, error })
            }
        }
    }

    fn answered_init(&self, response: &Response) -> Option<&SentInit> {
        let answers = |sent: &&SentInit| ResponseMacKey::new(sent.hash).verifies(response);
        if response.receiver != self.init.sender {
            return None;
        }
        Some(&self.sent).filter(answers).or_else(|| self.sent_with_cookie.as_ref().filter(answers))
    }

    fn complete(
        &self,
        mut transcript: Transcript,
        response: &Response,
        identity: &Identity,
        preshared_key: &PresharedKey,
        parameters: ParametersBytes,
    ) -> Result<Completed, HandshakeError> {
        // We offer no feature flags, so the response may set none (protocol.md 6.3).
        let suite = self.accepted_suite(response).ok_or(HandshakeError::NotOffered)?;
        let theirs = X25519PublicKey(response.ephemeral);
        let dh = self.ephemeral.agree(&theirs).map_err(|_| HandshakeError::BadKey)?;
        let kem = self.decapsulation_key.decapsulate(&response.ciphertext);

        transcript.mix_hash(response_prefix(response));
        let h = *transcript.hash();
        let k2 = transcript.mix_key(&[dh.expose(), kem.expose(), &h]);
        let sealed: [u8; 72] = transcript.open(&k2, &response.sealed)?;
        let (signature, their_parameters) =
            sealed.split_first_chunk::<64>().expect("72 bytes hold a signature");
        let text = signed_text(RESPONDER, &h, None);
        self.responder.verify(&text, signature).map_err(|_| HandshakeError::BadSignature)?;

        let finish = make_finish(&mut transcript, response, identity, preshared_key, parameters);
        let (sending, receiving) = transcript.transport_keys();
        let agreement = Agreement {
            protocol: Protocol::Hybrid,
            role: Role::Initiator,
            local_index: self.init.sender,
            remote_index: response.sender,
            sending,
            receiving,
            suite,
            parameters: zerocopy::transmute!(
                *their_parameters.first_chunk::<8>().expect("72 bytes hold signature and parameters")
            ),
        };
        Ok(Completed { finish, agreement })
    }

    fn accepted_suite(&self, response: &Response) -> Option<Suite> {
        let suite = response.header.suites.single()?;
        (self.init.header.suites.contains(suite) && response.header.flags == 0).then_some(suite)
    }
}

impl SentInit {
    fn new(init: &Init, network_key: &NetworkKey, responder: &PublicKey) -> Self {
        let mut transcript = Transcript::start(network_key, responder);
        transcript.mix_hash(without_mac(init));
        Self { transcript, hash: init_hash(init) }
    }
}

fn make_finish(
    transcript: &mut Transcript,
    response: &Response,
    identity: &Identity,
    preshared_key: &PresharedKey,
    parameters: ParametersBytes,
) -> Box<Finish> {
    let mut finish = Box::new(Finish {
        header: Header::new(TYPE_FINISH, response.header.flags, SuiteSet::NONE),
        receiver: response.sender,
        sealed_identity: [0; 112],
        sealed_parameters: [0; 24],
    });
    transcript.mix_hash(&finish.as_bytes()[..FINISH_PREFIX]);
    let signature = identity.sign(&signed_text(INITIATOR, transcript.hash(), Some(&identity.public_key())));
    let k3 = transcript.mix_key(&[]);
    finish.sealed_identity[..32].copy_from_slice(&identity.public_key().0);
    finish.sealed_identity[32..96].copy_from_slice(&signature);
    transcript.seal(&k3, &mut finish.sealed_identity);
    let k4 = transcript.mix_key(&[preshared_key.expose()]);
    finish.sealed_parameters[..8].copy_from_slice(parameters.as_bytes());
    transcript.seal(&k4, &mut finish.sealed_parameters);
    finish
}

/// Header and receiver index of a finish, which are mixed before it is sealed.
pub(super) const FINISH_PREFIX: usize = 8;

/// The part of a response in front of its sealed block.
pub(super) fn response_prefix(response: &Response) -> &[u8] {
    let bytes = response.as_bytes();
    &bytes[..bytes.len() - MAC_SIZE - size_of_val(&response.sealed)]
}

impl core::fmt::Debug for Initiation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Initiation")
            .field("responder", &self.responder)
            .field("sender", &self.sender())
            .finish_non_exhaustive()
    }
}
