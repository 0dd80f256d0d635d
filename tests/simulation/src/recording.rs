//! What seeds write to both sides, as hashes: the proof that a change of the code alters no behaviour.

use crate::schedule::run;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds whose hashes stand in the recording, one by one. A test runs all of them.
pub const RECORDED_SEEDS: u64 = 500;

/// Seeds whose hashes stand in the recording as one hash over all of them.
pub const HASHED_SEEDS: u64 = 20_000;

/// The text of a recording: comments with the hash over the first [`HASHED_SEEDS`] seeds, then a line `SEED HASH` for
/// each of the first [`RECORDED_SEEDS`] seeds. Runs the seeds on so many threads.
#[must_use]
pub fn record(threads: usize) -> String {
    let next = AtomicU64::new(0);
    let mut hashes: Vec<(u64, u64)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| hashes_of(&next))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
    });
    hashes.sort_unstable();
    let mut hasher = DefaultHasher::new();
    hashes.hash(&mut hasher);
    let mut text = format!(
        "# The hash over every write of a seed, for the first {RECORDED_SEEDS} seeds. A change that alters no behaviour\n\
         # leaves this file as it is; a change that alters behaviour on purpose writes it anew with `make record`.\n\
         # One hash over the first {HASHED_SEEDS} seeds: {:016x}\n",
        hasher.finish()
    );
    for (seed, hash) in hashes.iter().take_while(|(seed, _)| *seed < RECORDED_SEEDS) {
        let _ = writeln!(text, "{seed} {hash:016x}");
    }
    text
}

fn hashes_of(next: &AtomicU64) -> Vec<(u64, u64)> {
    let mut hashes = Vec::new();
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= HASHED_SEEDS {
            return hashes;
        }
        hashes.push((seed, run(seed).hash()));
    }
}
