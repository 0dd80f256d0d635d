//! Records, and what became of them, in the JSON of the REST API.

use crate::error::SalesforceError;
use crate::soql::{RawRow, Scalar, text};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{BTreeMap, BTreeSet};
use syncline_engine::{Definition, FieldName, SalesforceId, Value};
use syncline_sync::{RemoteRecord, WriteOutcome};

#[derive(Deserialize)]
pub(crate) struct SaveResult {
    pub(crate) id: Option<String>,
    pub(crate) success: bool,
    #[serde(default)]
    pub(crate) errors: Vec<SaveError>,
}

#[derive(Deserialize)]
pub(crate) struct SaveError {
    #[serde(rename = "statusCode")]
    pub(crate) code: String,
    pub(crate) message: String,
    #[serde(default)]
    pub(crate) fields: Vec<String>,
}

/// The JSON of a value. A number keeps all of its digits.
pub(crate) fn json_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Boolean(yes) => yes.to_string(),
        // The API requires a `Z` after a time of day, although the time has no time zone.
        Value::Time(_) => format!("\"{value}Z\""),
        other => serde_json::Value::from(other.text()).to_string(),
    }
}

pub(crate) fn raw(json: String) -> Result<Box<RawValue>, SalesforceError> {
    RawValue::from_string(json).map_err(|error| SalesforceError::Malformed(error.to_string()))
}

/// The JSON fields of one record of a collection.
pub(crate) fn record_body(
    definition: &Definition,
    id: Option<&SalesforceId>,
    external_id: Option<&str>,
    marker: &str,
    fields: &BTreeMap<FieldName, Value>,
) -> Result<BTreeMap<String, Box<RawValue>>, SalesforceError> {
    let text = |text: &str| raw(serde_json::Value::from(text).to_string());
    let mut body = BTreeMap::new();
    body.insert("attributes".to_owned(), raw(serde_json::json!({"type": definition.object}).to_string())?);
    if let Some(id) = id {
        body.insert("id".to_owned(), text(id.as_str())?);
    }
    if let (Some(field), Some(external_id)) = (&definition.external_id, external_id) {
        body.insert(field.clone(), text(external_id)?);
    }
    if let Some(field) = &definition.marker {
        body.insert(field.clone(), text(marker)?);
    }
    for (name, value) in fields {
        body.insert(name.clone(), raw(json_of(value))?);
    }
    Ok(body)
}

pub(crate) fn moment(text: Option<String>) -> Result<Timestamp, SalesforceError> {
    let text = text.unwrap_or_default();
    let zoned = text.strip_suffix("+0000").map_or_else(|| text.clone(), |bare| format!("{bare}Z"));
    zoned.parse().map_err(|_| {
        SalesforceError::Malformed(format!("SystemModstamp is {text:?}, which is not a timestamp"))
    })
}

pub(crate) fn id_of(row: &RawRow) -> Result<SalesforceId, SalesforceError> {
    let id = text(row, "Id").unwrap_or_default();
    SalesforceId::parse(&id).map_err(|error| SalesforceError::Malformed(error.to_string()))
}

pub(crate) fn remote_record(definition: &Definition, row: &RawRow) -> Result<RemoteRecord, SalesforceError> {
    let mut values = BTreeMap::new();
    let mut undecodable = BTreeSet::new();
    for field in definition.fields.iter().map(|mapping| mapping.field.clone()) {
        match row.get(&field).map(|raw| Scalar::of(raw)) {
            Some(Scalar::Null) => drop(values.insert(field, None)),
            Some(Scalar::Text(text)) => drop(values.insert(field, Some(text))),
            Some(Scalar::Undecodable) => drop(undecodable.insert(field)),
            None => {}
        }
    }
    Ok(RemoteRecord {
        id: id_of(row)?,
        stamp: moment(text(row, "SystemModstamp"))?,
        marker: definition.marker.as_ref().and_then(|field| text(row, field)),
        external_id: definition.external_id.as_ref().and_then(|field| text(row, field)),
        values,
        undecodable,
    })
}

pub(crate) fn outcome(definition: &Definition, result: SaveResult) -> WriteOutcome {
    if result.success
        && let Some(Ok(id)) = result.id.as_deref().map(SalesforceId::parse)
    {
        return WriteOutcome::Written(id);
    }
    let mut errors = result.errors.into_iter();
    let Some(mut first) = errors.next() else { return WriteOutcome::Unknown };
    // The first error's code says what the refusal is about. All of them are shown.
    for SaveError { code, message, fields } in errors {
        first.message = format!("{}; {code}: {message}", first.message);
        first.fields.extend(fields);
    }
    WriteOutcome::of_error(definition, first.code, first.message, first.fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_with_every_digit() {
        let number = "9999999999999999.99".parse().unwrap();
        assert_eq!(json_of(&Value::Number(number)), "9999999999999999.99");
        assert_eq!(json_of(&Value::Text("a\"b\n".into())), r#""a\"b\n""#);
        assert_eq!(json_of(&Value::Null), "null");
        assert_eq!(json_of(&Value::Choices(["b".into(), "a".into()].into())), "\"a;b\"");
    }
}
