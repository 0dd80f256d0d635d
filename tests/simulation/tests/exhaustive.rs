//! Every schedule within small bounds.
#![allow(clippy::print_stdout, reason = "a test says what it explored")]

use simulation::exhaustive::{Bounds, Safeguard, explore};
use syncline_engine::Side;

fn bounds(edits: u8, faults: u8, primary: Side) -> Bounds {
    Bounds { edits, faults, created_on: None, primary, states: 3_000_000, without: None }
}

fn holds(bounds: &Bounds) {
    let explored = explore(bounds);
    println!("{bounds:?}: {} states", explored.states);
    assert_eq!(explored.violation, None);
    assert!(explored.complete, "{} states and no end", explored.states);
    assert!(explored.states > 1_000);
}

#[test]
fn every_schedule_of_a_linked_record_keeps_the_invariants_for_either_primary() {
    holds(&bounds(3, 1, Side::Salesforce));
    holds(&bounds(3, 1, Side::Postgres));
    holds(&bounds(2, 2, Side::Postgres));
}

#[test]
fn every_schedule_of_a_new_record_keeps_the_invariants() {
    for side in [Side::Salesforce, Side::Postgres] {
        holds(&Bounds { created_on: Some(side), ..bounds(2, 1, Side::Salesforce) });
    }
}

#[test]
fn no_safeguard_can_be_left_out() {
    for (safeguard, edits, faults) in
        [(Safeguard::Lease, 2, 1), (Safeguard::Evidence, 2, 1), (Safeguard::Moved, 2, 0)]
    {
        let found = [Side::Salesforce, Side::Postgres].into_iter().find_map(|primary| {
            explore(&Bounds { without: Some(safeguard), ..bounds(edits, faults, primary) }).violation
        });
        let (violation, schedule) = found.unwrap_or_else(|| panic!("nothing breaks without {safeguard:?}"));
        println!("without {safeguard:?}: {violation} after {} steps", schedule.len());
    }
}
