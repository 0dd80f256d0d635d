//! Thousands of seeds, and the proof that a seed means one schedule.

use simulation::{Faults, check, run};
use std::collections::{BTreeMap, BTreeSet};
use syncline_sync::Step;

#[test]
fn a_seed_means_one_schedule() {
    for seed in 0..20 {
        let (one, other) = (run(seed, Faults::default()), run(seed, Faults::default()));
        assert_eq!(one.trace, other.trace);
        assert_eq!(one.users.ledger, other.users.ledger);
        assert_eq!(one.ports.org.records(), other.ports.org.records());
        assert_eq!(one.ports.state.conflicts(), other.ports.state.conflicts());
    }
}

/// Each broke an invariant once; the comment says what was mended.
const FOUND: [u64; 10] = [
    8_223, // a record undeleted while its row was given to a new one was absorbed by that one and kept no row
    15_054, // a key that was another row's by now was not looked at again where its first row had moved on twice
    22_092, // a row whose former key led to another record was not looked at for itself
    24_230, // a key was given up though nobody was in its way, and its row was created twice
    26_126, // the same
    26_673, // the same
    21_391, // a touch's key was not looked at where an interrupted run's evidence named another row
    28_748, // the same
    35_530, // the same
    44_104, // two touches of one record that named two rows were put off as one
];

#[test]
fn seeds_that_broke_an_invariant_once_hold() {
    for seed in FOUND {
        assert_eq!(check(&run(seed, Faults::default())), Vec::<String>::new(), "seed {seed}");
    }
}

/// The seeds of `make test`; `SYNCLINE_SEEDS=from..to` runs others.
#[test]
fn no_schedule_breaks_an_invariant() {
    let seeds = std::env::var("SYNCLINE_SEEDS").ok().and_then(|range| {
        let (from, to) = range.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    let mut crashed_at: BTreeSet<Step> = BTreeSet::new();
    let (mut conflicts, mut answers_lost, mut failed) = (0, 0, 0);
    let mut acts: BTreeMap<&str, usize> = BTreeMap::new();
    for seed in seeds.unwrap_or(0..2_000_u64) {
        let report = run(seed, Faults::default());
        let broken = check(&report);
        if !broken.is_empty() {
            failed += 1;
            if failed <= 5 {
                println!("seed {seed}:\n  {}", broken.join("\n  "));
            }
        }
        crashed_at.extend(&report.crashed_at);
        conflicts += report.ports.state.conflicts().len();
        answers_lost += report.answers_lost;
        for (act, count) in &report.users.acts {
            *acts.entry(*act).or_default() += count;
        }
    }
    println!("{acts:?}");
    assert!(acts.len() == 9 && acts.values().all(|count| *count > 100), "{acts:?}");
    println!("{conflicts} conflicts, {answers_lost} answers lost, crashes at {crashed_at:?}");
    assert_eq!(failed, 0, "seeds that broke an invariant");
    assert!(conflicts > 100 && answers_lost > 100, "the schedules are too tame");
    assert!(crashed_at.len() >= 10, "crashes at {crashed_at:?} only");
}
