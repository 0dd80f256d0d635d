//! A base never moves backwards: neither its version nor the stamp that it knows becomes smaller. The port of
//! the state store notes a violation when a base is saved; this check reports what it noted.

use crate::schedule::Report;

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    broken.extend(report.ports.shared.broken().into_iter().filter(|words| words.starts_with("BASE")));
}
