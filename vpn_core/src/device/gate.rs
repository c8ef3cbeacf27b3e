//! The cheap proofs that the packet path asks of a handshake message before it leaves it to control: that its sender
//! knows our key, or an index of ours. Whoever knows neither costs one hash or one look-up, and pushes out nobody's
//! handshake from control's queues. Control checks again what it works on; this is only the first fence.

use crate::{
    base::{DropReason, Endpoint, ReceiverIndex},
    handshake::{
        hybrid::{CookieJar, InitGate},
        wireguard::LocalKey,
    },
    tunnel::{IndexUse, SessionTable},
    wire::{HandshakeMessage, hybrid, wireguard},
};
use std::sync::Arc;
use zerocopy::IntoBytes as _;

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
    ) -> Result<(), DropReason> {
        match message {
            HandshakeMessage::Hybrid(message) => self.check_hybrid(message, from, table),
            HandshakeMessage::Wireguard(message) => self.check_wireguard(message, table),
        }
    }

    fn check_hybrid(
        &self,
        message: hybrid::Message<'_>,
        from: Endpoint,
        table: &SessionTable,
    ) -> Result<(), DropReason> {
        let gate = self.hybrid.as_ref().ok_or(DropReason::Malformed)?;
        let known = match message {
            hybrid::Message::Init(init) => {
                gate.check(init, || self.cookies.cookies_of(from.remote))?;
                true
            }
            hybrid::Message::Response(response) => is_initiation(table, response.receiver),
            hybrid::Message::CookieReply(reply) => is_initiation(table, reply.receiver),
            hybrid::Message::Finish(finish) => {
                matches!(table.get(finish.receiver), Some(IndexUse::HalfOpen | IndexUse::Session(..)))
            }
        };
        known.then_some(()).ok_or(DropReason::UnknownIndex)
    }

    fn check_wireguard(
        &self,
        message: wireguard::Message<'_>,
        table: &SessionTable,
    ) -> Result<(), DropReason> {
        let local = self.wireguard.as_ref().ok_or(DropReason::Malformed)?;
        let (is_for_us, known) = match message {
            wireguard::Message::Initiation(message) => (local.verifies_mac1(message.as_bytes()), true),
            wireguard::Message::Response(message) => {
                (local.verifies_mac1(message.as_bytes()), is_initiation(table, message.receiver))
            }
            // It answers an initiation or a response, and has no mac of its own.
            wireguard::Message::CookieReply(reply) => {
                (true, table.get(reply.receiver).is_some_and(|index| index.cookie_replier().is_some()))
            }
        };
        if !is_for_us {
            return Err(DropReason::BadMac);
        }
        known.then_some(()).ok_or(DropReason::UnknownIndex)
    }
}

fn is_initiation(table: &SessionTable, index: ReceiverIndex) -> bool {
    matches!(table.get(index), Some(IndexUse::Initiation(_)))
}
