//! Runs the first 200,000 generated cases of the planner. The program of the crate `simulation` runs more of
//! them (`--planner 10000000`).
#![allow(clippy::print_stdout, reason = "a test says what broke")]

use planner::{case, check};

#[test]
fn no_case_breaks_a_rule() {
    for number in 0..200_000 {
        let broken = check(&case(number));
        assert!(broken.is_empty(), "case {number}: {broken:#?}\n{:#?}", case(number));
    }
}
