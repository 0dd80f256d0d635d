//! The proof that a seed means one schedule, the seeds that found something once, and fresh ones with every commit.
//! One test, in this order: what it says of a seed is worth nothing unless a seed means one schedule.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "a test says what it ran")]

use simulation::{Options, RECORDED_SEEDS, check, run, run_script, script, shrink};
use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_simulation");

/// Seeds that `make test` runs beside the kept ones, unless `SYNCLINE_SEEDS` names another number.
/// Mutation runs take fewer: what they break shows early, and each mutation waits for them.
const FRESH: u64 = 5_000;

#[test]
fn a_seed_means_one_schedule_and_none_breaks_an_invariant() {
    the_same_seed_in_two_processes_gives_the_same_hash();
    kept_seeds_hold();
    fresh_seeds_hold_and_cover();
}

fn the_same_seed_in_two_processes_gives_the_same_hash() {
    let hashes = || {
        let output = Command::new(BINARY).args(["--hashes", "--seeds", "100"]).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let (one, other) = (hashes(), hashes());
    assert_eq!(one, other);
    assert_eq!(one.lines().count(), 100);
    let distinct: std::collections::BTreeSet<&str> =
        one.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert!(distinct.len() > 90, "different seeds are different schedules");
}

fn kept_seeds_hold() {
    let kept = include_str!("../seeds/found.txt");
    let seeds = kept.lines().filter_map(|line| line.split('#').next()?.trim().parse::<u64>().ok());
    let mut count = 0;
    for seed in seeds {
        assert_eq!(check(&run(seed)), Vec::<String>::new(), "seed {seed}");
        count += 1;
    }
    assert!(count > 0);
    println!("{count} kept seeds");
}

/// A number that each commit has of its own on each day; without git, that of the release.
fn start() -> u64 {
    let head = Command::new("git").args(["rev-parse", "HEAD"]).output().ok();
    let head = head.filter(|output| output.status.success()).map(|output| output.stdout);
    let head = head.and_then(|head| String::from_utf8(head).ok()).unwrap_or_default();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let day = since.as_secs() / 86_400;
    (u64::from_str_radix(head.get(..8).unwrap_or_default(), 16).unwrap_or(0) << 16) ^ (day << 48)
}

fn fresh_seeds_hold_and_cover() {
    let count = std::env::var("SYNCLINE_SEEDS").map_or(FRESH, |count| count.parse().unwrap());
    let mut command = Command::new(BINARY);
    command.args(["--start", &start().to_string(), "--seeds", &count.to_string()]);
    if count >= FRESH {
        command.arg("--covered");
    }
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    println!("{told}");
    assert!(output.status.success(), "replay one with `cargo run --release -p simulation -- --seed N`");
}

#[test]
fn recorded_seeds_write_what_they_wrote() {
    let recorded = include_str!("../seeds/recorded.txt").lines().filter(|line| !line.starts_with('#'));
    let mut count = 0;
    for line in recorded {
        let (seed, hash) = line.split_once(' ').unwrap();
        let seed = seed.parse().unwrap();
        assert_eq!(
            format!("{:016x}", run(seed).hash()),
            hash,
            "seed {seed} writes something else than before. If that is meant, run `make record` and commit the file \
             by itself; if not, `cargo run --release -p simulation -- --seed {seed} --whole` shows what it does"
        );
        count += 1;
    }
    assert_eq!(count, RECORDED_SEEDS);
}

#[test]
fn a_failing_schedule_is_shrunk_to_less_than_half_and_still_fails_by_the_same_invariant() {
    let planted = simulation::Planted::named("absence-taken-for-delete");
    let found = (0..1000).find_map(|seed| {
        let options = Options { planted, ..Options::of_seed(seed) };
        let steps = script(seed, &options);
        let broken = check(&run_script(seed, options, &steps, false));
        Some((seed, options, steps, broken.first()?.split(':').next()?.to_owned()))
    });
    let (seed, options, steps, invariant) = found.expect("this bug is caught");
    let (smaller, less) = shrink(seed, options, &steps);
    assert!(less.len() * 2 < steps.len(), "{} of {}", less.len(), steps.len());
    let report = run_script(seed, smaller, &less, true);
    let broken = check(&report);
    assert!(broken.iter().any(|words| words.starts_with(&invariant)), "{broken:?}");
    let lines = report.ports.shared.trace.lines();
    assert!(
        !lines.is_empty() && lines.iter().all(|line| line.get(2..3) == Some(":")),
        "each line bears its time"
    );
}
