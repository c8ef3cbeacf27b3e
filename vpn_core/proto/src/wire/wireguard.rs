//! The messages of the WireGuard handshake (its paper, sections 5.4.2, 5.4.3 and 5.4.7): initiation, response, cookie
//! reply.

use crate::{
    base::ReceiverIndex,
    symmetric::{BLAKE2S_MAC_SIZE, TAG_SIZE, XNONCE_SIZE},
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First four bytes of an initiation.
pub const TYPE_INITIATION: [u8; 4] = [1, 0, 0, 0];
/// First four bytes of a response.
pub const TYPE_RESPONSE: [u8; 4] = [2, 0, 0, 0];
/// First four bytes of a cookie reply.
pub const TYPE_COOKIE_REPLY: [u8; 4] = [3, 0, 0, 0];

/// Size of mac1 and of mac2, in bytes.
pub const MAC_SIZE: usize = BLAKE2S_MAC_SIZE;
/// Size of a cookie, in bytes.
pub const COOKIE_SIZE: usize = BLAKE2S_MAC_SIZE;
/// Size of a TAI64N timestamp, in bytes.
pub const TIMESTAMP_SIZE: usize = 12;

/// Initiation, type 1, 148 bytes.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Initiation {
    /// [`TYPE_INITIATION`].
    pub kind: [u8; 4],
    /// Index under which the initiator wants to be answered.
    pub sender: ReceiverIndex,
    /// Ephemeral X25519 key.
    pub ephemeral: [u8; 32],
    /// Sealed: the initiator's static X25519 key.
    pub sealed_static: [u8; 32 + TAG_SIZE],
    /// Sealed: a TAI64N timestamp.
    pub sealed_timestamp: [u8; TIMESTAMP_SIZE + TAG_SIZE],
    /// Proof that the sender knows the responder's static key.
    pub mac1: [u8; MAC_SIZE],
    /// Proof that the sender got a cookie at its address; zero bytes without one.
    pub mac2: [u8; MAC_SIZE],
}

/// Response, type 2, 92 bytes.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Response {
    /// [`TYPE_RESPONSE`].
    pub kind: [u8; 4],
    /// Index under which the responder wants to be addressed.
    pub sender: ReceiverIndex,
    /// The initiation's sender index.
    pub receiver: ReceiverIndex,
    /// Ephemeral X25519 key.
    pub ephemeral: [u8; 32],
    /// Sealed: nothing, only a tag.
    pub sealed_nothing: [u8; TAG_SIZE],
    /// Proof that the sender knows the initiator's static key.
    pub mac1: [u8; MAC_SIZE],
    /// As in [`Initiation::mac2`].
    pub mac2: [u8; MAC_SIZE],
}

/// Cookie reply, type 3, 64 bytes.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct CookieReply {
    /// [`TYPE_COOKIE_REPLY`].
    pub kind: [u8; 4],
    /// The sender index of the initiation or response that is answered.
    pub receiver: ReceiverIndex,
    /// Nonce of the sealed cookie.
    pub nonce: [u8; XNONCE_SIZE],
    /// The cookie, encrypted.
    pub cookie: [u8; COOKIE_SIZE],
    /// Its tag.
    pub tag: [u8; TAG_SIZE],
}

const _: () = assert!(size_of::<Initiation>() == 148);
const _: () = assert!(size_of::<Response>() == 92);
const _: () = assert!(size_of::<CookieReply>() == 64);

/// A handshake message as it lies in a datagram: right type and length, nothing else checked.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// Type 1.
    Initiation(&'a Initiation),
    /// Type 2.
    Response(&'a Response),
    /// Type 3.
    CookieReply(&'a CookieReply),
}

impl<'a> Message<'a> {
    /// Recognises a message by all four bytes of its type and by its exact length.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        match *datagram.first_chunk::<4>()? {
            TYPE_INITIATION => Initiation::ref_from_bytes(datagram).ok().map(Self::Initiation),
            TYPE_RESPONSE => Response::ref_from_bytes(datagram).ok().map(Self::Response),
            TYPE_COOKIE_REPLY => CookieReply::ref_from_bytes(datagram).ok().map(Self::CookieReply),
            _ => None,
        }
    }
}
