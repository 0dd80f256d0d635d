//! Makes a failing schedule small: faults and steps are left out as long as the schedule still breaks the
//! same invariant.

use crate::checks::check;
use crate::options::Options;
use crate::schedule::run_script;
use crate::script::Op;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How many schedules may be run to make one schedule small.
const RUNS: usize = 1500;

/// Runs the script and returns every invariant that it breaks, in words. A panic counts as a broken
/// invariant.
#[must_use]
pub fn broken(seed: u64, options: Options, script: &[Op]) -> Vec<String> {
    catch_unwind(AssertUnwindSafe(|| check(&run_script(seed, options, script, false))))
        .unwrap_or_else(|_| vec!["PANIC".to_owned()])
}

/// The invariant that is named first: the first word of the first text.
fn kind(broken: &[String]) -> Option<String> {
    Some(broken.first()?.split([':', ' ']).next()?.to_owned())
}

/// Options and a script with fewer faults and steps that break the same invariant. A script that breaks
/// nothing is returned as it is.
#[must_use]
pub fn shrink(seed: u64, options: Options, script: &[Op]) -> (Options, Vec<Op>) {
    let Some(wanted) = kind(&broken(seed, options, script)) else { return (options, script.to_vec()) };
    let mut runs = 0;
    let mut still = |options: Options, script: &[Op]| {
        runs += 1;
        runs < RUNS
            && broken(seed, options, script)
                .iter()
                .any(|words| kind(std::slice::from_ref(words)) == Some(wanted.clone()))
    };
    let mut options = options;
    for place in 0..crate::options::FAULTS.len() {
        let mut without = options;
        *without.faults.rates()[place] = 0;
        if without != options && still(without, script) {
            options = without;
        }
    }
    let mut script = script.to_vec();
    let mut chunk = script.len().div_ceil(2);
    while chunk > 0 {
        let mut from = 0;
        while from < script.len() {
            let mut without = script.clone();
            without.drain(from..(from + chunk).min(script.len()));
            if still(options, &without) {
                script = without;
            } else {
                from += chunk;
            }
        }
        chunk = if chunk == 1 { 0 } else { chunk.div_ceil(2) };
    }
    (options, script)
}
