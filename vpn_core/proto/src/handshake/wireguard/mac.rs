//! The macs at the end of initiations and responses (paper, sections 5.4.4 and 5.4.7): mac1 shows that the sender knows
//! whom it talks to, mac2 that it receives at the address that it sends from.

use crate::{
    asymmetric::X25519PublicKey,
    base::SecretBytes,
    symmetric::{blake2s, blake2s_mac},
    wire::wireguard::{COOKIE_SIZE, MAC_SIZE},
};
use subtle::{Choice, ConstantTimeEq as _};

const LABEL_MAC1: &[u8] = b"mac1----";
const LABEL_COOKIE: &[u8] = b"cookie--";

/// The key of mac1 in messages to the owner of `receiver`. Anybody can derive it who knows that key.
pub(super) fn mac1_key(receiver: &X25519PublicKey) -> SecretBytes<32> {
    SecretBytes::new(blake2s(&[LABEL_MAC1, &receiver.0]))
}

/// The key that seals the cookies which the owner of `sender` gives out.
pub(super) fn cookie_reply_key(sender: &X25519PublicKey) -> SecretBytes<32> {
    SecretBytes::new(blake2s(&[LABEL_COOKIE, &sender.0]))
}

/// An initiation or a response, taken apart at its macs.
struct Parts<'a> {
    /// What mac1 covers.
    before_mac1: &'a [u8],
    mac1: &'a [u8; MAC_SIZE],
    /// What mac2 covers.
    before_mac2: &'a [u8],
    mac2: &'a [u8; MAC_SIZE],
}

impl<'a> Parts<'a> {
    fn of(message: &'a [u8]) -> Option<Self> {
        let (before_mac2, mac2) = message.split_last_chunk()?;
        let (before_mac1, mac1) = before_mac2.split_last_chunk()?;
        Some(Self { before_mac1, mac1, before_mac2, mac2 })
    }
}

pub(super) fn verifies_mac1(key: &SecretBytes<32>, message: &[u8]) -> bool {
    let Some(parts) = Parts::of(message) else { return false };
    blake2s_mac(key, parts.before_mac1).ct_eq(parts.mac1).into()
}

/// Whether `message`, an initiation or a response, carries a mac2 made with one of `cookies`: those that the address
/// it came from may hold. In constant time; a message too short for a mac carries none.
pub fn verifies_mac2(message: &[u8], cookies: &[[u8; COOKIE_SIZE]; 2]) -> bool {
    let Some(parts) = Parts::of(message) else { return false };
    let matches = |cookie: &[u8; COOKIE_SIZE]| {
        blake2s_mac(&SecretBytes::new(*cookie), parts.before_mac2).ct_eq(parts.mac2)
    };
    cookies.iter().fold(Choice::from(0), |any, cookie| any | matches(cookie)).into()
}

/// Writes mac1 and, if there is a cookie, mac2 to the end of `message`; answers mac1.
pub(super) fn write_macs(
    message: &mut [u8],
    mac1_key: &SecretBytes<32>,
    cookie: Option<&SecretBytes<COOKIE_SIZE>>,
) -> [u8; MAC_SIZE] {
    let (before_mac2, mac2) = message.split_at_mut(message.len() - MAC_SIZE);
    let (before_mac1, mac1) = before_mac2.split_at_mut(before_mac2.len() - MAC_SIZE);
    let made = blake2s_mac(mac1_key, before_mac1);
    mac1.copy_from_slice(&made);
    mac2.copy_from_slice(&cookie.map_or([0; MAC_SIZE], |cookie| blake2s_mac(cookie, before_mac2)));
    made
}
