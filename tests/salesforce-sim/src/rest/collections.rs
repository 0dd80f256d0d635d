//! Collections: up to 200 records in one call that writes, up to 2,000 in one that reads.

use super::{Parts, RawRecord, fields_of, json_response, not_found, not_json, record_json, refusal};
use crate::http::App;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use org::{Org, SaveError, Stored, User};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The most records in a collection that is written.
const WRITTEN: usize = 200;
/// The most Ids in a collection that is read.
const READ: usize = 2_000;

#[derive(Deserialize)]
pub(crate) struct Asked {
    ids: Option<String>,
    #[serde(rename = "allOrNone")]
    all_or_none: Option<bool>,
}

#[derive(Deserialize)]
pub(super) struct Collection {
    pub(super) records: Vec<RawRecord>,
    #[serde(rename = "allOrNone", default)]
    all_or_none: bool,
}

fn outcome(result: &Result<String, Vec<SaveError>>) -> Value {
    match result {
        Ok(id) => json!({"id": id, "success": true, "errors": []}),
        Err(errors) => json!({"success": false, "errors": errors}),
    }
}

/// What Salesforce answers of each record where Apex code met a limit at all of them together.
fn met_a_limit() -> SaveError {
    SaveError::new(
        "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY",
        "Too many batch retries in the presence of Apex triggers and partial failures.",
        &[],
    )
}

/// True if the caller lets records be saved that a duplicate rule alerts to.
fn allows_duplicates(headers: &HeaderMap) -> bool {
    let header = headers.get("Sforce-Duplicate-Rule-Header").and_then(|value| value.to_str().ok());
    header.is_some_and(|value| value.replace(' ', "").contains("allowSave=true"))
}

/// The duplicate rule's refusal, if a living record of the object is like this one.
fn duplicate(org: &Org, object: &str, fields: &BTreeMap<String, Option<Stored>>) -> Option<SaveError> {
    let (of_object, field) = org.faults.duplicate_alert.as_ref()?;
    let value = fields.get(field).filter(|value| value.is_some() && of_object == object)?;
    let alike = |record: &org::Record| !record.deleted && record.values.get(field.as_str()) == value.as_ref();
    let records = org.records.get(object)?;
    let found = records.values().any(alike);
    found.then(|| SaveError::new("DUPLICATES_DETECTED", "Use one of these records?", &[]))
}

/// Saves the records of a collection one by one, or, with allOrNone, all or none.
fn save_all<T>(
    org: &mut Org,
    items: &[T],
    all_or_none: bool,
    save: impl Fn(&mut Org, &T) -> Result<String, Vec<SaveError>>,
) -> Response {
    if org.faults.apex_takes.is_some_and(|most| items.len() > most) {
        org.faults.apex_refusals += 1;
        let list: Vec<Value> = items.iter().map(|_| outcome(&Err(vec![met_a_limit()]))).collect();
        return Json(list).into_response();
    }
    let before = all_or_none.then(|| (org.records.clone(), org.history.len()));
    let results: Vec<_> = items.iter().map(|item| save(org, item)).collect();
    let rolled_back = all_or_none && results.iter().any(Result::is_err);
    if let (true, Some((records, history))) = (rolled_back, before) {
        org.records = records;
        org.history.truncate(history);
    }
    let list: Vec<Value> = results
        .iter()
        .map(|result| match result {
            Ok(_) if rolled_back => outcome(&Err(vec![SaveError::new(
                "ALL_OR_NONE_OPERATION_ROLLED_BACK",
                "Record rolled back because not all records were valid and the request was using AllOrNone header",
                &[],
            )])),
            other => outcome(other),
        })
        .collect();
    Json(list).into_response()
}

pub(super) fn too_many(count: usize) -> Option<Response> {
    match count {
        0 => {
            Some(refusal(StatusCode::BAD_REQUEST, "REQUIRED_FIELD_MISSING", "At least 1 record is required"))
        }
        count if count > WRITTEN => {
            let message =
                format!("record limit reached. cannot submit more than {WRITTEN} records into this call");
            Some(refusal(StatusCode::BAD_REQUEST, "EXCEEDED_ID_LIMIT", message))
        }
        _ => None,
    }
}

fn type_of(record: &RawRecord) -> Option<String> {
    #[derive(Deserialize)]
    struct Attributes {
        #[serde(rename = "type")]
        object: String,
    }
    let attributes: Attributes = serde_json::from_str(record.get("attributes")?.get()).ok()?;
    Some(attributes.object)
}

pub(crate) async fn create_many(
    State(app): State<App>,
    Extension(user): Extension<User>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let Ok(collection) = serde_json::from_slice::<Collection>(&body) else { return not_json() };
    if let Some(refusal) = too_many(collection.records.len()) {
        return refusal;
    }
    let allowed = allows_duplicates(&headers);
    let mut org = app.org.lock().unwrap();
    save_all(&mut org, &collection.records, collection.all_or_none, |org, record| {
        let object = type_of(record)
            .ok_or_else(|| vec![SaveError::new("JSON_PARSER_ERROR", "Missing sObject attributes", &[])])?;
        let fields = fields_of(record).map_err(|error| vec![error])?;
        if let Some(error) = duplicate(org, &object, &fields).filter(|_| !allowed) {
            return Err(vec![error]);
        }
        org.create(&object, &fields, &user)
    })
}

pub(crate) async fn update_many(
    State(app): State<App>,
    Extension(user): Extension<User>,
    body: Bytes,
) -> Response {
    let Ok(collection) = serde_json::from_slice::<Collection>(&body) else { return not_json() };
    if let Some(refusal) = too_many(collection.records.len()) {
        return refusal;
    }
    let mut org = app.org.lock().unwrap();
    save_all(&mut org, &collection.records, collection.all_or_none, |org, record| {
        let id = record.iter().find(|(name, _)| name.eq_ignore_ascii_case("id"));
        let id: String = id.and_then(|(_, raw)| serde_json::from_str(raw.get()).ok()).ok_or_else(|| {
            vec![SaveError::new("MISSING_ARGUMENT", "Id not specified in an update call", &[])]
        })?;
        let object = type_of(record).or_else(|| org.object_of(&id).map(str::to_owned)).unwrap_or_default();
        let fields = fields_of(record).map_err(|error| vec![error])?;
        org.update(&object, &id, &fields, &user)
    })
}

pub(crate) async fn delete_many(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Query(asked): Query<Asked>,
) -> Response {
    let ids: Vec<String> = asked.ids.unwrap_or_default().split(',').map(str::to_owned).collect();
    if let Some(refusal) = too_many(ids.len()) {
        return refusal;
    }
    let mut org = app.org.lock().unwrap();
    save_all(&mut org, &ids, asked.all_or_none.unwrap_or_default(), |org, id| {
        let object = org.object_of(id).unwrap_or_default();
        org.delete(object, id, &user)
    })
}

#[derive(Deserialize)]
struct Wanted {
    ids: Vec<String>,
    fields: Vec<String>,
}

pub(crate) async fn read_many(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Path(parts): Parts,
    body: Bytes,
) -> Response {
    let Ok(wanted) = serde_json::from_slice::<Wanted>(&body) else { return not_json() };
    if wanted.ids.len() > READ {
        return refusal(StatusCode::BAD_REQUEST, "EXCEEDED_ID_LIMIT", "too many ids");
    }
    let mut org = app.org.lock().unwrap();
    let now = org.now().as_millisecond();
    for id in &wanted.ids {
        org.reads.insert((user.client_id.clone(), id.clone()), now);
    }
    let Some(schema) = org.schema(&parts["object"]) else { return not_found() };
    let mut fields = Vec::new();
    for name in &wanted.fields {
        match schema.field(name) {
            Some(field) => fields.push(field.name),
            None => {
                let message = format!("No such column '{name}' on sobject of type {}", schema.name);
                return refusal(StatusCode::BAD_REQUEST, "INVALID_FIELD", message);
            }
        }
    }
    let records: Vec<String> = wanted
        .ids
        .iter()
        .map(|id| {
            let record = org.records.get(schema.name).and_then(|records| records.get(id));
            let record = record.map(|record| org.as_read(record));
            match record.filter(|record| !record.deleted && !org.hides(id, &user)) {
                None => "null".to_owned(),
                Some(record) => {
                    let values: Vec<_> =
                        fields.iter().map(|name| (*name, record.values.get(name).cloned())).collect();
                    record_json(&org.faults, schema.name, id, &values)
                }
            }
        })
        .collect();
    json_response(StatusCode::OK, format!("[{}]", records.join(",")))
}
