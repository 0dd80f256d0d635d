//! The REST API. This file holds what all resources share, and the resources without records.

mod collections;
mod query;
mod record;
mod replication;
mod upsert;

pub(crate) use collections::{create_many, delete_many, read_many, update_many};
pub(crate) use query::{Page, next_page, query, query_all};
pub(crate) use record::{create_one, delete_one, read_one, update_one};
pub(crate) use replication::{deleted, updated};
pub(crate) use upsert::{read_by_value, upsert_many, upsert_one};

use crate::describe;
use crate::http::App;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use org::{Faults, SaveError, Stored, User};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The parts of an address by name.
type Parts = Path<BTreeMap<String, String>>;
/// The fields of a record in a request.
type RawRecord = BTreeMap<String, Box<RawValue>>;

/// An error answer: always a list.
pub(crate) fn refusal(status: StatusCode, code: &str, message: impl Into<String>) -> Response {
    let body = json!([{"message": message.into(), "errorCode": code}]);
    (status, Json(body)).into_response()
}

fn refused(errors: &[SaveError]) -> Response {
    let status = match errors.first().map(|error| error.code.as_ref()) {
        Some("ENTITY_IS_DELETED" | "INVALID_CROSS_REFERENCE_KEY" | "INVALID_TYPE" | "NOT_FOUND") => {
            StatusCode::NOT_FOUND
        }
        Some("UNABLE_TO_LOCK_ROW") => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_REQUEST,
    };
    let list: Vec<Value> = errors
        .iter()
        .map(|error| json!({"message": error.message, "errorCode": error.code, "fields": error.fields}))
        .collect();
    (status, Json(list)).into_response()
}

fn not_found() -> Response {
    refusal(StatusCode::NOT_FOUND, "NOT_FOUND", "The requested resource does not exist")
}

pub(crate) async fn unknown() -> Response {
    not_found()
}

fn not_json() -> Response {
    refusal(StatusCode::BAD_REQUEST, "JSON_PARSER_ERROR", "Unexpected character in the body")
}

pub(crate) async fn versions() -> Json<Value> {
    let version = |number: u32| json!({"label": format!("v{number}"), "url": format!("/services/data/v{number}.0"), "version": format!("{number}.0")});
    Json((50..=66).map(version).collect())
}

pub(crate) async fn resources(Path(parts): Parts) -> Json<Value> {
    let base = format!("/services/data/{}", parts.get("version").map_or("v62.0", String::as_str));
    Json(json!({
        "sobjects": format!("{base}/sobjects"), "query": format!("{base}/query"), "queryAll": format!("{base}/queryAll"),
        "limits": format!("{base}/limits"), "composite": format!("{base}/composite"),
    }))
}

/// The org's limits. Only users with the permission "View Setup and Configuration" may read them.
pub(crate) async fn limits(State(app): State<App>, Extension(user): Extension<User>) -> Response {
    if !user.views_setup {
        let words = "You do not have permission to view the limits of this organization";
        return refusal(StatusCode::FORBIDDEN, "INSUFFICIENT_ACCESS", words);
    }
    let org = app.org.lock().unwrap();
    let left = org.allowance.saturating_sub(org.calls_used());
    Json(json!({"DailyApiRequests": {"Max": org.allowance, "Remaining": left}})).into_response()
}

pub(crate) async fn describe_global(State(app): State<App>) -> Json<Value> {
    let org = app.org.lock().unwrap();
    let objects: Vec<Value> = org.schemas.iter().map(|schema| describe::describe_shortly(schema)).collect();
    Json(json!({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": objects}))
}

pub(crate) async fn describe(State(app): State<App>, Path(parts): Parts) -> Response {
    match app.org.lock().unwrap().schema(&parts["object"]) {
        Some(schema) => Json(describe::describe(schema)).into_response(),
        None => not_found(),
    }
}

/// What an object is, without its fields.
pub(crate) async fn basic_information(State(app): State<App>, Path(parts): Parts) -> Response {
    match app.org.lock().unwrap().schema(&parts["object"]) {
        Some(schema) => {
            Json(json!({"objectDescribe": describe::describe_shortly(schema), "recentItems": []}))
                .into_response()
        }
        None => not_found(),
    }
}

/// The JSON of a record, `attributes` first.
fn record_json(faults: &Faults, object: &str, id: &str, fields: &[(&'static str, Option<Stored>)]) -> String {
    let mut json = format!(
        "{{\"attributes\":{{\"type\":\"{object}\",\"url\":\"/services/data/v62.0/sobjects/{object}/{id}\"}}"
    );
    for (name, value) in fields {
        if faults.left_out.contains(*name) {
            continue;
        }
        if faults.cut.contains(&(id.to_owned(), (*name).to_owned())) {
            json.push_str(&format!(",\"{name}\":\"cut \\ud83d\""));
            continue;
        }
        json.push_str(&format!(",\"{name}\":{}", Stored::json(value.as_ref()).get()));
    }
    json.push('}');
    json
}

fn json_response(status: StatusCode, body: String) -> Response {
    (status, [("content-type", "application/json;charset=UTF-8")], body).into_response()
}

fn fields_of(record: &RawRecord) -> Result<BTreeMap<String, Option<Stored>>, SaveError> {
    let given = record
        .iter()
        .filter(|(name, _)| !name.eq_ignore_ascii_case("attributes") && !name.eq_ignore_ascii_case("id"));
    given
        .map(|(name, raw)| {
            let value = Stored::from_json(raw)
                .map_err(|message| SaveError::new("JSON_PARSER_ERROR", message, &[name]))?;
            Ok((name.clone(), value))
        })
        .collect()
}
