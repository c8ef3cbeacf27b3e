//! The messages of WireGuard's handshake in a peer's life (its paper, sections 5.4 and 6): an initiator's session is
//! usable with the response, a responder's with the first packet that arrives on it.

use crate::{
    base::{DropReason, Endpoint, ReceiverIndex},
    handshake::{
        HandshakeError, PeerKey,
        wireguard::{self, ReceivedInitiation, Rejected, RemoteKey, Tai64n},
    },
    tunnel::{
        Context, IndexUse, Tunnel,
        attempt::{Attempt, Initiation, Phase},
    },
    wire::wireguard::{self as messages, CookieReply, Response},
};
use std::sync::Arc;
use zerocopy::IntoBytes as _;

impl Tunnel {
    /// Begins a handshake under the index `sender`: its state, and the initiation to send.
    pub(super) fn begin_wireguard(
        &mut self,
        sender: ReceiverIndex,
        cx: &mut Context<'_>,
    ) -> Option<(Initiation, Vec<u8>)> {
        let (local, remote) = (cx.wireguard?, self.wireguard.as_deref_mut()?);
        let timestamp = Tai64n::from_unix(cx.unix_time);
        // Fails for a peer whose key is of small order: nobody has that one.
        let (state, initiation) =
            wireguard::Initiation::start(local, remote, sender, timestamp, cx.rng, cx.now).ok()?;
        Some((Initiation::Wireguard(Box::new(state)), initiation.as_bytes().to_vec()))
    }

    /// An initiation that names this peer: answers it. The session serves once the peer has used it.
    ///
    /// # Errors
    /// [`HandshakeError`] when it is refused.
    pub fn handle_wireguard_initiation(
        &mut self,
        initiation: ReceivedInitiation,
        from: Endpoint,
        cx: &mut Context<'_>,
    ) -> Result<(), HandshakeError> {
        let remote = self.wireguard.as_deref_mut().ok_or(HandshakeError::UnknownIndex)?;
        let authenticated = initiation.authenticate(remote, cx.now)?;
        let lease = cx.table.lease(IndexUse::Initiation(self.plane.id()), cx.rng);
        let preshared_key = &self.settings.preshared_key;
        let (response, agreement) =
            authenticated.respond(remote, preshared_key, lease.index(), cx.rng, cx.now)?;
        let session = self.make_session(&agreement, lease, cx.now, None, cx);
        self.slots.next = Some(session);
        self.plane.count_received(size_of::<messages::Initiation>());
        if let Some(to) = self.move_to(from, cx) {
            self.send_handshake(to, response.as_bytes().to_vec(), cx);
        }
        Ok(())
    }

    /// Whether a response to our initiation is to be read only with a cookie, because somebody forges them.
    pub fn doubts_responses(&self) -> bool {
        self.attempt.as_ref().is_some_and(Attempt::is_doubtful)
    }

    /// A response to our initiation: the session serves at once, and what is sent on it confirms it to the peer.
    ///
    /// # Errors
    /// [`HandshakeError`] when it is refused; the handshake goes on.
    pub fn handle_wireguard_response(
        &mut self,
        response: &Response,
        from: Endpoint,
        cx: &mut Context<'_>,
    ) -> Result<(), HandshakeError> {
        let local = cx.wireguard.ok_or(HandshakeError::UnknownIndex)?;
        let awaited = |attempt: &mut Attempt| attempt.awaits_wireguard(response.receiver);
        let Some(Attempt {
            begun,
            phase: Phase::AwaitResponse { state: Initiation::Wireguard(state), lease, pace },
        }) = self.attempt.take_if(awaited)
        else {
            return Err(HandshakeError::UnknownIndex);
        };
        match state.read_response(response, local, &self.settings.preshared_key) {
            Ok(agreement) => {
                let session = self.make_session(&agreement, lease, begun, None, cx);
                let keypair = Arc::clone(&session.keypair);
                self.plane.count_received(size_of_val(response));
                let to = self.move_to(from, cx);
                self.establish(session, cx);
                if let Some(to) = to.filter(|_| self.staging.is_empty()) {
                    self.send_empty(&keypair, to, cx);
                }
                self.flush(cx);
                Ok(())
            }
            Err(Rejected { state, error }) => {
                let phase = Phase::AwaitResponse { state: Initiation::Wireguard(state), lease, pace };
                self.attempt = Some(Attempt { begun, phase });
                Err(error)
            }
        }
    }

    /// A cookie reply to what we sent last: the cookie goes into what is sent next.
    ///
    /// # Errors
    /// [`HandshakeError`] when it is refused.
    pub fn handle_wireguard_cookie_reply(
        &mut self,
        reply: &CookieReply,
        cx: &mut Context<'_>,
    ) -> Result<(), HandshakeError> {
        self.wireguard.as_deref_mut().ok_or(HandshakeError::UnknownIndex)?.read_cookie_reply(reply, cx.now)
    }

    /// Derives what handshakes with a WireGuard peer need of our key, once it is known.
    pub(super) fn meet_wireguard_key(&mut self, cx: &Context<'_>) {
        if let (PeerKey::Wireguard(public), Some(local), None) =
            (self.settings.key, cx.wireguard, &self.wireguard)
        {
            self.wireguard = Some(Box::new(RemoteKey::new(local, public)));
        }
    }

    /// Our own WireGuard key has changed, or is gone: sessions made with the old one end. What a replayed initiation is
    /// recognised by stays.
    pub fn handle_wireguard_key(&mut self, cx: &mut Context<'_>) {
        let PeerKey::Wireguard(_) = self.settings.key else { return };
        self.disconnect();
        if cx.wireguard.is_none() {
            // What waits now would be sent stale when there is a key again.
            let dropped = self.staging.drain(cx.staging).len() as u64;
            cx.drops.count_many(DropReason::Staging, dropped);
        }
        self.wireguard = self.wireguard.take().map(|remote| Box::new(remote.with_local_key(cx.wireguard)));
        self.start(cx);
    }
}
