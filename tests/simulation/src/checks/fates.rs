//! Every touch that enters a run leaves it with exactly one fate.

use crate::schedule::Report;

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    for tally in report.ports.memory.steps.uneven_tallies() {
        broken.push(format!("FATE: a touch left its run twice or not at all: {tally:?}"));
    }
}
