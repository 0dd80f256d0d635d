//! If the database alone is restored, Syncline notices it before it writes anything.

use crate::schedule::Report;
use support::By;

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    let from = report.restored_alone.unwrap_or_default();
    for event in report.events[from..].iter().filter(|event| event.by == By::Sync) {
        broken.push(format!("RESTORE: written after the database was restored alone: {event:?}"));
    }
}
