//! The hybrid handshake's messages as a device sees them (protocol.md 4 to 6): from whom, for whom, and whether the
//! public-key work is done at all.

use super::{Device, admission::Verdict, control::MAX_READY};
use crate::{
    base::{DropReason, Endpoint},
    handshake::{
        HandshakeError, PeerKey, PresharedKey,
        hybrid::{ResponderSettings, init_hash, respond},
    },
    symmetric::{Hash, hash},
    tunnel::{IndexUse, Transmit},
    wire::hybrid::{CookieReply, Finish, Init, Response},
};
use std::time::Instant;
use zerocopy::IntoBytes as _;

impl Device {
    pub(super) fn handle_init(
        &mut self,
        init: &Init,
        from: Endpoint,
        now: Instant,
    ) -> Result<(), DropReason> {
        self.half_open.expire(now);
        self.rotate_cookies(now);
        let (Some(node), Some(gate)) = (&self.hybrid, &self.init_gate) else {
            return Err(DropReason::Malformed);
        };
        let cookies = || self.cookies.cookies_of(from.remote);
        let verified = gate.check(init, cookies)?;
        let init_hash = init_hash(init);
        if let Some(response) = self.half_open.repeat_response(&init_hash)? {
            let datagram = response.as_bytes().to_vec();
            self.outbox.push_back(Transmit {
                endpoint: from,
                datagram,
                may_be_cut: true,
                is_about_path: false,
            });
            return Ok(());
        }
        match self.admission.admit(from.remote, || verified.has_cookie(), self.half_open.len(), now) {
            Verdict::Answer => {}
            Verdict::DemandCookie => {
                let reply = self.cookies.reply(&verified, from.remote, &mut *self.rng);
                self.outbox.push_back(Transmit {
                    endpoint: from,
                    datagram: reply.as_bytes().to_vec(),
                    may_be_cut: true,
                    is_about_path: false,
                });
                return Err(DropReason::CookieDemanded);
            }
            Verdict::RateLimited => return Err(DropReason::RateLimited),
        }
        let settings =
            ResponderSettings { identity: &node.identity, suites: node.suites, parameters: node.parameters };
        let lease = self.table.lease(IndexUse::HalfOpen, &mut *self.rng);
        let (response, state) = respond(&verified, &settings, lease.index(), &mut *self.rng)?;
        self.outbox.push_back(Transmit {
            endpoint: from,
            datagram: response.as_bytes().to_vec(),
            may_be_cut: true,
            is_about_path: false,
        });
        let pushed_out = self.half_open.insert(state, lease, response, init_hash, from.remote.ip(), now);
        self.drops.count_many(DropReason::Full, pushed_out);
        Ok(())
    }

    pub(super) fn handle_response(
        &mut self,
        response: &Response,
        from: Endpoint,
        now: Instant,
    ) -> Result<(), DropReason> {
        let Some(IndexUse::Initiation(id)) = self.table.get(response.receiver) else {
            return Err(DropReason::UnknownIndex);
        };
        self.with_tunnel(id, now, |tunnel, cx| tunnel.handle_response(response, from, cx))
            .unwrap_or(Err(HandshakeError::UnknownIndex))
            .map_err(DropReason::from)
    }

    pub(super) fn handle_cookie_reply(
        &mut self,
        reply: &CookieReply,
        from: Endpoint,
        now: Instant,
    ) -> Result<(), DropReason> {
        let Some(IndexUse::Initiation(id)) = self.table.get(reply.receiver) else {
            return Err(DropReason::UnknownIndex);
        };
        self.with_tunnel(id, now, |tunnel, cx| tunnel.handle_cookie_reply(reply, from, cx))
            .unwrap_or(Err(HandshakeError::UnknownIndex))
            .map_err(DropReason::from)
    }

    pub(super) fn handle_finish(
        &mut self,
        finish: &Finish,
        from: Endpoint,
        now: Instant,
    ) -> Result<(), DropReason> {
        let finish_hash = hash(finish.as_bytes());
        match self.table.get(finish.receiver) {
            Some(IndexUse::HalfOpen) => self.complete_half_open(finish, finish_hash, from, now),
            Some(IndexUse::Session(_, plane)) => self
                .with_tunnel(plane.id(), now, |tunnel, cx| {
                    tunnel.handle_repeated_finish(finish.receiver, &finish_hash, from, cx)
                })
                .unwrap_or(Err(HandshakeError::UnknownIndex))
                .map_err(DropReason::from),
            Some(IndexUse::Initiation(_)) | None => Err(DropReason::UnknownIndex),
        }
    }

    fn complete_half_open(
        &mut self,
        finish: &Finish,
        finish_hash: Hash,
        from: Endpoint,
        now: Instant,
    ) -> Result<(), DropReason> {
        self.half_open.expire(now);
        let entry = self.half_open.get_mut(finish.receiver).ok_or(DropReason::UnknownIndex)?;
        let claimed = entry.state.read_identity(finish)?;
        // Constant work: an identity that is no peer is verified like any other, with a stand-in for the preshared key,
        // and then refused whatever came of it (protocol.md 6.5).
        let id = self.by_key.get(&PeerKey::Hybrid(claimed.identity())).copied();
        let preshared_key = id
            .and_then(|id| self.peers.get(&id))
            .map_or(PresharedKey::ZERO, |peer| peer.tunnel.settings().preshared_key.duplicate());
        let authenticated = claimed.authenticate(&entry.state, finish, &preshared_key);
        let outcome = match (authenticated, id) {
            (Ok(agreement), Some(id)) => Ok((agreement, id)),
            (_, None) => Err(DropReason::UnknownPeer),
            (Err(error), Some(_)) => Err(error.into()),
        };
        match outcome {
            Ok((agreement, id)) => {
                let entry = self.half_open.remove(finish.receiver).ok_or(DropReason::UnknownIndex)?;
                self.admission.note_finished(entry.source);
                let room = MAX_READY.saturating_sub(self.ready.len());
                self.ready.extend(entry.early.into_iter().take(room));
                self.with_tunnel(id, now, |tunnel, cx| {
                    tunnel.handle_agreement(&agreement, entry.lease, entry.begun, finish_hash, from, cx);
                });
                Ok(())
            }
            Err(reason) => {
                self.admission.note_failed(entry.source, now);
                if !entry.state.count_failure() {
                    self.half_open.remove(finish.receiver);
                }
                Err(reason)
            }
        }
    }
}
