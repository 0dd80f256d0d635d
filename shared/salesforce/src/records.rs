//! The `Salesforce` port of `syncline-sync` on the REST API: scans, and collections that read, create, update
//! and delete records.

use crate::client::{Answer, Client};
use crate::error::SalesforceError;
use crate::json::{SaveResult, id_of, moment, outcome, record_body, remote_record};
use crate::soql::{RawRow, quoted, text};
use jiff::{SignedDuration, Timestamp};
use reqwest::Method;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use syncline_engine::{Definition, SalesforceId};
use syncline_sync::{
    CallUsage, Concern, DeletedRecord, FoundRecord, NewRecord, PortError, ReadAnswer, ReadOutcome,
    RecordUpdate, Salesforce, ScanFrom, ScanPage, ScannedRow, WriteAnswer, WriteOutcome,
};

/// The most Ids in one call that reads a collection. Source: Get Multiple Records with Fewer Round-Trips,
/// sObject Collections.
const RETRIEVE_IDS: usize = 2_000;
/// The most records in one call that writes a collection. Source: the same.
pub(crate) const COLLECTION_RECORDS: usize = 200;
/// The most Ids in one WHERE clause. With their quotes and encoding, these Ids keep the URI and the headers
/// of the call within Salesforce's limit of 16,384 bytes.
const WHERE_IDS: usize = 350;
/// Records that were busy are tried again at once only if the first call took less than this. Both calls have
/// to end before the lease of the intent does.
const QUICK_CALL: Duration = Duration::from_secs(5);
/// The most rows on one page of a scan.
const SCAN_ROWS: usize = 2_000;

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
            // The read began before Salesforce dated its answer. So the time that the call took is
            // subtracted.
            let took =
                SignedDuration::from_secs(i64::try_from(begun.elapsed().as_secs() + 1).unwrap_or(i64::MAX));
            first_date.get_or_insert(answer.date - took);
            let rows: Vec<Option<RawRow>> = serde_json::from_slice(&answer.body)
                .map_err(|error| SalesforceError::Malformed(format!("read of a collection: {error}")))?;
            if rows.len() != ids.len() {
                let message = format!("read of a collection: {} records for {} Ids", rows.len(), ids.len());
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

    /// Finds out which of the absent records are in the recycle bin. A collection answers null for a deleted
    /// record, for a hidden record and for an Id that does not exist. `queryAll` tells which of them are
    /// deleted.
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
            let list = list.join(",");
            let soql = |is_deleted: &str| {
                format!(
                    "SELECT Id, SystemModstamp{is_deleted}{marker}{master} FROM {} WHERE Id IN ({list})",
                    definition.object
                )
            };
            let (rows, _) = self.query_deleted_too(&definition.object, soql).await?;
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

    /// Writes records or deletes them, up to 200 in one call. An error means that nothing was written. Once a record may
    /// have been written, the answer has an outcome for every record.
    ///
    /// If a call is refused because of one of its records, the records are halved until that record is alone. If Apex code
    /// in Salesforce met a limit, the records that it refused are sent again in smaller calls, as long as there is time;
    /// the rest is answered as busy.
    async fn write_collection(
        &self,
        definition: &Definition,
        collection: Collection<'_>,
    ) -> Result<WriteAnswer, SalesforceError> {
        let after = match self.last_date() {
            Some(date) => date,
            // This is the client's first call. The time of an answer before the write is needed, so ask for
            // one.
            None => self.read(Method::GET, &self.version_path(), &[], None).await?.date,
        };
        let begun = Instant::now();
        let mut sent = Sent { outcomes: vec![None; collection.len()], date: after, calls: 0 };
        let mut pending: Vec<Vec<usize>> = vec![(0..collection.len()).collect()];
        while let Some(mut places) = pending.pop() {
            let size = self.batch_size(&definition.object);
            if places.len() > size {
                pending.push(places.split_off(size));
            }
            if sent.calls > 0 && begun.elapsed() > QUICK_CALL {
                sent.busy(&places, "Salesforce took long, so this record is sent with a later call");
                continue;
            }
            sent.calls += 1;
            match self.send(&collection.pick(&places)).await {
                Ok(answer) => {
                    sent.date = answer.date;
                    let results: Vec<SaveResult> = serde_json::from_slice(&answer.body).unwrap_or_default();
                    let too_large = sent.take_in(definition, &places, results);
                    self.note_batch(&definition.object, places.len(), !too_large.is_empty());
                    pending.extend((!too_large.is_empty()).then_some(too_large));
                }
                Err(SalesforceError::Unanswered { .. }) => sent.unknown(&places),
                Err(error) if error.is_about_a_record() && places.len() > 1 => {
                    if begun.elapsed() > QUICK_CALL {
                        // There is no time to halve further. The next calls are smaller, so that they find the record.
                        self.note_batch(&definition.object, places.len(), true);
                    }
                    let other = places.split_off(places.len() / 2);
                    pending.extend([other, places]);
                }
                Err(error) if error.is_about_the_size() && places.len() > 1 => {
                    self.note_batch(&definition.object, places.len(), true);
                    pending.push(places);
                }
                Err(SalesforceError::Refused { code, message })
                    if matches!(Concern::of_call(&code, &message), Concern::Record | Concern::Size) =>
                {
                    for place in places {
                        let (code, message) = (code.clone(), message.clone());
                        sent.outcomes[place] = Some(WriteOutcome::Refused { code, message, fields: vec![] });
                    }
                }
                Err(error) if !sent.has_begun() => return Err(error),
                Err(error) => sent.busy(&places, &error.to_string()),
            }
        }
        let outcomes = sent.outcomes.into_iter().map(|outcome| outcome.unwrap_or(WriteOutcome::Unknown));
        Ok(WriteAnswer { outcomes: outcomes.collect(), after, date: sent.date })
    }

    async fn send(&self, collection: &Collection<'_>) -> Result<Answer, SalesforceError> {
        let path = self.path("composite/sobjects");
        match collection {
            Collection::Save(method, records) => {
                self.write(method.clone(), &path, &collection_body(records)?).await
            }
            Collection::Delete(ids) => {
                let list: Vec<&str> = ids.iter().map(|id| id.as_str()).collect();
                self.remove(&path, &[("ids", list.join(",").as_str()), ("allOrNone", "false")]).await
            }
        }
    }

    async fn create_records(
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
        self.write_collection(definition, Collection::Save(Method::POST, bodies.iter().collect())).await
    }

    async fn update_records(
        &self,
        definition: &Definition,
        records: &[RecordUpdate],
    ) -> Result<WriteAnswer, SalesforceError> {
        let bodies = records
            .iter()
            .map(|record| record_body(definition, Some(&record.id), None, &record.marker, &record.fields))
            .collect::<Result<Vec<_>, _>>()?;
        let begun = Instant::now();
        let mut answer = self
            .write_collection(definition, Collection::Save(Method::PATCH, bodies.iter().collect()))
            .await?;
        // Records that were locked are tried once more at once, because other saves hold their locks only for
        // a short time. After a slow call there is not enough time left.
        let busy: Vec<usize> = (0..answer.outcomes.len())
            .filter(|place| matches!(answer.outcomes[*place], WriteOutcome::Busy { .. }))
            .collect();
        if !busy.is_empty() && begun.elapsed() < QUICK_CALL {
            let again = busy.iter().map(|place| &bodies[*place]).collect();
            let again = Collection::Save(Method::PATCH, again);
            if let Ok(second) = self.write_collection(definition, again).await {
                for (place, outcome) in busy.into_iter().zip(second.outcomes) {
                    answer.outcomes[place] = outcome;
                }
                answer.date = answer.date.max(second.date);
            }
        }
        Ok(answer)
    }
}

/// The JSON of one record of a collection.
type RecordBody = BTreeMap<String, Box<RawValue>>;

/// What one call of the sObject Collections resource writes.
#[derive(Clone)]
enum Collection<'a> {
    /// Records to create (POST) or to update (PATCH).
    Save(Method, Vec<&'a RecordBody>),
    /// Records to delete.
    Delete(Vec<&'a SalesforceId>),
}

impl Collection<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Save(_, records) => records.len(),
            Self::Delete(ids) => ids.len(),
        }
    }

    /// Some of the records.
    fn pick(&self, places: &[usize]) -> Self {
        match self {
            Self::Save(method, records) => {
                Self::Save(method.clone(), places.iter().map(|place| records[*place]).collect())
            }
            Self::Delete(ids) => Self::Delete(places.iter().map(|place| ids[*place]).collect()),
        }
    }
}

/// What became of the records of a collection so far.
struct Sent {
    /// One for each record; absent as long as nothing is known of it.
    outcomes: Vec<Option<WriteOutcome>>,
    /// The `Date` of the last answer.
    date: Timestamp,
    /// How many calls were made.
    calls: usize,
}

impl Sent {
    /// True once a record may have been written.
    fn has_begun(&self) -> bool {
        self.outcomes.iter().any(Option::is_some)
    }

    /// Takes in the results of one call. Answers the records that succeed in a smaller call: Apex code met a limit.
    fn take_in(&mut self, definition: &Definition, places: &[usize], results: Vec<SaveResult>) -> Vec<usize> {
        if results.len() != places.len() {
            self.unknown(places);
            return Vec::new();
        }
        let mut too_large = Vec::new();
        for (place, result) in places.iter().zip(results) {
            match outcome(definition, result) {
                WriteOutcome::Refused { code, message, .. }
                    if places.len() > 1 && Concern::of_record(&code, &message) == Concern::Size =>
                {
                    too_large.push(*place);
                }
                outcome => self.outcomes[*place] = Some(outcome),
            }
        }
        too_large
    }

    fn unknown(&mut self, places: &[usize]) {
        places.iter().for_each(|place| self.outcomes[*place] = Some(WriteOutcome::Unknown));
    }

    fn busy(&mut self, places: &[usize], message: &str) {
        for place in places {
            self.outcomes[*place] = Some(WriteOutcome::Busy { message: message.to_owned() });
        }
    }
}

fn collection_body(records: &[&RecordBody]) -> Result<Vec<u8>, SalesforceError> {
    #[derive(serde::Serialize)]
    struct Body<'a> {
        #[serde(rename = "allOrNone")]
        all_or_none: bool,
        records: &'a [&'a RecordBody],
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
        let soql = |is_deleted: &str| {
            format!(
                "SELECT Id, SystemModstamp{is_deleted} FROM {object}{condition} ORDER BY {order} LIMIT {SCAN_ROWS}"
            )
        };
        let (rows, date) = self.query_deleted_too(object, soql).await?;
        let last = rows.len() < SCAN_ROWS;
        let rows = rows
            .iter()
            .map(|row| {
                Ok(ScannedRow {
                    id: id_of(row)?,
                    stamp: moment(text(row, "SystemModstamp"))?,
                    deleted: text(row, "IsDeleted").as_deref() == Some("true"),
                })
            })
            .collect::<Result<_, SalesforceError>>()?;
        Ok(ScanPage { rows, date, last })
    }

    async fn read(&self, definition: &Definition, ids: &[SalesforceId]) -> Result<ReadAnswer, PortError> {
        // If a call is refused because of one of its Ids, the Ids are halved until that one is alone. It counts as
        // absent. Any other refusal says nothing of a record.
        let mut pending: Vec<&[SalesforceId]> = vec![ids];
        let mut whole: Option<ReadAnswer> = None;
        while let Some(ids) = pending.pop() {
            let answer = match self.read_some(definition, ids).await {
                Err(error) if error.is_about_a_record() && ids.len() > 1 => {
                    let (one, other) = ids.split_at(ids.len() / 2);
                    pending.extend([other, one]);
                    continue;
                }
                Err(error) if error.is_about_a_record() => ReadAnswer {
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
            let list = list.join(",");
            let soql = |is_deleted: &str| {
                format!("SELECT Id, {field}{is_deleted} FROM {} WHERE {field} IN ({list})", definition.object)
            };
            for row in self.query_deleted_too(&definition.object, soql).await?.0 {
                let deleted = text(&row, "IsDeleted").as_deref() == Some("true");
                if let Some(external_id) = text(&row, field) {
                    found.insert(external_id, FoundRecord { id: id_of(&row)?, deleted });
                }
            }
        }
        Ok(external_ids.iter().map(|external_id| found.get(external_id).cloned()).collect())
    }

    async fn create(&self, definition: &Definition, records: &[NewRecord]) -> Result<WriteAnswer, PortError> {
        Ok(self.create_records(definition, records).await?)
    }

    async fn update(
        &self,
        definition: &Definition,
        records: &[RecordUpdate],
    ) -> Result<WriteAnswer, PortError> {
        Ok(self.update_records(definition, records).await?)
    }

    async fn delete(&self, definition: &Definition, ids: &[SalesforceId]) -> Result<WriteAnswer, PortError> {
        Ok(self.write_collection(definition, Collection::Delete(ids.iter().collect())).await?)
    }

    async fn field_ids(&self, object: &str) -> Result<BTreeMap<String, String>, PortError> {
        Ok(self.custom_field_ids(object).await?)
    }

    async fn probe(&self) -> Result<(), PortError> {
        Ok(self.ask_version().await?)
    }

    fn take_usage(&self) -> CallUsage {
        let usage = self.usage();
        CallUsage {
            calls: self.take_calls(),
            answered: self.last_date().is_some(),
            org: (usage.allowed > 0).then_some(usage.allowed),
            app: usage.allowed_to_app,
        }
    }
}
