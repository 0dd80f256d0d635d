//! What people did to both sides, in a form in which the same can be done to others: a seed is played in memory, its deeds
//! in groups between which everything comes to rest, and real sides that get the same groups have to rest in the same
//! states.

use crate::options::{Features, Options};
use crate::schedule::Schedule;
use crate::world::{self, PARENT};
use std::collections::BTreeMap;
use support::{MemoryPorts, Values, key_of_text, name_of};
use syncline_engine::{Definition, PostgresKey, SalesforceId};

#[allow(missing_docs, reason = "the variants say it")]
/// One deed. Ids and keys are those of the sides in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A new record.
    InsertRecord { sync: String, id: SalesforceId, values: Values },
    /// A new row.
    InsertRow { sync: String, key: PostgresKey, link: Option<String>, values: Values },
    /// Fields of a record.
    EditRecord { id: SalesforceId, values: Values },
    /// Columns of rows, by one statement.
    EditRows { sync: String, keys: Vec<PostgresKey>, values: Values },
    /// Into the recycle bin.
    DeleteRecord { id: SalesforceId },
    /// A row is deleted.
    DeleteRow { sync: String, key: PostgresKey },
    /// Out of the recycle bin.
    Undelete { id: SalesforceId },
    /// One record into another.
    Merge { loser: SalesforceId, master: SalesforceId },
    /// A row gets another key.
    ChangeKey { sync: String, old: PostgresKey, new: PostgresKey },
    /// A row's link column is emptied.
    ClearLink { sync: String, key: PostgresKey },
    /// Sharing hides a record, or shows it.
    Hide { id: SalesforceId, hidden: bool },
}

/// What stands at rest, without Ids and keys: each line is one fact.
pub type Rest = Vec<String>;

/// A group of deeds and what everything came to.
pub struct Group {
    /// The deeds.
    pub deeds: Vec<Deed>,
    /// Rows with their links and names, by which whoever repeats the deeds learns what is what.
    pub rows: Vec<(PostgresKey, Option<String>, String)>,
    /// Records with their names.
    pub records: Vec<(SalesforceId, String)>,
    /// What stands then.
    pub rest: Rest,
}

/// A seed, played in memory.
pub struct Played {
    /// What there is.
    pub features: Features,
    /// The syncs.
    pub definitions: Vec<Definition>,
    /// What was done.
    pub groups: Vec<Group>,
}

/// What real sides have, too: nothing goes wrong, and everything comes to rest between deeds.
fn on_real_parts(options: Options) -> Options {
    let features = Features {
        parent_required: false,
        // Without one, a parent whose key changes leaves its children with a key that is nobody's, and it is a matter of
        // time which of the two is looked at first.
        foreign_key: options.features.foreign_key.or(options.features.accounts.then_some(false)),
        rollup: false,
        formula: false,
        org_cascade: false,
        definition_changes: false,
        late_commits: false,
        delete_limit: None,
        skew_s: 0,
        page: 1000,
        ..options.features
    };
    Options { features, window: true, ..options.calm() }
}

/// Plays a seed.
///
/// # Panics
/// When it does not come to rest, which the other checks find as well.
#[must_use]
pub fn play(seed: u64) -> Played {
    played(seed, false).0
}

/// The same with its trace, to be read.
#[must_use]
pub fn trace(seed: u64) -> Vec<String> {
    played(seed, true).1
}

fn played(seed: u64, traced: bool) -> (Played, Vec<String>) {
    let options = on_real_parts(Options::of_seed(seed));
    let mut schedule = Schedule::new(seed, options, traced);
    let mut dice = crate::options::Dice::new(seed ^ 0xdeed);
    schedule.users.deeds = adopted(&schedule.ports.memory);
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
    let records = memory.org.records().into_iter();
    let records = records.map(|(id, record)| (id, name_of(&record.values))).collect();
    Some(Group { deeds, rows, records, rest: rest(memory) })
}

/// What stood before there was a sync, as deeds.
fn adopted(memory: &MemoryPorts) -> Vec<Deed> {
    let sync = |object: &str| if object == "Account" { world::ACCOUNTS } else { world::CONTACTS };
    let records = memory.org.records().into_iter().map(|(id, record)| Deed::InsertRecord {
        sync: sync(&record.object).to_owned(),
        id,
        values: record.values,
    });
    let rows = memory.database.rows().into_iter().map(|(key, row)| Deed::InsertRow {
        sync: row.sync,
        key,
        link: row.link,
        values: row.values,
    });
    records.chain(rows).collect()
}

/// What is seen of one record or row, for [`facts`].
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Its sync.
    pub sync: String,
    /// Its mapped values, by field; a lookup as its side holds it.
    pub values: Values,
    /// In the recycle bin.
    pub deleted: bool,
    /// A row's link.
    pub link: Option<String>,
}

/// One refusal, hold or conflict.
#[derive(Clone, Debug)]
pub struct Noted {
    /// The record.
    pub id: Option<SalesforceId>,
    /// The row.
    pub key: Option<PostgresKey>,
    /// What, in words that are the same on all sides.
    pub what: String,
}

/// The facts of a state: records and rows by Id and key, and what is noted of them.
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

fn rest(memory: &MemoryPorts) -> Rest {
    let records = memory.org.records().into_iter().map(|(id, record)| {
        let sync = if record.object == "Account" { world::ACCOUNTS } else { world::CONTACTS };
        let seen = Seen { sync: sync.to_owned(), values: record.values, deleted: record.deleted, link: None };
        (id.to_string(), seen)
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

/// A hold, without Ids and keys.
#[must_use]
pub fn held(held: &syncline_engine::Held) -> String {
    match held {
        syncline_engine::Held::Waiting { field, .. } => format!("held, {field} waits"),
        other => format!("held, {other:?}"),
    }
}

/// A conflict, without Ids and keys.
#[must_use]
pub fn conflict(
    field: &str,
    salesforce: Option<&str>,
    postgres: Option<&str>,
    winner: &str,
    reason: &str,
) -> String {
    // A lookup's value is an Id.
    let told = |value: Option<&str>| match value {
        Some(_) if field == PARENT => "somebody".to_owned(),
        other => format!("{other:?}"),
    };
    format!("conflict on {field}: {} {} {winner} {reason}", told(salesforce), told(postgres))
}
