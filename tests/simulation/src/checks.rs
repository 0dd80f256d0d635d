//! One checker per invariant.

use crate::schedule::Report;
use crate::users::{Edit, NAME};
use std::collections::BTreeMap;
use syncline_engine::{Side, Value};

/// Every invariant that the run broke, in words.
#[must_use]
pub fn check(report: &Report) -> Vec<String> {
    let mut broken = Vec::new();
    if report.restless {
        broken.push("QUIESCENCE: it never came to rest".to_owned());
    }
    converged(report, &mut broken);
    no_duplicates(report, &mut broken);
    no_lost_update(report, &mut broken);
    no_false_conflict(report, &mut broken);
    no_flip_flop(report, &mut broken);
    nothing_left_open(report, &mut broken);
    broken
}

fn converged(report: &Report, broken: &mut Vec<String>) {
    let records = report.ports.org.records();
    let rows = report.ports.database.rows();
    for (key, row) in &rows {
        let record = records.iter().find(|(id, _)| row.link.as_deref() == Some(id.as_str()));
        let Some((id, record)) = record else {
            broken.push(format!("CONVERGENCE: row {key} has no record"));
            continue;
        };
        for mapping in &report.definition.fields {
            let here = record.values.get(&mapping.field).cloned().flatten();
            let there = row.values.get(&mapping.field).cloned().flatten();
            if here != there {
                broken.push(format!("CONVERGENCE: {} of {id} is {here:?} and {there:?}", mapping.field));
            }
        }
    }
    if records.len() != rows.len() {
        broken.push(format!("CONVERGENCE: {} records, {} rows", records.len(), rows.len()));
    }
}

fn no_duplicates(report: &Report, broken: &mut Vec<String>) {
    let mut names: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for record in report.ports.org.records().into_values() {
        *names.entry(record.values[NAME].clone()).or_default() += 1;
    }
    for (name, count) in names.iter().filter(|(_, count)| **count > 1) {
        broken.push(format!("DUPLICATES: {count} records are {name:?}"));
    }
    if names.len() != report.users.created {
        broken.push(format!("DUPLICATES: {} created, {} stand", report.users.created, names.len()));
    }
}

/// A value is final, or a later editor saw it, or it stands in the conflict log, or it fell into the window
/// between a run's read and its write.
fn no_lost_update(report: &Report, broken: &mut Vec<String>) {
    let records = report.ports.org.records();
    let conflicts = report.ports.state.conflicts();
    let unseen = report.ports.org.overwritten_unseen();
    for edit in &report.users.ledger {
        let stands = records.values().any(|record| record.values.get(&edit.field) == Some(&edit.value));
        let seen =
            report.users.ledger.iter().any(|later| {
                later.saw == edit.value && later.record == edit.record && later.field == edit.field
            });
        let value = edit.value.clone().map_or(Value::Null, Value::Text);
        let logged = conflicts.iter().any(|conflict| {
            conflict.field == edit.field && (conflict.salesforce == value || conflict.postgres == value)
        });
        if !stands && !seen && !logged && !unseen.contains(&edit.value) {
            broken.push(format!("LOST UPDATE: {edit:?}"));
        }
    }
}

/// A conflict's values were both typed by somebody, each on its own side.
fn no_false_conflict(report: &Report, broken: &mut Vec<String>) {
    let typed = |side: Side, field: &str, value: &Value| {
        report
            .users
            .ledger
            .iter()
            .any(|edit: &Edit| edit.side == side && edit.field == field && edit.value == value.text())
    };
    for conflict in report.ports.state.conflicts() {
        if !typed(Side::Salesforce, &conflict.field, &conflict.salesforce)
            || !typed(Side::Postgres, &conflict.field, &conflict.postgres)
        {
            broken.push(format!("FALSE CONFLICT: {conflict:?}"));
        }
    }
}

/// Values are never used twice, so none that left a field may come back.
fn no_flip_flop(report: &Report, broken: &mut Vec<String>) {
    let mut fields: BTreeMap<(String, String), Vec<Option<String>>> = BTreeMap::new();
    let salesforce =
        report.ports.org.timeline().into_iter().map(|held| (held.id.to_string(), held.field, held.value));
    let postgres =
        report.ports.database.timeline().into_iter().map(|(key, field, value, _)| (key.0, field, value));
    for (record, field, value) in salesforce.chain(postgres) {
        let values = fields.entry((record, field)).or_default();
        if values.last() != Some(&value) {
            values.push(value);
        }
    }
    for ((record, field), values) in fields {
        for (place, value) in values.iter().enumerate().filter(|(_, value)| value.is_some()) {
            if values[..place].contains(value) {
                broken.push(format!("FLIP-FLOP: {field} of {record} went {values:?}"));
            }
        }
    }
}

fn nothing_left_open(report: &Report, broken: &mut Vec<String>) {
    for base in report.ports.state.bases(&report.definition.name) {
        if base.intent.is_some() {
            broken.push(format!("INTENT stands at rest: {}", base.key));
        }
    }
    for rejected in report.ports.state.all_rejected() {
        broken.push(format!("REJECTED: {} {}", rejected.code, rejected.message));
    }
    for held in report.ports.state.held() {
        broken.push(format!("HELD: {:?}", held.held));
    }
}
