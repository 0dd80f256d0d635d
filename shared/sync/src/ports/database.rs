//! The port to the user's Postgres database.

use super::PortError;
use crate::touch::Touch;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::future::Future;
use syncline_engine::{Definition, FieldName, PostgresKey, SalesforceId, Side, SyncName, Value};

/// How a row is looked up: by its key, by its link, or by both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowRef {
    /// The key of the row.
    pub key: Option<PostgresKey>,
    /// The Salesforce Id in the row's link.
    pub id: Option<SalesforceId>,
}

/// A row as it was read. Each mapped column is given as its `::text`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The key of the row.
    pub key: PostgresKey,
    /// The content of the row's link. Absent if the row has no link.
    pub link: Option<String>,
    /// A mark that changes with every write to the row (`xmin`).
    pub row_version: String,
    /// The mapped columns, by field. `None` is null.
    pub values: BTreeMap<FieldName, Option<String>>,
}

/// Why the rows of a reference cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowUnreadable {
    /// The SQLSTATE.
    pub code: String,
    /// The error message of Postgres, with its detail.
    pub message: String,
}

/// A row to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowWrite {
    /// The key and the `row_version` of the row to change, or `None` to insert a row.
    pub row: Option<(PostgresKey, String)>,
    /// True if the row is to be deleted. A tombstone of it is kept.
    pub delete: bool,
    /// The key for an inserted row, used if no row has it. The columns that are not mapped are restored from
    /// the tombstone of that key.
    pub key: Option<PostgresKey>,
    /// The new link. Absent if the link stays as it is.
    pub link: Option<SalesforceId>,
    /// The fields that get another value, as text that Postgres casts. `None` is null.
    pub fields: BTreeMap<FieldName, Option<String>>,
    /// The history of this write. For an insert, the database adds the key of the new row.
    pub history: Vec<HistoryRow>,
}

/// Where a row without a link comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The keys that the row had earlier, the most recent one first.
    pub former_keys: Vec<PostgresKey>,
    /// The Salesforce record for which Syncline inserted the row, under its present key or one of its former
    /// keys.
    pub inserted_for: Option<SalesforceId>,
}

/// What became of the write of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowOutcome {
    /// The row was written. It has this key, whether it was inserted or existed before.
    Written(PostgresKey),
    /// Nothing was written: the row is locked by somebody, was changed since it was read, or was inserted by
    /// somebody else.
    Moved,
    /// Postgres refuses the row.
    Refused {
        /// The SQLSTATE.
        code: String,
        /// The error message of Postgres, with its detail.
        message: String,
        /// The column that the error names, if it names one.
        column: Option<String>,
    },
}

/// One field that Syncline changed, as the history keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryRow {
    /// The key of the record's base.
    pub record: String,
    /// The record's Salesforce Id, if known.
    pub salesforce_id: Option<SalesforceId>,
    /// The key of the record's row, if known.
    pub postgres_key: Option<PostgresKey>,
    /// The side that was changed.
    pub side: Side,
    /// The field, or `None` where the whole record was created.
    pub field: Option<FieldName>,
    /// The value before the write.
    pub before: Value,
    /// The value after the write.
    pub after: Value,
    /// The source of the touch that led to the write.
    pub source: String,
    /// The rule that decided.
    pub reason: String,
    /// The person or app on whose behalf the row was changed, where the app says so.
    pub actor: Option<String>,
    /// The id of the intent.
    pub intent: String,
    /// When Syncline made the change.
    pub at: Timestamp,
}

/// What became of a write to Salesforce that is recorded in the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryOutcome {
    /// Salesforce wrote it.
    Written,
    /// Salesforce refused it.
    Refused,
    /// It is not known whether Salesforce wrote it.
    Unknown,
}

/// Touches taken from the capture log. They stay in the log until `commit`.
pub trait LogBatch: Send {
    /// The touches of this batch, folded.
    fn touches(&self) -> &[Touch];
    /// The syncs whose table was truncated.
    fn truncated(&self) -> &[SyncName];
    /// The number of captured deletes per sync: those of this batch and those that still wait in the log.
    fn deletes(&self) -> &BTreeMap<SyncName, u64>;
    /// Removes the touches from the log, once the queue has accepted them. If the batch is dropped without
    /// `commit`, the touches stay in the log.
    fn commit(self) -> impl Future<Output = Result<(), PortError>> + Send;
}

/// A transaction on the user's tables.
pub trait Transaction: Send {
    /// Tries to lock records until the transaction ends, one answer per record. A record can be locked
    /// although it has no row.
    fn lock(&mut self, records: &[String]) -> impl Future<Output = Result<Vec<bool>, PortError>> + Send;

    /// Reads the rows that match each reference by key or by link. Each reference gets its own list of rows, or why
    /// its rows cannot be read. One row that cannot be read does not keep others from being read.
    fn read(
        &mut self,
        refs: &[RowRef],
    ) -> impl Future<Output = Result<Vec<Result<Vec<Row>, RowUnreadable>>, PortError>> + Send;

    /// Answers where rows come from that have these keys and no link.
    fn origins(
        &mut self,
        keys: &[PostgresKey],
    ) -> impl Future<Output = Result<Vec<Origin>, PortError>> + Send;

    /// Reads from the history which row each of these intents wrote. An intent that wrote no row is left out.
    fn landed(
        &mut self,
        intents: &[String],
    ) -> impl Future<Output = Result<BTreeMap<String, PostgresKey>, PortError>> + Send;

    /// Writes rows and their history. A row that Postgres refuses does not keep the other rows from being
    /// written. Constraints are checked before this answers.
    fn write(&mut self, rows: &[RowWrite])
    -> impl Future<Output = Result<Vec<RowOutcome>, PortError>> + Send;

    /// Writes the history of what is about to be written to Salesforce. It is recorded as open until `close`.
    fn note(&mut self, history: &[HistoryRow]) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Removes the log rows that this transaction itself caused for these keys: the keys of rows that it
    /// wrote, and the keys of rows that it deleted.
    fn drop_own_log(
        &mut self,
        written: &[PostgresKey],
        deleted: &[PostgresKey],
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Closes the open history rows of these intents, with the outcome of each and the Salesforce Id if
    /// known.
    fn close(
        &mut self,
        outcomes: &[(String, HistoryOutcome, Option<SalesforceId>)],
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Commits the transaction.
    fn commit(self) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Rolls the transaction back.
    fn rollback(self) -> impl Future<Output = Result<(), PortError>> + Send;
}

/// The user's Postgres database.
pub trait Database: Send + Sync {
    /// The type of a transaction.
    type Transaction<'a>: Transaction
    where
        Self: 'a;
    /// The type of a batch of the capture log.
    type Log<'a>: LogBatch
    where
        Self: 'a;

    /// Takes touches from the capture log, at most `limit` rows of the log.
    fn take_log(&self, limit: usize) -> impl Future<Output = Result<Self::Log<'_>, PortError>> + Send;

    /// Reads keys and links of up to `limit` rows of the table that follow the key `after`, in index order.
    fn scan(
        &self,
        definition: &Definition,
        after: Option<&PostgresKey>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<(PostgresKey, Option<SalesforceId>)>, PortError>> + Send;

    /// Advances the pulse in the database and answers its new value. Fails if the database is not the one
    /// that the instance is bound to.
    fn beat(&self) -> impl Future<Output = Result<u64, PortError>> + Send;

    /// Looks whether capture is whole on the tables of these syncs: whether every trigger is there, on this table,
    /// switched on in the right way, and calls our function. Answers what is wrong, in words, for each sync where
    /// something is. Nothing is said of a table that does not exist.
    fn capture_gaps(
        &self,
        definitions: &[Definition],
    ) -> impl Future<Output = Result<BTreeMap<SyncName, String>, PortError>> + Send;

    /// Makes capture whole again on the table of a sync.
    fn repair_capture(&self, definition: &Definition) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Does the regular maintenance: installs capture on what was added to the tables, such as partitions,
    /// and deletes Syncline's own rows older than `before`.
    fn housekeeping(
        &self,
        definitions: &[Definition],
        before: Timestamp,
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Begins a transaction on the table of a sync. Fails if the database is not the one that the instance is
    /// bound to.
    fn begin(
        &self,
        definition: &Definition,
    ) -> impl Future<Output = Result<Self::Transaction<'_>, PortError>> + Send;
}
