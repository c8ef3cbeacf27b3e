//! CPU time of a hybrid handshake, beside the public-key work of a WireGuard handshake on the same X25519.
//!
//! WireGuard costs each side one X25519 key generation and four agreements; its hashing (some sixty BLAKE2s blocks)
//! and AEADs are left out here. So like is compared with like in the ratio of the public-key work alone, and the
//! ratio of the whole hybrid side is an upper bound. Interleaved rounds after the criterion figures give the ratios:
//! on a noisy machine only these count.

use criterion::{Criterion, criterion_group};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;
use std::{
    hint::black_box,
    time::{Duration, Instant},
};
use vpn_core::{
    asymmetric::{DecapsulationKey, Identity, X25519PublicKey, X25519SecretKey, encapsulate},
    base::{ReceiverIndex, SecretBytes},
    handshake::{
        Agreement, PresharedKey,
        hybrid::{
            Completed, HalfOpen, InitGate, Initiation, InitiatorSettings, NetworkKey, ResponderSettings,
            respond,
        },
    },
    wire::hybrid::{Finish, Init, ParametersBytes, Response, SuiteSet},
};

struct World {
    rng: ChaCha20Rng,
    initiator: Identity,
    responder: Identity,
    gate: InitGate,
    network_key: NetworkKey,
    x25519: X25519SecretKey,
    peer: X25519PublicKey,
}

impl World {
    fn new() -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let responder = Identity::from_seed(&SecretBytes::random(&mut rng));
        Self {
            gate: InitGate::new(responder.public_key(), Vec::new()),
            initiator: Identity::from_seed(&SecretBytes::random(&mut rng)),
            responder,
            network_key: NetworkKey::ZERO,
            x25519: X25519SecretKey::random(&mut rng),
            peer: X25519SecretKey::random(&mut rng).public_key(),
            rng,
        }
    }

    fn init(&mut self) -> (Initiation, Box<Init>) {
        let settings = InitiatorSettings {
            responder: self.responder.public_key(),
            network_key: &self.network_key,
            suites: SuiteSet::WITH_AES_256_GCM,
        };
        Initiation::start(&settings, ReceiverIndex::new(1), &mut self.rng)
    }

    fn respond(&mut self, init: &Init) -> (Box<Response>, HalfOpen) {
        let verified = self.gate.check(init, || [[0; 16]; 2]).expect("genuine");
        let settings = ResponderSettings {
            identity: &self.responder,
            suites: SuiteSet::WITH_AES_256_GCM,
            parameters: ParametersBytes::default(),
        };
        respond(&verified, &settings, ReceiverIndex::new(2), &mut self.rng).expect("genuine")
    }

    fn finish(&self, state: Initiation, response: &Response) -> Completed {
        state
            .read_response(response, &self.initiator, &PresharedKey::ZERO, ParametersBytes::default())
            .expect("genuine")
    }

    /// The public-key work of a hybrid responder: key generation, agreement, encapsulation, signature, verification.
    fn responder_primitives(&mut self, key: &DecapsulationKey, signature: &[u8; 64]) {
        let ephemeral = X25519SecretKey::random(&mut self.rng);
        black_box(ephemeral.public_key());
        black_box(ephemeral.agree(black_box(&self.peer)).expect("an honest key"));
        black_box(encapsulate(key.encapsulation_key(), &SecretBytes::random(&mut self.rng)).expect("valid"));
        black_box(self.responder.sign(black_box(b"transcript")));
        let verified = self.responder.public_key().verify(black_box(b"transcript"), signature);
        verified.expect("genuine");
    }

    /// 1 X25519 key generation and 4 agreements.
    fn wireguard(&mut self) {
        let ephemeral = X25519SecretKey::random(&mut self.rng);
        black_box(ephemeral.public_key());
        for key in [&ephemeral, &ephemeral, &self.x25519, &self.x25519] {
            black_box(key.agree(black_box(&self.peer)).expect("an honest key"));
        }
    }
}

fn accept(half_open: &HalfOpen, finish: &Finish) -> Agreement {
    let claimed = half_open.read_identity(finish).expect("genuine");
    claimed.authenticate(half_open, finish, &PresharedKey::ZERO).expect("genuine")
}

/// CPU time of one handshake's two sides.
fn hybrid(world: &mut World) -> [Duration; 2] {
    let start = Instant::now();
    let (state, init) = world.init();
    let sent = Instant::now();
    let (response, half_open) = world.respond(&init);
    let answered = Instant::now();
    let completed = world.finish(state, &response);
    let finished = Instant::now();
    black_box(accept(&half_open, &completed.finish));
    let accepted = Instant::now();
    [(answered - sent) + (accepted - finished), (sent - start) + (finished - answered)]
}

fn benches(c: &mut Criterion) {
    let mut world = World::new();
    let mut group = c.benchmark_group("handshake");
    for (side, name) in [(0, "hybrid responder"), (1, "hybrid initiator")] {
        group.bench_function(name, |b| {
            b.iter_custom(|times| (0..times).map(|_| hybrid(&mut world)[side]).sum());
        });
    }
    group.bench_function("wireguard, X25519 only", |b| b.iter(|| world.wireguard()));
    group.finish();
}

fn parts(c: &mut Criterion) {
    let mut world = World::new();
    let mut group = c.benchmark_group("part");
    group.bench_function("X25519 key generation", |b| {
        b.iter(|| X25519SecretKey::random(&mut world.rng).public_key());
    });
    group.bench_function("X25519 agreement", |b| b.iter(|| world.x25519.agree(&world.peer)));
    group
        .bench_function("ML-KEM-768 key generation", |b| b.iter(|| DecapsulationKey::random(&mut world.rng)));
    let key = DecapsulationKey::random(&mut world.rng);
    let message = SecretBytes::random(&mut world.rng);
    group.bench_function("ML-KEM-768 encapsulation", |b| {
        b.iter(|| encapsulate(key.encapsulation_key(), &message));
    });
    let (ciphertext, _) = encapsulate(key.encapsulation_key(), &message).expect("valid");
    group.bench_function("ML-KEM-768 decapsulation", |b| b.iter(|| key.decapsulate(&ciphertext)));
    group.bench_function("Ed25519 signature", |b| b.iter(|| world.responder.sign(b"transcript")));
    let signature = world.responder.sign(b"transcript");
    let public_key = world.responder.public_key();
    group.bench_function("Ed25519 verification", |b| b.iter(|| public_key.verify(b"transcript", &signature)));
    let (_, init) = world.init();
    group.bench_function("init check", |b| {
        b.iter(|| world.gate.check(&init, || [[0; 16]; 2]).is_ok());
    });
    group.finish();
}

/// Interleaved rounds: medians and ratios.
fn compare() {
    const ROUNDS: usize = 2000;
    let mut world = World::new();
    let key = DecapsulationKey::random(&mut world.rng);
    let signature = world.responder.sign(b"transcript");
    let mut times = [const { Vec::new() }; 4];
    for _ in 0..ROUNDS {
        let [responder, initiator] = hybrid(&mut world);
        let start = Instant::now();
        world.wireguard();
        let wireguard = start.elapsed();
        let start = Instant::now();
        world.responder_primitives(&key, &signature);
        let primitives = start.elapsed();
        for (list, time) in times.iter_mut().zip([responder, initiator, wireguard, primitives]) {
            list.push(time);
        }
    }
    let [responder, initiator, wireguard, primitives] = times.map(|mut list| {
        list.sort_unstable();
        list[ROUNDS / 2]
    });
    let ratio = |time: Duration| time.as_secs_f64() / wireguard.as_secs_f64();
    println!("median of {ROUNDS} interleaved handshakes, against 5 X25519 operations ({wireguard:?}):");
    println!("  hybrid responder, public-key work alone {primitives:?}, ratio {:.2}", ratio(primitives));
    println!("  hybrid responder {responder:?}, ratio {:.2}", ratio(responder));
    println!("  hybrid initiator {initiator:?}, ratio {:.2}", ratio(initiator));
}

criterion_group! {
    name = groups;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = benches, parts
}

fn main() {
    groups();
    compare();
}
