//! The Salesforce side.

use super::PortError;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::future::Future;
use syncline_engine::{Definition, FieldName, SalesforceId, Value};

/// Where a scan goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanFrom {
    /// Over everything, by Id, after this one.
    Id(Option<SalesforceId>),
    /// Over what changed at or after the stamp, by (stamp, Id): whole seconds tie.
    Stamp {
        /// The stamp.
        stamp: Timestamp,
        /// The last Id seen with exactly this stamp.
        id: Option<SalesforceId>,
    },
}

/// One row of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedRow {
    /// The Id.
    pub id: SalesforceId,
    /// `SystemModstamp`.
    pub stamp: Timestamp,
    /// `IsDeleted`.
    pub deleted: bool,
}

/// A page of a scan, in the scan's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPage {
    /// The rows.
    pub rows: Vec<ScannedRow>,
    /// The answer's `Date`.
    pub date: Timestamp,
    /// Nothing follows.
    pub last: bool,
}

/// A record as it was read: each field's JSON string content or literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteRecord {
    /// The Id.
    pub id: SalesforceId,
    /// `SystemModstamp`.
    pub stamp: Timestamp,
    /// The marker field, where there is one.
    pub marker: Option<String>,
    /// The external Id field, where there is one.
    pub external_id: Option<String>,
    /// The mapped fields.
    pub values: BTreeMap<FieldName, Option<String>>,
}

/// A record in the recycle bin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedRecord {
    /// `SystemModstamp`.
    pub stamp: Timestamp,
    /// The marker field.
    pub marker: Option<String>,
    /// The record that it was merged into.
    pub master: Option<SalesforceId>,
}

/// What became of one Id that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// The record.
    Record(RemoteRecord),
    /// In the recycle bin.
    Deleted(DeletedRecord),
    /// Not to be found: hidden, purged or never there. No evidence of a delete.
    Absent,
}

/// The answer to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// In the order of the Ids.
    pub outcomes: Vec<ReadOutcome>,
    /// Salesforce's clock when the read began, at the latest.
    pub date: Timestamp,
}

/// A record found by its external Id, deleted or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRecord {
    /// The Id.
    pub id: SalesforceId,
    /// In the recycle bin.
    pub deleted: bool,
}

/// A record to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// Its external Id.
    pub external_id: String,
    /// The intent's id, for the marker field.
    pub marker: String,
    /// Its fields.
    pub fields: BTreeMap<FieldName, Value>,
}

/// Fields to update.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordUpdate {
    /// The record.
    pub id: SalesforceId,
    /// The intent's id, for the marker field.
    pub marker: String,
    /// The fields that get other values.
    pub fields: BTreeMap<FieldName, Value>,
}

/// What became of one record of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Written.
    Written(SalesforceId),
    /// Refused for a reason of its own.
    Refused {
        /// Salesforce's status code, such as `STRING_TOO_LONG`.
        code: String,
        /// Salesforce's words.
        message: String,
        /// The fields it names.
        fields: Vec<String>,
    },
    /// Not written, and worth another try.
    Busy {
        /// Salesforce's words.
        message: String,
    },
    /// Nobody knows: the answer was lost, or a unique external Id says that it is there already.
    Unknown,
}

/// The answer to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteAnswer {
    /// In the order of the records.
    pub outcomes: Vec<WriteOutcome>,
    /// The `Date` of the last answer before this write.
    pub after: Timestamp,
    /// The write's own `Date`, or that of the last answer known if it was lost.
    pub date: Timestamp,
}

/// The Salesforce side. Every method may be called again; `create` is never repeated by an implementation.
pub trait Salesforce: Send + Sync {
    /// One page of a scan, deleted records included.
    fn scan(&self, object: &str, from: ScanFrom) -> impl Future<Output = Result<ScanPage, PortError>> + Send;

    /// Reads the definition's fields, marker and external Id of up to 2,000 records.
    fn read(
        &self,
        definition: &Definition,
        ids: &[SalesforceId],
    ) -> impl Future<Output = Result<ReadAnswer, PortError>> + Send;

    /// Looks records up by external Id, among deleted ones too.
    fn find(
        &self,
        definition: &Definition,
        external_ids: &[String],
    ) -> impl Future<Output = Result<Vec<Option<FoundRecord>>, PortError>> + Send;

    /// Creates records. An error means that nothing was written.
    fn create(
        &self,
        definition: &Definition,
        records: &[NewRecord],
    ) -> impl Future<Output = Result<WriteAnswer, PortError>> + Send;

    /// Updates records. An error means that nothing was written.
    fn update(
        &self,
        definition: &Definition,
        records: &[RecordUpdate],
    ) -> impl Future<Output = Result<WriteAnswer, PortError>> + Send;

    /// Puts records into the recycle bin. An error means that nothing was deleted.
    fn delete(
        &self,
        definition: &Definition,
        ids: &[SalesforceId],
    ) -> impl Future<Output = Result<WriteAnswer, PortError>> + Send;

    /// The cheapest call there is, to find out whether Salesforce answers.
    fn probe(&self) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Calls since this was asked last, and the org's allowance within 24 hours where it is known.
    fn take_usage(&self) -> (u64, Option<u64>);
}
