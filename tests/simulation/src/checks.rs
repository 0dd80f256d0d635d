//! One checker per invariant.

use crate::schedule::Report;
use crate::users::{Edit, NAME};
use std::collections::BTreeMap;
use syncline_engine::{DeletePolicy, Held, Reason, Side, Value};

/// Every invariant that the run broke, in words.
#[must_use]
pub fn check(report: &Report) -> Vec<String> {
    let mut broken = Vec::new();
    if report.restless {
        broken.push("QUIESCENCE: it never came to rest".to_owned());
    }
    converged(report, &mut broken);
    no_duplicates(report, &mut broken);
    life_and_death(report, &mut broken);
    no_lost_update(report, &mut broken);
    no_false_conflict(report, &mut broken);
    no_flip_flop(report, &mut broken);
    nothing_left_open(report, &mut broken);
    broken
}

/// Somebody deleted a record of this name.
fn was_deleted(report: &Report, name: Option<&String>) -> bool {
    report.users.deletions.iter().any(|deletion| Some(&deletion.record) == name)
}

fn converged(report: &Report, broken: &mut Vec<String>) {
    let records = report.ports.org.records();
    let living = || records.iter().filter(|(_, record)| !record.deleted);
    let rows = report.ports.database.rows();
    let alone = report.definition.deletes.from_salesforce != DeletePolicy::Propagate;
    for (key, row) in &rows {
        let name = row.values[NAME].as_ref();
        let Some((id, record)) = living().find(|(id, _)| row.link.as_deref() == Some(id.as_str())) else {
            if !alone || !was_deleted(report, name) {
                broken.push(format!("CONVERGENCE: row {key} ({name:?}) has no record"));
            }
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
    for (id, record) in living() {
        let linked = rows.values().any(|row| row.link.as_deref() == Some(id.as_str()));
        if !(linked || alone && was_deleted(report, record.values[NAME].as_ref())) {
            broken.push(format!("CONVERGENCE: record {id} ({:?}) has no row", record.values[NAME]));
        }
    }
}

fn no_duplicates(report: &Report, broken: &mut Vec<String>) {
    let mut names: BTreeMap<Option<String>, usize> = BTreeMap::new();
    for record in report.ports.org.records().into_values().filter(|record| !record.deleted) {
        *names.entry(record.values[NAME].clone()).or_default() += 1;
    }
    for (name, count) in names {
        // An undelete beside a row that was inserted again makes two by two people's will.
        let returned =
            report.users.returned.iter().filter(|returned| Some(*returned) == name.as_ref()).count();
        if count > 1 + returned {
            broken.push(format!("DUPLICATE: {name:?} stands {count} times in Salesforce"));
        }
    }
}

/// Nothing dies but what somebody deleted; and what somebody deleted stays dead, unless it was brought back by hand or
/// by an edit that won over the delete and is logged.
fn life_and_death(report: &Report, broken: &mut Vec<String>) {
    let records = report.ports.org.records();
    let rows = report.ports.database.rows();
    let conflicts = report.ports.state.conflicts();
    for number in 1..=report.users.created {
        let name = format!("n{number}");
        let named = |values: &BTreeMap<String, Option<String>>| values[NAME].as_ref() == Some(&name);
        let in_salesforce = records.values().any(|record| !record.deleted && named(&record.values));
        let in_postgres = rows.values().any(|row| named(&row.values));
        let deleted = was_deleted(report, Some(&name));
        if !(deleted || report.users.taken_back || in_salesforce && in_postgres) {
            broken.push(format!("PREMATURE DEATH: {name}, nobody deleted it"));
        }
        let brought_back = report.users.returned.contains(&name)
            || report.users.taken_back
            || conflicts.iter().any(|conflict| {
                let id = conflict.salesforce_id.as_ref();
                conflict.reason == Reason::Deleted
                    && records.iter().any(|(known, record)| id == Some(known) && named(&record.values))
            });
        let propagates = report.definition.deletes.from_salesforce == DeletePolicy::Propagate;
        if deleted && propagates && !brought_back && (in_salesforce || in_postgres) {
            broken.push(format!("RESURRECTION: {name}: {in_salesforce} {in_postgres}"));
        }
    }
}

/// Every value that somebody typed stands, was replaced by somebody who saw it, was deleted by somebody who saw it, is
/// in the conflict log, or fell into the one window that is not promised.
fn no_lost_update(report: &Report, broken: &mut Vec<String>) {
    let records = report.ports.org.records();
    let rows = report.ports.database.rows();
    let conflicts = report.ports.state.conflicts();
    let unseen = report.ports.org.overwritten_unseen();
    for edit in &report.users.ledger {
        let living = records.values().filter(|record| !record.deleted).map(|record| &record.values);
        let stands = living
            .chain(rows.values().map(|row| &row.values))
            .any(|values| values.get(&edit.field) == Some(&edit.value));
        let seen =
            report.users.ledger.iter().chain(&report.users.taken).any(|later| {
                later.saw == edit.value && later.record == edit.record && later.field == edit.field
            });
        let deleted = report.users.deletions.iter().any(|deletion| {
            deletion.record == edit.record && deletion.saw.get(&edit.field) == Some(&edit.value)
        });
        let value = edit.value.clone().map_or(Value::Null, Value::Text);
        let logged = conflicts.iter().chain(&report.users.logged).any(|conflict| {
            conflict.field == edit.field && (conflict.salesforce == value || conflict.postgres == value)
        });
        if !stands && !seen && !deleted && !logged && !unseen.contains(&edit.value) {
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
        let deleted = conflict.reason == Reason::Deleted || report.users.taken_back;
        let here = typed(Side::Salesforce, &conflict.field, &conflict.salesforce);
        let there = typed(Side::Postgres, &conflict.field, &conflict.postgres);
        // A row that was inserted again leaves the fields empty that its user did not fill in.
        let empty = |value: &Value| value.is_null() && !report.users.returned.is_empty();
        if !(here || deleted || empty(&conflict.salesforce))
            || !(there || deleted || empty(&conflict.postgres))
        {
            broken.push(format!("FALSE CONFLICT: {conflict:?}"));
        }
    }
}

/// Values are never used twice, so none that left a field may come back.
fn no_flip_flop(report: &Report, broken: &mut Vec<String>) {
    let mut fields: BTreeMap<(String, String), Vec<Option<String>>> = BTreeMap::new();
    let mut lives: BTreeMap<String, usize> = BTreeMap::new();
    let salesforce =
        report.ports.org.timeline().into_iter().map(|held| (held.id.to_string(), held.field, held.value));
    let postgres =
        report.ports.database.timeline().into_iter().map(|(key, field, value, _)| (key.0, field, value));
    for (record, field, value) in salesforce.chain(postgres) {
        if field.is_empty() {
            // A row that comes back after its delete has another life.
            *lives.entry(record).or_default() += 1;
            continue;
        }
        let life = lives.get(&record).copied().unwrap_or_default();
        let values = fields.entry((format!("{record} {life}"), field)).or_default();
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
        let review = report.definition.deletes.from_salesforce == DeletePolicy::Review;
        if review && matches!(held.held, Held::Deleted { .. } | Held::Missing { .. }) {
            continue;
        }
        broken.push(format!("HELD: {:?}", held.held));
    }
}
