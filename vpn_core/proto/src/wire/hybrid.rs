//! The messages of the hybrid handshake (protocol.md 4, 5.2): init, response, finish, cookie reply.

use crate::{
    asymmetric::{CIPHERTEXT_SIZE, ENCAPSULATION_KEY_SIZE},
    base::ReceiverIndex,
    symmetric::{Suite, TAG_SIZE, XNONCE_SIZE},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned, little_endian};

/// Version of the handshake.
pub const VERSION: u8 = 1;
/// First byte of an init.
pub const TYPE_INIT: u8 = 5;
/// First byte of a response.
pub const TYPE_RESPONSE: u8 = 6;
/// First byte of a finish.
pub const TYPE_FINISH: u8 = 7;
/// First byte of a cookie reply.
pub const TYPE_COOKIE_REPLY: u8 = 8;

/// Size of a message mac, in bytes.
pub const MAC_SIZE: usize = 8;
/// Size of a cookie, in bytes.
pub const COOKIE_SIZE: usize = 16;
/// Init flag: the mac is made with a cookie.
pub const FLAG_COOKIE: u8 = 1;

/// The first four bytes of every handshake message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Header {
    /// Message type.
    pub kind: u8,
    /// [`VERSION`].
    pub version: u8,
    /// Flags; unused bits are sent as 0.
    pub flags: u8,
    /// Init: suites offered. Response: the one chosen. Otherwise 0.
    pub suites: SuiteSet,
}

impl Header {
    /// A header of this version.
    pub const fn new(kind: u8, flags: u8, suites: SuiteSet) -> Self {
        Self { kind, version: VERSION, flags, suites }
    }

    fn is(self, kind: u8) -> bool {
        self.kind == kind && self.version == VERSION
    }
}

/// A set of cipher suites, one bit each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct SuiteSet(pub u8);

impl SuiteSet {
    /// No suite: the value of the field where it has no meaning.
    pub const NONE: Self = Self(0);
    /// ChaCha20-Poly1305 alone, which everybody supports.
    pub const CHACHA20_POLY1305: Self = Self(1);
    /// AES-256-GCM beside it.
    pub const WITH_AES_256_GCM: Self = Self(1 | 2);

    /// The set of one suite.
    pub const fn only(suite: Suite) -> Self {
        match suite {
            Suite::ChaCha20Poly1305 => Self(1),
            Suite::Aes256Gcm => Self(2),
        }
    }

    /// Whether `suite` is in the set.
    pub const fn contains(self, suite: Suite) -> bool {
        self.0 & Self::only(suite).0 != 0
    }

    /// The suite, if the set is exactly one known suite.
    pub const fn single(self) -> Option<Suite> {
        match self.0 {
            1 => Some(Suite::ChaCha20Poly1305),
            2 => Some(Suite::Aes256Gcm),
            _ => None,
        }
    }
}

/// Init, type 5, initiator to responder.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Init {
    /// Type, version, flags, suites offered.
    pub header: Header,
    /// Index under which the initiator wants to be answered.
    pub sender: ReceiverIndex,
    /// Ephemeral X25519 key.
    pub ephemeral: [u8; 32],
    /// ML-KEM-768 encapsulation key, fresh for each handshake.
    pub encapsulation_key: [u8; ENCAPSULATION_KEY_SIZE],
    /// Proof that the sender knows the responder's identity.
    pub mac: [u8; MAC_SIZE],
}

/// Response, type 6, responder to initiator.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Response {
    /// Type, version, flags, suite chosen.
    pub header: Header,
    /// Index under which the responder wants to be addressed.
    pub sender: ReceiverIndex,
    /// The init's sender index.
    pub receiver: ReceiverIndex,
    /// Ephemeral X25519 key.
    pub ephemeral: [u8; 32],
    /// ML-KEM-768 ciphertext.
    pub ciphertext: [u8; CIPHERTEXT_SIZE],
    /// Sealed: signature 64, parameters 8.
    pub sealed: [u8; 64 + ParametersBytes::SIZE + TAG_SIZE],
    /// Proof that the sender saw the init.
    pub mac: [u8; MAC_SIZE],
}

/// Finish, type 7, initiator to responder.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Finish {
    /// Type, version, flags, 0.
    pub header: Header,
    /// The response's sender index.
    pub receiver: ReceiverIndex,
    /// Sealed: initiator identity 32, signature 64.
    pub sealed_identity: [u8; 32 + 64 + TAG_SIZE],
    /// Sealed: parameters 8.
    pub sealed_parameters: [u8; ParametersBytes::SIZE + TAG_SIZE],
}

/// Cookie reply, type 8, responder to initiator.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CookieReply {
    /// Type, version, 0, 0.
    pub header: Header,
    /// The init's sender index.
    pub receiver: ReceiverIndex,
    /// Nonce of the sealed cookie.
    pub nonce: [u8; XNONCE_SIZE],
    /// The cookie, encrypted.
    pub cookie: [u8; COOKIE_SIZE],
    /// Its tag.
    pub tag: [u8; TAG_SIZE],
}

/// What a node accepts to receive beyond what every node does, one bit each (protocol.md 4.1.5). A bit that this version
/// does not know means nothing.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(transparent)]
pub struct Features(little_endian::U32);

impl Features {
    /// Nothing.
    pub const NONE: Self = Self(little_endian::U32::ZERO);
    /// Packets whose TCP or UDP checksum was left out (protocol.md 7.4.5).
    pub const CHECKSUM_LEFT_OUT: Self = Self(little_endian::U32::new(1));
    /// Probes of the path, which it answers (protocol.md 7.5).
    pub const PATH_PROBES: Self = Self(little_endian::U32::new(2));
    /// All that this version accepts.
    pub const SUPPORTED: Self = Self(little_endian::U32::new(3));

    /// Whether everything in `other` is in here.
    pub const fn contains(self, other: Self) -> bool {
        self.0.get() & other.0.get() == other.0.get()
    }
}

/// What a node tells its peer inside the handshake.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned,
)]
#[repr(C)]
pub struct ParametersBytes {
    /// What this node accepts to receive.
    pub features: Features,
    /// MTU of this node's tunnel interface, in bytes.
    pub mtu: little_endian::U16,
    /// Sent as 0, ignored.
    pub reserved: [u8; 2],
}

impl ParametersBytes {
    /// Size in bytes.
    pub const SIZE: usize = size_of::<Self>();
}

const _: () = assert!(size_of::<Init>() == 1232 && size_of::<Init>() <= super::MAX_HANDSHAKE_MESSAGE);
const _: () = assert!(size_of::<Response>() == 1228);
const _: () = assert!(size_of::<Finish>() == 144);
const _: () = assert!(size_of::<CookieReply>() == 64);
const _: () = assert!(ParametersBytes::SIZE == 8);

/// A handshake message as it lies in a datagram: right type, version and length, nothing else checked.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// Type 5.
    Init(&'a Init),
    /// Type 6.
    Response(&'a Response),
    /// Type 7.
    Finish(&'a Finish),
    /// Type 8.
    CookieReply(&'a CookieReply),
}

impl<'a> Message<'a> {
    /// Recognises a message by type, version and exact length.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        match *datagram.first()? {
            TYPE_INIT => Some(Self::Init(parse_as::<Init>(datagram, TYPE_INIT)?)),
            TYPE_RESPONSE => Some(Self::Response(parse_as::<Response>(datagram, TYPE_RESPONSE)?)),
            TYPE_FINISH => Some(Self::Finish(parse_as::<Finish>(datagram, TYPE_FINISH)?)),
            TYPE_COOKIE_REPLY => {
                Some(Self::CookieReply(parse_as::<CookieReply>(datagram, TYPE_COOKIE_REPLY)?))
            }
            _ => None,
        }
    }
}

fn parse_as<M: FromBytes + KnownLayout + Immutable + Unaligned>(datagram: &[u8], kind: u8) -> Option<&M> {
    let (header, _) = Header::ref_from_prefix(datagram).ok()?;
    if !header.is(kind) {
        return None;
    }
    M::ref_from_bytes(datagram).ok()
}

/// The bytes of `message` without its trailing mac.
pub fn without_mac<M: IntoBytes + Immutable>(message: &M) -> &[u8] {
    let bytes = message.as_bytes();
    &bytes[..bytes.len() - MAC_SIZE]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_feature_bits_mean_nothing() {
        let features = |bits: [u8; 4]| Features::read_from_bytes(&bits).expect("4 bytes");
        assert!(features([1, 0, 0, 0]).contains(Features::CHECKSUM_LEFT_OUT));
        assert!(features([0xff; 4]).contains(Features::CHECKSUM_LEFT_OUT));
        assert!(!features([0xfe, 0xff, 0xff, 0xff]).contains(Features::CHECKSUM_LEFT_OUT));
        assert_eq!(Features::SUPPORTED.as_bytes(), [3, 0, 0, 0], "all that is defined");
    }
}
