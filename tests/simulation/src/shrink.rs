//! A failing schedule made small: steps are left out as long as it still breaks the same invariant.

use crate::checks::check;
use crate::options::Options;
use crate::schedule::run_script;
use crate::script::Op;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs that a shrinking may take.
const RUNS: usize = 1500;

/// The first word of what is broken: its invariant. A panic is one too.
#[must_use]
pub fn broken(seed: u64, options: Options, script: &[Op]) -> Vec<String> {
    catch_unwind(AssertUnwindSafe(|| check(&run_script(seed, options, script, false))))
        .unwrap_or_else(|_| vec!["PANIC".to_owned()])
}

fn kind(broken: &[String]) -> Option<String> {
    Some(broken.first()?.split([':', ' ']).next()?.to_owned())
}

/// A script, with options, that breaks the same invariant with fewer steps and faults.
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
