//! Two busy teams, and the ledger of what they did.

use jiff::Timestamp;
use std::collections::BTreeMap;
use support::MemoryPorts;
use syncline_engine::{PostgresKey, SalesforceId, Side};
use syncline_sync::{Source, Touch};

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

/// What users did so far.
#[derive(Default)]
pub struct Users {
    /// The ledger.
    pub ledger: Vec<Edit>,
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
            self.create(ports, side);
        } else {
            self.edit(ports, side);
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
        self.ledger.push(Edit { side, record: name, field: FIELDS[0].to_owned(), value, saw: None });
    }

    fn edit(&mut self, ports: &MemoryPorts, side: Side) {
        let field = FIELDS[ports.random.below(2)];
        let value = self.value();
        let (record, saw) = match side {
            Side::Salesforce => {
                let records: Vec<_> = ports.org.records().into_iter().collect();
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
