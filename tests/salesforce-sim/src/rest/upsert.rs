//! Records by an external Id.

use super::collections::{Collection, too_many};
use super::{Parts, RawRecord, fields_of, json_response, not_found, not_json, record_json, refusal, refused};
use crate::http::App;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use org::{Org, SaveError, Stored, User};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The records whose field holds a value, and the field's own name; `None` if there is no such external Id.
fn with_value(org: &Org, object: &str, field: &str, value: &str) -> Option<(&'static str, Vec<String>)> {
    let schema = org.schema(object)?;
    let field = schema.field(field).filter(|field| field.unique || field.name == "Id")?;
    let records = org.records.get(schema.name).into_iter().flatten();
    let found = records
        .filter(|(_, record)| !record.deleted)
        .filter(|(_, record)| record.values.get(field.name).is_some_and(|stored| stored.text() == value));
    Some((field.name, found.map(|(id, _)| id.clone()).collect()))
}

/// Updates the record that has the external Id, or creates it. Source: Insert or Update (Upsert) a Record Using an
/// External ID in the REST API guide.
fn upsert(
    org: &mut Org,
    object: &str,
    field: &str,
    value: &str,
    mut fields: BTreeMap<String, Option<Stored>>,
    user: &User,
) -> Result<(String, bool), Vec<SaveError>> {
    let found = with_value(org, object, field, value).ok_or_else(|| {
        let message =
            format!("Field name provided, {field}, is not an External ID or indexed field for {object}");
        vec![SaveError::new("INVALID_FIELD", message, &[])]
    })?;
    match found {
        (_, ids) if !ids.is_empty() => {
            fields.retain(|name, _| !name.eq_ignore_ascii_case(field));
            org.update(object, &ids[0], &fields, user).map(|id| (id, false))
        }
        (name, _) => {
            fields.insert(name.to_owned(), Some(Stored::Text(value.to_owned())));
            org.create(object, &fields, user).map(|id| (id, true))
        }
    }
}

pub(crate) async fn upsert_one(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Path(parts): Parts,
    body: Bytes,
) -> Response {
    let Ok(record) = serde_json::from_slice::<RawRecord>(&body) else { return not_json() };
    let mut org = app.org.lock().unwrap();
    if org.schema(&parts["object"]).is_none() {
        return not_found();
    }
    let saved = fields_of(&record).map_err(|error| vec![error]).and_then(|fields| {
        upsert(&mut org, &parts["object"], &parts["field"], &parts["value"], fields, &user)
    });
    match saved {
        Ok((id, created)) => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            (status, Json(json!({"id": id, "success": true, "errors": [], "created": created})))
                .into_response()
        }
        Err(errors) => refused(&errors),
    }
}

pub(crate) async fn read_by_value(State(app): State<App>, Path(parts): Parts) -> Response {
    let org = app.org.lock().unwrap();
    let Some((_, ids)) = with_value(&org, &parts["object"], &parts["field"], &parts["value"]) else {
        let message = "Provided external ID field does not exist or is not accessible";
        return refusal(StatusCode::NOT_FOUND, "NOT_FOUND", message);
    };
    let (Some(schema), Some(id)) = (org.schema(&parts["object"]), ids.first()) else { return not_found() };
    let Some(record) = org.records.get(schema.name).and_then(|records| records.get(id)) else {
        return not_found();
    };
    let fields: Vec<(&'static str, Option<Stored>)> =
        schema.fields.iter().map(|field| (field.name, record.values.get(field.name).cloned())).collect();
    json_response(StatusCode::OK, record_json(&org.faults, schema.name, id, &fields))
}

pub(crate) async fn upsert_many(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Path(parts): Parts,
    body: Bytes,
) -> Response {
    let Ok(collection) = serde_json::from_slice::<Collection>(&body) else { return not_json() };
    if let Some(refusal) = too_many(collection.records.len()) {
        return refusal;
    }
    let mut org = app.org.lock().unwrap();
    let results: Vec<Value> = collection
        .records
        .iter()
        .map(|record| {
            let saved = fields_of(record).map_err(|error| vec![error]).and_then(|fields| {
                let value = fields.iter().find(|(name, _)| name.eq_ignore_ascii_case(&parts["field"]));
                let value = value.and_then(|(_, value)| value.as_ref()).map(Stored::text).unwrap_or_default();
                upsert(&mut org, &parts["object"], &parts["field"], &value, fields, &user)
            });
            match saved {
                Ok((id, created)) => json!({"id": id, "success": true, "errors": [], "created": created}),
                Err(errors) => json!({"success": false, "errors": errors}),
            }
        })
        .collect();
    Json(results).into_response()
}
