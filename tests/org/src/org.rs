//! The state of the org: its objects, records and users, its clock, and the history of its fields.

use crate::automation::{Automation, Relation, ValidationRule};
use crate::faults::Faults;
use crate::id::lengthen;
use crate::long_transaction::Open;
use crate::objects::objects;
use crate::outbox::{OutboundMessage, Outbox};
use crate::record::Record;
use crate::schema::{ObjectSchema, SchemaField};
use crate::validate::SaveError;
use crate::value::Stored;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A user: who calls, and whether their edits send outbound messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The Id of the user.
    pub id: String,
    /// The client id that signs in as this user.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// The name to sign in with.
    pub username: String,
    /// The password. At sign-in, the security token follows it.
    pub password: String,
    /// A refresh token.
    pub refresh_token: String,
    /// True if the user has the permission "Send Outbound Messages".
    pub sends_messages: bool,
    /// True if the user has the permission "View Setup and Configuration", which `/limits` requires.
    pub views_setup: bool,
}

/// A change of one field of one record. A delete and an undelete are changes of `IsDeleted`.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// The number of the change, counted from 0.
    pub n: usize,
    /// The object.
    pub object: &'static str,
    /// The Id of the record.
    pub id: String,
    /// The field.
    pub field: &'static str,
    /// The value before the change.
    pub before: Option<Stored>,
    /// The value after the change.
    pub after: Option<Stored>,
    /// The client id of the user who made the change.
    pub user: String,
    /// When the change was made, in milliseconds since 1970.
    pub at_ms: i64,
    /// When the user had last read the record by a collection, in milliseconds since 1970.
    pub read_at_ms: Option<i64>,
    /// True if the change followed from a change of another record: the user did not ask for it.
    #[serde(skip)]
    pub cascaded: bool,
}

/// A kind of call that a client makes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ApiCall {
    /// The client id.
    pub client: String,
    /// The kind of call.
    pub kind: String,
}

type Clock = dyn Fn() -> Timestamp + Send + Sync;

/// A Salesforce org.
pub struct Org {
    /// The 18-character Id of the org.
    pub organization_id: String,
    /// The objects.
    pub schemas: Vec<Arc<ObjectSchema>>,
    /// The records by object and Id.
    pub records: BTreeMap<&'static str, BTreeMap<String, Record>>,
    /// The users: first the user of Syncline, then a sales user.
    pub users: Vec<User>,
    /// Every change of a field so far.
    pub history: Vec<Change>,
    /// The number of calls so far.
    pub calls: BTreeMap<ApiCall, u64>,
    /// The number of calls allowed in 24 hours.
    pub allowance: u64,
    /// What follows `api-usage=…` in the header `Sforce-Limit-Info`.
    pub more_limits: String,
    /// How often a custom field was deleted and created again, by object and field.
    pub recreated: BTreeMap<(String, String), usize>,
    /// What goes wrong.
    pub faults: Faults,
    /// The flows before a save.
    pub automations: Vec<Automation>,
    /// The validation rules.
    pub rules: Vec<ValidationRule>,
    /// Lookups whose parent has a roll-up field: a change of a child moves the stamp of its parent.
    pub rollups: Vec<Relation>,
    /// Lookups by which children are deleted and undeleted with their parent.
    pub cascades: Vec<Relation>,
    /// The outbound messages.
    pub outbox: Outbox,
    /// When a client last read a record by a collection, in milliseconds since 1970, by client id and Id.
    pub reads: BTreeMap<(String, String), i64>,
    /// The number of writes that asked for the org's assignment rules, which give records to other owners.
    pub auto_assigned: u64,
    /// The Ids of records that sharing hides from the user of Syncline.
    pub hidden: BTreeSet<String>,
    /// For this long after a change, collections answer what stood there before.
    pub stale_reads: SignedDuration,
    /// Queries see a change only this long after it.
    pub late_visibility: SignedDuration,
    pub(crate) open: BTreeMap<String, Open>,
    pub(crate) next: BTreeMap<&'static str, u64>,
    clock: Box<Clock>,
    offset: SignedDuration,
}

impl Org {
    /// A small org without records, which shows the time of this clock.
    #[must_use]
    pub fn new(clock: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        let user = |id: &str, client: &str, sends_messages| User {
            id: id.to_owned(),
            client_id: client.to_owned(),
            client_secret: format!("{client}-secret"),
            username: format!("{client}@acme.example"),
            password: format!("{client}-password"),
            refresh_token: format!("5Aep861{client}"),
            sends_messages,
            views_setup: client == "sales",
        };
        Self {
            organization_id: "00D5e000000SIMuEAO".to_owned(),
            schemas: objects(),
            records: BTreeMap::new(),
            users: vec![
                user("0055e000001SYNCAA4", "syncline", false),
                user("0055e000001SALEAA4", "sales", true),
            ],
            history: Vec::new(),
            calls: BTreeMap::new(),
            allowance: 100_000,
            more_limits: "; api-bursts=1/750".to_owned(),
            recreated: BTreeMap::new(),
            faults: Faults::default(),
            automations: Vec::new(),
            rules: Vec::new(),
            rollups: Vec::new(),
            cascades: Vec::new(),
            outbox: Outbox::default(),
            reads: BTreeMap::new(),
            auto_assigned: 0,
            hidden: BTreeSet::new(),
            stale_reads: SignedDuration::ZERO,
            late_visibility: SignedDuration::ZERO,
            open: BTreeMap::new(),
            next: BTreeMap::new(),
            clock: Box::new(clock),
            offset: SignedDuration::ZERO,
        }
    }

    /// The time of the org's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)() + self.offset
    }

    /// Sets the org's clock, which goes on from there.
    pub fn set_clock(&mut self, now: Timestamp) {
        self.offset = now.duration_since((self.clock)());
    }

    /// Sets how far the org's clock is ahead of the clock that it was given.
    pub fn set_skew(&mut self, skew: SignedDuration) {
        self.offset = skew;
    }

    /// How far the org's clock is ahead of the clock that it was given.
    #[must_use]
    pub fn skew(&self) -> SignedDuration {
        self.offset
    }

    /// The object of this name, whatever its case.
    #[must_use]
    pub fn schema(&self, object: &str) -> Option<&ObjectSchema> {
        self.schemas.iter().find(|schema| schema.name.eq_ignore_ascii_case(object)).map(AsRef::as_ref)
    }

    /// The Ids of an object's custom fields, by name. A field that was created again has another Id.
    #[must_use]
    pub fn field_ids(&self, object: &str) -> BTreeMap<String, String> {
        let Some(schema) = self.schema(object) else { return BTreeMap::new() };
        let custom = schema.fields.iter().enumerate().filter(|(_, field)| field.name.ends_with("__c"));
        let id = |(place, field): (usize, &SchemaField)| {
            let again = self.recreated.get(&(object.to_owned(), field.name.to_owned())).unwrap_or(&0);
            (field.name.to_owned(), format!("00N5e0000{:06}", 1000 * again + place))
        };
        custom.map(id).collect()
    }

    /// Deletes a custom field and creates it again under its name: it is empty in every record, and no stamp moves.
    pub fn recreate_field(&mut self, object: &'static str, field: &str) {
        *self.recreated.entry((object.to_owned(), field.to_owned())).or_default() += 1;
        for record in self.records.get_mut(object).into_iter().flat_map(BTreeMap::values_mut) {
            record.values.remove(field);
        }
    }

    /// The object of this name, to change it.
    pub fn schema_mut(&mut self, object: &str) -> Option<&mut ObjectSchema> {
        self.schemas.iter_mut().find(|schema| schema.name.eq_ignore_ascii_case(object)).map(Arc::make_mut)
    }

    /// The object that an Id belongs to.
    #[must_use]
    pub fn object_of(&self, id: &str) -> Option<&'static str> {
        let prefix = id.get(..3)?;
        self.schemas.iter().find(|schema| schema.prefix == prefix).map(|schema| schema.name)
    }

    /// A record by its 18-character Id, in the recycle bin or not.
    #[must_use]
    pub fn record(&self, object: &str, id: &str) -> Option<&Record> {
        self.records.get(object)?.get(id)
    }

    /// Adds an outbound message.
    pub fn add_message(&mut self, message: OutboundMessage) {
        self.outbox.messages.push(message);
    }

    /// The number of calls so far, of all kinds and clients.
    #[must_use]
    pub fn calls_used(&self) -> u64 {
        self.calls.values().sum()
    }

    /// True if sharing hides a record from a user.
    #[must_use]
    pub fn hides(&self, id: &str, user: &User) -> bool {
        user.client_id == "syncline" && self.hidden.contains(id)
    }

    /// A record as a collection reads it now.
    #[must_use]
    pub fn as_read<'a>(&self, record: &'a Record) -> &'a Record {
        if self.stale_reads.is_zero() || record.changed_at + self.stale_reads <= self.now() {
            return record;
        }
        record.earlier().unwrap_or(record)
    }

    /// A record as a query sees it now; `None` if the query does not see it yet.
    #[must_use]
    pub fn visible<'a>(&self, record: &'a Record) -> Option<&'a Record> {
        if self.late_visibility.is_zero() || record.changed_at + self.late_visibility <= self.now() {
            return Some(record);
        }
        record.earlier()
    }

    pub(crate) fn record_mut(&mut self, object: &str, id: &str) -> Option<&mut Record> {
        self.records.get_mut(object)?.get_mut(id)
    }

    pub(crate) fn known(&self, object: &str) -> Result<Arc<ObjectSchema>, Vec<SaveError>> {
        let schema = self.schemas.iter().find(|schema| schema.name.eq_ignore_ascii_case(object));
        schema.cloned().ok_or_else(|| {
            let message = format!("sObject type '{object}' is not supported.");
            vec![SaveError::new("INVALID_TYPE", message, &[])]
        })
    }

    /// The Id of a living record, in its form of 18 characters.
    pub(crate) fn living(&self, schema: &ObjectSchema, id: &str) -> Result<String, Vec<SaveError>> {
        if !matches!(id.len(), 15 | 18) || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let message = format!("{} ID: id value of incorrect type: {id}", schema.label);
            return Err(vec![SaveError::new("MALFORMED_ID", message, &["Id"])]);
        }
        let id = if id.len() == 15 { lengthen(id) } else { id.to_owned() };
        match self.record(schema.name, &id) {
            Some(record) if record.deleted => {
                Err(vec![SaveError::new("ENTITY_IS_DELETED", "entity is deleted", &[])])
            }
            Some(_) => Ok(id),
            None => {
                Err(vec![SaveError::new("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", &[])])
            }
        }
    }

    /// A change of the history that has no values yet.
    pub(crate) fn change(
        &self,
        object: &'static str,
        id: &str,
        field: &'static str,
        now: Timestamp,
        user: &User,
    ) -> Change {
        Change {
            n: self.history.len(),
            object,
            id: id.to_owned(),
            field,
            before: None,
            after: None,
            user: user.client_id.clone(),
            at_ms: now.as_millisecond(),
            read_at_ms: None,
            cascaded: false,
        }
    }
}
