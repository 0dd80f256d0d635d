//! Syncline writes only fields that differ: no field is written to Salesforce with the value that the run had
//! read there. The port notes a violation when a write passes; this check reports what it noted.

use crate::schedule::Report;

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    broken.extend(report.ports.shared.broken().into_iter().filter(|words| words.starts_with("NEEDLESS")));
}
