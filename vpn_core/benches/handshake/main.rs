//! CPU time of a hybrid handshake, beside that of a WireGuard handshake on the same X25519 and AEAD.
//!
//! WireGuard's responder does one X25519 key generation and three agreements (a fourth, of the static keys, once a peer
//! instead of once a handshake), some eighty BLAKE2s blocks and three AEAD calls. After the criterion figures,
//! interleaved rounds compare like with like: the public-key work of both, and the whole of both. On a noisy machine only
//! these ratios count.

mod wireguard;

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
    wireguard: wireguard::Responder,
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
            wireguard: wireguard::Responder::new(&mut rng),
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
    group.bench_function("wireguard responder", |b| {
        b.iter_custom(|times| (0..times).map(|_| world.wireguard.handshake(&mut world.rng)).sum());
    });
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
    let timed = |step: &mut dyn FnMut()| {
        let start = Instant::now();
        step();
        start.elapsed()
    };
    for _ in 0..ROUNDS {
        let [responder, _initiator] = hybrid(&mut world);
        let wireguard = world.wireguard.handshake(&mut world.rng);
        let primitives = timed(&mut || world.responder_primitives(&key, &signature));
        let agreements = timed(&mut || world.wireguard.public_key_work(&mut world.rng));
        for (list, time) in times.iter_mut().zip([responder, wireguard, primitives, agreements]) {
            list.push(time);
        }
    }
    let [responder, wireguard, primitives, agreements] = times.map(|mut list| {
        list.sort_unstable();
        list[ROUNDS / 2]
    });
    println!("responder CPU per handshake, medians of {ROUNDS} interleaved ones:");
    for (what, hybrid, wireguard) in
        [("public-key work", primitives, agreements), ("everything", responder, wireguard)]
    {
        let ratio = hybrid.as_secs_f64() / wireguard.as_secs_f64();
        println!("  {what}: hybrid {hybrid:?}, WireGuard (4 X25519) {wireguard:?}, ratio {ratio:.2}");
    }
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
