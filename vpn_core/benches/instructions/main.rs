//! The same work as in `benches/packets.rs`, one piece a run, for callgrind to count: `scripts/instructions.sh`.
//!
//! With the name of a workload: does it once to warm up, and once inside [`measured_region`]. Without: prints the names, each
//! with its number of elements.

#[path = "../workload/mod.rs"]
mod workload;

use std::{env, process::ExitCode};

fn main() -> ExitCode {
    // `cargo bench` and `cargo test` add options of their own.
    let Some(name) = env::args().skip(1).find(|argument| !argument.starts_with('-')) else {
        for workload in workload::all() {
            println!("{} {}", workload.name, workload.elements);
        }
        return ExitCode::SUCCESS;
    };
    let Some(workload) = workload::all().into_iter().find(|workload| workload.name == name) else {
        println!("no workload is called {name}");
        return ExitCode::FAILURE;
    };
    (workload.prepare)()(); // What is set up once a process does not count.
    let mut job = (workload.prepare)();
    measured_region(&mut *job);
    ExitCode::SUCCESS
}

/// Only what happens in here is counted; the script knows this name.
#[inline(never)]
fn measured_region(job: &mut dyn FnMut()) {
    job();
}
