//! Every interleaving of small worlds with one deviation; the command runs them with two.
#![allow(clippy::print_stdout, reason = "a test says what it explored")]

use simulation::Planted;
use simulation::interleavings::{explore, scenarios};

#[test]
fn every_interleaving_with_one_deviation_holds() {
    for scenario in scenarios() {
        let explored = explore(&scenario, 1);
        println!("{}: {} schedules", scenario.name, explored.schedules);
        assert_eq!(explored.violation, None, "{}", scenario.name);
        assert!(explored.schedules > 200, "{}: {} schedules", scenario.name, explored.schedules);
    }
}

#[test]
fn planted_bugs_break_an_invariant_in_some_interleaving() {
    for planted in [
        Planted::BaseNotSaved,
        Planted::BaseSavedBeforeTheWrite,
        Planted::OlderImageBelieved,
        Planted::EventuallyConsistentBase,
        Planted::CursorBySequence,
        Planted::DeduplicationByContent,
        Planted::CreateByUpsert,
        Planted::CreateRetriedBlindly,
        Planted::KeyChangeIsDelete,
        Planted::IntentTakenForWritten,
        Planted::AcknowledgedBeforeTheWork,
        Planted::LogGoneBeforeTheQueueHasIt,
        Planted::LockedRowsTakenForWritten,
        Planted::RowVersionIgnored,
    ] {
        let found = scenarios().into_iter().find_map(|mut scenario| {
            scenario.planted = Some(planted);
            Some((scenario.name, explore(&scenario, 1).violation?))
        });
        let (scenario, (deviations, broken)) =
            found.unwrap_or_else(|| panic!("nothing breaks with {planted:?}"));
        println!("{planted:?} in {scenario:?} by {deviations:?}: {}", broken[0]);
    }
}
