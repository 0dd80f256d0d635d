//! At no commit does Syncline create a second living record of a record that exists.

use crate::schedule::Report;
use std::collections::BTreeMap;
use support::{By, What};
use syncline_engine::Side;

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    // A restore brings rows back, and no event tells of that. So only the records at rest are counted.
    if report.restored {
        return at_rest(report, broken);
    }
    let mut living: BTreeMap<(Side, &str), i64> = BTreeMap::new();
    let mut allowed: BTreeMap<&str, i64> = BTreeMap::new();
    for event in &report.events {
        let count = living.entry((event.side, &event.name)).or_default();
        match event.what {
            What::Born | What::Returned => *count += 1,
            What::Died(_) => *count -= 1,
            What::Set { .. } | What::Rekeyed(_) => continue,
        }
        let begins = matches!(event.what, What::Born | What::Returned);
        // People can create a second record themselves: by an undelete after the row was inserted again, or
        // by an insert under a name that the other side has.
        let allowed = allowed.entry(&event.name).or_default();
        if begins && event.by != By::Sync {
            *allowed += 1;
        }
        if begins && event.by == By::Sync && *count > (*allowed).max(1) {
            broken.push(format!("DUPLICATE: {:?} stands {count} times in {}", event.name, event.side));
        }
    }
}

/// After a restore: Salesforce has each record once, and once more for each time that a person brought it
/// back.
fn at_rest(report: &Report, broken: &mut Vec<String>) {
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for record in report.ports.memory.salesforce.records().into_values().filter(|record| !record.deleted) {
        *names.entry(support::name_of(&record.values)).or_default() += 1;
    }
    for (name, count) in names {
        if count > 1 + super::came_back(report, &name) {
            broken.push(format!("DUPLICATE: {name:?} stands {count} times in Salesforce"));
        }
    }
}
