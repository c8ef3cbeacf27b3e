//! The messages of the hybrid handshake in a peer's life (protocol.md 4 to 6).

use crate::{
    asymmetric::PublicKey,
    base::{Endpoint, ReceiverIndex},
    handshake::{
        Agreement, HandshakeError,
        hybrid::{self, InitiatorSettings, Rejected},
    },
    symmetric::Hash,
    tunnel::{
        Context, IndexLease, Tunnel,
        attempt::{Attempt, Confirmation, Initiation, Phase},
    },
    wire::hybrid::{CookieReply, Finish, Response},
};
use std::{sync::Arc, time::Instant};
use zerocopy::IntoBytes as _;

/// Begins a handshake with `responder` under the index `sender`: its state, and the init to send.
pub(super) fn begin(
    responder: PublicKey,
    sender: ReceiverIndex,
    cx: &mut Context<'_>,
) -> Option<(Initiation, Vec<u8>)> {
    let node = cx.hybrid?;
    let settings = InitiatorSettings { responder, network_key: node.network_key(), suites: node.suites };
    let (state, init) = hybrid::Initiation::start(&settings, sender, cx.rng);
    Some((Initiation::Hybrid(Box::new(state)), init.as_bytes().to_vec()))
}

impl Tunnel {
    /// A response to our init.
    ///
    /// # Errors
    /// [`HandshakeError`] when it is refused; the handshake goes on.
    pub fn handle_response(
        &mut self,
        response: &Response,
        from: Endpoint,
        cx: &mut Context<'_>,
    ) -> Result<(), HandshakeError> {
        let node = cx.hybrid.ok_or(HandshakeError::UnknownIndex)?;
        let awaited = |attempt: &mut Attempt| attempt.awaits_hybrid(response.receiver);
        let Some(Attempt {
            begun,
            phase: Phase::AwaitResponse { state: Initiation::Hybrid(state), lease, pace },
        }) = self.attempt.take_if(awaited)
        else {
            return Err(HandshakeError::UnknownIndex);
        };
        match state.read_response(response, &node.identity, &self.settings.preshared_key, node.parameters) {
            Ok(completed) => {
                let session = self.make_session(&completed.agreement, lease, begun, None, cx);
                self.plane.count_received(size_of_val(response));
                if let Some(to) = self.move_to(from, cx) {
                    self.send_handshake(to, completed.finish.as_bytes().to_vec(), cx);
                }
                let confirmation = Confirmation::new(completed.finish, cx.rng, cx.now);
                self.attempt = Some(Attempt { begun, phase: Phase::AwaitConfirmation(confirmation) });
                self.slots.next = Some(session);
                self.update_sending(cx.now);
                self.flush(cx);
                Ok(())
            }
            Err(Rejected { state: Some(state), error }) => {
                let phase = Phase::AwaitResponse { state: Initiation::Hybrid(state), lease, pace };
                self.attempt = Some(Attempt { begun, phase });
                Err(error)
            }
            Err(Rejected { state: None, error }) => {
                self.want_handshake(cx);
                Err(error)
            }
        }
    }

    /// A cookie reply to our init from `from`: sends the init again with the cookie. To where it came from only if that is
    /// one of the peer's endpoints, which may have been tried before the last: a forged reply names no other target.
    ///
    /// # Errors
    /// [`HandshakeError`] when it is refused.
    pub fn handle_cookie_reply(
        &mut self,
        reply: &CookieReply,
        from: Endpoint,
        cx: &mut Context<'_>,
    ) -> Result<(), HandshakeError> {
        let Some(Attempt {
            phase: Phase::AwaitResponse { state: Initiation::Hybrid(state), pace, .. }, ..
        }) = &mut self.attempt
        else {
            return Err(HandshakeError::UnknownIndex);
        };
        let init = state.read_cookie_reply(reply)?;
        let is_known = |from: &Endpoint| {
            self.settings.endpoints.contains(&from.remote) && !cx.inner.contains(from.remote.ip())
        };
        let known = Some(from).filter(is_known);
        if let Some(endpoint) = known.or_else(|| self.plane.endpoint()) {
            let message = init.as_bytes().to_vec();
            pace.with_cookie = Some((endpoint.remote, init));
            self.send_handshake(endpoint, message, cx);
        }
        Ok(())
    }

    /// A valid finish: installs the session of a handshake that was answered at `begun`, and confirms it.
    pub fn handle_agreement(
        &mut self,
        agreement: &Agreement,
        lease: IndexLease,
        begun: Instant,
        finish_hash: Hash,
        from: Endpoint,
        cx: &mut Context<'_>,
    ) {
        let session = self.make_session(agreement, lease, begun, Some(finish_hash), cx);
        let keypair = Arc::clone(&session.keypair);
        self.plane.count_received(size_of::<Finish>());
        if let Some(to) = self.move_to(from, cx) {
            // Before probes and what waited: the first message is short, and confirms (protocol.md 6.1.1).
            self.send_empty(&keypair, to, cx);
        }
        self.establish(session, cx);
        self.flush(cx);
    }

    /// A finish for an index that has become a session: a repetition of the one that made it is confirmed again, to
    /// where it came from and without moving the endpoint (protocol.md 6.2).
    ///
    /// # Errors
    /// [`HandshakeError::UnknownIndex`] for any other finish.
    pub fn handle_repeated_finish(
        &mut self,
        index: ReceiverIndex,
        finish_hash: &Hash,
        from: Endpoint,
        cx: &mut Context<'_>,
    ) -> Result<(), HandshakeError> {
        let session =
            self.slots.find(index).filter(|session| session.finish_hash.as_ref() == Some(finish_hash));
        let keypair =
            session.map(|session| Arc::clone(&session.keypair)).ok_or(HandshakeError::UnknownIndex)?;
        // Not noted as sent: a replay from elsewhere must not stand in for the keepalive that the peer is owed.
        cx.send_empty(&keypair, from);
        Ok(())
    }
}
