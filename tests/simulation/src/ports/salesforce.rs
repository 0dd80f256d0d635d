//! Salesforce with what goes wrong on the way to it.

use super::Shared;
use crate::planted::Planted;
use std::collections::BTreeMap;
use std::sync::Arc;
use support::{By, MemoryPorts, What};
use syncline_engine::{Definition, SalesforceId, Side, Value};
use syncline_sync::{
    CallUsage, DeletedRecord, FoundRecord, NewRecord, PortError, ReadAnswer, ReadOutcome, RecordUpdate,
    Salesforce, ScanFrom, ScanPage, WriteAnswer, WriteOutcome,
};

/// Salesforce as a run meets it.
#[derive(Clone)]
pub struct SimSalesforce {
    pub(super) memory: Arc<MemoryPorts>,
    pub(super) shared: Arc<Shared>,
}

/// What becomes of each record of a write before it is sent: `None` is sent.
type Verdicts = Vec<Option<WriteOutcome>>;

impl SimSalesforce {
    fn call(&self) -> Result<(), PortError> {
        if self.shared.strikes("fault: call failed", self.shared.options.faults.call_failed) {
            let message = "INVALID_SESSION_ID, and the sign-in timed out".to_owned();
            return Err(PortError::Outage { side: Side::Salesforce, message });
        }
        Ok(())
    }

    fn verdicts(&self, count: usize) -> Verdicts {
        let faults = &self.shared.options.faults;
        let verdict = |_| {
            if self.shared.strikes("fault: write refused", faults.write_refused) {
                let (code, message) =
                    ("CANNOT_EXECUTE_FLOW_TRIGGER".to_owned(), "out of the blue".to_owned());
                return Some(WriteOutcome::Refused { code, message, fields: vec![] });
            }
            self.shared
                .strikes("fault: row lock", faults.row_lock)
                .then(|| WriteOutcome::Busy { message: "UNABLE_TO_LOCK_ROW".to_owned() })
        };
        (0..count).map(verdict).collect()
    }

    /// The answer to those that were sent, and the verdicts on the others, in order.
    fn together(&self, verdicts: Verdicts, answer: WriteAnswer) -> WriteAnswer {
        let mut sent = answer.outcomes.into_iter();
        let outcomes = verdicts.into_iter().map(|verdict| match verdict {
            Some(verdict) => verdict,
            None => sent.next().unwrap_or(WriteOutcome::Unknown),
        });
        WriteAnswer { outcomes: outcomes.collect(), ..answer }
    }

    /// The last one who changed the record is Syncline, by its user.
    fn last_by_us(&self, id: &SalesforceId) -> bool {
        let counts = |what: &What| !matches!(what, What::Born);
        let last = self.memory.events.last_by(Side::Salesforce, id.as_str(), counts);
        last.is_some_and(|by| by != By::User)
    }

    fn change(&self, definition: &Definition, id: &SalesforceId, outcome: ReadOutcome) -> ReadOutcome {
        let shared = &self.shared;
        let faults = &shared.options.faults;
        let resolving = || {
            let bases = self.memory.state.bases(&definition.name);
            bases.iter().any(|base| base.salesforce_id.as_ref() == Some(id) && base.intent.is_some())
        };
        // Salesforce's copies lag by seconds: one that lags by more than `PATIENCE` is believed in the end.
        let now = self.memory.salesforce.set_up(|org| org.now());
        let lag = jiff::SignedDuration::from_secs(30);
        let fresh = matches!(&outcome, ReadOutcome::Record(record) if now.duration_since(record.stamp) < lag);
        let older = || self.memory.salesforce.earlier_outcome(definition, id);
        let mut outcome = match &outcome {
            ReadOutcome::Record(record) => match older() {
                ReadOutcome::Record(old) if old.stamp < record.stamp => {
                    let believed = shared.is_planted(Planted::OlderImageBelieved);
                    if believed && shared.draw(100) {
                        ReadOutcome::Record(syncline_sync::RemoteRecord { stamp: record.stamp, ..old })
                    } else if !believed
                        && shared.options.window
                        && fresh
                        && !resolving()
                        && shared.strikes("fault: stale read", faults.stale_read)
                    {
                        self.memory.salesforce.saw_earlier(id, old.values.clone(), old.stamp);
                        ReadOutcome::Record(old)
                    } else {
                        outcome
                    }
                }
                _ => outcome,
            },
            _ => outcome,
        };
        if let (ReadOutcome::Absent, true) = (&outcome, shared.is_planted(Planted::AbsenceIsDelete)) {
            let stamp = syncline_sync::Clock::now(&self.memory.clock);
            outcome = ReadOutcome::Deleted(DeletedRecord { stamp, marker: None, master: None });
        }
        if let ReadOutcome::Record(record) = &mut outcome
            && shared.is_planted(Planted::AbsentFieldIsNull)
            && shared.draw(50)
        {
            record.values.remove("Title");
        }
        outcome
    }

    /// What a run writes differs from what it read, field by field.
    fn check_differences(&self, updates: &[RecordUpdate]) {
        for update in updates {
            let Some(seen) = self.memory.salesforce.seen(&update.id) else { continue };
            for (field, value) in &update.fields {
                if seen.get(field).cloned().flatten() == value.text() {
                    let id = &update.id;
                    self.shared.broke(format!("NEEDLESS WRITE: {field} of {id} is {value:?} already"));
                }
            }
        }
    }
}

impl Salesforce for SimSalesforce {
    async fn scan(&self, object: &str, from: ScanFrom) -> Result<ScanPage, PortError> {
        self.call()?;
        let mut page = self.memory.salesforce.scan(object, from.clone()).await?;
        // A page leads on by its last row.
        let last = page.rows.last().cloned().filter(|_| !page.last);
        if self.shared.is_planted(Planted::EchoToldByUser) {
            page.rows.retain(|row| !self.last_by_us(&row.id));
        }
        if let (true, ScanFrom::Stamp { stamp, id: Some(_) }) =
            (self.shared.is_planted(Planted::TiesOnWholeSeconds), &from)
        {
            page.rows.retain(|row| row.stamp > *stamp);
        }
        if let Some(last) = last.filter(|_| page.rows.is_empty()) {
            page.rows.push(last);
        }
        Ok(page)
    }

    async fn read(&self, definition: &Definition, ids: &[SalesforceId]) -> Result<ReadAnswer, PortError> {
        self.call()?;
        let answer = self.memory.salesforce.read(definition, ids).await?;
        let outcomes =
            ids.iter().zip(answer.outcomes).map(|(id, outcome)| self.change(definition, id, outcome));
        let outcomes: Vec<ReadOutcome> = outcomes.collect();
        self.shared.trace.say(|| format!("  {} read {ids:?}: {outcomes:?}", definition.name));
        Ok(ReadAnswer { outcomes, ..answer })
    }

    async fn find(
        &self,
        definition: &Definition,
        external_ids: &[String],
    ) -> Result<Vec<Option<FoundRecord>>, PortError> {
        self.call()?;
        let found = self.memory.salesforce.find(definition, external_ids).await?;
        if [Planted::CreateByUpsert, Planted::CreateRetriedBlindly]
            .into_iter()
            .any(|bug| self.shared.is_planted(bug))
        {
            return Ok(vec![None; found.len()]);
        }
        Ok(found)
    }

    async fn create(&self, definition: &Definition, records: &[NewRecord]) -> Result<WriteAnswer, PortError> {
        self.call()?;
        let mut records = records.to_vec();
        if self.shared.is_planted(Planted::CreateRetriedBlindly) {
            for record in &mut records {
                if !self.shared.planted().created.insert(record.external_id.clone()) {
                    record.external_id = format!("{}-{}", record.external_id, record.marker);
                }
            }
        }
        if self.shared.is_planted(Planted::CreateByUpsert) {
            let ids: Vec<String> = records.iter().map(|record| record.external_id.clone()).collect();
            let found = self.memory.salesforce.find(definition, &ids).await?;
            let stands = |place: usize| found[place].clone().filter(|found| !found.deleted);
            if (0..records.len()).any(|place| stands(place).is_some()) {
                let updates: Vec<RecordUpdate> = records
                    .iter()
                    .enumerate()
                    .filter_map(|(place, record)| {
                        let (marker, fields) = (record.marker.clone(), record.fields.clone());
                        Some(RecordUpdate { id: stands(place)?.id, marker, fields })
                    })
                    .collect();
                return self.memory.salesforce.update(definition, &updates).await;
            }
        }
        self.shared.trace.say(|| format!("  {} create {records:?}", definition.name));
        let verdicts = self.verdicts(records.len());
        let sent: Vec<NewRecord> = records
            .into_iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| verdict.is_none())
            .map(|(record, _)| record)
            .collect();
        let answer = self.memory.salesforce.create(definition, &sent).await?;
        Ok(self.together(verdicts, answer))
    }

    async fn update(
        &self,
        definition: &Definition,
        records: &[RecordUpdate],
    ) -> Result<WriteAnswer, PortError> {
        self.call()?;
        let mut records = records.to_vec();
        if self.shared.is_planted(Planted::WholeRecordWritten) {
            for record in &mut records {
                let seen: BTreeMap<_, _> = self.memory.salesforce.seen(&record.id).unwrap_or_default();
                for mapping in &definition.fields {
                    if let Some(Some(value)) = seen.get(&mapping.field) {
                        record
                            .fields
                            .entry(mapping.field.clone())
                            .or_insert_with(|| Value::Text(value.clone()));
                    }
                }
            }
        }
        self.shared.trace.say(|| format!("  {} update {records:?}", definition.name));
        self.check_differences(&records);
        let verdicts = self.verdicts(records.len());
        let ids: Vec<SalesforceId> = records.iter().map(|record| record.id.clone()).collect();
        let sent: Vec<RecordUpdate> = records
            .into_iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| verdict.is_none())
            .map(|(record, _)| record)
            .collect();
        let answer = self.memory.salesforce.update(definition, &sent).await?;
        let mut answer = self.together(verdicts, answer);
        if self.shared.is_planted(Planted::FailedFieldsBaseMoved) {
            for (outcome, id) in answer.outcomes.iter_mut().zip(ids) {
                if matches!(outcome, WriteOutcome::Refused { .. } | WriteOutcome::Busy { .. }) {
                    *outcome = WriteOutcome::Written(id);
                }
            }
        }
        Ok(answer)
    }

    async fn delete(&self, definition: &Definition, ids: &[SalesforceId]) -> Result<WriteAnswer, PortError> {
        self.call()?;
        self.shared.trace.say(|| format!("  {} delete {ids:?}", definition.name));
        let verdicts = self.verdicts(ids.len());
        let sent: Vec<SalesforceId> = ids
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| verdict.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        let answer = Salesforce::delete(&self.memory.salesforce, definition, &sent).await?;
        Ok(self.together(verdicts, answer))
    }

    async fn probe(&self) -> Result<(), PortError> {
        self.memory.salesforce.probe().await
    }

    async fn field_ids(&self, object: &str) -> Result<BTreeMap<String, String>, PortError> {
        self.memory.salesforce.field_ids(object).await
    }

    fn take_usage(&self) -> CallUsage {
        self.memory.salesforce.take_usage()
    }
}
