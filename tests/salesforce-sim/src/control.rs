//! `/sim/…`: what a test or a person sets and asks, outside of what Salesforce has.

use crate::http::App;

use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::{SignedDuration, Timestamp};
use org::{Automation, Fault, OutboundMessage, ValidationRule};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/status", get(status))
        .route("/history", get(history))
        .route("/calls", get(calls))
        .route("/faults", post(faults))
        .route("/automations", post(automations))
        .route("/validation-rules", post(rules))
        .route("/outbound-messages", post(messages))
        .route("/outbox", post(outbox))
        .route("/clock", post(clock))
        .route("/visibility", post(visibility))
        .route("/hidden", post(hidden))
        .route("/undelete/{object}/{id}", post(undelete))
        .route("/purge/{object}/{id}", post(purge))
        .route("/merge/{object}/{id}", post(merge))
}

async fn status(State(app): State<App>) -> Json<Value> {
    let org = app.org.lock().unwrap();
    let records: serde_json::Map<String, Value> =
        org.records.iter().map(|(object, records)| ((*object).to_owned(), records.len().into())).collect();
    Json(json!({
        "organization_id": org.organization_id, "now": org.now().to_string(), "records": records,
        "messages_waiting": org.outbox.waiting(), "messages_acknowledged": org.outbox.acknowledged,
        "messages_refused": org.outbox.refused, "faults": org.faults,
    }))
}

#[derive(Deserialize)]
struct From {
    #[serde(default)]
    from: usize,
}

async fn history(State(app): State<App>, Query(from): Query<From>) -> Json<Value> {
    let org = app.org.lock().unwrap();
    Json(json!(org.history.get(from.from..).unwrap_or_default()))
}

async fn calls(State(app): State<App>) -> Json<Value> {
    let org = app.org.lock().unwrap();
    let calls: Vec<Value> = org
        .calls
        .iter()
        .map(|(call, count)| json!({"client": call.client, "kind": call.kind, "count": count}))
        .collect();
    Json(json!(calls))
}

async fn faults(State(app): State<App>, Json(fault): Json<Fault>) -> Response {
    let mut org = app.org.lock().unwrap();
    match fault.fault.as_str() {
        "lock-row" => org.faults.lock_row = fault.count,
        "request-limit" => org.faults.request_limit = fault.count,
        "unavailable" => org.faults.unavailable = fault.count,
        "answer-lost" => org.faults.answer_lost = fault.count,
        "expired-session" => app.tokens.lock().unwrap().living.clear(),
        "slow" => {
            org.faults.slow = fault.count;
            org.faults.delay_ms = fault.delay_ms;
        }
        other => {
            let known = "lock-row, request-limit, unavailable, answer-lost, expired-session, slow";
            return (StatusCode::BAD_REQUEST, format!("no fault is called {other:?}; there are {known}\n"))
                .into_response();
        }
    }
    StatusCode::NO_CONTENT.into_response()
}

async fn automations(State(app): State<App>, Json(automations): Json<Vec<Automation>>) -> StatusCode {
    app.org.lock().unwrap().automations = automations;
    StatusCode::NO_CONTENT
}

async fn rules(State(app): State<App>, Json(rules): Json<Vec<ValidationRule>>) -> StatusCode {
    app.org.lock().unwrap().rules = rules;
    StatusCode::NO_CONTENT
}

async fn messages(State(app): State<App>, Json(messages): Json<Vec<OutboundMessage>>) -> StatusCode {
    app.org.lock().unwrap().outbox.messages = messages;
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct OutboxSettings {
    #[serde(default)]
    duplicate_every: u64,
    #[serde(default)]
    delay_ms: i64,
}

async fn outbox(State(app): State<App>, Json(settings): Json<OutboxSettings>) -> StatusCode {
    let mut org = app.org.lock().unwrap();
    org.outbox.duplicate_every = settings.duplicate_every;
    org.outbox.delay = SignedDuration::from_millis(settings.delay_ms);
    StatusCode::NO_CONTENT
}

#[derive(Deserialize)]
struct Clock {
    now: Option<Timestamp>,
    advance_ms: Option<i64>,
}

async fn clock(State(app): State<App>, Json(clock): Json<Clock>) -> Json<Value> {
    let mut org = app.org.lock().unwrap();
    let now =
        clock.now.unwrap_or_else(|| org.now()) + SignedDuration::from_millis(clock.advance_ms.unwrap_or(0));
    org.set_clock(now);
    Json(json!({"now": org.now().to_string()}))
}

#[derive(Deserialize)]
struct Visibility {
    late_ms: i64,
}

/// A list of Ids that sharing hides from the user `syncline`; every other one is shown again.
async fn hidden(State(app): State<App>, Json(ids): Json<Vec<String>>) -> StatusCode {
    app.org.lock().unwrap().hidden = ids.into_iter().collect();
    StatusCode::NO_CONTENT
}

async fn undelete(State(app): State<App>, Path((object, id)): Path<(String, String)>) -> Response {
    let mut org = app.org.lock().unwrap();
    let user = org.users[1].clone();
    match org.undelete(&object, &id, &user) {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(errors) => (StatusCode::BAD_REQUEST, Json(json!(errors))).into_response(),
    }
}

async fn purge(State(app): State<App>, Path((object, id)): Path<(String, String)>) -> StatusCode {
    if app.org.lock().unwrap().purge(&object, &id) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

/// Merges the records of these Ids into the one of the address.
async fn merge(
    State(app): State<App>,
    Path((object, id)): Path<(String, String)>,
    Json(others): Json<Vec<String>>,
) -> Response {
    let mut org = app.org.lock().unwrap();
    let user = org.users[1].clone();
    match org.merge(&object, &id, &others, &user) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(errors) => (StatusCode::BAD_REQUEST, Json(json!(errors))).into_response(),
    }
}

async fn visibility(State(app): State<App>, Json(visibility): Json<Visibility>) -> StatusCode {
    app.org.lock().unwrap().late_visibility = SignedDuration::from_millis(visibility.late_ms);
    StatusCode::NO_CONTENT
}
