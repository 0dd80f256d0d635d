//! Syncline deletes only what somebody deleted on the other side, by policy and within the delete limit. What
//! somebody deleted stays deleted, unless a person brought it back, or an edit won over the delete and the
//! conflict log shows it.

use super::{came_back, is_account, policy, waits_for_parent, was_deleted};
use crate::schedule::Report;
use std::collections::BTreeSet;
use support::{By, What, name_of};
use syncline_engine::{DeletePolicy, Reason, Side};

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    deletes_have_a_cause(report, broken);
    deletes_keep_the_limit(report, broken);
    nothing_rises(report, broken);
    nothing_is_missing(report, broken);
}

/// At every commit: each delete by Syncline follows a delete by a person or an automation on the other side,
/// and the policy allows it.
fn deletes_have_a_cause(report: &Report, broken: &mut Vec<String>) {
    let mut deleted: BTreeSet<(Side, &str)> = BTreeSet::new();
    for event in &report.events {
        if !matches!(event.what, What::Died(_)) {
            continue;
        }
        if event.by != By::Sync {
            deleted.insert((event.side, &event.name));
            continue;
        }
        let across = (event.side.other(), event.name.as_str());
        if policy(report) != DeletePolicy::Propagate {
            broken.push(format!("DELETE against the policy: {:?} in {}", event.name, event.side));
        } else if !(deleted.contains(&across)
            // A restore brings back a row whose delete had gone across. Then the row is deleted again,
            // because its deleted record says that somebody had deleted it.
            || report.restored && deleted.contains(&(event.side, event.name.as_str())))
        {
            broken.push(format!("PREMATURE DEATH: {:?} in {}, nobody deleted it", event.name, event.side));
        }
    }
}

/// Before somebody resumes the sync, no more deletes go across than the limit allows.
fn deletes_keep_the_limit(report: &Report, broken: &mut Vec<String>) {
    // A restore takes back the counter of the delete limit.
    let Some(limit) = report.options.features.delete_limit.filter(|_| !report.restored) else { return };
    let until = report.resumed.unwrap_or(report.events.len());
    for accounts in [false, true] {
        let deaths = report.events[..until].iter().filter(|event| {
            event.by == By::Sync && matches!(event.what, What::Died(_)) && is_account(&event.name) == accounts
        });
        // A whole run lasts minutes of virtual time, so all of its deletes lie within one hour.
        let count = deaths.count();
        if count > limit as usize {
            broken.push(format!("DELETE LIMIT: {count} deletes went across, {limit} are allowed"));
        }
    }
}

/// True if the conflict log has a delete that lost against an edit of a record of this name.
fn won_over_a_delete(report: &Report, name: &str) -> bool {
    let records = report.ports.memory.salesforce.records();
    let won = report.conflicts.iter().filter(|conflict| conflict.reason == Reason::Deleted).any(|conflict| {
        let of_record = conflict.salesforce_id.as_ref().and_then(|id| records.get(id));
        of_record.is_some_and(|record| name_of(&record.values) == name)
            || conflict.postgres_key.as_ref().is_some_and(|key| {
                report.events.iter().any(|event| event.record == key.0 && event.name == name)
            })
    });
    if won {
        report.ports.shared.coverage.hit("case: an edit won over a delete");
    }
    won
}

/// At every commit: Syncline does not create a record on a side where a person or an automation deleted it.
fn nothing_rises(report: &Report, broken: &mut Vec<String>) {
    if report.restored {
        return;
    }
    for (place, event) in report.events.iter().enumerate() {
        let rises = event.by == By::Sync && matches!(event.what, What::Born | What::Returned);
        if !rises
            || !report.events[..place].iter().any(|before| {
                before.name == event.name
                    && before.side == event.side
                    && before.by != By::Sync
                    && matches!(before.what, What::Died(_))
            })
        {
            continue;
        }
        if came_back(report, &event.name) == 0 && !won_over_a_delete(report, &event.name) {
            broken.push(format!("RESURRECTION: {:?} in {}, where it was deleted", event.name, event.side));
        }
    }
}

/// At rest: a record that nobody deleted exists on both sides. With the policy `Propagate`, a record that
/// somebody deleted exists on neither side.
fn nothing_is_missing(report: &Report, broken: &mut Vec<String>) {
    let memory = &report.ports.memory;
    let records = memory.salesforce.records();
    let rows = memory.database.rows();
    let names: BTreeSet<&str> = super::standing(report)
        .filter(|event| event.by == By::User && matches!(event.what, What::Born))
        .map(|event| event.name.as_str())
        .collect();
    for name in names {
        let here = records.values().any(|record| !record.deleted && name_of(&record.values) == name);
        let there = rows.values().any(|row| name_of(&row.values) == name);
        let deleted = was_deleted(report, name);
        let waits = waits_for_parent(report, name);
        if !(deleted || report.restored || waits || here && there) {
            broken.push(format!("PREMATURE DEATH: {name:?}, nobody deleted it"));
        }
        let back = report.restored || came_back(report, name) > 0 || won_over_a_delete(report, name);
        if deleted && policy(report) == DeletePolicy::Propagate && !back && !waits && (here || there) {
            broken.push(format!("RESURRECTION: {name:?} stands: {here} in Salesforce, {there} in Postgres"));
        }
    }
}
