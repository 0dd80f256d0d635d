//! Salesforce is not called without need.

use crate::schedule::Report;

/// Calls that may be made per event on either side: a read, one more before a write, the write, a look for a create,
/// and the same again for each touch that the event makes and each fault that strikes it.
const PER_EVENT: u64 = 16;

/// Calls of catch-ups and probes.
const AT_LEAST: u64 = 400;

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    let allowed = AT_LEAST + PER_EVENT * report.events.len() as u64;
    if report.calls > allowed {
        broken.push(format!(
            "CALLS: {} calls to Salesforce for {} events, {allowed} are allowed",
            report.calls,
            report.events.len()
        ));
    }
}
