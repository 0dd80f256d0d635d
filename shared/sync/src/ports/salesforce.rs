//! The port to the Salesforce org.

use super::PortError;
use crate::refusals::Concern;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use syncline_engine::{Definition, FieldName, SalesforceId, Value};

/// Where a scan continues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanFrom {
    /// Scans all records in the order of their Ids, after this Id. `None` begins with the first record.
    Id(Option<SalesforceId>),
    /// Scans the records that changed at or after a stamp, in the order of (stamp, Id). Stamps are whole
    /// seconds, so many records can have the same stamp.
    Stamp {
        /// The stamp to continue from.
        stamp: Timestamp,
        /// The last Id read with exactly this stamp. Absent if there is none.
        id: Option<SalesforceId>,
    },
}

/// One row of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScannedRow {
    /// The Id of the record.
    pub id: SalesforceId,
    /// Its `SystemModstamp`.
    pub stamp: Timestamp,
    /// Its `IsDeleted`.
    pub deleted: bool,
}

/// One page of a scan, in the order of the scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPage {
    /// The rows of the page.
    pub rows: Vec<ScannedRow>,
    /// The `Date` of Salesforce's answer.
    pub date: Timestamp,
    /// True if this is the last page.
    pub last: bool,
}

/// A record as it was read. Each value is the content of a JSON string, or the JSON literal as text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteRecord {
    /// The Id of the record.
    pub id: SalesforceId,
    /// Its `SystemModstamp`.
    pub stamp: Timestamp,
    /// The marker. Absent if the field is empty or the object has no marker field.
    pub marker: Option<String>,
    /// The external Id. Absent if the field is empty or the object has no external Id field.
    pub external_id: Option<String>,
    /// The mapped fields. `None` is null. A field that is not here was not in the answer or could not be decoded: its
    /// value is not known.
    pub values: BTreeMap<FieldName, Option<String>>,
    /// The mapped fields whose texts could not be decoded.
    pub undecodable: BTreeSet<FieldName>,
}

/// A record in the recycle bin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletedRecord {
    /// Its `SystemModstamp`.
    pub stamp: Timestamp,
    /// The marker. Absent if the field is empty or the object has no marker field.
    pub marker: Option<String>,
    /// The record into which it was merged, if it was.
    pub master: Option<SalesforceId>,
}

/// What became of one Id that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// The record exists.
    Record(RemoteRecord),
    /// The record is in the recycle bin.
    Deleted(DeletedRecord),
    /// The record was not found: it is hidden or purged, or never existed. This is no evidence of a delete.
    Absent,
}

/// The answer to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadAnswer {
    /// One outcome for each Id, in the order of the Ids.
    pub outcomes: Vec<ReadOutcome>,
    /// A moment by Salesforce's clock that is not later than the beginning of the read.
    pub date: Timestamp,
}

/// A record that was found by its external Id, deleted or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRecord {
    /// The Id of the record.
    pub id: SalesforceId,
    /// True if the record is in the recycle bin.
    pub deleted: bool,
}

/// A record to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRecord {
    /// The external Id that the record gets.
    pub external_id: String,
    /// The id of the intent, which is written to the marker field.
    pub marker: String,
    /// The fields of the record.
    pub fields: BTreeMap<FieldName, Value>,
}

/// An update of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordUpdate {
    /// The Id of the record.
    pub id: SalesforceId,
    /// The id of the intent, which is written to the marker field.
    pub marker: String,
    /// The fields that get another value.
    pub fields: BTreeMap<FieldName, Value>,
}

/// What became of one record of a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Salesforce wrote the record. This is its Id.
    Written(SalesforceId),
    /// Salesforce refuses the record because of the record itself.
    Refused {
        /// Salesforce's status code, such as `STRING_TOO_LONG`.
        code: String,
        /// Salesforce's error message.
        message: String,
        /// The fields that the error names.
        fields: Vec<String>,
    },
    /// The record was not written. A later try may succeed.
    Busy {
        /// Salesforce's error message.
        message: String,
    },
    /// The record was not created, because a record with its external Id exists already. The external Id contains
    /// a random number, so an earlier try created that record.
    CreatedBefore,
    /// It is not known whether the record was written: the answer was lost.
    Unknown,
}

impl WriteOutcome {
    /// What an error of one record says became of its write.
    #[must_use]
    pub fn of_error(definition: &Definition, code: String, message: String, fields: Vec<String>) -> Self {
        let external_id = definition.external_id.as_deref().unwrap_or_default();
        match code.as_str() {
            _ if Concern::of_record(&code, &message) == Concern::Moment => Self::Busy { message },
            "DUPLICATE_VALUE"
                if !external_id.is_empty()
                    && (message.contains(external_id) || fields.iter().any(|field| field == external_id)) =>
            {
                Self::CreatedBefore
            }
            _ => Self::Refused { code, message, fields },
        }
    }
}

/// The answer to a write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteAnswer {
    /// One outcome for each record, in the order of the records.
    pub outcomes: Vec<WriteOutcome>,
    /// The `Date` of the last answer before this write.
    pub after: Timestamp,
    /// The `Date` of the answer to this write. If that answer was lost, the last `Date` that is known.
    pub date: Timestamp,
}

/// Calls of the API, and how many are allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallUsage {
    /// The calls since the last `take_usage`.
    pub calls: u64,
    /// True once Salesforce has answered a call of this process. Before that, nothing can be known of the allowance.
    pub answered: bool,
    /// How many calls the org allows all of its users and programs together within 24 hours. Absent if no answer has
    /// said it.
    pub org: Option<u64>,
    /// How many calls the org allows this program alone within 24 hours. Absent if no answer has said it; most orgs
    /// have no such limit.
    pub app: Option<u64>,
}

/// The Salesforce org. Every method may be called again by its caller, but an implementation never repeats a
/// `create` by itself.
pub trait Salesforce: Send + Sync {
    /// Reads one page of a scan, including deleted records.
    fn scan(&self, object: &str, from: ScanFrom) -> impl Future<Output = Result<ScanPage, PortError>> + Send;

    /// Reads the definition's fields, the marker and the external Id of up to 2,000 records.
    fn read(
        &self,
        definition: &Definition,
        ids: &[SalesforceId],
    ) -> impl Future<Output = Result<ReadAnswer, PortError>> + Send;

    /// Looks records up by external Id, including deleted records. One answer for each external Id.
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

    /// Answers the Ids of an object's custom fields, by API name. A field that is deleted and created again under its name
    /// has another Id. Empty if this user may not read them.
    fn field_ids(
        &self,
        object: &str,
    ) -> impl Future<Output = Result<BTreeMap<FieldName, String>, PortError>> + Send;

    /// Makes the cheapest call there is, to find out whether Salesforce answers.
    fn probe(&self) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Answers how many calls were made since the last `take_usage`, and how many the org allows.
    fn take_usage(&self) -> CallUsage;
}
