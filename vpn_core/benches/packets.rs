//! The packet path by the clock, piece by piece: sealing, opening, the replay window, segmentation, coalescing. Routes and
//! handshakes have files of their own. On a noisy machine `scripts/instructions.sh` shows more.

#[path = "workload/mod.rs"]
mod workload;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;

fn packets(criterion: &mut Criterion) {
    for workload in workload::all() {
        let (group, name) = workload.name.split_once('/').expect("every name has a group");
        let mut group = criterion.benchmark_group(group);
        group
            .throughput(Throughput::Elements(workload.elements as u64))
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .sample_size(20);
        group.bench_function(name, |bencher| {
            // Few at a time: prepared work lies in the cache, as what the kernel has just handed over does.
            bencher.iter_batched_ref(&workload.prepare, |job| job(), BatchSize::NumIterations(8));
        });
        group.finish();
    }
}

criterion_group!(benches, packets);
criterion_main!(benches);
