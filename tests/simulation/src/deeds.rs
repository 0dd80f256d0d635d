//! What people did to both sides, as a list of deeds that can be repeated on other sides. A seed is played in
//! memory; its deeds are divided into groups, and everything comes to rest after each group. Real sides that
//! get the same groups have to come to rest in the same states.

use crate::options::{Features, Options};
use crate::schedule::Schedule;
use crate::world::PARENT;
use std::collections::BTreeMap;
use support::{MemoryPorts, OrgRecord, Values, key_of_text, name_of};
use syncline_engine::{Definition, PostgresKey, SalesforceId};

#[allow(missing_docs, reason = "the variants say it")]
/// One deed. The Ids and keys are those of the sides in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Somebody creates a record.
    InsertRecord { sync: String, id: SalesforceId, values: Values },
    /// Somebody inserts a row, perhaps with a link.
    InsertRow { sync: String, key: PostgresKey, link: Option<String>, values: Values },
    /// Somebody edits fields of a record.
    EditRecord { id: SalesforceId, values: Values },
    /// Somebody edits columns of one or more rows in one statement. The values are given by field.
    EditRows { sync: String, keys: Vec<PostgresKey>, values: Values },
    /// Somebody deletes a record, which goes into the recycle bin.
    DeleteRecord { id: SalesforceId },
    /// Somebody deletes a row.
    DeleteRow { sync: String, key: PostgresKey },
    /// Somebody takes a record out of the recycle bin.
    Undelete { id: SalesforceId },
    /// Somebody merges the record `loser` into the record `master`.
    Merge { loser: SalesforceId, master: SalesforceId },
    /// Somebody changes the key of a row.
    ChangeKey { sync: String, old: PostgresKey, new: PostgresKey },
    /// Somebody empties the link column of a row.
    ClearLink { sync: String, key: PostgresKey },
    /// Sharing hides a record from Syncline, or shows it again.
    Hide { id: SalesforceId, hidden: bool },
}

/// What both sides and the state store hold at rest, one fact per line. Records and rows are named by their
/// names, because Ids and keys differ between real sides and those in memory.
pub type Rest = Vec<String>;

/// A group of deeds, and the state in which everything comes to rest after the group.
pub struct Group {
    /// The deeds, in their order.
    pub deeds: Vec<Deed>,
    /// All rows at rest: key, link and name. Whoever repeats the deeds finds the counterpart of a row by its
    /// link or its name.
    pub rows: Vec<(PostgresKey, Option<String>, String)>,
    /// All records at rest: Id and name.
    pub records: Vec<(SalesforceId, String)>,
    /// The facts at rest.
    pub rest: Rest,
}

/// A seed that was played in memory.
pub struct Played {
    /// What there is in the world of the seed.
    pub features: Features,
    /// The definitions of the syncs.
    pub definitions: Vec<Definition>,
    /// The deeds, in groups.
    pub groups: Vec<Group>,
}

/// Options that real sides can play as well: without faults, and without the features that exist in memory
/// only.
fn on_real_parts(options: Options) -> Options {
    let features = Features {
        parent_required: false,
        // With accounts there is always a foreign key. Without a foreign key, a parent whose key changes
        // leaves its children with a key that no row has, and the result depends on which of the two is
        // reconciled first.
        foreign_key: options.features.foreign_key.or(options.features.accounts.then_some(false)),
        formula: false,
        definition_changes: false,
        late_commits: false,
        delete_limit: None,
        skew_s: 0,
        page: 1000,
        ..options.features
    };
    Options { features, window: true, ..options.calm() }
}

/// Plays a seed in memory.
///
/// # Panics
/// When the world does not come to rest. The checkers of the simulation find that as well.
#[must_use]
pub fn play(seed: u64) -> Played {
    played(seed, false).0
}

/// Plays a seed in memory and returns the trace of the run, for a person to read.
#[must_use]
pub fn trace(seed: u64) -> Vec<String> {
    played(seed, true).1
}

fn played(seed: u64, traced: bool) -> (Played, Vec<String>) {
    let options = on_real_parts(Options::of_seed(seed));
    let mut schedule = Schedule::new(seed, options, traced);
    let mut dice = crate::options::Dice::new(seed ^ 0xdeed);
    schedule.users.deeds = adopted(&schedule.ports.memory, &schedule.definitions);
    let mut groups = Vec::new();
    let mut left = options.edits;
    while left > 0 {
        let count = (1 + dice.below(4)).min(left);
        left -= count;
        for _ in 0..count {
            schedule.act(dice.bits());
        }
        groups.extend(group(&mut schedule));
    }
    schedule.users.show_all(&schedule.ports.memory.clone());
    groups.extend(group(&mut schedule));
    for _ in 0..4 {
        let memory = schedule.ports.memory.clone();
        let coverage = schedule.ports.shared.clone();
        schedule.users.correct(&memory, &coverage.coverage);
        groups.extend(group(&mut schedule));
    }
    let lines = schedule.ports.shared.trace.lines();
    (Played { features: options.features, definitions: schedule.definitions.to_vec(), groups }, lines)
}

fn group(schedule: &mut Schedule) -> Option<Group> {
    let deeds = std::mem::take(&mut schedule.users.deeds);
    if deeds.is_empty() {
        return None;
    }
    assert!(schedule.settle().is_some(), "it came to rest");
    let memory = &schedule.ports.memory;
    let rows = memory.database.rows().into_iter();
    let rows = rows.map(|(key, row)| (key, row.link, name_of(&row.values))).collect();
    let records = memory.salesforce.records().into_iter();
    let records = records.map(|(id, record)| (id, name_of(&record.values))).collect();
    Some(Group { deeds, rows, records, rest: rest(memory, &schedule.definitions) })
}

/// Records and rows that were there before the first step, as deeds.
fn adopted(memory: &MemoryPorts, definitions: &[Definition]) -> Vec<Deed> {
    let records = memory.salesforce.records().into_iter().map(|(id, record)| {
        let (sync, values) = mapped(&record, definitions);
        Deed::InsertRecord { sync, id, values }
    });
    let rows = memory.database.rows().into_iter().map(|(key, row)| Deed::InsertRow {
        sync: row.sync,
        key,
        link: row.link,
        values: row.values,
    });
    records.chain(rows).collect()
}

/// The sync of a record, and the values of its mapped fields.
fn mapped(record: &OrgRecord, definitions: &[Definition]) -> (String, Values) {
    let definition = definitions.iter().find(|one| one.object == record.object).unwrap();
    let mut values = record.values.clone();
    values.retain(|field, _| definition.field(field).is_some());
    (definition.name.clone(), values)
}

/// What is visible of one record or row. [`facts`] makes a line of it.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The name of the sync.
    pub sync: String,
    /// The mapped values by field. A lookup holds the parent's Id in a record, and the parent's key in a row.
    pub values: Values,
    /// The record is in the recycle bin.
    pub deleted: bool,
    /// The link of a row; `None` for a record.
    pub link: Option<String>,
}

/// One rejected or held record, or one conflict.
#[derive(Clone, Debug)]
pub struct Noted {
    /// The Salesforce Id of the record, if it is known.
    pub id: Option<SalesforceId>,
    /// The key of the row, if it is known.
    pub key: Option<PostgresKey>,
    /// What is noted, in words that are the same in memory and on real sides.
    pub what: String,
}

/// The facts of a state, from the records by Id, the rows by key, and what is noted about them.
#[must_use]
pub fn facts(records: &BTreeMap<String, Seen>, rows: &BTreeMap<PostgresKey, Seen>, noted: &[Noted]) -> Rest {
    let of_record = |id: &str| records.get(id).map(|seen| name_of(&seen.values));
    let of_row = |key: &PostgresKey| rows.get(key).map(|seen| name_of(&seen.values));
    let told = |values: &Values, parent: &dyn Fn(&str) -> Option<String>| {
        let told = values.iter().filter_map(|(field, value)| {
            let value = value.as_deref()?;
            let value = if field == PARENT { parent(value).unwrap_or("nobody".into()) } else { value.into() };
            Some(format!("{field}={value}"))
        });
        told.collect::<Vec<_>>().join(" ")
    };
    let mut rest = Rest::new();
    for seen in records.values() {
        let state = if seen.deleted { "deleted record" } else { "record" };
        rest.push(format!("{state} of {}: {}", seen.sync, told(&seen.values, &of_record)));
    }
    for seen in rows.values() {
        let link = seen.link.as_deref().map(|id| of_record(id).unwrap_or("nobody".into()));
        let values = told(&seen.values, &|key| of_row(&key_of_text(key)));
        rest.push(format!("row of {} linked to {link:?}: {values}", seen.sync));
    }
    for one in noted {
        let name = one.id.as_ref().and_then(|id| of_record(id.as_str()));
        let name = name.or_else(|| one.key.as_ref().and_then(of_row)).unwrap_or("nobody".into());
        rest.push(format!("{name}: {}", one.what));
    }
    rest.sort();
    rest
}

/// The facts of the sides and the state store in memory.
fn rest(memory: &MemoryPorts, definitions: &[Definition]) -> Rest {
    let records = memory.salesforce.records().into_iter().map(|(id, record)| {
        let (sync, values) = mapped(&record, definitions);
        (id.to_string(), Seen { sync, values, deleted: record.deleted, link: None })
    });
    let rows =
        memory.database.rows().into_iter().map(|(key, row)| {
            (key, Seen { sync: row.sync, values: row.values, deleted: false, link: row.link })
        });
    let mut noted = Vec::new();
    for one in memory.state.all_rejected() {
        noted.push(Noted {
            id: one.salesforce_id,
            key: one.postgres_key,
            what: format!("rejected by {} with {}", one.side, one.code),
        });
    }
    for one in memory.state.held() {
        noted.push(Noted { id: one.salesforce_id, key: one.postgres_key, what: held(&one.held) });
    }
    for one in memory.state.conflicts() {
        noted.push(Noted {
            what: conflict(
                &one.field,
                one.salesforce.text().as_deref(),
                one.postgres.text().as_deref(),
                one.winner.word(),
                one.reason.word(),
            ),
            id: one.salesforce_id,
            key: one.postgres_key,
        });
    }
    facts(&records.collect(), &rows.collect(), &noted)
}

/// The words for a held record, without Ids and keys.
#[must_use]
pub fn held(held: &syncline_engine::Held) -> String {
    match held {
        syncline_engine::Held::Waiting { field, .. } => format!("held, {field} waits"),
        other => format!("held, {other:?}"),
    }
}

/// The words for a conflict, without Ids and keys.
#[must_use]
pub fn conflict(
    field: &str,
    salesforce: Option<&str>,
    postgres: Option<&str>,
    winner: &str,
    reason: &str,
) -> String {
    // The value of a lookup is an Id, which differs between real sides and those in memory.
    let told = |value: Option<&str>| match value {
        Some(_) if field == PARENT => "somebody".to_owned(),
        other => format!("{other:?}"),
    };
    format!("conflict on {field}: {} {} {winner} {reason}", told(salesforce), told(postgres))
}
