//! The run comes to rest within a limited number of rounds. After that, touching every record once more
//! writes nothing.

use crate::schedule::Report;

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    if report.restless {
        broken.push(format!("QUIESCENCE: it did not come to rest within {} rounds", report.rounds));
    } else if report.second_pass > 0 {
        broken.push(format!("QUIESCENCE: a second pass over everything wrote {} times", report.second_pass));
    }
}
