//! Sealing and opening batches: `AeadKey::seal_batch` and `open_batch` beside the same keys one packet at a time.
//!
//! After the criterion figures, interleaved rounds compare the ways on the same packets and print the minimum of each. On a noisy machine only these ratios count.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use std::time::{Duration, Instant};
use vpn_core::{
    base::SecretBytes,
    symmetric::{AeadError, AeadKey, BatchKernel, Frame, Suite, TAG_SIZE},
};

const COUNTS: [usize; 8] = [1, 2, 4, 8, 16, 40, 46, 64];
/// Bytes of text in a packet.
const LENGTHS: [usize; 5] = [64, 128, 256, 576, 1420];
/// Bytes between packets, as between the segments of a send buffer.
const HEADER: usize = 16;

#[derive(Clone, Copy)]
enum Way {
    ChaChaSingle,
    /// With the kernel that this CPU would use.
    ChaChaBatch,
    /// With the kernel for AVX2, or as if there were none.
    ChaChaAvx2,
    AesSingle,
}

const WAYS: [(Way, &str); 4] = [
    (Way::ChaChaSingle, "chacha20-poly1305 singly"),
    (Way::ChaChaBatch, "chacha20-poly1305 batch"),
    (Way::ChaChaAvx2, "chacha20-poly1305 batch avx2"),
    (Way::AesSingle, "aes-256-gcm singly"),
];

struct World {
    chacha: AeadKey,
    avx2: AeadKey,
    aes: AeadKey,
    frames: Vec<Frame>,
    verdicts: Vec<Result<(), AeadError>>,
    arena: Vec<u8>,
}

impl World {
    fn new(count: usize, len: usize) -> Self {
        let secret = SecretBytes::new([7; 32]);
        let stride = HEADER + len + TAG_SIZE;
        let frame = |i| Frame { range: i * stride + HEADER..(i + 1) * stride, counter: i as u64 };
        let with = |kernel| AeadKey::with_kernel(&secret, kernel);
        Self {
            chacha: AeadKey::new(Suite::ChaCha20Poly1305, &secret),
            avx2: with(Some(BatchKernel::Avx2)).or_else(|| with(None)).expect("a key without a kernel"),
            aes: AeadKey::new(Suite::Aes256Gcm, &secret),
            frames: (0..count).map(frame).collect(),
            verdicts: vec![Ok(()); count],
            arena: vec![1; count * stride],
        }
    }

    fn seal(&mut self, way: Way) -> Duration {
        let start = Instant::now();
        match way {
            Way::ChaChaBatch => self.chacha.seal_batch(&mut self.arena, &self.frames),
            Way::ChaChaAvx2 => self.avx2.seal_batch(&mut self.arena, &self.frames),
            Way::ChaChaSingle => seal_singly(&self.chacha, &mut self.arena, &self.frames),
            Way::AesSingle => seal_singly(&self.aes, &mut self.arena, &self.frames),
        }
        start.elapsed()
    }

    /// Opens what [`World::seal`] sealed just before, which is not timed.
    fn open(&mut self, way: Way) -> Duration {
        self.seal(way);
        let start = Instant::now();
        match way {
            Way::ChaChaBatch => self.chacha.open_batch(&mut self.arena, &self.frames, &mut self.verdicts),
            Way::ChaChaAvx2 => self.avx2.open_batch(&mut self.arena, &self.frames, &mut self.verdicts),
            Way::ChaChaSingle => open_singly(&self.chacha, &mut self.arena, &self.frames, &mut self.verdicts),
            Way::AesSingle => open_singly(&self.aes, &mut self.arena, &self.frames, &mut self.verdicts),
        }
        let elapsed = start.elapsed();
        assert!(self.verdicts.iter().all(Result::is_ok), "what was sealed opens");
        elapsed
    }
}

fn seal_singly(key: &AeadKey, arena: &mut [u8], frames: &[Frame]) {
    for frame in frames {
        let tag = key.seal_in_place(frame.counter, &[], &mut arena[frame.text()]);
        arena[frame.text().end..frame.range.end].copy_from_slice(&tag);
    }
}

fn open_singly(key: &AeadKey, arena: &mut [u8], frames: &[Frame], verdicts: &mut [Result<(), AeadError>]) {
    for (frame, verdict) in frames.iter().zip(verdicts) {
        *verdict = key.open_in_place(frame.counter, &[], &mut arena[frame.range.clone()]).map(drop);
    }
}

fn benches(c: &mut Criterion) {
    for (direction, run) in [("seal", World::seal as fn(&mut World, Way) -> Duration), ("open", World::open)]
    {
        let mut group = c.benchmark_group(direction);
        for len in LENGTHS {
            for count in COUNTS {
                let mut world = World::new(count, len);
                group.throughput(Throughput::Bytes((len * count) as u64));
                for (way, name) in WAYS {
                    let id = BenchmarkId::new(name, format!("{count} x {len}"));
                    group.bench_function(id, |b| {
                        b.iter_custom(|times| (0..times).map(|_| run(&mut world, way)).sum());
                    });
                }
            }
        }
        group.finish();
    }
}

/// Interleaved rounds: minima and ratios.
fn compare() {
    const ROUNDS: usize = 3000;
    println!(
        "nanoseconds a packet, minima of {ROUNDS} interleaved rounds; x: times as fast as ChaCha20 singly"
    );
    let columns = ["seal: ChaCha  batch   AVX2    AES", "open: ChaCha  batch   AVX2    AES"];
    println!("{:>15} {:>41} {:>41}", "", columns[0], columns[1]);
    for len in LENGTHS {
        for count in COUNTS {
            let mut world = World::new(count, len);
            let mut best = [[Duration::MAX; WAYS.len()]; 2];
            for _ in 0..ROUNDS {
                for (i, (way, _)) in WAYS.into_iter().enumerate() {
                    best[0][i] = best[0][i].min(world.seal(way));
                    best[1][i] = best[1][i].min(world.open(way));
                }
            }
            print!("{count:>6} x {len:>4} B");
            for times in best {
                let [single, batch, avx2, aes] =
                    times.map(|time| time.as_secs_f64() * 1e9 / f64::from(count as u32));
                let (gain, gain2) = (single / batch, single / avx2);
                print!("  {single:>8.0} {batch:>6.0} {avx2:>6.0} {aes:>6.0} {gain:>5.2}x {gain2:>5.2}x");
            }
            println!();
        }
    }
}

criterion_group! {
    name = groups;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200));
    targets = benches
}

fn main() {
    groups();
    compare();
}
