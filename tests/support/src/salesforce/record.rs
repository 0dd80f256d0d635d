//! A record of the org as the tests look at it.

use crate::event::Values;
use jiff::Timestamp;
use org::{Record, Stored};
use syncline_engine::SalesforceId;

/// The marker field of the objects of the model.
const MARKER: &str = "Syncline_Write__c";
/// The external Id field of the objects of the model.
const EXTERNAL_ID: &str = "Syncline_Id__c";
/// The fields that nobody writes, in the order of their names.
const SYSTEM: [&str; 8] = [
    "CreatedById",
    "CreatedDate",
    "Id",
    "IsDeleted",
    "LastModifiedById",
    "LastModifiedDate",
    "MasterRecordId",
    "SystemModstamp",
];

/// A record of the org.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrgRecord {
    /// The object of the record.
    pub object: String,
    /// The fields that are not null, without those that Salesforce or Syncline keep for themselves.
    pub values: Values,
    /// True if the record is in the recycle bin.
    pub deleted: bool,
    /// The record into which it was merged, if it was.
    pub master: Option<SalesforceId>,
    /// The `SystemModstamp` of the record.
    pub stamp: Timestamp,
    /// The marker field.
    pub marker: Option<String>,
    /// The external Id field.
    pub external_id: Option<String>,
}

impl OrgRecord {
    pub(crate) fn new(object: &str, record: &Record) -> Self {
        Self {
            object: object.to_owned(),
            values: values_of(record),
            deleted: record.deleted,
            master: master_of(record),
            stamp: record.stamp(),
            marker: record.text(MARKER),
            external_id: record.text(EXTERNAL_ID),
        }
    }
}

/// The record into which a record was merged.
pub(crate) fn master_of(record: &Record) -> Option<SalesforceId> {
    SalesforceId::parse(&record.text("MasterRecordId")?).ok()
}

/// True unless Salesforce or Syncline keep the field for themselves.
pub(crate) fn is_of_people(field: &str) -> bool {
    field != MARKER && field != EXTERNAL_ID && SYSTEM.binary_search(&field).is_err()
}

/// The fields that are not null, without those that Salesforce or Syncline keep for themselves.
pub(crate) fn values_of(record: &Record) -> Values {
    let values = record.values.iter().filter(|(field, _)| is_of_people(field));
    values.map(|(field, value)| ((*field).to_owned(), Some(Stored::text(value)))).collect()
}
