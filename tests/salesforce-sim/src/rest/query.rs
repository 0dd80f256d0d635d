//! Queries, page by page.

use super::{Parts, json_response, record_json, refusal};
use crate::http::App;
use crate::soql;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use org::{Org, User};
use serde::Deserialize;
use serde_json::json;

/// The most records on one page.
const PAGE: usize = 2_000;

/// Rows of a query that wait for the next page.
pub(crate) struct Page {
    rows: Vec<String>,
    total: usize,
    size: usize,
}

#[derive(Deserialize)]
pub(crate) struct Asked {
    q: Option<String>,
}

pub(crate) async fn query(
    State(app): State<App>,
    Extension(user): Extension<User>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Response {
    run_query(&app, &user, page_size(&headers), asked.q.as_deref().unwrap_or_default(), false)
}

pub(crate) async fn query_all(
    State(app): State<App>,
    Extension(user): Extension<User>,
    headers: HeaderMap,
    Query(asked): Query<Asked>,
) -> Response {
    run_query(&app, &user, page_size(&headers), asked.q.as_deref().unwrap_or_default(), true)
}

/// `Sforce-Query-Options: batchSize=200`, from 200 to 2,000.
fn page_size(headers: &HeaderMap) -> usize {
    let options =
        headers.get("Sforce-Query-Options").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let wanted =
        options.split([',', ' ']).find_map(|option| option.trim().strip_prefix("batchSize=")?.parse().ok());
    wanted.unwrap_or(PAGE).clamp(200, PAGE)
}

fn run_query(app: &App, user: &User, size: usize, text: &str, deleted_too: bool) -> Response {
    let (query, rows, faults) = {
        let org = app.org.lock().unwrap();
        let query = match soql::parse(text) {
            Ok(query) => query,
            Err((code, message)) => return refusal(StatusCode::BAD_REQUEST, code, message),
        };
        if query.object == "FieldDefinition" {
            return field_definitions(&org, &query);
        }
        match query.run(&org, user, deleted_too) {
            Ok(rows) => (query, rows, org.faults.clone()),
            Err((code, message)) => return refusal(StatusCode::BAD_REQUEST, code, message),
        }
    };
    if query.count {
        return Json(json!({"totalSize": rows.len(), "done": true, "records": []})).into_response();
    }
    let rows: Vec<String> =
        rows.iter().map(|(id, row)| record_json(&faults, &query.object, id, row)).collect();
    let total = rows.len();
    answer_page(app, Page { rows, total, size })
}

/// The fields of an object with their durable Ids. Which users may read them is not known; here all may.
fn field_definitions(org: &Org, query: &soql::Query) -> Response {
    let object = query.compared("EntityDefinition.QualifiedApiName").unwrap_or_default();
    let Some(schema) = org.schema(object) else {
        return Json(json!({"totalSize": 0, "done": true, "records": []})).into_response();
    };
    let ids = org.field_ids(object);
    let durable = |name: &str| ids.get(name).map_or_else(|| name.to_owned(), |id| format!("{id}AAA"));
    let records: Vec<serde_json::Value> = schema
        .fields
        .iter()
        .map(|field| {
            json!({"attributes": {"type": "FieldDefinition"}, "QualifiedApiName": field.name,
                   "DurableId": format!("{object}.{}", durable(field.name))})
        })
        .collect();
    Json(json!({"totalSize": records.len(), "done": true, "records": records})).into_response()
}

fn answer_page(app: &App, mut page: Page) -> Response {
    let rest = page.rows.split_off(page.rows.len().min(page.size));
    let mut body = format!("{{\"totalSize\":{},\"done\":{}", page.total, rest.is_empty());
    if !rest.is_empty() {
        let mut pages = app.pages.lock().unwrap();
        let locator = format!("01g5e{:010}AAA-{}", pages.len() + 1, page.total - rest.len());
        body.push_str(&format!(",\"nextRecordsUrl\":\"/services/data/v62.0/query/{locator}\""));
        pages.insert(locator, Page { rows: rest, total: page.total, size: page.size });
    }
    body.push_str(&format!(",\"records\":[{}]}}", page.rows.join(",")));
    json_response(StatusCode::OK, body)
}

pub(crate) async fn next_page(State(app): State<App>, Path(parts): Parts) -> Response {
    let page = app.pages.lock().unwrap().remove(&parts["locator"]);
    match page {
        Some(page) => answer_page(&app, page),
        None => refusal(StatusCode::BAD_REQUEST, "INVALID_QUERY_LOCATOR", "invalid query locator"),
    }
}
