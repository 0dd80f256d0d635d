//! No edit by a person or an automation is lost. Its value is final, or somebody who saw the value replaced
//! it, or somebody who saw it deleted the record, or it is in the conflict log, or it fell into the window
//! between Syncline's read and its write. Syncline does not promise to keep edits in that window.

use super::standing;
use crate::schedule::Report;
use crate::world::{OPTIONAL, PARENT};
use support::{By, Event, What};
use syncline_engine::Value;

/// What became of an edit.
enum Fate {
    Stands,
    Replaced,
    Deleted,
    Logged,
    InTheWindow,
    Lost,
}

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    let coverage = &report.ports.shared.coverage;
    for event in standing(report) {
        let Some((field, _, value)) = event.edit() else { continue };
        // The values of a lookup are not unique, so an edit of a lookup cannot be followed. Edits of the
        // optional field do not count if the definition changed, because the field may not have been mapped.
        if field == PARENT || field == OPTIONAL && report.redefined {
            continue;
        }
        // If Syncline created the record between the backup and the restore, nothing tells after the restore
        // with which values it created the record.
        let created_across = |other: &Event| {
            other.name == event.name && other.by == By::Sync && matches!(other.what, What::Born)
        };
        if report.restored && report.events.iter().any(created_across) {
            continue;
        }
        match fate(report, event, field, value) {
            Fate::Stands => coverage.hit("case: an edit stands"),
            Fate::Replaced => coverage.hit("case: an edit was overwritten by a later one"),
            Fate::Deleted => coverage.hit("case: an edit was deleted with its record"),
            Fate::Logged => coverage.hit("case: an edit lost to a conflict that is logged"),
            Fate::InTheWindow if report.options.window => coverage.hit("case: an edit fell into the window"),
            Fate::InTheWindow => {
                broken.push(format!("LOST UPDATE though nobody edits in the window: {event:?}"));
            }
            Fate::Lost => broken.push(format!("LOST UPDATE: {event:?}")),
        }
    }
    if report.events.iter().any(|event| event.taken_back && event.edit().is_some()) {
        coverage.hit("case: an edit was taken back by a restore");
    }
}

fn fate(report: &Report, event: &Event, field: &str, value: &Option<String>) -> Fate {
    let memory = &report.ports.memory;
    let records = memory.salesforce.records();
    let rows = memory.database.rows();
    let living = records.values().filter(|record| !record.deleted).map(|record| &record.values);
    let of_name = |values: &&support::Values| support::name_of(values) == event.name;
    let mut values = living.chain(rows.values().map(|row| &row.values)).filter(of_name);
    if values.any(|values| values.get(field).cloned().flatten() == *value) {
        return Fate::Stands;
    }
    let mut others = report.events.iter().filter(|other| other.name == event.name);
    // An event that a restore took back counts here as well: it may have replaced the value on the other side
    // before the restore.
    let replaced = others.clone().any(|other| {
        !std::ptr::eq(other, event)
            && other.edit().is_some_and(|(same, saw, _)| same == field && saw == value)
    });
    if replaced {
        return Fate::Replaced;
    }
    let deleted = others.any(|other| match &other.what {
        What::Died(values) => other.by != By::Sync && values.get(field).cloned().flatten() == *value,
        _ => false,
    });
    if deleted {
        return Fate::Deleted;
    }
    let meant = value.clone().map_or(Value::Null, Value::Text);
    let logged = report.conflicts.iter().any(|conflict| {
        conflict.field == field && (conflict.salesforce == meant || conflict.postgres == meant)
    });
    if logged {
        return Fate::Logged;
    }
    let overwritten = memory.salesforce.overwritten();
    let in_the_window = overwritten.iter().any(|lost| {
        lost.name == event.name
            && lost.field == field
            && lost.value == *value
            && lost.read <= event.at
            && event.at <= lost.written
    });
    if in_the_window { Fate::InTheWindow } else { Fate::Lost }
}
