//! getUpdated and getDeleted.

use super::{Parts, not_found, refusal};
use crate::http::App;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use org::{Record, User, moment};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
pub(crate) struct Between {
    start: String,
    end: String,
}

/// A moment of getUpdated or getDeleted, whose seconds are ignored.
fn minute(text: &str) -> Option<jiff::Timestamp> {
    // An unencoded plus sign arrives as a blank.
    let at: jiff::Timestamp = text.replace(' ', "+").parse().ok()?;
    jiff::Timestamp::from_second(at.as_second() / 60 * 60).ok()
}

/// Ids that changed, or were deleted, between two moments.
fn replicated(app: &App, object: &str, user: &User, between: &Between, deleted: bool) -> Response {
    let org = app.org.lock().unwrap();
    let Some(schema) = org.schema(object) else { return not_found() };
    let (Some(start), Some(end)) = (minute(&between.start), minute(&between.end)) else {
        return refusal(
            StatusCode::BAD_REQUEST,
            "INVALID_REPLICATION_DATE",
            "start and end have to be moments",
        );
    };
    if end.duration_since(start).as_secs() < 60 {
        let message = "endDate must be at least one minute greater than the startDate";
        return refusal(StatusCode::BAD_REQUEST, "INVALID_REPLICATION_DATE", message);
    }
    let covered = moment(end.min(org.now()));
    let within =
        |record: &Record| record.deleted == deleted && record.changed_at >= start && record.changed_at < end;
    let records = org.records.get(schema.name).into_iter().flatten();
    let found = records.filter(|(id, record)| within(record) && !org.hides(id, user));
    if deleted {
        let list: Vec<Value> =
            found.map(|(id, record)| json!({"id": id, "deletedDate": moment(record.changed_at)})).collect();
        let earliest = moment(org.now() - jiff::SignedDuration::from_hours(15 * 24));
        return Json(
            json!({"deletedRecords": list, "earliestDateAvailable": earliest, "latestDateCovered": covered}),
        )
        .into_response();
    }
    let ids: Vec<&String> = found.map(|(id, _)| id).collect();
    Json(json!({"ids": ids, "latestDateCovered": covered})).into_response()
}

pub(crate) async fn updated(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Path(parts): Parts,
    Query(between): Query<Between>,
) -> Response {
    replicated(&app, &parts["object"], &user, &between, false)
}

pub(crate) async fn deleted(
    State(app): State<App>,
    Extension(user): Extension<User>,
    Path(parts): Parts,
    Query(between): Query<Between>,
) -> Response {
    replicated(&app, &parts["object"], &user, &between, true)
}
