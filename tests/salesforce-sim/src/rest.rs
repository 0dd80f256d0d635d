//! The REST API: describe, records, queries, collections, limits.

use crate::http::App;
use crate::org::{Org, SaveError, User};
use crate::soql;
use crate::stored::Stored;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Records of one page.
const PAGE: usize = 2_000;
/// Records in one collection.
const COLLECTION: usize = 200;

type Parts = Path<BTreeMap<String, String>>;
type RawRecord = BTreeMap<String, Box<RawValue>>;

/// Rows of a query that wait for the next page.
pub(crate) struct Page {
    rows: Vec<String>,
    total: usize,
    size: usize,
}

/// An error answer: always a list.
pub(crate) fn refusal(status: StatusCode, code: &str, message: impl Into<String>) -> Response {
    let body = json!([{"message": message.into(), "errorCode": code}]);
    (status, Json(body)).into_response()
}

fn refused(errors: &[SaveError]) -> Response {
    let status = match errors.first().map(|error| error.code) {
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

pub(crate) async fn limits(State(app): State<App>) -> Json<Value> {
    let org = app.org.lock().unwrap();
    let left = org.allowance.saturating_sub(org.calls_used());
    Json(json!({"DailyApiRequests": {"Max": org.allowance, "Remaining": left}}))
}

pub(crate) async fn describe_global(State(app): State<App>) -> Json<Value> {
    let org = app.org.lock().unwrap();
    let objects: Vec<Value> = org.schemas.iter().map(crate::ObjectSchema::describe_shortly).collect();
    Json(json!({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": objects}))
}

pub(crate) async fn describe(State(app): State<App>, Path(parts): Parts) -> Response {
    match app.org.lock().unwrap().schema(&parts["object"]) {
        Some(schema) => Json(schema.describe()).into_response(),
        None => not_found(),
    }
}

/// The JSON of a record, `attributes` first.
fn record_json(object: &str, id: &str, fields: &[(&'static str, Option<Stored>)]) -> String {
    let mut json = format!(
        "{{\"attributes\":{{\"type\":\"{object}\",\"url\":\"/services/data/v62.0/sobjects/{object}/{id}\"}}"
    );
    for (name, value) in fields {
        json.push_str(&format!(",\"{name}\":{}", Stored::json(value.as_ref()).get()));
    }
    json.push('}');
    json
}

fn json_response(status: StatusCode, body: String) -> Response {
    (status, [("content-type", "application/json;charset=UTF-8")], body).into_response()
}

#[derive(Deserialize)]
pub(crate) struct Asked {
    q: Option<String>,
    fields: Option<String>,
    ids: Option<String>,
    #[serde(rename = "allOrNone")]
    all_or_none: Option<bool>,
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
    let (query, rows) = {
        let org = app.org.lock().unwrap();
        let query = match soql::parse(text) {
            Ok(query) => query,
            Err((code, message)) => return refusal(StatusCode::BAD_REQUEST, code, message),
        };
        match query.run(&org, user, deleted_too) {
            Ok(rows) => (query, rows),
            Err((code, message)) => return refusal(StatusCode::BAD_REQUEST, code, message),
        }
    };
    if query.count {
        return Json(json!({"totalSize": rows.len(), "done": true, "records": []})).into_response();
    }
    let rows: Vec<String> = rows.iter().map(|(id, row)| record_json(&query.object, id, row)).collect();
    let total = rows.len();
    answer_page(app, Page { rows, total, size })
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
    json_response(StatusCode::OK, record_json(schema.name, &parts["id"], &fields))
}

fn not_json() -> Response {
    refusal(StatusCode::BAD_REQUEST, "JSON_PARSER_ERROR", "Unexpected character in the body")
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

#[derive(Deserialize)]
struct Collection {
    records: Vec<RawRecord>,
    #[serde(rename = "allOrNone", default)]
    all_or_none: bool,
}

fn outcome(result: &Result<String, Vec<SaveError>>) -> Value {
    match result {
        Ok(id) => json!({"id": id, "success": true, "errors": []}),
        Err(errors) => json!({"success": false, "errors": errors}),
    }
}

/// Saves the records of a collection one by one, or, with allOrNone, all or none.
fn save_all<T>(
    org: &mut Org,
    items: &[T],
    all_or_none: bool,
    save: impl Fn(&mut Org, &T) -> Result<String, Vec<SaveError>>,
) -> Response {
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

fn too_many(count: usize) -> Option<Response> {
    match count {
        0 => {
            Some(refusal(StatusCode::BAD_REQUEST, "REQUIRED_FIELD_MISSING", "At least 1 record is required"))
        }
        count if count > COLLECTION => {
            let message =
                format!("record limit reached. cannot submit more than {COLLECTION} records into this call");
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
    body: Bytes,
) -> Response {
    let Ok(collection) = serde_json::from_slice::<Collection>(&body) else { return not_json() };
    if let Some(refusal) = too_many(collection.records.len()) {
        return refusal;
    }
    let mut org = app.org.lock().unwrap();
    save_all(&mut org, &collection.records, collection.all_or_none, |org, record| {
        let object = type_of(record)
            .ok_or_else(|| vec![SaveError::new("JSON_PARSER_ERROR", "Missing sObject attributes", &[])])?;
        let fields = fields_of(record).map_err(|error| vec![error])?;
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
    if wanted.ids.len() > PAGE {
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
                    record_json(schema.name, id, &values)
                }
            }
        })
        .collect();
    json_response(StatusCode::OK, format!("[{}]", records.join(",")))
}

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
    let covered = crate::org::moment(end.min(org.now()));
    let within = |record: &crate::org::Record| {
        record.deleted == deleted && record.changed_at >= start && record.changed_at < end
    };
    let records = org.records.get(schema.name).into_iter().flatten();
    let found = records.filter(|(id, record)| within(record) && !org.hides(id, user));
    if deleted {
        let list: Vec<Value> = found
            .map(|(id, record)| json!({"id": id, "deletedDate": crate::org::moment(record.changed_at)}))
            .collect();
        let earliest = crate::org::moment(org.now() - jiff::SignedDuration::from_hours(15 * 24));
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

/// What an object is, without its fields.
pub(crate) async fn basic_information(State(app): State<App>, Path(parts): Parts) -> Response {
    match app.org.lock().unwrap().schema(&parts["object"]) {
        Some(schema) => {
            Json(json!({"objectDescribe": schema.describe_shortly(), "recentItems": []})).into_response()
        }
        None => not_found(),
    }
}

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
    json_response(StatusCode::OK, record_json(schema.name, id, &fields))
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
