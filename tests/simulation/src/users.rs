//! Two busy teams, and the ledger of what they did.

use jiff::Timestamp;
use std::collections::BTreeMap;
use support::MemoryPorts;
use syncline_engine::{PostgresKey, SalesforceId, Side};
use syncline_sync::{Conflict, Source, Touch};

/// The sync of the simulation.
pub(crate) const SYNC: &str = "contacts";
/// The field that names a record and that nobody edits.
pub(crate) const NAME: &str = "LastName";
const FIELDS: [&str; 2] = ["FirstName", "Title"];

/// One edit that its side confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// Where.
    pub side: Side,
    /// The record, by its name.
    pub record: String,
    /// The field.
    pub field: String,
    /// The value, never used twice.
    pub value: Option<String>,
    /// What the editor read there before.
    pub saw: Option<String>,
}

impl Users {
    /// A restore of the database takes back what was done there since.
    pub(crate) fn take_back(&mut self, then: &Self) {
        let ours = |edit: &Edit| edit.side == Side::Salesforce;
        self.taken.extend(self.ledger[then.ledger.len()..].iter().filter(|edit| !ours(edit)).cloned());
        self.ledger = then
            .ledger
            .iter()
            .chain(self.ledger[then.ledger.len()..].iter().filter(|edit| ours(edit)))
            .cloned()
            .collect();
        let kept = self.deletions.split_off(then.deletions.len());
        self.deletions.extend(kept.into_iter().filter(|deletion| deletion.side == Side::Salesforce));
        self.taken_back = true;
        self.told.push(format!("restored to edit {}", then.ledger.len()));
        self.deleted_rows.clone_from(&then.deleted_rows);
        self.did("restore");
    }
}

/// A delete that its side confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Where.
    pub side: Side,
    /// The record, by its name.
    pub record: String,
    /// What the record held there, which whoever deleted it saw.
    pub saw: BTreeMap<String, Option<String>>,
    /// How many edits stood in the ledger.
    pub after: usize,
}

/// What users did so far.
#[derive(Clone, Default)]
pub struct Users {
    /// The ledger.
    pub ledger: Vec<Edit>,
    /// Edits that a restore took back: what they replaced elsewhere stays replaced.
    pub taken: Vec<Edit>,
    /// The conflict log as it was before a restore.
    pub logged: Vec<Conflict>,
    /// Deletes.
    pub deletions: Vec<Deletion>,
    /// Records that came back by a user's hand: taken out of the recycle bin, or inserted again.
    pub returned: Vec<String>,
    /// Everything else that happened, counted by its name.
    pub acts: BTreeMap<&'static str, usize>,
    /// What happened, in words, for a replay.
    pub told: Vec<String>,
    /// Rows that were deleted: key, name, link.
    deleted_rows: Vec<(PostgresKey, String, Option<String>)>,
    /// Edits in Postgres were taken back by a restore.
    pub taken_back: bool,
    /// Records that users created.
    pub created: usize,
    /// Records whose outbound message is not delivered yet.
    pub messages: Vec<SalesforceId>,
    next: usize,
}

impl Users {
    /// Does something on either side.
    pub(crate) fn act(&mut self, ports: &MemoryPorts) {
        let side = if ports.random.below(2) == 0 { Side::Salesforce } else { Side::Postgres };
        if self.created == 0 || self.created < 3 && ports.random.below(4) == 0 {
            return self.create(ports, side);
        }
        match ports.random.below(40) {
            0..4 => self.delete(ports, side),
            4..6 => self.undelete(ports),
            6..8 => self.insert_again(ports),
            8 => self.change_key(ports),
            9 => self.clear_link(ports),
            10..12 => self.hide(ports),
            _ => self.edit(ports, side),
        }
    }

    fn did(&mut self, act: &'static str) {
        *self.acts.entry(act).or_default() += 1;
    }

    fn delete(&mut self, ports: &MemoryPorts, side: Side) {
        let after = self.ledger.len();
        match side {
            Side::Salesforce => {
                let living: Vec<_> =
                    ports.org.records().into_iter().filter(|(_, record)| !record.deleted).collect();
                let Some((id, record)) = living.get(ports.random.below(living.len().max(1))) else { return };
                ports.org.delete(id);
                // Salesforce sends no message for a delete: the scan has to find it.
                let record_name = record.values[NAME].clone().unwrap();
                self.deletions.push(Deletion {
                    side,
                    record: record_name,
                    saw: record.values.clone(),
                    after,
                });
                self.told.push(format!("deleted {id}"));
                self.did("delete in Salesforce");
            }
            Side::Postgres => {
                let rows: Vec<_> = ports.database.rows().into_iter().collect();
                let Some((key, row)) = rows.get(ports.random.below(rows.len().max(1))) else { return };
                if !ports.database.delete(SYNC, key) {
                    return;
                }
                let name = row.values[NAME].clone().unwrap();
                self.deleted_rows.push((key.clone(), name.clone(), row.link.clone()));
                self.deletions.push(Deletion { side, record: name, saw: row.values.clone(), after });
                self.told.push(format!("deleted row {key}"));
                self.did("delete in Postgres");
            }
        }
    }

    fn undelete(&mut self, ports: &MemoryPorts) {
        let deleted: Vec<_> = ports.org.records().into_iter().filter(|(_, record)| record.deleted).collect();
        let Some((id, record)) = deleted.get(ports.random.below(deleted.len().max(1))) else { return };
        if ports.org.undelete(id) {
            self.returned.push(record.values[NAME].clone().unwrap());
            self.told.push(format!("undeleted {id}"));
            self.did("undelete");
        }
    }

    fn insert_again(&mut self, ports: &MemoryPorts) {
        let count = self.deleted_rows.len();
        let Some((key, name, link)) = self.deleted_rows.get(ports.random.below(count.max(1))).cloned() else {
            return;
        };
        let value = self.value();
        let values = BTreeMap::from([
            (NAME.to_owned(), Some(name.clone())),
            (FIELDS[0].to_owned(), value.clone()),
            (FIELDS[1].to_owned(), None),
        ]);
        // Some apps write back every column that they had read.
        let link = link.filter(|_| ports.random.below(2) == 0);
        if ports.database.insert_again(SYNC, &key, link.clone(), values) {
            self.told.push(format!("inserted {key} again, link {link:?}"));
            self.returned.push(name.clone());
            let side = Side::Postgres;
            self.ledger.push(Edit { side, record: name, field: FIELDS[0].to_owned(), value, saw: None });
            self.did("insert again");
        }
    }

    fn change_key(&mut self, ports: &MemoryPorts) {
        let rows: Vec<_> = ports.database.rows().into_keys().collect();
        let Some(key) = rows.get(ports.random.below(rows.len().max(1))) else { return };
        if let Some(new) = ports.database.change_key(SYNC, key) {
            self.told.push(format!("row {key} is {new}"));
            self.did("change key");
        }
    }

    fn clear_link(&mut self, ports: &MemoryPorts) {
        let rows: Vec<_> = ports.database.rows().into_keys().collect();
        let Some(key) = rows.get(ports.random.below(rows.len().max(1))) else { return };
        if ports.database.write_link(SYNC, key, None) {
            self.told.push(format!("cleared the link of {key}"));
            self.did("clear link");
        }
    }

    fn hide(&mut self, ports: &MemoryPorts) {
        let records: Vec<_> = ports.org.records().into_keys().collect();
        let Some(id) = records.get(ports.random.below(records.len().max(1))) else { return };
        let hidden = !ports.org.is_hidden(id);
        ports.org.hide(id, hidden);
        self.told.push(format!("hidden {id}: {hidden}"));
        self.did("hide or show");
        if !hidden {
            self.messages.push(id.clone());
        }
    }

    /// Sharing shows every record again, and somebody saves it.
    pub(crate) fn show_all(&mut self, ports: &MemoryPorts) {
        for id in ports.org.records().into_keys() {
            if ports.org.is_hidden(&id) {
                ports.org.hide(&id, false);
                self.messages.push(id);
            }
        }
    }

    fn value(&mut self) -> Option<String> {
        self.next += 1;
        Some(format!("v{}", self.next))
    }

    fn create(&mut self, ports: &MemoryPorts, side: Side) {
        self.created += 1;
        let name = format!("n{}", self.created);
        let value = self.value();
        let values = BTreeMap::from([
            (NAME.to_owned(), Some(name.clone())),
            (FIELDS[0].to_owned(), value.clone()),
            (FIELDS[1].to_owned(), None),
        ]);
        match side {
            Side::Salesforce => {
                let id = ports.org.insert(values);
                self.messages.push(id);
            }
            Side::Postgres => {
                ports.database.insert(SYNC, values);
            }
        }
        self.told.push(format!("{side} created {name} {value:?}"));
        self.ledger.push(Edit { side, record: name, field: FIELDS[0].to_owned(), value, saw: None });
    }

    fn edit(&mut self, ports: &MemoryPorts, side: Side) {
        let field = FIELDS[ports.random.below(2)];
        let value = self.value();
        let (record, saw) = match side {
            Side::Salesforce => {
                let records: Vec<_> =
                    ports.org.records().into_iter().filter(|(_, record)| !record.deleted).collect();
                if records.is_empty() {
                    return;
                }
                let (id, record) = &records[ports.random.below(records.len())];
                if !ports.org.edit(id, field, value.as_deref()) {
                    return;
                }
                self.messages.push(id.clone());
                (record.values[NAME].clone(), record.values.get(field).cloned().flatten())
            }
            Side::Postgres => {
                let rows: Vec<(PostgresKey, _)> = ports.database.rows().into_iter().collect();
                if rows.is_empty() {
                    return;
                }
                let (key, row) = &rows[ports.random.below(rows.len())];
                if !ports.database.edit(SYNC, key, field, value.as_deref()) {
                    return;
                }
                (row.values[NAME].clone(), row.values.get(field).cloned().flatten())
            }
        };
        let record = record.unwrap();
        self.told.push(format!("{side} {record} {field} {saw:?} -> {value:?}"));
        self.ledger.push(Edit { side, record, field: field.to_owned(), value, saw });
    }

    /// The touch of an outbound message that waits, if any; it may come again.
    pub(crate) fn deliver(&mut self, ports: &MemoryPorts, at: Timestamp) -> Option<Touch> {
        if self.messages.is_empty() {
            return None;
        }
        let place = ports.random.below(self.messages.len());
        let id = if ports.random.below(5) == 0 {
            self.messages[place].clone()
        } else {
            self.messages.swap_remove(place)
        };
        Some(Touch::of_id(SYNC, id, Source::OutboundMessage, at))
    }
}
