//! One checker per invariant. A checker for every commit reads the events in their order. The other checkers
//! read what both sides, the state store and the ports hold at rest.

mod bases;
mod calls;
mod convergence;
mod deaths;
mod duplicates;
mod false_conflict;
mod fates;
mod flip_flop;
mod lost_update;
mod needless_writes;
mod open_ends;
mod quiescence;
mod restored_alone;

use crate::schedule::{Report, automation_of};
use crate::world::{PARENT, parent_key_of};
use std::collections::BTreeSet;
use support::{By, Event, Values, What, key_of_text, name_of};
use syncline_engine::{DeletePolicy, Held, Parent, SalesforceId, Side};
use syncline_sync::{HeldRecord, Rejected};

/// Every invariant that the run broke, in words.
#[must_use]
pub fn check(report: &Report) -> Vec<String> {
    let mut broken = Vec::new();
    cover(report);
    fates::check(report, &mut broken);
    if report.restored_alone.is_some() {
        restored_alone::check(report, &mut broken);
        return broken;
    }
    quiescence::check(report, &mut broken);
    convergence::check(report, &mut broken);
    duplicates::check(report, &mut broken);
    deaths::check(report, &mut broken);
    lost_update::check(report, &mut broken);
    false_conflict::check(report, &mut broken);
    flip_flop::check(report, &mut broken);
    needless_writes::check(report, &mut broken);
    bases::check(report, &mut broken);
    open_ends::check(report, &mut broken);
    calls::check(report, &mut broken);
    broken
}

/// Counts for the coverage what the plan decided and what the sides did by themselves.
fn cover(report: &Report) {
    let coverage = &report.ports.shared.coverage;
    for event in &report.events {
        if let Some(automation) = automation_of(event) {
            coverage.hit(automation);
        }
        if event.by == By::Sync && matches!(event.what, What::Died(_)) {
            coverage.hit("case: a delete was carried across");
        }
    }
    for row in report.ports.memory.database.history() {
        for (word, what) in [
            ("created", "reason: created"),
            ("changed", "reason: changed"),
            ("conflict", "reason: conflict"),
            ("filled-empty", "reason: filled-empty"),
            ("first-link", "reason: first-link"),
            ("one-way", "reason: one-way"),
            ("deleted", "reason: deleted"),
        ] {
            if row.reason == word {
                coverage.hit(what);
            }
        }
    }
}

/// The events that still count: without those that a restore took back.
fn standing(report: &Report) -> impl Iterator<Item = &Event> {
    report.events.iter().filter(|event| !event.taken_back)
}

/// True if a person or a cascade deleted a record of this name.
fn was_deleted(report: &Report, name: &str) -> bool {
    report
        .events
        .iter()
        .any(|event| event.name == name && event.by != By::Sync && matches!(event.what, What::Died(_)))
}

/// How often a record of this name came back by a person's hand: it was undeleted, or inserted again.
fn came_back(report: &Report, name: &str) -> usize {
    let mut born: BTreeSet<Side> = BTreeSet::new();
    // Events that a restore took back count here as well: Syncline may have carried them across before the
    // restore, and the other side keeps them.
    report
        .events
        .iter()
        .filter(|event| event.name == name)
        .filter(|event| match event.what {
            What::Returned => event.by != By::Sync,
            // The first time that a side has the name is not a return.
            What::Born => !born.insert(event.side) && event.by != By::Sync,
            _ => false,
        })
        .count()
}

/// True if a record of this name waits for its parent, and Syncline shows that: its lookup is required, and
/// the parent is not on both sides.
fn waits_for_parent(report: &Report, name: &str) -> bool {
    if refused_for_parent(report, name) {
        return true;
    }
    let memory = &report.ports.memory;
    let (records, rows) = (memory.salesforce.records(), memory.database.rows());
    memory.state.held().iter().any(|held| {
        let Held::Waiting { parent, .. } = &held.held else { return false };
        let of_row = held.postgres_key.as_ref().and_then(|key| rows.get(key)).map(|row| &row.values);
        let of_record =
            held.salesforce_id.as_ref().and_then(|id| records.get(id)).map(|record| &record.values);
        let named = of_row.or(of_record).is_some_and(|values| name_of(values) == name);
        let living = |id: &SalesforceId| records.get(id).is_some_and(|record| !record.deleted);
        let linked = |link: &Option<String>| {
            link.as_deref().and_then(|link| SalesforceId::parse(link).ok()).is_some_and(|id| living(&id))
        };
        let stands = match parent {
            Parent::Postgres(_, key) => rows.get(key).is_some_and(|row| linked(&row.link)),
            Parent::Salesforce(_, id) => {
                living(id) && rows.values().any(|row| row.link.as_deref() == Some(id.as_str()))
            }
        };
        named && !stands
    })
}

/// True if a side refuses a record of this name because of its parent, in that side's words: one side has
/// lost the parent that the other side names. Syncline tries such a record again by itself.
fn refused_for_parent(report: &Report, name: &str) -> bool {
    let memory = &report.ports.memory;
    memory.state.all_rejected().iter().any(|rejected| {
        let (records, rows) = (memory.salesforce.records(), memory.database.rows());
        let record = rejected.salesforce_id.as_ref().and_then(|id| records.get(id));
        let row = rejected.postgres_key.as_ref().and_then(|key| rows.get(key));
        let values = [record.map(|record| &record.values), row.map(|row| &row.values)];
        let parent =
            |values: &Option<&Values>| values.and_then(|values| values.get(PARENT).cloned().flatten());
        let [named_here, named_there] = [parent(&values[0]), parent(&values[1])];
        let key = parent_key_of(&report.ports.memory, named_here.as_deref());
        let linked = |key: &str| {
            let link = rows.get(&key_of_text(key)).and_then(|row| row.link.clone());
            link.and_then(|link| SalesforceId::parse(&link).ok())
                .is_some_and(|id| records.get(&id).is_some_and(|record| !record.deleted))
        };
        let lost_here = named_here.is_some() && key.is_none_or(|key| !linked(&key));
        let lost_there = named_there.is_some_and(|key| !linked(&key));
        rejected.depends_on_others()
            && values.into_iter().flatten().any(|values| name_of(values) == name)
            && (lost_here || lost_there)
    })
}

/// True if a person inserted a row again with the link of a deleted record, and Syncline holds the record.
/// Nothing tells what the person meant.
fn shown_with_a_dead_link(report: &Report, held: &HeldRecord) -> bool {
    let memory = &report.ports.memory;
    let Some(row) = held.postgres_key.as_ref().and_then(|key| memory.database.rows().get(key).cloned())
    else {
        return false;
    };
    let records = memory.salesforce.records();
    let dead = row.link.as_deref().and_then(|link| records.get(&SalesforceId::parse(link).ok()?));
    matches!(held.held, Held::Deleted { side: Side::Salesforce })
        && dead.is_some_and(|record| record.deleted)
        && came_back(report, &name_of(&row.values)) > 0
}

/// True if a person inserted a row again with the link of a record whose row Syncline was putting back. Then
/// two rows have one record, and Syncline rejects the record as ambiguous.
fn shown_as_ambiguous(report: &Report, rejected: &Rejected) -> bool {
    let records = report.ports.memory.salesforce.records();
    let record = rejected.salesforce_id.as_ref().and_then(|id| records.get(id));
    rejected.code == "AMBIGUOUS"
        && record.is_some_and(|record| came_back(report, &name_of(&record.values)) > 0)
}

/// True if the key of a row changed while its record was created anew, and the row was deleted before it got
/// the new link. Syncline holds the new record as missing.
fn missed_under_another_key(report: &Report, held: &HeldRecord, name: &str) -> bool {
    let records = report.ports.memory.salesforce.records();
    let record = held.salesforce_id.as_ref().and_then(|id| records.get(id));
    let rekeyed = |event: &Event| event.name == name && matches!(event.what, What::Rekeyed(_));
    matches!(held.held, Held::Missing { side: Side::Postgres })
        && record.is_some_and(|record| name_of(&record.values) == name)
        && report.events.iter().any(rekeyed)
        && was_deleted(report, name)
}

/// The delete policy of this run. It is the same for all syncs and both sides.
fn policy(report: &Report) -> DeletePolicy {
    report.definitions[0].deletes.from_salesforce
}

/// True if the record belongs to the sync of accounts. The names of accounts that people create begin with
/// `a`.
fn is_account(name: &str) -> bool {
    name.starts_with('a')
}
