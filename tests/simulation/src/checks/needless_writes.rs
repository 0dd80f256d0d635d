//! Nothing is written that was read to stand there already: only fields that differ.

use crate::schedule::Report;

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    broken.extend(report.ports.shared.broken().into_iter().filter(|words| words.starts_with("NEEDLESS")));
}
