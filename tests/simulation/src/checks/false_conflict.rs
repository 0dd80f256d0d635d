//! A conflict exists only where people or automations changed the field on both sides since both sides last
//! agreed on it, or at the first link.

use super::came_back;
use crate::schedule::Report;
use crate::world::PARENT;
use std::collections::{BTreeMap, BTreeSet};
use support::{By, What};
use syncline_engine::{Reason, Side};
use syncline_sync::Conflict;

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    for conflict in report.ports.memory.state.conflicts() {
        if conflict.field == PARENT || conflict.reason == Reason::Deleted || report.restored {
            continue;
        }
        if conflict.reason == Reason::FirstLink {
            let either_is_empty = conflict.salesforce.is_null() || conflict.postgres.is_null();
            if either_is_empty {
                broken.push(format!(
                    "FIRST LINK: an empty value and a filled one are no conflict: {conflict:?}"
                ));
            }
            let linked_first = report.options.features.adopted || report.redefined;
            if linked_first || comes_back(report, &conflict) {
                continue;
            }
        }
        if !both_edited(report, &conflict) && !comes_back(report, &conflict) {
            broken.push(format!("FALSE CONFLICT: {conflict:?}"));
        }
    }
}

/// Every name that this record or row ever had.
fn names(report: &Report, conflict: &Conflict) -> BTreeSet<String> {
    let id = conflict.salesforce_id.as_ref().map(ToString::to_string);
    let key = conflict.postgres_key.as_ref().map(|key| key.0.clone());
    report
        .events
        .iter()
        .filter(|event| Some(&event.record) == id.as_ref() || Some(&event.record) == key.as_ref())
        .map(|event| event.name.clone())
        .collect()
}

/// True if a person brought the record back. A row that was inserted again has no agreed values, so its empty
/// fields are merged as at a first link.
fn comes_back(report: &Report, conflict: &Conflict) -> bool {
    names(report, conflict).iter().any(|name| came_back(report, name) > 0)
}

/// True if, since the last agreement, the field was edited on both sides and each side held its value of the
/// conflict at some time. Both values need not have stood at the same moment, because a run reads the two
/// sides one after the other.
fn both_edited(report: &Report, conflict: &Conflict) -> bool {
    let names = names(report, conflict);
    let mut held: BTreeMap<Side, Vec<Option<String>>> = BTreeMap::new();
    let mut edited: BTreeSet<Side> = BTreeSet::new();
    let meant = [(Side::Salesforce, conflict.salesforce.text()), (Side::Postgres, conflict.postgres.text())];
    for event in report.events.iter().filter(|event| names.contains(&event.name)) {
        let What::Set { field, after, .. } = &event.what else { continue };
        if *field != conflict.field {
            continue;
        }
        held.entry(event.side).or_insert_with(|| vec![None]).push(after.clone());
        if event.edit().is_some() {
            edited.insert(event.side);
        }
        let last = |side| held.get(&side).and_then(|values| values.last()).cloned().flatten();
        let equal = last(Side::Salesforce) == last(Side::Postgres);
        if equal && (event.by == By::Sync || after.is_some()) {
            edited.clear();
            for values in held.values_mut() {
                values.drain(..values.len() - 1);
            }
        }
        let held_it = |side, meant: &Option<String>| {
            held.get(side).map_or(meant.is_none(), |values| values.contains(meant))
        };
        if edited.len() == 2 && meant.iter().all(|(side, meant)| held_it(side, meant)) {
            return true;
        }
    }
    false
}
