//! The Postgres side.

use super::PortError;
use crate::touch::Touch;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::future::Future;
use syncline_engine::{Definition, FieldName, PostgresKey, SalesforceId, Side, SyncName, Value};

/// How a row is sought: by its key, by its link, or by both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowRef {
    /// The key.
    pub key: Option<PostgresKey>,
    /// The Salesforce Id in the link column.
    pub id: Option<SalesforceId>,
}

/// A row as it was read: each mapped column's `::text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: PostgresKey,
    /// What stands in its link column.
    pub link: Option<String>,
    /// Changes with every write (`xmin`).
    pub row_version: String,
    /// The mapped columns, by field.
    pub values: BTreeMap<FieldName, Option<String>>,
}

/// A row to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowWrite {
    /// The row, or `None` to insert one.
    pub row: Option<(PostgresKey, String)>,
    /// The row is deleted; a tombstone of it stays.
    pub delete: bool,
    /// An inserted row gets this key, if it is free, and from its tombstone what is not mapped.
    pub key: Option<PostgresKey>,
    /// What its link column is to hold, if that changes.
    pub link: Option<SalesforceId>,
    /// The fields that get other values, as text to be cast; `None` is null.
    pub fields: BTreeMap<FieldName, Option<String>>,
    /// History of this write; an insert's rows get the new row's key.
    pub history: Vec<HistoryRow>,
}

/// Where a row without link comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The keys that it had before it was given this one, the last one first.
    pub former_keys: Vec<PostgresKey>,
    /// The record for which Syncline inserted it, under this key or one of those.
    pub inserted_for: Option<SalesforceId>,
}

/// What became of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowOutcome {
    /// Written; the key of the row, new or not.
    Written(PostgresKey),
    /// Locked by somebody, changed since it was read, or inserted by somebody else meanwhile.
    Moved,
    /// Refused.
    Refused {
        /// The SQLSTATE.
        code: String,
        /// Postgres's words, with its detail.
        message: String,
        /// The column it names.
        column: Option<String>,
    },
}

/// One field that Syncline changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// The record: its base's key.
    pub record: String,
    /// Its Salesforce Id, if known.
    pub salesforce_id: Option<SalesforceId>,
    /// Its row's key, if known.
    pub postgres_key: Option<PostgresKey>,
    /// The side that was changed.
    pub side: Side,
    /// The field, or `None` where the whole record was created.
    pub field: Option<FieldName>,
    /// The value before.
    pub before: Value,
    /// The value after.
    pub after: Value,
    /// What touched the record.
    pub source: String,
    /// Which rule decided.
    pub reason: String,
    /// On whose behalf.
    pub actor: Option<String>,
    /// The intent.
    pub intent: String,
    /// When.
    pub at: Timestamp,
}

/// What became of a write to Salesforce that stands in history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryOutcome {
    /// Salesforce took it.
    Written,
    /// Salesforce refused it.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// Touches taken from the capture log, not gone from it before `commit`.
pub trait LogBatch: Send {
    /// The touches, folded.
    fn touches(&self) -> &[Touch];
    /// Syncs whose table was truncated.
    fn truncated(&self) -> &[SyncName];
    /// Deletes of each sync, among these and in what the log still holds.
    fn deletes(&self) -> &BTreeMap<SyncName, u64>;
    /// The queue has them: they may go. Dropped without it, they stay.
    fn commit(self) -> impl Future<Output = Result<(), PortError>> + Send;
}

/// A transaction on the user's tables.
pub trait Transaction: Send {
    /// Tries to lock records for the transaction's length, also such as have no row.
    fn lock(&mut self, records: &[String]) -> impl Future<Output = Result<Vec<bool>, PortError>> + Send;

    /// Reads the rows that match each reference by key or by link.
    fn read(&mut self, refs: &[RowRef]) -> impl Future<Output = Result<Vec<Vec<Row>>, PortError>> + Send;

    /// Where rows of these keys, which bear no link, come from.
    fn origins(
        &mut self,
        keys: &[PostgresKey],
    ) -> impl Future<Output = Result<Vec<Origin>, PortError>> + Send;

    /// The rows that these intents wrote, from history.
    fn landed(
        &mut self,
        intents: &[String],
    ) -> impl Future<Output = Result<BTreeMap<String, PostgresKey>, PortError>> + Send;

    /// Writes rows and their history; refused rows stand alone, the others are written. Constraints are
    /// checked.
    fn write(&mut self, rows: &[RowWrite])
    -> impl Future<Output = Result<Vec<RowOutcome>, PortError>> + Send;

    /// Writes history of what is about to be written to Salesforce, as open.
    fn note(&mut self, history: &[HistoryRow]) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Drops the log rows that this very transaction caused for these keys: of rows that it wrote, and of rows
    /// that it deleted.
    fn drop_own_log(
        &mut self,
        written: &[PostgresKey],
        deleted: &[PostgresKey],
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Closes open history rows of these intents.
    fn close(
        &mut self,
        outcomes: &[(String, HistoryOutcome, Option<SalesforceId>)],
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Commits.
    fn commit(self) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Rolls back.
    fn rollback(self) -> impl Future<Output = Result<(), PortError>> + Send;
}

/// The Postgres side.
pub trait Database: Send + Sync {
    /// Its transactions.
    type Transaction<'a>: Transaction
    where
        Self: 'a;
    /// Its log batches.
    type Log<'a>: LogBatch
    where
        Self: 'a;

    /// Takes touches from the capture log, at most `limit` log rows.
    fn take_log(&self, limit: usize) -> impl Future<Output = Result<Self::Log<'_>, PortError>> + Send;

    /// Keys and links of the table after a key, in index order.
    fn scan(
        &self,
        definition: &Definition,
        after: Option<&PostgresKey>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(PostgresKey, Option<SalesforceId>)>, PortError>> + Send;

    /// Advances the pulse in the database, and answers it. It fails where the database is not the one that the
    /// instance is bound to.
    fn beat(&self) -> impl Future<Output = Result<u64, PortError>> + Send;

    /// What has to be done now and then: captures what was added to these tables, drops what is older than
    /// `before`.
    fn keep_house(
        &self,
        definitions: &[Definition],
        before: Timestamp,
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Begins a transaction on a sync's table. It fails where the database is not the one that the instance is
    /// bound to.
    fn begin(
        &self,
        definition: &Definition,
    ) -> impl Future<Output = Result<Self::Transaction<'_>, PortError>> + Send;
}
