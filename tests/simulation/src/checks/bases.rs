//! Bases never move backwards: neither their version nor the stamp that they know.

use crate::schedule::Report;

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    broken.extend(report.ports.shared.broken().into_iter().filter(|words| words.starts_with("BASE")));
}
