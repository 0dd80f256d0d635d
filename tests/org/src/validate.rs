//! What a save refuses: unknown and read-only fields, values that do not fit, missing and duplicate ones, and what
//! the validation rules say.

use crate::faults::Faults;
use crate::id::lengthen;
use crate::org::Org;
use crate::save::Fields;
use crate::schema::{FieldType, ObjectSchema, SchemaField};
use crate::value::{Stored, parse_moment};
use rust_decimal::Decimal;
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Why a record was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SaveError {
    /// The status code, such as `STRING_TOO_LONG`.
    #[serde(rename = "statusCode")]
    pub code: Cow<'static, str>,
    /// The error message.
    pub message: String,
    /// The fields that the error names.
    pub fields: Vec<String>,
}

impl SaveError {
    /// An error with a status code, an error message and the fields that it names.
    #[must_use]
    pub fn new(code: impl Into<Cow<'static, str>>, message: impl Into<String>, fields: &[&str]) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            fields: fields.iter().map(|field| (*field).to_owned()).collect(),
        }
    }

    /// Another transaction holds the lock of a record of this object.
    pub(crate) fn locked(schema: &ObjectSchema) -> Self {
        let message =
            format!("unable to obtain exclusive access to this record or 1 records: {}", schema.prefix);
        Self::new("UNABLE_TO_LOCK_ROW", message, &[])
    }
}

/// The field of a save, if the user may write it.
fn writable<'a>(schema: &'a ObjectSchema, name: &str, creates: bool) -> Result<&'a SchemaField, SaveError> {
    let Some(field) = schema.field(name) else {
        let message = format!("No such column '{name}' on sobject of type {}", schema.name);
        return Err(SaveError::new("INVALID_FIELD", message, &[]));
    };
    if field.writable && (creates || !field.create_only) {
        return Ok(field);
    }
    let message = format!(
        "Unable to create/update fields: {}. Please check the security settings of this field and verify that it is read/write for your profile or permission set.",
        field.name
    );
    Err(SaveError::new("INVALID_FIELD_FOR_INSERT_UPDATE", message, &[field.name]))
}

/// The required fields that a save leaves empty.
fn missing(schema: &ObjectSchema, fields: &Fields, creates: bool) -> Option<SaveError> {
    let left_empty = |field: &&SchemaField| match fields.get(field.name) {
        Some(value) => value.is_none(),
        None => creates,
    };
    let required = schema.fields.iter().filter(|field| field.required);
    let missing: Vec<&str> = required.filter(left_empty).map(|field| field.name).collect();
    let message = format!("Required fields are missing: [{}]", missing.join(", "));
    (!missing.is_empty()).then(|| SaveError::new("REQUIRED_FIELD_MISSING", message, &missing))
}

impl Org {
    /// Refuses a save if the fault `lock-row` strikes.
    pub(crate) fn strike_lock(&mut self, schema: &ObjectSchema) -> Result<(), Vec<SaveError>> {
        if Faults::strike(&mut self.faults.lock_row) {
            return Err(vec![SaveError::locked(schema)]);
        }
        Ok(())
    }

    /// The fields of a save as they would be stored, if the save is allowed. The Id is absent for a new record.
    pub(crate) fn checked(
        &self,
        schema: &ObjectSchema,
        fields: &BTreeMap<String, Option<Stored>>,
        id: Option<&str>,
    ) -> Result<Fields, Vec<SaveError>> {
        if let Some(error) = &self.faults.saves_refused {
            return Err(vec![error.clone()]);
        }
        let mut checked = Fields::new();
        let mut errors = Vec::new();
        for (name, value) in fields {
            let field = writable(schema, name, id.is_none()).map_err(|error| vec![error])?;
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
            errors.extend(missing(schema, &checked, id.is_none()));
        }
        if errors.is_empty() {
            let stands = id.and_then(|id| self.record(schema.name, id));
            errors.extend(self.rules.iter().find_map(|rule| rule.refuses(schema, &checked, stands)));
        }
        if errors.is_empty() { Ok(checked) } else { Err(errors) }
    }

    /// The refusal of a value that another record has in a unique field. Records in the recycle bin count.
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

    /// The value as the field stores it.
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
                // A number with more digits than Decimal has is read as a double-precision number: only its size matters.
                let float = || literal.parse::<f64>().ok().and_then(Decimal::from_f64_retain);
                let number = Decimal::from_str_exact(&literal)
                    .or_else(|_| Decimal::from_scientific(&literal))
                    .ok()
                    .or_else(float)
                    .ok_or_else(|| wrong(&Stored::Number(literal.clone())))?;
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
                Some(at) => Ok(Stored::Moment(at)),
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
}
