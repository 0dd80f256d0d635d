//! The org: records, users, a clock, and what happened. No I/O.

use crate::faults::Faults;
use crate::outbound::{OutboundMessage, Outbox};
use crate::schema::{FieldType, ObjectSchema, SchemaField, objects};
use crate::stored::Stored;
use jiff::{SignedDuration, Timestamp};
use rust_decimal::Decimal;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A user: who calls, and whether their edits send outbound messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The Id.
    pub id: String,
    /// The client id that signs in as this user.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: String,
    /// The name to sign in with.
    pub username: String,
    /// The password; the security token follows it.
    pub password: String,
    /// A refresh token.
    pub refresh_token: String,
    /// Has the permission "Send Outbound Messages".
    pub sends_messages: bool,
}

/// A record.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The fields that are not null.
    pub values: BTreeMap<&'static str, Stored>,
    /// In the recycle bin.
    pub deleted: bool,
    pub(crate) changed_at: Timestamp,
    before: Option<Box<Record>>,
}

/// A field that changed.
#[derive(Clone, Debug, Serialize)]
pub struct Change {
    /// Counts up.
    pub n: usize,
    /// The object.
    pub object: &'static str,
    /// The record.
    pub id: String,
    /// The field.
    pub field: &'static str,
    /// The value before.
    pub before: Option<Stored>,
    /// The value after.
    pub after: Option<Stored>,
    /// Who.
    pub user: String,
    /// When.
    pub at_ms: i64,
    /// When the user had read the record by a collection before, if ever.
    pub read_at_ms: Option<i64>,
}

/// Why a record was refused: Salesforce's code, its words, and the fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SaveError {
    /// The code.
    #[serde(rename = "statusCode")]
    pub code: &'static str,
    /// The words.
    pub message: String,
    /// The fields.
    pub fields: Vec<String>,
}

impl SaveError {
    pub(crate) fn new(code: &'static str, message: impl Into<String>, fields: &[&str]) -> Self {
        Self {
            code,
            message: message.into(),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        }
    }
}

/// How often a user called what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ApiCall {
    /// The client.
    pub client: String,
    /// The kind of call.
    pub kind: String,
}

/// An automation: when an object's records are saved, a field is set from another.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, Serialize)]
pub struct Automation {
    /// The object.
    pub object: String,
    /// The field whose change sets it off.
    pub when: String,
    /// The field it sets.
    pub set: String,
    /// The value, in which `{}` stands for the value of `when`, and `{upper}` for it in capitals.
    pub to: String,
}

/// A validation rule: records whose field begins so are refused, whoever saves them.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, Serialize)]
pub struct ValidationRule {
    /// The object.
    pub object: String,
    /// The field.
    pub field: String,
    /// How it may not begin.
    pub begins: String,
    /// The error message.
    pub message: String,
}

/// The whole org.
pub struct Org {
    /// Its 18-character Id.
    pub organization_id: String,
    /// Its objects.
    pub schemas: Vec<ObjectSchema>,
    /// Its records, by object and Id.
    pub records: BTreeMap<&'static str, BTreeMap<String, Record>>,
    /// Its users.
    pub users: Vec<User>,
    /// Every change of a field so far.
    pub history: Vec<Change>,
    /// Calls so far.
    pub calls: BTreeMap<ApiCall, u64>,
    /// Calls within 24 hours.
    pub allowance: u64,
    /// What goes wrong.
    pub faults: Faults,
    /// Automations.
    pub automations: Vec<Automation>,
    /// Validation rules.
    pub rules: Vec<ValidationRule>,
    /// Outbound messages.
    pub outbox: Outbox,
    /// When a client read a record by a collection last, by client and Id.
    pub reads: BTreeMap<(String, String), i64>,
    /// Writes that asked for the org's assignment rules, which give records to other owners.
    pub auto_assigned: u64,
    /// Records that sharing hides from the user `syncline`.
    pub hidden: BTreeSet<String>,
    /// Collections answer what stood there before, this long after a change.
    pub stale_reads: SignedDuration,
    /// Rows are seen by queries only this long after they changed.
    pub late_visibility: SignedDuration,
    clock_offset: SignedDuration,
    next: BTreeMap<&'static str, u64>,
}

impl Default for Org {
    /// A small believable org, empty of records: an integration user and a sales user.
    fn default() -> Self {
        let user = |id: &str, client: &str, sends_messages| User {
            id: id.to_owned(),
            client_id: client.to_owned(),
            client_secret: format!("{client}-secret"),
            username: format!("{client}@acme.example"),
            password: format!("{client}-password"),
            refresh_token: format!("5Aep861{client}"),
            sends_messages,
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
            faults: Faults::default(),
            automations: Vec::new(),
            rules: Vec::new(),
            outbox: Outbox::default(),
            reads: BTreeMap::new(),
            auto_assigned: 0,
            hidden: BTreeSet::new(),
            late_visibility: SignedDuration::ZERO,
            stale_reads: SignedDuration::ZERO,
            clock_offset: SignedDuration::ZERO,
            next: BTreeMap::new(),
        }
    }
}

impl Org {
    /// Now, by the org's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::now() + self.clock_offset
    }

    /// Sets the clock, which goes on from there.
    pub fn set_clock(&mut self, now: Timestamp) {
        self.clock_offset = now.duration_since(Timestamp::now());
    }

    /// An object by name, whatever its case.
    #[must_use]
    pub fn schema(&self, object: &str) -> Option<&ObjectSchema> {
        self.schemas.iter().find(|schema| schema.name.eq_ignore_ascii_case(object))
    }

    /// Adds an outbound message.
    pub fn add_message(&mut self, message: OutboundMessage) {
        self.outbox.messages.push(message);
    }

    /// Calls so far, all kinds and clients.
    #[must_use]
    pub fn calls_used(&self) -> u64 {
        self.calls.values().sum()
    }

    /// Creates a record.
    ///
    /// # Errors
    /// With Salesforce's code and words.
    pub fn create(
        &mut self,
        object: &str,
        fields: &BTreeMap<String, Option<Stored>>,
        user: &User,
    ) -> Result<String, Vec<SaveError>> {
        let schema = self.known(object)?;
        let fields = self.checked(&schema, fields, None)?;
        let missing: Vec<&str> = schema
            .fields
            .iter()
            .filter(|field| field.required && fields.get(field.name).is_none_or(Option::is_none))
            .map(|field| field.name)
            .collect();
        if !missing.is_empty() {
            let message = format!("Required fields are missing: [{}]", missing.join(", "));
            return Err(vec![SaveError::new("REQUIRED_FIELD_MISSING", message, &missing)]);
        }
        self.strike_lock(&schema)?;
        let number = self.next.entry(schema.name).or_default();
        *number += 1;
        let id = lengthen(&format!("{}5e{:010}", schema.prefix, *number));
        let now = self.now();
        let mut record = Record { changed_at: now, ..Record::default() };
        for field in schema.fields.iter().filter(|field| field.kind == FieldType::Boolean) {
            record.values.insert(field.name, Stored::Boolean(false));
        }
        let stamp = Stored::Text(moment(now));
        for name in ["CreatedDate", "LastModifiedDate", "SystemModstamp"] {
            record.values.insert(name, stamp.clone());
        }
        for name in ["CreatedById", "LastModifiedById"] {
            record.values.insert(name, Stored::Text(user.id.clone()));
        }
        record.values.insert("Id", Stored::Text(id.clone()));
        self.records.entry(schema.name).or_default().insert(id.clone(), record);
        self.set(&schema, &id, fields, user, now);
        Ok(id)
    }

    /// Updates a record.
    ///
    /// # Errors
    /// With Salesforce's code and words.
    pub fn update(
        &mut self,
        object: &str,
        id: &str,
        fields: &BTreeMap<String, Option<Stored>>,
        user: &User,
    ) -> Result<String, Vec<SaveError>> {
        let schema = self.known(object)?;
        let id = self.living(&schema, id)?;
        let fields = self.checked(&schema, fields, Some(&id))?;
        for field in schema.fields.iter().filter(|field| field.required) {
            if fields.get(field.name) == Some(&None) {
                let message = format!("Required fields are missing: [{}]", field.name);
                return Err(vec![SaveError::new("REQUIRED_FIELD_MISSING", message, &[field.name])]);
            }
        }
        self.strike_lock(&schema)?;
        let now = self.now();
        self.set(&schema, &id, fields, user, now);
        Ok(id)
    }

    /// Puts a record into the recycle bin.
    ///
    /// # Errors
    /// With Salesforce's code and words.
    pub fn delete(&mut self, object: &str, id: &str, user: &User) -> Result<String, Vec<SaveError>> {
        let schema = self.known(object)?;
        let id = self.living(&schema, id)?;
        let now = self.now();
        if let Some(record) = self.records.get_mut(schema.name).and_then(|records| records.get_mut(&id)) {
            record.before = Some(Box::new(Record { before: None, ..record.clone() }));
            record.changed_at = now;
            record.deleted = true;
            record.values.insert("IsDeleted", Stored::Boolean(true));
            record.values.insert("SystemModstamp", Stored::Text(moment(now)));
        }
        let change = self.change(schema.name, &id, "IsDeleted", now, user);
        self.history.push(Change {
            before: Some(Stored::Boolean(false)),
            after: Some(Stored::Boolean(true)),
            ..change
        });
        self.repoint(schema.name, &[Stored::Text(id.clone())], None, now);
        Ok(id)
    }

    /// Takes a record out of the recycle bin; its Id stays.
    ///
    /// # Errors
    /// With Salesforce's code and words, if it is not in it.
    pub fn undelete(&mut self, object: &str, id: &str, user: &User) -> Result<String, Vec<SaveError>> {
        let schema = self.known(object)?;
        let now = self.now();
        let record = self.records.get_mut(schema.name).and_then(|records| records.get_mut(id));
        let Some(record) = record.filter(|record| record.deleted) else {
            let message = "entity is not in the recycle bin";
            return Err(vec![SaveError::new("UNDELETE_FAILED", message, &[])]);
        };
        record.before = None;
        record.changed_at = now;
        record.deleted = false;
        record.values.insert("IsDeleted", Stored::Boolean(false));
        record.values.insert("SystemModstamp", Stored::Text(moment(now)));
        let change = self.change(schema.name, id, "IsDeleted", now, user);
        self.history.push(Change {
            before: Some(Stored::Boolean(true)),
            after: Some(Stored::Boolean(false)),
            ..change
        });
        Ok(id.to_owned())
    }

    /// Removes a record from the recycle bin: nothing tells of it any more.
    pub fn purge(&mut self, object: &str, id: &str) -> bool {
        let records = self.records.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(object));
        let Some((_, records)) = records else { return false };
        if records.get(id).is_some_and(|record| record.deleted) {
            return records.remove(id).is_some();
        }
        false
    }

    /// Merges records into one: the others are deleted and name it, and what pointed to them points to it. Children
    /// move without their automations.
    ///
    /// # Errors
    /// With Salesforce's code and words.
    pub fn merge(
        &mut self,
        object: &str,
        master: &str,
        others: &[String],
        user: &User,
    ) -> Result<(), Vec<SaveError>> {
        let schema = self.known(object)?;
        let master = self.living(&schema, master)?;
        let now = self.now();
        let (old, new): (Vec<Stored>, Stored) =
            (others.iter().cloned().map(Stored::Text).collect(), Stored::Text(master.clone()));
        self.repoint(schema.name, &old, Some(&new), now);
        for other in others {
            let other = self.delete(object, other, user)?;
            if let Some(record) =
                self.records.get_mut(schema.name).and_then(|records| records.get_mut(&other))
            {
                record.values.insert("MasterRecordId", Stored::Text(master.clone()));
            }
        }
        self.set(&schema, &master, BTreeMap::new(), user, now);
        Ok(())
    }

    /// Living records that look up to any of these look up to another one, or to none, without their automations.
    fn repoint(&mut self, object: &str, from: &[Stored], to: Option<&Stored>, now: Timestamp) {
        for child in self.schemas.clone() {
            let pointing = child.fields.iter().filter(|field| {
                matches!(field.kind, FieldType::Reference(parent) if parent == object) && field.writable
            });
            for field in pointing {
                let records =
                    self.records.get_mut(child.name).into_iter().flat_map(|records| records.values_mut());
                for record in records.filter(|record| !record.deleted) {
                    if !record.values.get(field.name).is_some_and(|value| from.contains(value)) {
                        continue;
                    }
                    record.before = Some(Box::new(Record { before: None, ..record.clone() }));
                    match to {
                        Some(to) => record.values.insert(field.name, to.clone()),
                        None => record.values.remove(field.name),
                    };
                    record.values.insert("SystemModstamp", Stored::Text(moment(now)));
                    record.changed_at = now;
                }
            }
        }
    }

    /// Whether sharing hides a record from a user.
    #[must_use]
    pub fn hides(&self, id: &str, user: &User) -> bool {
        user.client_id == "syncline" && self.hidden.contains(id)
    }

    fn change(
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
        }
    }

    /// The object that an Id belongs to.
    #[must_use]
    pub fn object_of(&self, id: &str) -> Option<&'static str> {
        let prefix = id.get(..3)?;
        self.schemas.iter().find(|schema| schema.prefix == prefix).map(|schema| schema.name)
    }

    /// A record as a collection reads it now.
    pub(crate) fn as_read<'a>(&self, record: &'a Record) -> &'a Record {
        if self.stale_reads.is_zero() || record.changed_at + self.stale_reads <= self.now() {
            return record;
        }
        record.before.as_deref().unwrap_or(record)
    }

    /// A record as queries see it now.
    pub(crate) fn visible<'a>(&self, record: &'a Record) -> Option<&'a Record> {
        if self.late_visibility.is_zero() || record.changed_at + self.late_visibility <= self.now() {
            return Some(record);
        }
        record.before.as_deref()
    }

    fn known(&self, object: &str) -> Result<ObjectSchema, Vec<SaveError>> {
        self.schema(object).cloned().ok_or_else(|| {
            let message = format!("sObject type '{object}' is not supported.");
            vec![SaveError::new("INVALID_TYPE", message, &[])]
        })
    }

    fn living(&self, schema: &ObjectSchema, id: &str) -> Result<String, Vec<SaveError>> {
        if !matches!(id.len(), 15 | 18) || !id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            let message = format!("{} ID: id value of incorrect type: {id}", schema.label);
            return Err(vec![SaveError::new("MALFORMED_ID", message, &["Id"])]);
        }
        let id = if id.len() == 15 { lengthen(id) } else { id.to_owned() };
        match self.records.get(schema.name).and_then(|records| records.get(&id)) {
            Some(record) if record.deleted => {
                Err(vec![SaveError::new("ENTITY_IS_DELETED", "entity is deleted", &[])])
            }
            Some(_) => Ok(id),
            None => {
                Err(vec![SaveError::new("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", &[])])
            }
        }
    }

    fn strike_lock(&mut self, schema: &ObjectSchema) -> Result<(), Vec<SaveError>> {
        if Faults::strike(&mut self.faults.lock_row) {
            let message =
                format!("unable to obtain exclusive access to this record or 1 records: {}", schema.prefix);
            return Err(vec![SaveError::new("UNABLE_TO_LOCK_ROW", message, &[])]);
        }
        Ok(())
    }

    fn checked(
        &self,
        schema: &ObjectSchema,
        fields: &BTreeMap<String, Option<Stored>>,
        id: Option<&str>,
    ) -> Result<BTreeMap<&'static str, Option<Stored>>, Vec<SaveError>> {
        let mut checked = BTreeMap::new();
        let mut errors = Vec::new();
        for (name, value) in fields {
            let Some(field) = schema.field(name) else {
                let message = format!("No such column '{name}' on sobject of type {}", schema.name);
                return Err(vec![SaveError::new("INVALID_FIELD", message, &[])]);
            };
            if !field.writable || field.create_only && id.is_some() {
                let message = format!(
                    "Unable to create/update fields: {}. Please check the security settings of this field and verify that it is read/write for your profile or permission set.",
                    field.name
                );
                return Err(vec![SaveError::new("INVALID_FIELD_FOR_INSERT_UPDATE", message, &[field.name])]);
            }
            match value.clone().map(|value| self.value(field, value)).transpose() {
                Ok(value) => match self.taken(schema, field, value.as_ref(), id) {
                    Some(error) => errors.push(error),
                    None => {
                        checked.insert(field.name, value);
                    }
                },
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            errors.extend(self.invalid(schema, &checked, id));
        }
        if errors.is_empty() { Ok(checked) } else { Err(errors) }
    }

    /// A rule looks at the whole record as it would be saved.
    fn invalid(
        &self,
        schema: &ObjectSchema,
        fields: &BTreeMap<&'static str, Option<Stored>>,
        id: Option<&str>,
    ) -> Option<SaveError> {
        let stands = id.and_then(|id| self.records.get(schema.name)?.get(id));
        let broken = |rule: &&ValidationRule| {
            let field = schema.field(&rule.field).map_or("", |field| field.name);
            let value = match fields.get(field) {
                Some(value) => value.as_ref(),
                None => stands.and_then(|record| record.values.get(field)),
            };
            rule.object == schema.name && value.is_some_and(|value| value.text().starts_with(&rule.begins))
        };
        let rule = self.rules.iter().find(broken)?;
        Some(SaveError::new("FIELD_CUSTOM_VALIDATION_EXCEPTION", rule.message.clone(), &[&rule.field]))
    }

    fn taken(
        &self,
        schema: &ObjectSchema,
        field: &SchemaField,
        value: Option<&Stored>,
        id: Option<&str>,
    ) -> Option<SaveError> {
        let value = value.filter(|_| field.unique)?;
        let records = self.records.get(schema.name)?;
        let (other, _) = records.iter().find(|(other, record)| {
            record.values.get(field.name) == Some(value) && Some(other.as_str()) != id
        })?;
        let message = format!(
            "duplicate value found: {} duplicates value on record with id: {}",
            field.name,
            &other[..15]
        );
        Some(SaveError::new("DUPLICATE_VALUE", message, &[field.name]))
    }

    fn value(&self, field: &SchemaField, value: Stored) -> Result<Stored, SaveError> {
        let wrong = |value: &Stored| {
            let message = format!("{}: value not of required type: {}", field.label, value.text());
            SaveError::new("INVALID_TYPE_ON_FIELD_IN_RECORD", message, &[field.name])
        };
        match (&field.kind, value) {
            (FieldType::Text(kind, length), Stored::Text(text)) => {
                if text.chars().count() > *length as usize {
                    let start: String = text.chars().take(255).collect();
                    let message =
                        format!("{}: data value too large: {start} (max length={length})", field.label);
                    return Err(SaveError::new("STRING_TOO_LONG", message, &[field.name]));
                }
                if *kind == "email" && !text.split_once('@').is_some_and(|(_, host)| host.contains('.')) {
                    let message = format!("{}: invalid email address: {text}", field.label);
                    return Err(SaveError::new("INVALID_EMAIL_ADDRESS", message, &[field.name]));
                }
                Ok(Stored::Text(text))
            }
            (FieldType::Picklist(values, restricted), Stored::Text(text)) => {
                if *restricted && !values.contains(&text.as_str()) {
                    let message = format!("{}: bad value for restricted picklist field: {text}", field.label);
                    return Err(SaveError::new(
                        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
                        message,
                        &[field.name],
                    ));
                }
                Ok(Stored::Text(text))
            }
            (FieldType::MultiPicklist(values), Stored::Text(text)) => {
                let mut chosen: Vec<&str> =
                    text.split(';').map(str::trim).filter(|one| !one.is_empty()).collect();
                // Salesforce answers the choices in the order of the field's definition.
                chosen.sort_by_key(|one| values.iter().position(|value| value == one).unwrap_or(usize::MAX));
                chosen.dedup();
                Ok(Stored::Text(chosen.join(";")))
            }
            (FieldType::Reference(object), Stored::Text(id)) => {
                let id = if id.len() == 15 { lengthen(&id) } else { id };
                let known = self.records.get(object).and_then(|records| records.get(&id));
                match known {
                    Some(record) if !record.deleted => Ok(Stored::Text(id)),
                    Some(_) => Err(SaveError::new("ENTITY_IS_DELETED", "entity is deleted", &[field.name])),
                    None if id.len() != 18 => {
                        let message = format!("{}: id value of incorrect type: {id}", field.label);
                        Err(SaveError::new("MALFORMED_ID", message, &[field.name]))
                    }
                    None => Err(SaveError::new(
                        "INVALID_CROSS_REFERENCE_KEY",
                        "invalid cross reference id",
                        &[field.name],
                    )),
                }
            }
            (FieldType::Boolean, Stored::Boolean(yes)) => Ok(Stored::Boolean(yes)),
            (FieldType::Number(_, precision, scale), Stored::Number(literal)) => {
                let number = Decimal::from_str_exact(&literal)
                    .or_else(|_| Decimal::from_scientific(&literal))
                    .map_err(|_| wrong(&Stored::Number(literal.clone())))?;
                let largest = 10_u128.checked_pow(precision - scale).unwrap_or(u128::MAX);
                if number.abs().trunc() >= Decimal::from(u64::try_from(largest).unwrap_or(u64::MAX)) {
                    let message =
                        format!("{}: value outside of valid range on numeric field: {number}", field.label);
                    return Err(SaveError::new("NUMBER_OUTSIDE_VALID_RANGE", message, &[field.name]));
                }
                Ok(Stored::Number(literal))
            }
            (FieldType::Date, Stored::Text(text)) => {
                match text.get(..10).map(str::parse::<jiff::civil::Date>) {
                    Some(Ok(date)) => Ok(Stored::Text(date.to_string())),
                    _ => Err(wrong(&Stored::Text(text))),
                }
            }
            (FieldType::DateTime, Stored::Text(text)) => match parse_moment(&text) {
                Some(at) => Ok(Stored::Text(moment(at))),
                None => Err(wrong(&Stored::Text(text))),
            },
            (FieldType::Time, Stored::Text(text)) => {
                match text.strip_suffix('Z').unwrap_or(&text).parse::<jiff::civil::Time>() {
                    Ok(time) => Ok(Stored::Text(time.strftime("%H:%M:%S%.3fZ").to_string())),
                    Err(_) => Err(wrong(&Stored::Text(text))),
                }
            }
            (_, value) => Err(wrong(&value)),
        }
    }

    fn set(
        &mut self,
        schema: &ObjectSchema,
        id: &str,
        mut fields: BTreeMap<&'static str, Option<Stored>>,
        user: &User,
        now: Timestamp,
    ) {
        let automations = self.automations.clone();
        let read_at = self.reads.get(&(user.client_id.clone(), id.to_owned())).copied();
        let Some(record) = self.records.get_mut(schema.name).and_then(|records| records.get_mut(id)) else {
            return;
        };
        for automation in automations.iter().filter(|automation| automation.object == schema.name) {
            let (Some(when), Some(set)) = (schema.field(&automation.when), schema.field(&automation.set))
            else {
                continue;
            };
            let Some(value) = fields.get(when.name) else { continue };
            if record.values.get(when.name) == value.as_ref() {
                continue;
            }
            let Some(value) = value else {
                fields.insert(set.name, None);
                continue;
            };
            let value = value.text();
            let text = automation.to.replace("{upper}", &value.to_uppercase()).replace("{}", &value);
            fields.insert(set.name, Some(Stored::Text(text)));
        }
        let is_new = record.changed_at == now && record.before.is_none();
        if !is_new {
            record.before = Some(Box::new(Record { before: None, ..record.clone() }));
        }
        record.changed_at = now;
        for (name, after) in fields {
            let before = match &after {
                Some(value) => record.values.insert(name, value.clone()),
                None => record.values.remove(name),
            };
            if before != after {
                self.history.push(Change {
                    n: self.history.len(),
                    object: schema.name,
                    id: id.to_owned(),
                    field: name,
                    before,
                    after,
                    user: user.client_id.clone(),
                    at_ms: now.as_millisecond(),
                    read_at_ms: read_at,
                });
            }
        }
        for field in &schema.fields {
            let FieldType::Formula(formula) = field.kind else { continue };
            let mut text = formula.to_owned();
            for other in &schema.fields {
                let value = record.values.get(other.name).map(Stored::text).unwrap_or_default();
                text = text.replace(&format!("{{{}}}", other.name), &value);
            }
            record.values.insert(field.name, Stored::Text(text.trim().to_owned()));
        }
        let stamp = Stored::Text(moment(now));
        record.values.insert("LastModifiedDate", stamp.clone());
        record.values.insert("SystemModstamp", stamp);
        record.values.insert("LastModifiedById", Stored::Text(user.id.clone()));
        if user.sends_messages {
            self.outbox.record_saved(schema.name, id, now);
        }
    }
}

/// A moment as REST writes it.
pub(crate) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.000+0000").to_string()
}

/// A moment as REST and SOQL read it.
pub(crate) fn parse_moment(text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix("+0000").map_or_else(|| text.to_owned(), |bare| format!("{bare}Z"));
    let at: Timestamp = text.parse().ok()?;
    Timestamp::from_second(at.as_second()).ok()
}

fn lengthen(id: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let suffix = id.as_bytes().chunks(5).map(|chunk| {
        let bits =
            chunk.iter().rev().fold(0, |bits, byte| bits << 1 | usize::from(byte.is_ascii_uppercase()));
        char::from(ALPHABET[bits])
    });
    id.chars().chain(suffix).collect()
}
