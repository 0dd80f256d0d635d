//! Steps 8 and 9: records of Salesforce, their links, and the outcomes in history.

use super::image::depends_on_others;
use super::intents::Writing;
use super::rows::TransactionOf;
use super::{Backoff, PortError, Ports, Run};
use crate::ports::{
    Database, HistoryOutcome, NewRecord, ReadOutcome, RecordUpdate, Row, RowOutcome, RowRef, RowWrite,
    Salesforce, Transaction, WriteAnswer, WriteOutcome,
};
use jiff::SignedDuration;
use std::collections::BTreeMap;
use syncline_engine::{Action, PostgresKey, SalesforceId, Side, Stamp, Value};

/// Records of one call: what an sObject collection takes.
const RECORDS_PER_CALL: usize = 200;

/// How often a record that Salesforce calls deleted is read again before it counts as refused.
const DELETED_TRIES: u32 = 5;

/// A link to write back into its row.
struct NewLink {
    record: String,
    key: PostgresKey,
    id: SalesforceId,
    /// What the column may still show.
    replaced: Vec<SalesforceId>,
}

/// The kind of a call that writes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Create,
    Update,
    Delete,
}

impl Kind {
    fn of(action: &Action) -> Self {
        match action {
            Action::Create(_) => Self::Create,
            Action::Delete => Self::Delete,
            Action::None | Action::Update(_) => Self::Update,
        }
    }
}

/// A read of Salesforce that is older is repeated before a write.
const FRESH: SignedDuration = SignedDuration::from_millis(50);

impl<'a, P: Ports> Run<'a, P> {
    /// Step 8. An error here is an answer like any other: Postgres stands already, and each record goes on for
    /// itself. A call is only begun while the lease outlasts it.
    pub(super) async fn write_salesforce(&mut self, writings: Vec<Writing>) -> Vec<Writing> {
        let mut pending: Vec<(Kind, Vec<Writing>)> =
            [Kind::Create, Kind::Update, Kind::Delete].map(|kind| (kind, Vec::new())).into();
        for writing in writings {
            let kind = Kind::of(&writing.work.plan.salesforce);
            if let Some((_, list)) = pending.iter_mut().find(|(known, _)| *known == kind) {
                list.push(writing);
            }
        }
        let mut done = Vec::new();
        for (kind, mut writings) in pending {
            while !writings.is_empty() {
                let chunk: Vec<Writing> = writings.drain(..writings.len().min(RECORDS_PER_CALL)).collect();
                self.send(kind, chunk, &mut done).await;
            }
        }
        done
    }

    /// One call for records that are created, updated or deleted.
    async fn send(&mut self, kind: Kind, mut chunk: Vec<Writing>, done: &mut Vec<Writing>) {
        if kind != Kind::Create && !self.too_late_to_send(&chunk) {
            chunk = self.unmoved(chunk, done).await;
            if chunk.is_empty() {
                return;
            }
        }
        if self.too_late_to_send(&chunk) {
            done.extend(not_sent(chunk));
            return;
        }
        let salesforce = self.ports.salesforce();
        let answer = match kind {
            Kind::Create => {
                let records: Vec<NewRecord> = chunk.iter().map(new_record).collect();
                salesforce.create(self.definition, &records).await
            }
            Kind::Update => {
                let records: Vec<RecordUpdate> = chunk.iter().filter_map(record_update).collect();
                salesforce.update(self.definition, &records).await
            }
            Kind::Delete => {
                let ids: Vec<SalesforceId> = chunk.iter().filter_map(|writing| writing.work.id()).collect();
                salesforce.delete(self.definition, &ids).await
            }
        };
        let answered = self.answered(chunk, answer);
        done.extend(answered);
    }

    /// Salesforce has no compare-and-set. In a run of many records the read is a while ago by now: records are read
    /// once more, and those whose fields somebody has edited meanwhile are left alone and touched again.
    async fn unmoved(&mut self, chunk: Vec<Writing>, done: &mut Vec<Writing>) -> Vec<Writing> {
        if self.read_begun.is_none_or(|begun| self.now() < begun + FRESH) {
            return chunk;
        }
        let ids: Vec<SalesforceId> = chunk.iter().filter_map(|writing| writing.work.id()).collect();
        let answer = match self.ports.salesforce().read(self.definition, &ids).await {
            Ok(answer) => answer,
            Err(error) => {
                done.extend(self.answered(chunk, Err(error)));
                return Vec::new();
            }
        };
        let mut unmoved = Vec::new();
        for (mut writing, outcome) in chunk.into_iter().zip(answer.outcomes) {
            let before = writing.work.record().map(|record| &record.values);
            let mut fields = writing.work.plan.salesforce.fields().into_iter().flatten();
            let deletes = writing.work.plan.salesforce == Action::Delete;
            let same = match &outcome {
                ReadOutcome::Record(record) if deletes => before == Some(&record.values),
                ReadOutcome::Record(record) => fields
                    .all(|(name, _)| before.and_then(|before| before.get(name)) == record.values.get(name)),
                _ => false,
            };
            if same {
                unmoved.push(writing);
            } else {
                writing.outcome = Some(HistoryOutcome::Refused);
                writing.again = true;
                done.push(writing);
            }
        }
        unmoved
    }

    /// A call takes at most two thirds of a lease (`Settings::lease`), so it is sent in the first third.
    fn too_late_to_send(&self, writings: &[Writing]) -> bool {
        let lease_ms = self.ports.settings().lease.as_millis();
        let call = SignedDuration::from_millis(i64::try_from(lease_ms * 2 / 3).unwrap_or(i64::MAX));
        let now = self.now();
        writings
            .iter()
            .filter_map(|writing| Some(writing.base.intent.as_ref()?.lease_until))
            .any(|until| now + call > until)
    }

    fn answered(
        &mut self,
        mut writings: Vec<Writing>,
        answer: Result<WriteAnswer, PortError>,
    ) -> Vec<Writing> {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) => {
                for writing in &mut writings {
                    writing.outcome = Some(HistoryOutcome::Refused);
                    self.again(writing.work.retouch(), Backoff::Outage);
                }
                self.summary.outage = Some(error);
                return writings;
            }
        };
        self.summary.reached_salesforce = true;
        let written =
            Stamp::Written { after: answer.after, until: answer.date + SignedDuration::from_secs(2) };
        let mut outcomes = answer.outcomes.into_iter();
        for writing in &mut writings {
            let outcome = outcomes.next().unwrap_or(WriteOutcome::Unknown);
            writing.outcome = Some(match outcome {
                WriteOutcome::Written(id) => {
                    match writing.work.plan.salesforce {
                        Action::Create(_) => self.summary.records_created += 1,
                        Action::Delete => self.summary.records_deleted += 1,
                        _ => self.summary.records_updated += 1,
                    }
                    writing.work.evidence.salesforce = Some(id);
                    writing.written = Some(written);
                    HistoryOutcome::Written
                }
                // Somebody else deleted it first: it is gone either way.
                WriteOutcome::Refused { code, .. }
                    if code == "ENTITY_IS_DELETED" && writing.work.plan.salesforce == Action::Delete =>
                {
                    writing.work.evidence.salesforce = writing.work.id();
                    HistoryOutcome::Written
                }
                // About the record itself; of a deleted parent it is a refusal like any other.
                WriteOutcome::Refused { code, fields, .. }
                    if code == "ENTITY_IS_DELETED"
                        && fields.is_empty()
                        && writing.work.touch.attempt < DELETED_TRIES
                        && matches!(writing.work.plan.salesforce, Action::Update(_)) =>
                {
                    writing.again = true;
                    HistoryOutcome::Refused
                }
                WriteOutcome::Refused { code, message, fields } => {
                    if depends_on_others(&code) {
                        self.again(writing.work.retouch(), Backoff::Outage);
                    }
                    self.reject(&writing.work, Side::Salesforce, &code, message, fields);
                    HistoryOutcome::Refused
                }
                WriteOutcome::Busy { .. } => {
                    self.again(writing.work.retouch(), Backoff::Outage);
                    HistoryOutcome::Refused
                }
                WriteOutcome::Unknown => {
                    let until =
                        writing.base.intent.as_ref().map_or_else(|| self.now(), |intent| intent.lease_until);
                    self.defer(writing.work.retouch(), until);
                    HistoryOutcome::Unknown
                }
            });
        }
        writings
    }

    /// The link of what was just created in Salesforce is written back, under the same lock, and history gets
    /// its outcomes; then the bases of step 9 are ready to be saved.
    pub(super) async fn finish(&mut self, mut writings: Vec<Writing>) -> Result<(), PortError> {
        if writings.is_empty() {
            return Ok(());
        }
        let mut transaction = self.ports.database().begin(self.definition).await?;
        let links: Vec<NewLink> = writings
            .iter()
            .filter(|writing| matches!(writing.work.plan.salesforce, Action::Create(_)))
            .filter_map(|writing| {
                Some(NewLink {
                    record: writing.base.key.0.clone(),
                    key: writing.work.key()?,
                    id: writing.work.evidence.salesforce.clone()?,
                    replaced: writing.base.replaced.clone(),
                })
            })
            .collect();
        if !links.is_empty() {
            for (record, key) in self.write_links(&mut transaction, links).await? {
                let moved = writings.iter_mut().find(|writing| writing.base.key.0 == record);
                moved.into_iter().for_each(|writing| writing.base.postgres_key = Some(key.clone()));
            }
        }
        let closed: Vec<(String, HistoryOutcome, Option<SalesforceId>)> = writings
            .iter()
            .filter_map(|writing| Some((writing.intent().to_owned(), writing.outcome?, writing.work.id())))
            .collect();
        transaction.close(&closed).await?;
        transaction.commit().await?;
        for writing in writings {
            if writing.outcome != Some(HistoryOutcome::Unknown) {
                self.end(writing);
            }
        }
        Ok(())
    }

    /// Answers the records whose rows have another key by now.
    async fn write_links(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        links: Vec<NewLink>,
    ) -> Result<Vec<(String, PostgresKey)>, PortError> {
        let names: Vec<String> = links.iter().map(|link| link.record.clone()).collect();
        let locked = transaction.lock(&names).await?;
        let mut links: Vec<NewLink> =
            links.into_iter().zip(locked).filter(|(_, locked)| *locked).map(|(link, _)| link).collect();
        let refs: Vec<RowRef> =
            links.iter().map(|link| RowRef { key: Some(link.key.clone()), id: None }).collect();
        let mut before: Vec<Option<Row>> =
            transaction.read(&refs).await?.into_iter().map(|rows| rows.into_iter().next()).collect();
        let mut moved = Vec::new();
        for (row, link) in before.iter_mut().zip(&mut links).filter(|(row, _)| row.is_none()) {
            *row = self.linked_to_replaced(transaction, &link.record, &link.replaced).await?;
            if let Some(row) = row {
                link.key = row.key.clone();
                moved.push((link.record.clone(), row.key.clone()));
            }
        }
        let unlinked: Vec<(RowWrite, Row)> = before
            .into_iter()
            .zip(&links)
            .filter_map(|(row, link)| {
                let row = row.filter(|row| {
                    row.link
                        .as_deref()
                        .is_none_or(|shown| link.replaced.iter().any(|id| id.as_str() == shown))
                })?;
                let write = RowWrite {
                    row: Some((link.key.clone(), row.row_version.clone())),
                    delete: false,
                    key: None,
                    link: Some(link.id.clone()),
                    fields: BTreeMap::new(),
                    history: vec![],
                };
                Some((write, row))
            })
            .collect();
        let writes: Vec<RowWrite> = unlinked.iter().map(|(write, _)| write.clone()).collect();
        if writes.is_empty() {
            return Ok(moved);
        }
        let outcomes = transaction.write(&writes).await?;
        let after = transaction.read(&refs_of(&writes)).await?;
        let mut echoes = Vec::new();
        for (((write, before), outcome), after) in unlinked.iter().zip(outcomes).zip(after) {
            let same = after.first().is_some_and(|row| {
                row.values == before.values
                    && row.link.as_deref() == write.link.as_ref().map(SalesforceId::as_str)
            });
            if let (RowOutcome::Written(key), true) = (outcome, same) {
                echoes.push(key);
            }
        }
        if !self.definition.table_shared {
            transaction.drop_own_log(&echoes, &[]).await?;
        }
        Ok(moved)
    }
}

/// These were not sent, and are touched again.
fn not_sent(mut writings: Vec<Writing>) -> Vec<Writing> {
    for writing in &mut writings {
        writing.outcome = Some(HistoryOutcome::Refused);
        writing.again = true;
    }
    writings
}

fn refs_of(writes: &[RowWrite]) -> Vec<RowRef> {
    writes
        .iter()
        .map(|write| RowRef { key: write.row.as_ref().map(|(key, _)| key.clone()), id: None })
        .collect()
}

fn new_record(writing: &Writing) -> NewRecord {
    NewRecord {
        external_id: writing.base.external_id.clone().unwrap_or_default(),
        marker: writing.intent().to_owned(),
        fields: values(&writing.work.plan.salesforce),
    }
}

fn record_update(writing: &Writing) -> Option<RecordUpdate> {
    Some(RecordUpdate {
        id: writing.work.id()?,
        marker: writing.intent().to_owned(),
        fields: values(&writing.work.plan.salesforce),
    })
}

fn values(action: &Action) -> BTreeMap<String, Value> {
    let fields = action.fields().into_iter().flatten();
    fields.map(|(name, write)| (name.clone(), write.after.clone())).collect()
}
