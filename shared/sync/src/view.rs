//! What a person's commands show of an instance.

use crate::ports::{Conflict, MessageBody};
use crate::touch::Touch;
use jiff::Timestamp;
use syncline_engine::{Parent, PostgresKey, SalesforceId, Side};

/// A conflict, as text for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownConflict {
    /// When the conflict was found, in UTC.
    pub at: String,
    /// The name of the sync.
    pub sync: String,
    /// The Salesforce Id of the record, if known.
    pub salesforce_id: Option<String>,
    /// The key of the record's row, if known.
    pub postgres_key: Option<String>,
    /// The field on which both sides differ.
    pub field: String,
    /// The value that Salesforce held. `None` is null.
    pub salesforce: Option<String>,
    /// The value that Postgres held. `None` is null.
    pub postgres: Option<String>,
    /// The side whose value is kept.
    pub winner: Side,
    /// Why that side won.
    pub reason: String,
}

impl From<Conflict> for ShownConflict {
    fn from(conflict: Conflict) -> Self {
        Self {
            at: conflict.at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            sync: conflict.sync,
            salesforce_id: conflict.salesforce_id.map(|id| id.to_string()),
            postgres_key: conflict.postgres_key.map(|key| key.0),
            field: conflict.field,
            salesforce: conflict.salesforce.text(),
            postgres: conflict.postgres.text(),
            winner: conflict.winner,
            reason: conflict.reason.word().to_owned(),
        }
    }
}

/// The numbers of an instance at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// The number of linked records, by sync.
    pub linked: Vec<(String, u64)>,
    /// The number of rows in the capture log. Absent if the database could not be asked.
    pub log: Option<u64>,
    /// The number of messages in the queue.
    pub queue: u64,
    /// The number of deferred touches, without those of records that are rejected or held, which are tried again from
    /// time to time.
    pub deferred: u64,
    /// How many of the deferred touches wait for a parent that is not linked.
    pub waiting: u64,
    /// The syncs whose capture is not known to be whole, with what is wrong.
    pub capture_gaps: Vec<(String, String)>,
    /// The number of conflicts in the conflict log.
    pub conflicts: u64,
    /// The number of rejected records.
    pub rejected: u64,
    /// The number of held records.
    pub held: u64,
    /// The number of dead letters.
    pub dead: u64,
    /// The paused syncs, each with the message of its pause.
    pub paused: Vec<(String, String)>,
    /// The sides whose breaker is open, each with its last error message.
    pub breakers: Vec<(String, String)>,
}

/// A record with a lookup that cannot be written before its parent is linked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingRecord {
    /// The name of the sync.
    pub sync: String,
    /// The Salesforce Id of the record, if known.
    pub salesforce_id: Option<SalesforceId>,
    /// The key of the record's row, if known.
    pub postgres_key: Option<PostgresKey>,
    /// The parents that are not linked.
    pub parents: Vec<Parent>,
    /// When the change that waits was first noticed.
    pub since: Timestamp,
}

impl WaitingRecord {
    /// Shows a deferred touch that waits for these parents.
    #[must_use]
    pub fn of(touch: Touch, parents: Vec<Parent>) -> Self {
        let Touch { sync, id, key, at, .. } = touch;
        Self { sync, salesforce_id: id, postgres_key: key, parents, since: at }
    }
}

/// A message that was received too often, because its runs crashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// When the queue gave the message up. Absent if the queue does not know.
    pub at: Option<Timestamp>,
    /// How many times the message was received.
    pub receives: u32,
    /// The records that the message touches.
    pub records: Vec<String>,
}

impl DeadLetter {
    /// Makes a dead letter from the body of a message. A body that cannot be read is shown as such.
    #[must_use]
    pub fn of(body: &str, receives: u32, at: Option<Timestamp>) -> Self {
        let records = serde_json::from_str::<MessageBody>(body).map_or_else(
            |_| vec!["a message of another version".to_owned()],
            |body| body.touches.iter().map(|touch| format!("{} {}", touch.sync, touch.record())).collect(),
        );
        Self { at, receives, records }
    }
}
