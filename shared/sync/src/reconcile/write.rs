//! Steps 6 to 9: save intents, write Postgres, write Salesforce, finish.

use super::read::TransactionOf;
use super::work::Work;
use super::{Backoff, PortError, Ports, Put, Run};
use crate::ports::{
    Conflict, Database, HistoryOutcome, HistoryRow, NewRecord, Random, ReadOutcome, RecordUpdate, Row,
    RowOutcome, RowRef, RowWrite, Salesforce, State, Transaction, WriteAnswer, WriteOutcome,
};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use syncline_engine::{
    Action, Base, FieldWrite, Intent, Parent, PostgresKey, Rule, RuleKind, SalesforceId, Side, Stamp, Value,
    resolve,
};

/// Records of one call: what an sObject collection takes.
const RECORDS_PER_CALL: usize = 200;

/// A read of Salesforce that is older is repeated before a write.
const FRESH: SignedDuration = SignedDuration::from_millis(50);

/// A row that was written: its key, what was meant, and how it was read before.
type Written<'w> = (PostgresKey, &'w RowWrite, Option<Row>);

/// A record whose intent is saved.
pub(super) struct Writing {
    work: Work,
    /// As saved, with its intent.
    base: Base,
    /// What each field's column is to hold.
    texts: BTreeMap<String, String>,
    /// What became of the write to Salesforce.
    outcome: Option<HistoryOutcome>,
    /// The interval in which that write lies.
    written: Option<Stamp>,
    /// Touch again once the base is saved.
    again: bool,
}

impl Writing {
    fn intent(&self) -> &str {
        self.base.intent.as_ref().map_or("", |intent| intent.id.as_str())
    }
}

impl<'a, P: Ports> Run<'a, P> {
    /// Step 6. One compare-and-set per record, with its conflicts; whoever loses touches again.
    pub(super) async fn save_intents(
        &mut self,
        works: Vec<(Work, BTreeMap<String, String>)>,
    ) -> Result<Vec<Writing>, PortError> {
        if works.is_empty() {
            return Ok(Vec::new());
        }
        let lease_until = self.now() + self.ports.settings().lease;
        let mut puts = Vec::new();
        let mut writings = Vec::new();
        for (work, texts) in works {
            let base = self.base_with_intent(&work, lease_until);
            let conflicts = self.conflicts(&work, &base);
            puts.push(Put { base: base.clone(), expected: base.version, conflicts });
            writings.push(Writing { work, base, texts, outcome: None, written: None, again: false });
        }
        let saved = self.ports.state().put(&self.definition.name, puts).await?;
        let mut ready = Vec::new();
        for (mut writing, saved) in writings.into_iter().zip(saved) {
            if saved {
                self.summary.conflicts += writing.work.plan.conflicts.len();
                writing.base.version += 1;
                ready.push(writing);
            } else {
                self.again(writing.work.retouch(), Backoff::Contention);
            }
        }
        Ok(ready)
    }

    fn base_with_intent(&self, work: &Work, lease_until: Timestamp) -> Base {
        let mut base = self.base_of(work);
        let key = &self.ports.settings().key;
        if matches!(work.plan.postgres, Action::Create(_)) {
            base.postgres_key = None;
        }
        if matches!(work.plan.salesforce, Action::Create(_)) && base.salesforce_id.take().is_some() {
            // Both sides lost an earlier record of this row: the new one is another.
            base.external_id = None;
            base.stamp = None;
            base.marker = None;
        }
        if matches!(work.plan.salesforce, Action::Create(_)) && base.external_id.is_none() {
            let random = self.ports.random().bits();
            let (instance, sync) = (&self.ports.settings().instance, &self.definition.name);
            base.external_id = Some(format!("{instance}:{sync}:{random:032x}"));
        }
        base.intent = Some(Intent {
            id: format!("{:032x}", self.ports.random().bits()),
            lease_until,
            salesforce: work.plan.intent(self.definition, key, Side::Salesforce),
            postgres: work.plan.intent(self.definition, key, Side::Postgres),
        });
        base
    }

    /// The base that stands once this plan's writes are left aside: what both sides agree on already.
    fn base_of(&self, work: &Work) -> Base {
        let mut base = work.resolved.clone().unwrap_or_else(|| Base::new(work.base_key()));
        let both = work.row.is_some() && work.record().is_some();
        if !base.live {
            base.fields.clear();
        }
        base.live |= both && work.plan.live;
        if both {
            base.fields.extend(work.plan.agreed.clone());
        }
        base.salesforce_id = base.salesforce_id.or_else(|| work.record().and_then(|_| work.id()));
        base.postgres_key = work.row.as_ref().map(|row| row.key.clone()).or(base.postgres_key);
        base.definition = self.definition.version;
        if let Some(record) = work.record() {
            base.stamp = Some(Stamp::Read(record.stamp));
            base.read_at = work.read_at;
            base.marker.clone_from(&record.marker);
        }
        base
    }

    /// Saves the base of a record that is not written, or whose writing ended here.
    pub(super) fn save_resolved(&mut self, work: Work, advance: bool) {
        let mut base = if advance {
            self.base_of(&work)
        } else {
            work.resolved.clone().unwrap_or_else(|| self.base_of(&work))
        };
        if advance && !work.plan.live {
            base.live = false;
            base.fields.clear();
        }
        let was_live = work.base.as_ref().is_some_and(|base| base.live);
        self.push_base(base, &work, was_live, false);
    }

    fn push_base(&mut self, mut base: Base, work: &Work, was_live: bool, again: bool) {
        base.intent = None;
        if base.live
            && !was_live
            && let (Some(id), Some(key)) = (&base.salesforce_id, &base.postgres_key)
        {
            let sync = &self.definition.name;
            self.outcomes.linked.push(Parent::Salesforce(sync.clone(), id.clone()));
            self.outcomes.linked.push(Parent::Postgres(sync.clone(), key.clone()));
        }
        let expected = base.version;
        let put = Put { base, expected, conflicts: Vec::new() };
        self.puts.push((put, work.retouch(), again));
    }

    fn conflicts(&self, work: &Work, base: &Base) -> Vec<Conflict> {
        let conflict = |found: &syncline_engine::FieldConflict| {
            let named = format!("{}/{}/{}", base.key, found.field, base.version);
            let rule = Rule { version: 1, kind: RuleKind::Text };
            let key = &self.ports.settings().key;
            let id = key.fingerprint(&self.definition.name, "conflict", &rule, &Value::Text(named));
            Conflict {
                id: format!("{:016x}", id.0),
                sync: self.definition.name.clone(),
                record: base.key.0.clone(),
                salesforce_id: work.id(),
                postgres_key: work.key(),
                field: found.field.clone(),
                salesforce: found.salesforce.clone(),
                postgres: found.postgres.clone(),
                winner: found.winner,
                reason: found.reason,
                at: self.now(),
            }
        };
        work.plan.conflicts.iter().map(conflict).collect()
    }

    /// Step 7. Only rows that did not move since they were read; refused rows stand alone. Committed before
    /// Salesforce is called.
    pub(super) async fn write_postgres(
        &mut self,
        mut transaction: TransactionOf<'a, P>,
        mut writings: Vec<Writing>,
    ) -> Result<Vec<Writing>, PortError> {
        if writings.is_empty() {
            transaction.rollback().await?;
            return Ok(writings);
        }
        let places: Vec<usize> = (0..writings.len())
            .filter(|place| {
                let work = &writings[*place].work;
                !work.plan.postgres.is_none() || work.link.is_some()
            })
            .collect();
        let rows: Vec<RowWrite> = places.iter().map(|place| self.row_write(&writings[*place])).collect();
        let outcomes = if rows.is_empty() { Vec::new() } else { transaction.write(&rows).await? };
        let mut ended = vec![false; writings.len()];
        let mut written: Vec<Written<'_>> = Vec::new();
        for ((place, row), outcome) in places.iter().zip(&rows).zip(outcomes) {
            let writing = &mut writings[*place];
            match outcome {
                RowOutcome::Written(key) => {
                    match writing.work.plan.postgres {
                        Action::Create(_) => self.summary.rows_inserted += 1,
                        _ => self.summary.rows_updated += 1,
                    }
                    writing.work.evidence.postgres = Some(key.clone());
                    written.push((key, row, writing.work.row.clone()));
                }
                RowOutcome::Moved => {
                    ended[*place] = true;
                    writing.again = true;
                }
                RowOutcome::Refused { code, message, column } => {
                    ended[*place] = true;
                    let mapped = self
                        .definition
                        .fields
                        .iter()
                        .find(|mapping| Some(&mapping.column) == column.as_ref());
                    let fields = mapped.map(|mapping| mapping.field.clone()).or(column).into_iter().collect();
                    self.reject(&writing.work, Side::Postgres, &code, message, fields);
                }
            }
        }
        self.drop_echoes(&mut transaction, &written).await?;
        let notes: Vec<HistoryRow> = writings
            .iter()
            .zip(&ended)
            .filter(|(_, ended)| !**ended)
            .flat_map(|(writing, _)| self.history(writing, Side::Salesforce))
            .collect();
        if !notes.is_empty() {
            transaction.note(&notes).await?;
        }
        self.at(crate::ports::Step::WrotePostgres).await;
        if self.lease_over(&writings) {
            transaction.rollback().await?;
            for writing in writings {
                self.again(writing.work.retouch(), Backoff::Contention);
            }
            return Ok(Vec::new());
        }
        transaction.commit().await?;
        let mut ready = Vec::new();
        for (writing, ended) in writings.into_iter().zip(ended) {
            if ended || writing.work.plan.salesforce.is_none() {
                self.end(writing);
            } else {
                ready.push(writing);
            }
        }
        Ok(ready)
    }

    fn lease_over(&self, writings: &[Writing]) -> bool {
        let now = self.now();
        let until =
            writings.iter().filter_map(|writing| Some(writing.base.intent.as_ref()?.lease_until)).min();
        until.is_some_and(|until| until <= now)
    }

    fn row_write(&self, writing: &Writing) -> RowWrite {
        let work = &writing.work;
        let fields = work.plan.postgres.fields().into_iter().flatten();
        let fields = fields.map(|(name, _)| (name.clone(), writing.texts.get(name).cloned())).collect();
        let creates = matches!(work.plan.postgres, Action::Create(_));
        RowWrite {
            row: work.row.as_ref().map(|row| (row.key.clone(), row.row_version.clone())),
            link: if creates { work.id() } else { work.link.clone() },
            fields,
            history: self.history(writing, Side::Postgres),
        }
    }

    /// Drops the log rows of what this transaction wrote itself, where the rows hold what was meant. Whatever a
    /// trigger changed on the way stays in the log, an ordinary touch.
    async fn drop_echoes(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        written: &[Written<'_>],
    ) -> Result<(), PortError> {
        if written.is_empty() || self.definition.table_shared {
            return Ok(());
        }
        let refs: Vec<RowRef> =
            written.iter().map(|(key, _, _)| RowRef { key: Some(key.clone()), id: None }).collect();
        let rows = transaction.read(&refs).await?;
        let mut echoes = Vec::new();
        for ((key, write, before), rows) in written.iter().zip(rows) {
            let Some(row) = rows.first() else { continue };
            let meant = write.fields.iter().all(|(name, text)| {
                let stands = row.values.get(name).and_then(Option::as_deref);
                self.same_value(name, stands, text.as_deref())
            });
            let untouched = self.untouched(write, before.as_ref(), row);
            let linked = write.link.as_ref().is_none_or(|id| row.link.as_deref() == Some(id.as_str()));
            if meant && linked && untouched {
                echoes.push(key.clone());
            }
        }
        transaction.drop_own_log(&echoes).await
    }

    /// Fields that were not written hold what they held before: an insert leaves them null. A default, a trigger
    /// or a deferred one that changes them is a change to carry across.
    fn untouched(&self, write: &RowWrite, before: Option<&Row>, row: &Row) -> bool {
        let others =
            self.definition.fields.iter().filter(|mapping| !write.fields.contains_key(&mapping.field));
        others.into_iter().all(|mapping| {
            let stood = before.and_then(|row| row.values.get(&mapping.field).and_then(Option::as_deref));
            let stands = row.values.get(&mapping.field).and_then(Option::as_deref);
            self.same_value(&mapping.field, stands, stood)
        })
    }

    fn history(&self, writing: &Writing, side: Side) -> Vec<HistoryRow> {
        let work = &writing.work;
        let row = |field: Option<String>, write: &FieldWrite| HistoryRow {
            record: writing.base.key.0.clone(),
            salesforce_id: work.id(),
            postgres_key: work.key(),
            side,
            field,
            before: write.before.clone(),
            after: write.after.clone(),
            source: work.touch.source.word().to_owned(),
            reason: write.reason.word().to_owned(),
            actor: work.touch.actor.clone(),
            intent: writing.intent().to_owned(),
            at: self.now(),
        };
        match work.plan.action(side) {
            Action::None if side == Side::Postgres && work.link.is_some() => {
                let after = Value::Text(work.link.as_ref().map(ToString::to_string).unwrap_or_default());
                let reason = syncline_engine::Reason::FilledEmpty;
                vec![row(
                    Some(self.definition.link.clone()),
                    &FieldWrite { before: Value::Null, after, reason },
                )]
            }
            Action::None => vec![],
            Action::Create(_) => {
                let reason = syncline_engine::Reason::Created;
                vec![row(None, &FieldWrite { before: Value::Null, after: Value::Null, reason })]
            }
            Action::Update(fields) => {
                fields.iter().map(|(name, write)| row(Some(name.clone()), write)).collect()
            }
        }
    }

    /// Step 8. An error here is an answer like any other: Postgres stands already, and each record goes on for
    /// itself. A call is only begun while the lease outlasts it.
    pub(super) async fn write_salesforce(&mut self, writings: Vec<Writing>) -> Vec<Writing> {
        let (mut creates, mut updates): (Vec<Writing>, Vec<Writing>) = writings
            .into_iter()
            .partition(|writing| matches!(writing.work.plan.salesforce, Action::Create(_)));
        let mut done = Vec::new();
        while !creates.is_empty() || !updates.is_empty() {
            let creating = !creates.is_empty();
            let pending = if creating { &mut creates } else { &mut updates };
            let mut chunk: Vec<Writing> = pending.drain(..pending.len().min(RECORDS_PER_CALL)).collect();
            if self.too_late_to_send(&chunk) {
                for writing in &mut chunk {
                    writing.outcome = Some(HistoryOutcome::Refused);
                    writing.again = true;
                }
                done.extend(chunk);
                continue;
            }
            let answer = if creating {
                let records: Vec<NewRecord> = chunk.iter().map(new_record).collect();
                self.ports.salesforce().create(self.definition, &records).await
            } else {
                chunk = match self.unmoved(chunk, &mut done).await {
                    chunk if chunk.is_empty() => continue,
                    chunk => chunk,
                };
                let records: Vec<RecordUpdate> = chunk.iter().filter_map(record_update).collect();
                self.ports.salesforce().update(self.definition, &records).await
            };
            done.extend(self.answered(chunk, answer));
        }
        done
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
            let same = match &outcome {
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
                        _ => self.summary.records_updated += 1,
                    }
                    writing.work.evidence.salesforce = Some(id);
                    writing.written = Some(written);
                    HistoryOutcome::Written
                }
                WriteOutcome::Refused { code, .. } if code == "ENTITY_IS_DELETED" => {
                    writing.again = true;
                    HistoryOutcome::Refused
                }
                WriteOutcome::Refused { code, message, fields } => {
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
    pub(super) async fn finish(&mut self, writings: Vec<Writing>) -> Result<(), PortError> {
        if writings.is_empty() {
            return Ok(());
        }
        let mut transaction = self.ports.database().begin(self.definition).await?;
        let links: Vec<(String, PostgresKey, SalesforceId)> = writings
            .iter()
            .filter(|writing| matches!(writing.work.plan.salesforce, Action::Create(_)))
            .filter_map(|writing| {
                let id = writing.work.evidence.salesforce.clone()?;
                Some((writing.base.key.0.clone(), writing.work.key()?, id))
            })
            .collect();
        if !links.is_empty() {
            self.write_links(&mut transaction, &links).await?;
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

    async fn write_links(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        links: &[(String, PostgresKey, SalesforceId)],
    ) -> Result<(), PortError> {
        let names: Vec<String> = links.iter().map(|(name, _, _)| name.clone()).collect();
        let locked = transaction.lock(&names).await?;
        let links: Vec<_> =
            links.iter().zip(locked).filter(|(_, locked)| *locked).map(|(link, _)| link).collect();
        let refs: Vec<RowRef> =
            links.iter().map(|(_, key, _)| RowRef { key: Some(key.clone()), id: None }).collect();
        let before: Vec<Option<Row>> =
            transaction.read(&refs).await?.into_iter().map(|rows| rows.into_iter().next()).collect();
        let unlinked: Vec<(RowWrite, Row)> = before
            .into_iter()
            .zip(&links)
            .filter_map(|(row, (_, key, id))| {
                let row = row.filter(|row| row.link.is_none())?;
                let write = RowWrite {
                    row: Some((key.clone(), row.row_version.clone())),
                    link: Some(id.clone()),
                    fields: BTreeMap::new(),
                    history: vec![],
                };
                Some((write, row))
            })
            .collect();
        let writes: Vec<RowWrite> = unlinked.iter().map(|(write, _)| write.clone()).collect();
        if writes.is_empty() {
            return Ok(());
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
            transaction.drop_own_log(&echoes).await?;
        }
        Ok(())
    }

    /// The base once the writes that landed are agreed on.
    fn end(&mut self, writing: Writing) {
        let Writing { work, base, written, again, .. } = writing;
        let evidence = &work.evidence;
        let was_live = work.base.as_ref().is_some_and(|base| base.live);
        let stamp = base.stamp;
        let marker = base.marker.clone();
        let mut saved = resolve(&base, evidence);
        saved.stamp = written.or(stamp);
        if written.is_none() {
            saved.marker = marker;
        }
        saved.live |= work.plan.live
            && saved.salesforce_id.is_some()
            && saved.postgres_key.is_some()
            && landed_all(&work, evidence);
        self.outcomes.cleared.push(saved.key.0.clone());
        self.push_base(saved, &work, was_live, again);
    }
}

/// Everything that the plan wrote has landed.
fn landed_all(work: &Work, evidence: &syncline_engine::Evidence) -> bool {
    (work.plan.salesforce.is_none() || evidence.salesforce.is_some())
        && (work.plan.postgres.is_none() || evidence.postgres.is_some())
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
