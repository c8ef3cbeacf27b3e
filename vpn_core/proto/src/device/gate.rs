//! The cheap proofs that the packet path asks of a handshake message before it leaves it to control: that its sender
//! knows our key, or an index of ours. Whoever knows neither costs a few hashes at the most, or a look-up, and pushes
//! out nobody's handshake from control's queues; whoever only knows our key does not push out those who returned a
//! cookie. Control checks again what it works on; this is only the first fence.

use crate::{
    base::{DropReason, Endpoint, ReceiverIndex},
    handshake::{
        hybrid::{CookieJar, InitGate},
        wireguard::{LocalKey, verifies_mac2},
    },
    tunnel::{IndexUse, SessionTable},
    wire::{HandshakeMessage, hybrid, wireguard},
};
use std::sync::Arc;
use zerocopy::IntoBytes as _;

/// What a message that passed has shown; decides which queue of control's it waits in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// That its sender knows our public key, as every stranger may: an init without a cookie.
    Stranger,
    /// That its sender receives at its address: an init with a cookie.
    Reachable,
    /// That its sender is in a handshake with us, of which the dear half is done: a message that names an index of ours.
    Proven,
    /// The same, but it is data that came before its handshake was finished.
    Early,
}

/// What the proofs are checked against: a snapshot, replaced by control when a key or a cookie secret changes.
#[derive(Debug)]
pub(super) struct Gate {
    /// `None` where hybrid peers are not served.
    pub(super) hybrid: Option<Arc<InitGate>>,
    /// `None` where WireGuard peers are not served.
    pub(super) wireguard: Option<Arc<LocalKey>>,
    /// A hybrid init with a cookie has no other mac.
    pub(super) cookies: CookieJar,
}

impl Gate {
    /// Whether `message`, received from `from`, deserves control's attention.
    ///
    /// # Errors
    /// Why it does not.
    pub(super) fn check(
        &self,
        message: HandshakeMessage<'_>,
        from: Endpoint,
        table: &SessionTable,
    ) -> Result<Standing, DropReason> {
        match message {
            HandshakeMessage::Hybrid(message) => self.check_hybrid(message, from, table),
            HandshakeMessage::Wireguard(message) => self.check_wireguard(message, from, table),
        }
    }

    fn check_hybrid(
        &self,
        message: hybrid::Message<'_>,
        from: Endpoint,
        table: &SessionTable,
    ) -> Result<Standing, DropReason> {
        let gate = self.hybrid.as_ref().ok_or(DropReason::Malformed)?;
        let known = match message {
            hybrid::Message::Init(init) => {
                let verified = gate.check(init, || self.cookies.cookies_of(from.remote))?;
                return Ok(if verified.has_cookie() { Standing::Reachable } else { Standing::Stranger });
            }
            hybrid::Message::Response(response) => is_initiation(table, response.receiver),
            hybrid::Message::CookieReply(reply) => is_initiation(table, reply.receiver),
            hybrid::Message::Finish(finish) => {
                matches!(table.get(finish.receiver), Some(IndexUse::HalfOpen | IndexUse::Session(..)))
            }
        };
        known.then_some(Standing::Proven).ok_or(DropReason::UnknownIndex)
    }

    fn check_wireguard(
        &self,
        message: wireguard::Message<'_>,
        from: Endpoint,
        table: &SessionTable,
    ) -> Result<Standing, DropReason> {
        let local = self.wireguard.as_ref().ok_or(DropReason::Malformed)?;
        let known = match message {
            wireguard::Message::Initiation(message) => {
                let bytes = message.as_bytes();
                if !local.verifies_mac1(bytes) {
                    return Err(DropReason::BadMac);
                }
                let has_cookie = message.mac2 != [0; wireguard::MAC_SIZE]
                    && verifies_mac2(bytes, &self.cookies.cookies_of(from.remote));
                return Ok(if has_cookie { Standing::Reachable } else { Standing::Stranger });
            }
            wireguard::Message::Response(message) => {
                if !local.verifies_mac1(message.as_bytes()) {
                    return Err(DropReason::BadMac);
                }
                is_initiation(table, message.receiver)
            }
            // It answers an initiation or a response, and has no mac of its own.
            wireguard::Message::CookieReply(reply) => {
                table.get(reply.receiver).is_some_and(|index| index.cookie_replier().is_some())
            }
        };
        known.then_some(Standing::Proven).ok_or(DropReason::UnknownIndex)
    }
}

fn is_initiation(table: &SessionTable, index: ReceiverIndex) -> bool {
    matches!(table.get(index), Some(IndexUse::Initiation(_)))
}
