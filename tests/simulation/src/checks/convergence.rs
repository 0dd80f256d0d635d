//! At rest, both sides hold the same values in every field.

use super::{
    missed_under_another_key, policy, refused_for_parent, shown_as_ambiguous, shown_with_a_dead_link,
    waits_for_parent, was_deleted,
};
use crate::schedule::Report;
use crate::world::{PARENT, parent_key_of};
use support::{MemoryRow, OrgRecord, What, key_of_text, name_of};
use syncline_engine::{Definition, DeletePolicy, PostgresKey, SalesforceId};

pub(super) fn check(report: &Report, broken: &mut Vec<String>) {
    let memory = &report.ports.memory;
    let records = memory.salesforce.records();
    let rows = memory.database.rows();
    for definition in &report.definitions {
        let living =
            || records.iter().filter(|(_, record)| !record.deleted && record.object == definition.object);
        let rows = || rows.iter().filter(|(_, row)| row.sync == definition.name);
        for (key, row) in rows() {
            let name = name_of(&row.values);
            match living().find(|(id, _)| row.link.as_deref() == Some(id.as_str())) {
                // While one field of a record is refused, its other fields may differ as well.
                Some((_, record)) if refused_for_parent(report, &name_of(&record.values)) => {}
                Some((id, _))
                    if memory.state.all_rejected().iter().any(|rejected| {
                        rejected.salesforce_id.as_ref() == Some(id) && shown_as_ambiguous(report, rejected)
                    }) => {}
                Some((id, record)) => fields(report, definition, (id, record), (key, row), broken),
                None if stands_alone(report, &name) => {}
                None if memory.state.held().iter().any(|held| {
                    held.postgres_key.as_ref() == Some(key) && shown_with_a_dead_link(report, held)
                }) => {}
                None => broken.push(format!("CONVERGENCE: row {key} ({name:?}) has no record")),
            }
        }
        for (id, record) in living() {
            let linked = rows().any(|(_, row)| row.link.as_deref() == Some(id.as_str()));
            let name = name_of(&record.values);
            if !linked && !stands_alone(report, &name) {
                broken.push(format!("CONVERGENCE: record {id} ({name:?}) has no row"));
            }
        }
    }
}

/// True if a record of this name may exist on one side only: because the policy keeps a record that somebody
/// deleted on the other side, because the record waits for its parent, or because its row is missing and
/// shown as such.
fn stands_alone(report: &Report, name: &str) -> bool {
    policy(report) != DeletePolicy::Propagate && was_deleted(report, name)
        || waits_for_parent(report, name)
        || report.ports.memory.state.held().iter().any(|held| missed_under_another_key(report, held, name))
}

/// Reports each mapped field in which a linked record and row differ.
fn fields(
    report: &Report,
    definition: &Definition,
    (id, record): (&SalesforceId, &OrgRecord),
    (key, row): (&PostgresKey, &MemoryRow),
    broken: &mut Vec<String>,
) {
    for mapping in &definition.fields {
        let here = record.values.get(&mapping.field).cloned().flatten();
        let there = row.values.get(&mapping.field).cloned().flatten();
        let same = match mapping.field.as_str() {
            PARENT => parents_agree(report, here.as_deref(), there.as_deref()),
            "AccountName__c" => there.is_none() || was_ever(report, there.as_deref()),
            _ => here == there,
        };
        if !same {
            broken.push(format!("CONVERGENCE: {} of {id} is {here:?} and {there:?} in {key}", mapping.field));
        }
    }
}

/// True if a lookup names the same parent on both sides. The lookup may differ if one side alone has the
/// parent.
fn parents_agree(report: &Report, here: Option<&str>, there: Option<&str>) -> bool {
    let memory = &report.ports.memory;
    let known = parent_key_of(memory, here);
    if known.as_deref() == there && (here.is_some() == there.is_some()) {
        return true;
    }
    let records = memory.salesforce.records();
    let rows = memory.database.rows();
    // Two rows may have the same link, and Syncline shows that. Then the lookup may name either row.
    let named = there.and_then(|key| rows.get(&key_of_text(key))?.link.as_deref());
    if here.is_some() && named == here {
        return true;
    }
    let alone_here = here.is_some() && known.is_none();
    let alone_there = there.is_some_and(|key| {
        let link = rows.get(&key_of_text(key)).and_then(|row| row.link.clone());
        let linked = link.and_then(|link| records.get(&SalesforceId::parse(&link).ok()?).cloned());
        linked.is_none_or(|record| record.deleted)
    });
    alone_here || alone_there
}

/// True if the value was the name of some record at some time. A formula field moves no stamp, so a row may
/// show a former name of the parent.
fn was_ever(report: &Report, value: Option<&str>) -> bool {
    report.events.iter().any(|event| match &event.what {
        What::Set { field, after, .. } => field == "Name" && after.as_deref() == value,
        _ => false,
    })
}
