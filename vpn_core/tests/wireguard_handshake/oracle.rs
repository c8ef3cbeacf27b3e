//! A second WireGuard handshake: the Noise state machine of `snow` over RustCrypto and dalek primitives, framed by
//! hand. It shares BLAKE2s with the program, which `primitives/blake2s.rs` checks against published values, and no
//! other code.

use blake2::{
    Blake2s256, Blake2sMac,
    digest::{FixedOutput as _, KeyInit as _, Update as _, consts::U16},
};
use chacha20poly1305::{AeadInOut as _, ChaCha20Poly1305, XChaCha20Poly1305};
use snow::{
    Builder, Error, HandshakeState,
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::CryptoResolver,
    types::{Cipher, Dh, Hash, Random},
};
use x25519_dalek::{PublicKey, StaticSecret};

const NAME: &str = "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
const PROLOGUE: &[u8] = b"WireGuard v1 zx2c4 Jason@zx2c4.com";

/// What one end brings to a handshake.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) secret: [u8; 32],
    pub(crate) ephemeral: [u8; 32],
    pub(crate) index: u32,
    pub(crate) preshared_key: [u8; 32],
}

/// Both transport keys: initiator to responder, responder to initiator.
pub(crate) type Keys = [[u8; 32]; 2];

impl End {
    pub(crate) fn public(&self) -> [u8; 32] {
        public(self.secret)
    }

    fn builder(&self) -> Builder<'_> {
        Builder::with_resolver(NAME.parse().expect("a Noise name"), Box::new(Primitives))
            .local_private_key(&self.secret)
            .expect("set once")
            .fixed_ephemeral_key_for_testing_only(&self.ephemeral)
            .psk(2, &self.preshared_key)
            .expect("set once")
            .prologue(PROLOGUE)
            .expect("set once")
    }

    pub(crate) fn initiate(&self, responder: &[u8; 32], timestamp: &[u8; 12]) -> (HandshakeState, Vec<u8>) {
        let mut state = self
            .builder()
            .remote_public_key(responder)
            .expect("set once")
            .build_initiator()
            .expect("complete");
        let mut noise = [0; 108];
        assert_eq!(state.write_message(timestamp, &mut noise).expect("honest keys"), noise.len());
        let message = [&[1, 0, 0, 0][..], &self.index.to_le_bytes(), &noise].concat();
        (state, with_macs(message, responder, None))
    }

    /// Reads an initiation; answers the initiator's key, its timestamp and the response.
    pub(crate) fn respond(&self, initiation: &[u8]) -> Result<Answer, Error> {
        let mut state = self.builder().build_responder().expect("complete");
        let mut timestamp = [0; 12];
        assert_eq!(state.read_message(&initiation[8..116], &mut timestamp)?, 12);
        let initiator = state.get_remote_static().expect("read").try_into().expect("32 bytes");
        let mut noise = [0; 48];
        assert_eq!(state.write_message(&[], &mut noise)?, noise.len());
        let message = [&[2, 0, 0, 0][..], &self.index.to_le_bytes(), &initiation[4..8], &noise].concat();
        let keys = state.dangerously_get_raw_split().into();
        Ok(Answer { initiator, timestamp, response: with_macs(message, &initiator, None), keys })
    }
}

/// What the responder makes of an initiation.
pub(crate) struct Answer {
    pub(crate) initiator: [u8; 32],
    pub(crate) timestamp: [u8; 12],
    pub(crate) response: Vec<u8>,
    pub(crate) keys: Keys,
}

/// The initiator's end of a handshake.
pub(crate) fn complete(mut state: HandshakeState, response: &[u8]) -> Result<Keys, Error> {
    assert_eq!(state.read_message(&response[12..60], &mut [])?, 0);
    Ok(state.dangerously_get_raw_split().into())
}

pub(crate) fn public(secret: [u8; 32]) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(secret)).to_bytes()
}

/// Appends both macs of a message to the owner of `receiver`.
pub(crate) fn with_macs(mut message: Vec<u8>, receiver: &[u8; 32], cookie: Option<[u8; 16]>) -> Vec<u8> {
    message.extend(mac(&hash(&[b"mac1----", receiver]), &message));
    message.extend(cookie.map_or([0; 16], |cookie| mac(&cookie, &message)));
    message
}

/// Answers `message` with a cookie, as the owner of `own` does.
pub(crate) fn cookie_reply(own: &[u8; 32], message: &[u8], nonce: [u8; 24], cookie: [u8; 16]) -> Vec<u8> {
    let mac1 = &message[message.len() - 32..message.len() - 16];
    let mut sealed = cookie;
    let tag = XChaCha20Poly1305::new(&hash(&[b"cookie--", own]).into())
        .encrypt_inout_detached(&nonce.into(), mac1, (&mut sealed[..]).into())
        .expect("short");
    [&[3, 0, 0, 0][..], &message[4..8], &nonce, &sealed, &tag].concat()
}

fn mac(key: &[u8], message: &[u8]) -> [u8; 16] {
    Blake2sMac::<U16>::new_from_slice(key).expect("a short key").chain(message).finalize_fixed().into()
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    parts.iter().fold(Blake2s256::default(), Blake2s256::chain).finalize_fixed().into()
}

struct Primitives;

impl CryptoResolver for Primitives {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(NoRandomness))
    }

    fn resolve_dh(&self, _: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::new(X25519 { secret: [0; 32], public: [0; 32] }))
    }

    fn resolve_hash(&self, _: &HashChoice) -> Option<Box<dyn Hash>> {
        Some(Box::new(Blake2s(Blake2s256::default())))
    }

    fn resolve_cipher(&self, _: &CipherChoice) -> Option<Box<dyn Cipher>> {
        Some(Box::new(ChaChaPoly([0; 32])))
    }
}

/// Ephemeral keys are given, so nothing is drawn.
struct NoRandomness;

impl Random for NoRandomness {
    fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Error> {
        Err(Error::Rng)
    }
}

struct X25519 {
    secret: [u8; 32],
    public: [u8; 32],
}

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, secret: &[u8]) {
        self.secret = secret.try_into().expect("32 bytes");
        self.public = public(self.secret);
    }

    fn generate(&mut self, _: &mut dyn Random) -> Result<(), Error> {
        Err(Error::Rng)
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    fn privkey(&self) -> &[u8] {
        &self.secret
    }

    fn dh(&self, theirs: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let theirs = PublicKey::from(*theirs.first_chunk::<32>().expect("a key"));
        out[..32].copy_from_slice(StaticSecret::from(self.secret).diffie_hellman(&theirs).as_bytes());
        Ok(())
    }
}

struct Blake2s(Blake2s256);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        self.0 = Blake2s256::default();
    }

    fn input(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn result(&mut self, out: &mut [u8]) {
        out[..32].copy_from_slice(&core::mem::take(&mut self.0).finalize_fixed());
    }
}

struct ChaChaPoly([u8; 32]);

impl ChaChaPoly {
    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(&self.0.into())
    }
}

fn nonce(counter: u64) -> chacha20poly1305::Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    bytes.into()
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = *key;
    }

    fn encrypt(&self, counter: u64, ad: &[u8], plain: &[u8], out: &mut [u8]) -> usize {
        let (text, tag) = out[..plain.len() + 16].split_at_mut(plain.len());
        text.copy_from_slice(plain);
        let made = self.cipher().encrypt_inout_detached(&nonce(counter), ad, text.into()).expect("short");
        tag.copy_from_slice(&made);
        plain.len() + 16
    }

    fn decrypt(&self, counter: u64, ad: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let (text, tag) = sealed.split_last_chunk::<16>().ok_or(Error::Decrypt)?;
        let out = &mut out[..text.len()];
        out.copy_from_slice(text);
        self.cipher()
            .decrypt_inout_detached(&nonce(counter), ad, out.into(), tag.into())
            .map_err(|_| Error::Decrypt)?;
        Ok(text.len())
    }
}
