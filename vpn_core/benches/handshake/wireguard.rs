//! A WireGuard responder, on the same X25519 and AEAD as the hybrid one, and the initiator that keeps it busy.

use rand_chacha::ChaCha20Rng;
use std::{
    hint::black_box,
    time::{Duration, Instant},
};
use vpn_core::{
    asymmetric::X25519SecretKey,
    base::ReceiverIndex,
    handshake::{
        PresharedKey,
        wireguard::{Initiation, LocalKey, MIN_INITIATION_INTERVAL, RemoteKey, Tai64n, read_initiation},
    },
    wire::wireguard as wire,
};
use zerocopy::IntoBytes as _;

/// Two peers, and the time that passes between their handshakes.
pub(crate) struct Responder {
    local: LocalKey,
    remote: RemoteKey,
    initiator: LocalKey,
    initiators_remote: RemoteKey,
    static_key: X25519SecretKey,
    now: Instant,
    wall_clock: Duration,
}

impl Responder {
    pub(crate) fn new(rng: &mut ChaCha20Rng) -> Self {
        let [local, initiator] = [(); 2].map(|()| LocalKey::new(X25519SecretKey::random(rng)));
        Self {
            remote: RemoteKey::new(&local, initiator.public_key()),
            initiators_remote: RemoteKey::new(&initiator, local.public_key()),
            local,
            initiator,
            static_key: X25519SecretKey::random(rng),
            now: Instant::now(),
            wall_clock: Duration::from_secs(1_800_000_000),
        }
    }

    /// 1 key generation and 3 agreements.
    pub(crate) fn public_key_work(&self, rng: &mut ChaCha20Rng) {
        let ephemeral = X25519SecretKey::random(rng);
        black_box(ephemeral.public_key());
        let peer = black_box(self.initiator.public_key());
        for ours in [&self.static_key, &ephemeral, &ephemeral] {
            black_box(ours.agree(&peer).expect("an honest key"));
        }
    }

    /// CPU time of consuming an initiation and making the response.
    pub(crate) fn handshake(&mut self, rng: &mut ChaCha20Rng) -> Duration {
        let initiation = self.initiation(rng);
        let start = Instant::now();
        assert!(self.local.verifies_mac1(initiation.as_bytes()));
        let answer = read_initiation(&self.local, &initiation)
            .and_then(|received| received.authenticate(&mut self.remote, self.now))
            .and_then(|authenticated| {
                let index = ReceiverIndex::new(2);
                authenticated.respond(&mut self.remote, &PresharedKey::ZERO, index, rng, self.now)
            });
        black_box(answer.expect("genuine"));
        start.elapsed()
    }

    fn initiation(&mut self, rng: &mut ChaCha20Rng) -> Box<wire::Initiation> {
        self.now += MIN_INITIATION_INTERVAL;
        self.wall_clock += MIN_INITIATION_INTERVAL;
        let timestamp = Tai64n::from_unix(self.wall_clock);
        let (index, remote) = (ReceiverIndex::new(1), &mut self.initiators_remote);
        let started = Initiation::start(&self.initiator, remote, index, timestamp, rng, self.now);
        started.expect("honest keys").1
    }
}
