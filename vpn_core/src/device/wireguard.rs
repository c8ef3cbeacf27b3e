//! The WireGuard handshake's messages as a device sees them: from whom, for whom, and whether the public-key work is
//! done at all.

use super::{Device, admission::Verdict};
use crate::{
    base::{DropReason, Endpoint},
    handshake::{
        HandshakeError, PeerKey,
        wireguard::{read_initiation, verifies_mac2},
    },
    tunnel::{IndexUse, Transmit},
    wire::wireguard::{CookieReply, Initiation, Response},
};
use std::time::Instant;
use zerocopy::IntoBytes as _;

impl Device {
    pub(super) fn handle_wireguard_initiation(
        &mut self,
        initiation: &Initiation,
        from: Endpoint,
        now: Instant,
    ) -> Result<(), DropReason> {
        self.rotate_cookies(now);
        let local = self.wireguard.as_ref().ok_or(DropReason::Malformed)?;
        if !local.verifies_mac1(initiation.as_bytes()) {
            return Err(DropReason::BadMac);
        }
        let cookies = self.cookies.cookies_of(from.remote);
        let has_cookie = || verifies_mac2(initiation.as_bytes(), &cookies);
        match self.admission.admit(from.remote, has_cookie, self.half_open.len(), now) {
            Verdict::Answer => {}
            Verdict::DemandCookie => {
                let [cookie, _] = cookies;
                let reply = local.cookie_reply(initiation.sender, &initiation.mac1, cookie, &mut *self.rng);
                self.outbox.push_back(Transmit { endpoint: from, datagram: reply.as_bytes().to_vec() });
                return Err(DropReason::CookieDemanded);
            }
            Verdict::RateLimited => return Err(DropReason::RateLimited),
        }
        let received = read_initiation(local, initiation)?;
        let peer = self.by_key.get(&PeerKey::Wireguard(received.initiator())).copied();
        self.with_tunnel(peer.ok_or(DropReason::UnknownPeer)?, now, |tunnel, cx| {
            tunnel.handle_wireguard_initiation(received, from, cx)
        })
        .unwrap_or(Err(HandshakeError::UnknownIndex))
        .map_err(DropReason::from)
    }

    pub(super) fn handle_wireguard_response(
        &mut self,
        response: &Response,
        from: Endpoint,
        now: Instant,
    ) -> Result<(), DropReason> {
        let local = self.wireguard.as_ref().ok_or(DropReason::Malformed)?;
        if !local.verifies_mac1(response.as_bytes()) {
            return Err(DropReason::BadMac);
        }
        let Some(IndexUse::Initiation(id)) = self.table.get(response.receiver) else {
            return Err(DropReason::UnknownIndex);
        };
        self.with_tunnel(id, now, |tunnel, cx| tunnel.handle_wireguard_response(response, from, cx))
            .unwrap_or(Err(HandshakeError::UnknownIndex))
            .map_err(DropReason::from)
    }

    /// A cookie reply answers an initiation of ours, or a response: an initiator may be under load as well.
    pub(super) fn handle_wireguard_cookie_reply(
        &mut self,
        reply: &CookieReply,
        now: Instant,
    ) -> Result<(), DropReason> {
        let id = match self.table.get(reply.receiver) {
            Some(IndexUse::Initiation(id)) => id,
            Some(IndexUse::Session(_, plane)) => plane.id(),
            Some(IndexUse::HalfOpen) | None => return Err(DropReason::UnknownIndex),
        };
        self.with_tunnel(id, now, |tunnel, cx| tunnel.handle_wireguard_cookie_reply(reply, cx))
            .unwrap_or(Err(HandshakeError::UnknownIndex))
            .map_err(DropReason::from)
    }
}
