//! One record.

use super::{Parts, RawRecord, fields_of, json_response, not_found, not_json, record_json, refusal, refused};
use crate::http::App;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use org::{Stored, User};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
pub(crate) struct Asked {
    fields: Option<String>,
}

pub(crate) async fn create_one(
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
    let created = fields_of(&record)
        .map_err(|error| vec![error])
        .and_then(|fields| org.create(&parts["object"], &fields, &user));
    match created {
        Ok(id) => {
            (StatusCode::CREATED, Json(json!({"id": id, "success": true, "errors": []}))).into_response()
        }
        Err(errors) => refused(&errors),
    }
}

pub(crate) async fn read_one(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Path(parts): Parts,
    Query(asked): Query<Asked>,
) -> Response {
    let org = app.org.lock().unwrap();
    let Some(schema) = org.schema(&parts["object"]) else { return not_found() };
    let record = org.records.get(schema.name).and_then(|records| records.get(&parts["id"]));
    let Some(record) = record.filter(|record| !record.deleted && !org.hides(&parts["id"], &user)) else {
        let code = if record.is_some() { "ENTITY_IS_DELETED" } else { "NOT_FOUND" };
        let message = if record.is_some() {
            "entity is deleted"
        } else {
            "Provided external ID field does not exist or is not accessible"
        };
        return refusal(StatusCode::NOT_FOUND, code, message);
    };
    let wanted: Option<Vec<&str>> = asked.fields.as_deref().map(|fields| fields.split(',').collect());
    let fields: Vec<(&'static str, Option<Stored>)> = schema
        .fields
        .iter()
        .filter(|field| wanted.as_ref().is_none_or(|wanted| wanted.contains(&field.name)))
        .map(|field| (field.name, record.values.get(field.name).cloned()))
        .collect();
    json_response(StatusCode::OK, record_json(&org.faults, schema.name, &parts["id"], &fields))
}

pub(crate) async fn update_one(
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
    let updated = fields_of(&record)
        .map_err(|error| vec![error])
        .and_then(|fields| org.update(&parts["object"], &parts["id"], &fields, &user));
    match updated {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(errors) => refused(&errors),
    }
}

pub(crate) async fn delete_one(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Path(parts): Parts,
) -> Response {
    let mut org = app.org.lock().unwrap();
    match org.delete(&parts["object"], &parts["id"], &user) {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(errors) => refused(&errors),
    }
}
