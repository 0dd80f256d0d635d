//! What a person asks to see of an instance.

use crate::ports::{Conflict, MessageBody};
use jiff::Timestamp;
use syncline_engine::Side;

/// A conflict as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownConflict {
    /// When, in UTC.
    pub at: String,
    /// The sync.
    pub sync: String,
    /// Its Salesforce Id.
    pub salesforce_id: Option<String>,
    /// Its row's key.
    pub postgres_key: Option<String>,
    /// The field.
    pub field: String,
    /// What Salesforce held.
    pub salesforce: Option<String>,
    /// What Postgres held.
    pub postgres: Option<String>,
    /// Whose value stands.
    pub winner: Side,
    /// Why.
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

/// Numbers of an instance at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overview {
    /// Linked records, by sync.
    pub linked: Vec<(String, u64)>,
    /// Rows in the capture log, where the database could be asked.
    pub log: Option<u64>,
    /// Messages in the queue.
    pub queue: u64,
    /// Touches put off.
    pub deferred: u64,
    /// Conflicts so far.
    pub conflicts: u64,
    /// Rejected records.
    pub rejected: u64,
    /// Held records.
    pub held: u64,
    /// Dead letters.
    pub dead: u64,
    /// Paused syncs and why.
    pub paused: Vec<(String, String)>,
    /// Sides that are left alone, in their last words.
    pub breakers: Vec<(String, String)>,
}

/// A message whose runs crashed too often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// When it was given up, where the queue knows.
    pub at: Option<Timestamp>,
    /// How often it was received.
    pub receives: u32,
    /// The records that it touches.
    pub records: Vec<String>,
}

impl DeadLetter {
    /// What a message's body says of itself.
    #[must_use]
    pub fn of(body: &str, receives: u32, at: Option<Timestamp>) -> Self {
        let records = serde_json::from_str::<MessageBody>(body).map_or_else(
            |_| vec!["a message of another version".to_owned()],
            |body| body.touches.iter().map(|touch| format!("{} {}", touch.sync, touch.record())).collect(),
        );
        Self { at, receives, records }
    }
}
