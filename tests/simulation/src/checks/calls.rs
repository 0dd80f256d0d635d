//! Syncline does not call Salesforce more often than it needs to.

use crate::schedule::Report;

/// Calls that are allowed per event on either side. An event can cost a read, a second read before a write,
/// the write, and a look for a create. Each touch that the event makes, and each fault that strikes it, can
/// cost the same again.
const PER_EVENT: u64 = 16;

/// Calls that are allowed for catch-ups and probes, whatever the number of events.
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
