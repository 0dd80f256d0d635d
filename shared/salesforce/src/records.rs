//! The `Salesforce` port over the REST API: scans, collections retrieve, create and update.

use crate::client::Client;
use crate::error::{SalesforceError, is_about_the_definition};
use crate::soql::{RawRow, quoted, scalar, text};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use syncline_engine::{Definition, FieldName, SalesforceId, Value};
use syncline_sync::{
    DeletedRecord, FoundRecord, NewRecord, PortError, ReadAnswer, ReadOutcome, RecordUpdate, RemoteRecord,
    Salesforce, ScanFrom, ScanPage, ScannedRow, WriteAnswer, WriteOutcome,
};

/// Ids of one collections retrieve. Source: Get Multiple Records with Fewer Round-Trips, sObject Collections.
const RETRIEVE_IDS: usize = 2_000;
/// Records of one collections write. Source: the same.
const COLLECTION_RECORDS: usize = 200;
/// Ids in one WHERE clause: with quotes and encoding they stay within the 16,384 bytes of a URI and its headers.
const WHERE_IDS: usize = 350;
/// After a call that took longer nothing is tried at once: an intent's lease has to outlast both.
const QUICK_CALL: Duration = Duration::from_secs(5);
/// Rows of one page of a scan.
const SCAN_ROWS: usize = 2_000;

#[derive(Deserialize)]
struct SaveResult {
    id: Option<String>,
    success: bool,
    #[serde(default)]
    errors: Vec<SaveError>,
}

#[derive(Deserialize)]
struct SaveError {
    #[serde(rename = "statusCode")]
    code: String,
    message: String,
    #[serde(default)]
    fields: Vec<String>,
}

/// The JSON of a value. Numbers keep every digit.
fn json_of(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Boolean(yes) => yes.to_string(),
        // A time of day has no zone, and yet the API asks for this.
        Value::Time(_) => format!("\"{value}Z\""),
        other => serde_json::Value::from(other.text()).to_string(),
    }
}

fn raw(json: String) -> Result<Box<RawValue>, SalesforceError> {
    RawValue::from_string(json).map_err(|error| SalesforceError::Malformed(error.to_string()))
}

/// The body of one record of a collection.
fn record_body(
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

fn moment(text: Option<String>) -> Result<Timestamp, SalesforceError> {
    let text = text.unwrap_or_default();
    let zoned = text.strip_suffix("+0000").map_or_else(|| text.clone(), |bare| format!("{bare}Z"));
    zoned.parse().map_err(|_| SalesforceError::Malformed(format!("SystemModstamp {text:?}")))
}

fn id_of(row: &RawRow) -> Result<SalesforceId, SalesforceError> {
    let id = text(row, "Id").unwrap_or_default();
    SalesforceId::parse(&id).map_err(|error| SalesforceError::Malformed(error.to_string()))
}

fn remote_record(definition: &Definition, row: &RawRow) -> Result<RemoteRecord, SalesforceError> {
    let values = definition.fields.iter().map(|mapping| (mapping.field.clone(), text(row, &mapping.field)));
    Ok(RemoteRecord {
        id: id_of(row)?,
        stamp: moment(text(row, "SystemModstamp"))?,
        marker: definition.marker.as_ref().and_then(|field| text(row, field)),
        external_id: definition.external_id.as_ref().and_then(|field| text(row, field)),
        values: values.collect(),
    })
}

fn outcome(definition: &Definition, result: SaveResult) -> WriteOutcome {
    if result.success
        && let Some(Ok(id)) = result.id.as_deref().map(SalesforceId::parse)
    {
        return WriteOutcome::Written(id);
    }
    let Some(error) = result.errors.into_iter().next() else { return WriteOutcome::Unknown };
    let external_id = definition.external_id.as_deref().unwrap_or_default();
    match error.code.as_str() {
        "UNABLE_TO_LOCK_ROW" | "SERVER_UNAVAILABLE" | "QUERY_TIMEOUT" => {
            WriteOutcome::Busy { message: error.message }
        }
        // A trigger passes on what happened to it.
        _ if error.message.contains("UNABLE_TO_LOCK_ROW") => WriteOutcome::Busy { message: error.message },
        // Our external Id is a random number that nobody else has: the record is there from a try before.
        "DUPLICATE_VALUE"
            if !external_id.is_empty()
                && (error.message.contains(external_id)
                    || error.fields.iter().any(|field| field == external_id)) =>
        {
            WriteOutcome::Unknown
        }
        _ => WriteOutcome::Refused { code: error.code, message: error.message, fields: error.fields },
    }
}

impl Client {
    async fn retrieve(
        &self,
        definition: &Definition,
        ids: &[SalesforceId],
    ) -> Result<ReadAnswer, SalesforceError> {
        let mut fields: Vec<&str> = vec!["Id", "SystemModstamp"];
        fields.extend(definition.fields.iter().map(|mapping| mapping.field.as_str()));
        fields.extend(definition.marker.as_deref());
        fields.extend(definition.external_id.as_deref());
        fields.sort_unstable();
        fields.dedup();
        let path = self.path(&format!("composite/sobjects/{}", definition.object));
        let mut outcomes = Vec::with_capacity(ids.len());
        let mut first_date = None;
        let begun = Instant::now();
        for ids in ids.chunks(RETRIEVE_IDS) {
            let texts: Vec<&str> = ids.iter().map(SalesforceId::as_str).collect();
            let body = serde_json::json!({"ids": texts, "fields": fields}).to_string();
            let answer = self.read(Method::POST, &path, &[], Some(body.as_bytes())).await?;
            // The read began before its answer was stamped.
            let took =
                SignedDuration::from_secs(i64::try_from(begun.elapsed().as_secs() + 1).unwrap_or(i64::MAX));
            first_date.get_or_insert(answer.date - took);
            let rows: Vec<Option<RawRow>> = serde_json::from_slice(&answer.body)
                .map_err(|error| SalesforceError::Malformed(format!("a retrieve's answer: {error}")))?;
            if rows.len() != ids.len() {
                let message = format!("{} records for {} Ids", rows.len(), ids.len());
                return Err(SalesforceError::Malformed(message));
            }
            for row in rows {
                outcomes.push(match row {
                    Some(row) => ReadOutcome::Record(remote_record(definition, &row)?),
                    None => ReadOutcome::Absent,
                });
            }
        }
        let date = first_date.or_else(|| self.last_date()).unwrap_or_else(Timestamp::now);
        Ok(ReadAnswer { outcomes, date })
    }

    async fn read_some(
        &self,
        definition: &Definition,
        ids: &[SalesforceId],
    ) -> Result<ReadAnswer, SalesforceError> {
        let mut answer = self.retrieve(definition, ids).await?;
        self.tell_deleted(definition, ids, &mut answer.outcomes).await?;
        Ok(answer)
    }

    /// Collections answer null for deleted, hidden and invalid alike: `queryAll` tells which.
    async fn tell_deleted(
        &self,
        definition: &Definition,
        ids: &[SalesforceId],
        outcomes: &mut [ReadOutcome],
    ) -> Result<(), SalesforceError> {
        let absent: Vec<usize> =
            (0..ids.len()).filter(|place| outcomes[*place] == ReadOutcome::Absent).collect();
        for places in absent.chunks(WHERE_IDS) {
            let list: Vec<String> = places.iter().map(|place| quoted(ids[*place].as_str())).collect();
            let marker = definition.marker.as_ref().map(|field| format!(", {field}")).unwrap_or_default();
            let master = if definition.mergeable { ", MasterRecordId" } else { "" };
            let soql = format!(
                "SELECT Id, IsDeleted, SystemModstamp{marker}{master} FROM {} WHERE Id IN ({})",
                definition.object,
                list.join(",")
            );
            let (rows, _) = self.query_all(&soql).await?;
            for row in rows {
                let id = id_of(&row)?;
                if text(&row, "IsDeleted").as_deref() != Some("true") {
                    continue;
                }
                let deleted = DeletedRecord {
                    stamp: moment(text(&row, "SystemModstamp"))?,
                    marker: definition.marker.as_ref().and_then(|field| text(&row, field)),
                    master: text(&row, "MasterRecordId").and_then(|id| SalesforceId::parse(&id).ok()),
                };
                for place in places.iter().filter(|place| ids[**place] == id) {
                    outcomes[*place] = ReadOutcome::Deleted(deleted.clone());
                }
            }
        }
        Ok(())
    }

    /// Sends a writing collection, 200 records at a time. An error means that nothing was written; once anything
    /// may have been, every record has an outcome.
    async fn write_collection(
        &self,
        definition: &Definition,
        method: Method,
        records: &[BTreeMap<String, Box<RawValue>>],
    ) -> Result<WriteAnswer, SalesforceError> {
        let after = match self.last_date() {
            Some(date) => date,
            // The first call of all: an answer's clock is needed before the write.
            None => self.read(Method::GET, &self.path("limits"), &[], None).await?.date,
        };
        let mut outcomes: Vec<WriteOutcome> = Vec::with_capacity(records.len());
        let mut date = after;
        // What is refused as a whole is halved until the record that it is about stands alone.
        let mut pending: Vec<&[BTreeMap<String, Box<RawValue>>]> =
            records.chunks(COLLECTION_RECORDS).rev().collect();
        while let Some(records) = pending.pop() {
            let body = collection_body(records)?;
            match self.write(method.clone(), &self.path("composite/sobjects"), &body).await {
                Ok(answer) => {
                    date = answer.date;
                    let results: Vec<SaveResult> = serde_json::from_slice(&answer.body).unwrap_or_default();
                    if results.len() == records.len() {
                        outcomes.extend(results.into_iter().map(|result| outcome(definition, result)));
                    } else {
                        outcomes.extend(records.iter().map(|_| WriteOutcome::Unknown));
                    }
                }
                Err(SalesforceError::Unanswered { .. }) => {
                    outcomes.extend(records.iter().map(|_| WriteOutcome::Unknown));
                }
                Err(SalesforceError::Refused { code, message }) if !is_about_the_definition(&code) => {
                    if records.len() > 1 {
                        let (one, other) = records.split_at(records.len() / 2);
                        pending.extend([other, one]);
                    } else {
                        outcomes.push(WriteOutcome::Refused { code, message, fields: vec![] });
                    }
                }
                Err(error) if outcomes.is_empty() => return Err(error),
                Err(error) => {
                    let busy = WriteOutcome::Busy { message: error.to_string() };
                    outcomes.extend(records.iter().map(|_| busy.clone()));
                }
            }
        }
        Ok(WriteAnswer { outcomes, after, date })
    }

    /// Deletes records, 200 at a time; each has an outcome of its own. An error means that nothing was deleted.
    async fn deleted(
        &self,
        definition: &Definition,
        ids: &[SalesforceId],
    ) -> Result<WriteAnswer, SalesforceError> {
        let after = match self.last_date() {
            Some(date) => date,
            None => self.read(Method::GET, &self.path("limits"), &[], None).await?.date,
        };
        let mut date = after;
        let mut outcomes = Vec::with_capacity(ids.len());
        for ids in ids.chunks(COLLECTION_RECORDS) {
            let list: Vec<&str> = ids.iter().map(SalesforceId::as_str).collect();
            let list = list.join(",");
            let query = [("ids", list.as_str()), ("allOrNone", "false")];
            match self.remove(&self.path("composite/sobjects"), &query).await {
                Ok(answer) => {
                    date = answer.date;
                    let results: Vec<SaveResult> = serde_json::from_slice(&answer.body).unwrap_or_default();
                    if results.len() == ids.len() {
                        outcomes.extend(results.into_iter().map(|result| outcome(definition, result)));
                    } else {
                        outcomes.extend(ids.iter().map(|_| WriteOutcome::Unknown));
                    }
                }
                Err(SalesforceError::Unanswered { .. }) => {
                    outcomes.extend(ids.iter().map(|_| WriteOutcome::Unknown));
                }
                Err(error) if outcomes.is_empty() => return Err(error),
                Err(error) => {
                    let busy = WriteOutcome::Busy { message: error.to_string() };
                    outcomes.extend(ids.iter().map(|_| busy.clone()));
                }
            }
        }
        Ok(WriteAnswer { outcomes, after, date })
    }

    async fn created(
        &self,
        definition: &Definition,
        records: &[NewRecord],
    ) -> Result<WriteAnswer, SalesforceError> {
        let bodies = records
            .iter()
            .map(|record| {
                record_body(definition, None, Some(&record.external_id), &record.marker, &record.fields)
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.write_collection(definition, Method::POST, &bodies).await
    }

    async fn updated(
        &self,
        definition: &Definition,
        records: &[RecordUpdate],
    ) -> Result<WriteAnswer, SalesforceError> {
        let bodies = records
            .iter()
            .map(|record| record_body(definition, Some(&record.id), None, &record.marker, &record.fields))
            .collect::<Result<Vec<_>, _>>()?;
        let begun = Instant::now();
        let mut answer = self.write_collection(definition, Method::PATCH, &bodies).await?;
        // A locked row is worth one more try at once, unless the call took long already: locks of other saves last
        // moments.
        let busy: Vec<usize> = (0..answer.outcomes.len())
            .filter(|place| matches!(answer.outcomes[*place], WriteOutcome::Busy { .. }))
            .collect();
        if !busy.is_empty() && begun.elapsed() < QUICK_CALL {
            let again: Vec<_> = busy.iter().map(|place| bodies[*place].clone()).collect();
            if let Ok(second) = self.write_collection(definition, Method::PATCH, &again).await {
                for (place, outcome) in busy.into_iter().zip(second.outcomes) {
                    answer.outcomes[place] = outcome;
                }
                answer.date = answer.date.max(second.date);
            }
        }
        Ok(answer)
    }
}

fn collection_body(records: &[BTreeMap<String, Box<RawValue>>]) -> Result<Vec<u8>, SalesforceError> {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        #[serde(rename = "allOrNone")]
        all_or_none: bool,
        records: &'a [BTreeMap<String, Box<RawValue>>],
    }
    serde_json::to_vec(&Body { all_or_none: false, records })
        .map_err(|error| SalesforceError::Malformed(error.to_string()))
}

impl Salesforce for Client {
    async fn scan(&self, object: &str, from: ScanFrom) -> Result<ScanPage, PortError> {
        let (condition, order) = match from {
            ScanFrom::Id(None) => (String::new(), "Id"),
            ScanFrom::Id(Some(id)) => (format!(" WHERE Id > {}", quoted(id.as_str())), "Id"),
            ScanFrom::Stamp { stamp, id } => {
                let stamp = stamp.strftime("%Y-%m-%dT%H:%M:%SZ");
                let ties =
                    id.map(|id| format!(" OR (SystemModstamp = {stamp} AND Id > {})", quoted(id.as_str())));
                let condition = match ties {
                    Some(ties) => format!(" WHERE SystemModstamp > {stamp}{ties}"),
                    None => format!(" WHERE SystemModstamp >= {stamp}"),
                };
                (condition, "SystemModstamp, Id")
            }
        };
        let soql = format!(
            "SELECT Id, SystemModstamp, IsDeleted FROM {object}{condition} ORDER BY {order} LIMIT {SCAN_ROWS}"
        );
        let (rows, date) = self.query_all(&soql).await?;
        let last = rows.len() < SCAN_ROWS;
        let rows = rows
            .iter()
            .map(|row| {
                Ok(ScannedRow {
                    id: id_of(row)?,
                    stamp: moment(text(row, "SystemModstamp"))?,
                    deleted: row.get("IsDeleted").and_then(|raw| scalar(raw)).as_deref() == Some("true"),
                })
            })
            .collect::<Result<_, SalesforceError>>()?;
        Ok(ScanPage { rows, date, last })
    }

    async fn read(&self, definition: &Definition, ids: &[SalesforceId]) -> Result<ReadAnswer, PortError> {
        // What is refused as a whole is halved until the Id that it is about stands alone: such an Id is nowhere.
        let mut pending: Vec<&[SalesforceId]> = vec![ids];
        let mut whole: Option<ReadAnswer> = None;
        while let Some(ids) = pending.pop() {
            let answer = match self.read_some(definition, ids).await {
                Err(SalesforceError::Refused { code, .. })
                    if !is_about_the_definition(&code) && ids.len() > 1 =>
                {
                    let (one, other) = ids.split_at(ids.len() / 2);
                    pending.extend([other, one]);
                    continue;
                }
                Err(SalesforceError::Refused { code, .. }) if !is_about_the_definition(&code) => ReadAnswer {
                    outcomes: vec![ReadOutcome::Absent; ids.len()],
                    date: self.last_date().unwrap_or_else(Timestamp::now),
                },
                other => other?,
            };
            match &mut whole {
                Some(whole) => whole.outcomes.extend(answer.outcomes),
                None => whole = Some(answer),
            }
        }
        let nothing = ReadAnswer { outcomes: vec![], date: self.last_date().unwrap_or_else(Timestamp::now) };
        Ok(whole.unwrap_or(nothing))
    }

    async fn find(
        &self,
        definition: &Definition,
        external_ids: &[String],
    ) -> Result<Vec<Option<FoundRecord>>, PortError> {
        let Some(field) = &definition.external_id else { return Ok(vec![None; external_ids.len()]) };
        let mut found: BTreeMap<String, FoundRecord> = BTreeMap::new();
        for chunk in external_ids.chunks(100) {
            let list: Vec<String> = chunk.iter().map(|external_id| quoted(external_id)).collect();
            let soql = format!(
                "SELECT Id, IsDeleted, {field} FROM {} WHERE {field} IN ({})",
                definition.object,
                list.join(",")
            );
            for row in self.query_all(&soql).await?.0 {
                let deleted = text(&row, "IsDeleted").as_deref() == Some("true");
                if let Some(external_id) = text(&row, field) {
                    found.insert(external_id, FoundRecord { id: id_of(&row)?, deleted });
                }
            }
        }
        Ok(external_ids.iter().map(|external_id| found.get(external_id).cloned()).collect())
    }

    async fn create(&self, definition: &Definition, records: &[NewRecord]) -> Result<WriteAnswer, PortError> {
        Ok(self.created(definition, records).await?)
    }

    async fn update(
        &self,
        definition: &Definition,
        records: &[RecordUpdate],
    ) -> Result<WriteAnswer, PortError> {
        Ok(self.updated(definition, records).await?)
    }

    async fn delete(&self, definition: &Definition, ids: &[SalesforceId]) -> Result<WriteAnswer, PortError> {
        Ok(self.deleted(definition, ids).await?)
    }

    async fn probe(&self) -> Result<(), PortError> {
        Ok(self.probed().await?)
    }

    fn take_usage(&self) -> (u64, Option<u64>) {
        let usage = self.usage();
        (self.take_calls(), (usage.allowed > 0).then_some(usage.allowed))
    }
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
