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
use rand_core::CryptoRng;
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
        let local = self.wireguard.clone().ok_or(DropReason::Malformed)?;
        if !local.verifies_mac1(initiation.as_bytes()) {
            return Err(DropReason::BadMac);
        }
        let cookies = self.cookies.cookies_of(from.remote);
        let has_cookie = || verifies_mac2(initiation.as_bytes(), &cookies);
        let verdict = self.admission.admit(from.remote, has_cookie, self.half_open.len(), now);
        self.obey(verdict, from, |rng| {
            local.cookie_reply(initiation.sender, &initiation.mac1, cookies[0], rng)
        })?;
        let received = read_initiation(&local, initiation)?;
        let peer = self.by_key.get(&PeerKey::Wireguard(received.initiator())).copied();
        self.with_tunnel(peer.ok_or(DropReason::UnknownPeer)?, now, |tunnel, cx| {
            tunnel.handle_wireguard_initiation(received, from, cx)
        })
        .unwrap_or(Err(HandshakeError::UnknownIndex))?;
        self.admission.note_finished(from.remote.ip()); // It says who it is with its first message.
        Ok(())
    }

    pub(super) fn handle_wireguard_response(
        &mut self,
        response: &Response,
        from: Endpoint,
        now: Instant,
    ) -> Result<(), DropReason> {
        self.rotate_cookies(now);
        let local = self.wireguard.clone().ok_or(DropReason::Malformed)?;
        if !local.verifies_mac1(response.as_bytes()) {
            return Err(DropReason::BadMac);
        }
        let Some(IndexUse::Initiation(id)) = self.table.get(response.receiver) else {
            return Err(DropReason::UnknownIndex);
        };
        if self.peers.get(&id).is_some_and(|peer| peer.tunnel.doubts_responses()) {
            let cookies = self.cookies.cookies_of(from.remote);
            let has_cookie = || verifies_mac2(response.as_bytes(), &cookies);
            let verdict = self.admission.admit_doubtful(from.remote, has_cookie, now);
            self.obey(verdict, from, |rng| {
                local.cookie_reply(response.sender, &response.mac1, cookies[0], rng)
            })?;
        }
        self.with_tunnel(id, now, |tunnel, cx| tunnel.handle_wireguard_response(response, from, cx))
            .unwrap_or(Err(HandshakeError::UnknownIndex))
            .map_err(DropReason::from)
    }

    /// Does what admission control decided about a message from `from`.
    fn obey(
        &mut self,
        verdict: Verdict,
        from: Endpoint,
        cookie_reply: impl FnOnce(&mut dyn CryptoRng) -> CookieReply,
    ) -> Result<(), DropReason> {
        match verdict {
            Verdict::Answer => Ok(()),
            Verdict::RateLimited => Err(DropReason::RateLimited),
            Verdict::DemandCookie => {
                let reply = cookie_reply(&mut *self.rng);
                self.outbox.push_back(Transmit {
                    endpoint: from,
                    datagram: reply.as_bytes().to_vec(),
                    may_be_cut: true,
                    is_about_path: false,
                });
                Err(DropReason::CookieDemanded)
            }
        }
    }

    /// A cookie reply answers an initiation of ours, or a response: an initiator may be under load as well.
    pub(super) fn handle_wireguard_cookie_reply(
        &mut self,
        reply: &CookieReply,
        now: Instant,
    ) -> Result<(), DropReason> {
        let index = self.table.get(reply.receiver);
        let id = index.and_then(|index| index.cookie_replier()).ok_or(DropReason::UnknownIndex)?;
        self.with_tunnel(id, now, |tunnel, cx| tunnel.handle_wireguard_cookie_reply(reply, cx))
            .unwrap_or(Err(HandshakeError::UnknownIndex))
            .map_err(DropReason::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        asymmetric::X25519SecretKey,
        base::{ReceiverIndex, SecretBytes},
        device::{DeviceSettings, Forwarding},
        handshake::PresharedKey,
        session::REKEY_AFTER_TIME,
        tunnel::{Content, MtuPolicy, NotReady, PeerSettings},
    };
    use rand_chacha::{ChaCha8Rng, rand_core::SeedableRng as _};
    use std::{collections::HashSet, net::SocketAddr, time::Duration};

    fn key(seed: u8) -> X25519SecretKey {
        X25519SecretKey::new(&SecretBytes::new([seed; 32]))
    }

    /// A device that knows one peer.
    fn device(own: u8, peer: u8, endpoint: Option<SocketAddr>, now: Instant) -> Device {
        let settings = DeviceSettings {
            hybrid: None,
            wireguard: Some(key(own)),
            unix_time: Duration::from_secs(1),
            mtu: 1420,
            mtu_policy: MtuPolicy::UNLIMITED,
            rekey_after: REKEY_AFTER_TIME,
            local: HashSet::new(),
            networks: Vec::new(),
            forwarding: Forwarding::Off,
        };
        let mut device = Device::new(settings, Box::new(ChaCha8Rng::seed_from_u64(own.into())), now);
        let peer = PeerSettings {
            key: key(peer).public_key().into(),
            preshared_key: PresharedKey::ZERO,
            endpoints: endpoint.into_iter().collect(),
            persistent_keepalive: None,
            stay_connected: endpoint.is_some(),
        };
        device.set_peer(peer, Vec::new(), now).expect("not itself");
        device
    }

    #[test]
    fn packet_that_was_being_opened_does_not_keep_a_session_that_has_ended() {
        let now = Instant::now();
        let address = SocketAddr::from(([192, 0, 2, 1], 1));
        let from = Endpoint::to(address);
        let (mut client, mut gateway) = (device(1, 2, Some(address), now), device(2, 1, None, now));
        gateway.handle_control(&client.poll_transmit().expect("an initiation").datagram, from, now);
        let response = gateway.poll_transmit().expect("a response").datagram;
        let index = ReceiverIndex::new(u32::from_le_bytes(*response[4..].first_chunk().expect("an index")));
        // A packet thread has looked the session up, and control ends it.
        let Some(IndexUse::Session(keypair, peer)) = gateway.table.get(index) else { panic!("a session") };
        gateway.set_wireguard_key(Some(key(3)), now);
        assert!(
            peer.note_received(&keypair, from, 32, Content::Answers, |_| true, now),
            "the first packet of the session"
        );
        gateway.handle_attention(peer.id(), now);
        assert_eq!(peer.outlet().expect_err("there is no session"), NotReady::NoKeypair);
    }
}
