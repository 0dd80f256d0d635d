//! Postgres, with the bugs that a wrong reading of it makes.

use super::Shared;
use crate::planted::Planted;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use support::{MemoryDatabase, MemoryLog, MemoryPorts, MemoryTransaction};
use syncline_engine::{Definition, PostgresKey, SalesforceId};
use syncline_sync::{
    Database, HistoryOutcome, HistoryRow, LogBatch, Origin, PortError, Row, RowOutcome, RowRef,
    RowUnreadable, RowWrite, State, Touch, Transaction,
};

/// Postgres as a run meets it.
#[derive(Clone)]
pub struct SimDatabase {
    pub(super) memory: Arc<MemoryPorts>,
    pub(super) shared: Arc<Shared>,
}

impl SimDatabase {
    /// A restored snapshot is on another timeline.
    fn identity(&self) -> Result<(), PortError> {
        let restored = self.shared.restored_alone.load(Ordering::Relaxed);
        if restored && !self.shared.is_planted(Planted::RestoreUnnoticed) {
            return Err(PortError::Identity { message: "another timeline of the database".to_owned() });
        }
        Ok(())
    }

    fn inner(&self) -> &MemoryDatabase {
        &self.memory.database
    }
}

/// Log rows taken.
pub struct SimLog<'a>(MemoryLog<'a>);

impl LogBatch for SimLog<'_> {
    fn touches(&self) -> &[Touch] {
        self.0.touches()
    }

    fn truncated(&self) -> &[String] {
        self.0.truncated()
    }

    fn deletes(&self) -> &BTreeMap<String, u64> {
        self.0.deletes()
    }

    async fn commit(self) -> Result<(), PortError> {
        self.0.commit().await
    }
}

/// A transaction.
pub struct SimTransaction<'a> {
    inner: MemoryTransaction<'a>,
    sync: String,
    memory: Arc<MemoryPorts>,
    shared: Arc<Shared>,
}

impl Transaction for SimTransaction<'_> {
    async fn lock(&mut self, records: &[String]) -> Result<Vec<bool>, PortError> {
        let locked = self.inner.lock(records).await?;
        if self.shared.is_planted(Planted::NoCompareAndSet) {
            return Ok(vec![true; locked.len()]);
        }
        Ok(locked)
    }

    async fn read(&mut self, refs: &[RowRef]) -> Result<Vec<Result<Vec<Row>, RowUnreadable>>, PortError> {
        let mut rows = self.inner.read(refs).await?;
        if self.shared.is_planted(Planted::DeleteAlwaysWins) {
            let records = self.memory.salesforce.records();
            for row in rows.iter_mut().flatten().flatten() {
                let record = row.link.as_deref().and_then(|link| SalesforceId::parse(link).ok());
                let record = record.and_then(|id| records.get(&id)).filter(|record| record.deleted);
                if let Some(record) = record {
                    row.values.extend(record.values.clone());
                }
            }
        }
        self.shared.trace.say(|| format!("  {} rows {refs:?}: {rows:?}", self.sync));
        Ok(rows)
    }

    async fn origins(&mut self, keys: &[PostgresKey]) -> Result<Vec<Origin>, PortError> {
        self.inner.origins(keys).await
    }

    async fn landed(&mut self, intents: &[String]) -> Result<BTreeMap<String, PostgresKey>, PortError> {
        let mut landed = self.inner.landed(intents).await?;
        if self.shared.is_planted(Planted::IntentTakenForWritten) {
            for base in self.memory.state.bases(&self.sync) {
                if let (Some(intent), Some(key)) = (base.intent, base.postgres_key) {
                    landed.entry(intent.id).or_insert(key);
                }
            }
        }
        Ok(landed)
    }

    async fn write(&mut self, rows: &[RowWrite]) -> Result<Vec<RowOutcome>, PortError> {
        let unconditional;
        let rows = if self.shared.is_planted(Planted::RowVersionIgnored) {
            let as_it_is = |write: &RowWrite| {
                let row = write.row.as_ref().map(|(key, read)| {
                    let now = self.memory.database.version_of(key);
                    (key.clone(), now.unwrap_or_else(|| read.clone()))
                });
                RowWrite { row, ..write.clone() }
            };
            unconditional = rows.iter().map(as_it_is).collect::<Vec<_>>();
            &unconditional
        } else {
            rows
        };
        let mut outcomes = self.inner.write(rows).await?;
        self.shared.trace.say(|| format!("  {} write {rows:?}: {outcomes:?}", self.sync));
        if self.shared.is_planted(Planted::LockedRowsTakenForWritten) {
            for (outcome, write) in outcomes.iter_mut().zip(rows) {
                if let (RowOutcome::Moved, Some((key, _))) = (&outcome, &write.row) {
                    *outcome = RowOutcome::Written(key.clone());
                }
            }
        }
        Ok(outcomes)
    }

    async fn note(&mut self, history: &[HistoryRow]) -> Result<(), PortError> {
        self.inner.note(history).await
    }

    async fn drop_own_log(
        &mut self,
        written: &[PostgresKey],
        deleted: &[PostgresKey],
    ) -> Result<(), PortError> {
        if self.shared.is_planted(Planted::TriggersChangeSwallowed) {
            self.inner.drop_whole_log();
        }
        self.inner.drop_own_log(written, deleted).await
    }

    async fn close(
        &mut self,
        outcomes: &[(String, HistoryOutcome, Option<SalesforceId>)],
    ) -> Result<(), PortError> {
        self.inner.close(outcomes).await
    }

    async fn commit(self) -> Result<(), PortError> {
        self.inner.commit().await
    }

    async fn rollback(self) -> Result<(), PortError> {
        self.inner.rollback().await
    }
}

impl Database for SimDatabase {
    type Transaction<'a> = SimTransaction<'a>;
    type Log<'a> = SimLog<'a>;

    async fn take_log(&self, limit: usize) -> Result<SimLog<'_>, PortError> {
        let mut log = self.inner().take_log(limit).await?;
        if self.shared.is_planted(Planted::CursorBySequence) {
            let mut memory = self.shared.planted();
            let seen = memory.last_number;
            memory.last_number = seen.max(log.last().unwrap_or_default());
            log.keep_only(|number, _| number > seen);
        }
        if self.shared.is_planted(Planted::KeyChangeIsDelete) {
            let touches = std::mem::take(log.touches_mut());
            for mut touch in touches {
                if let Some(old) = touch.old_key.take() {
                    let mut gone = touch.clone();
                    gone.key = Some(old);
                    gone.evidence.pg_deleted = true;
                    touch.id = None;
                    log.touches_mut().push(gone);
                }
                log.touches_mut().push(touch);
            }
        }
        if self.shared.is_planted(Planted::LogGoneBeforeTheQueueHasIt) {
            log.commit_early();
        }
        Ok(SimLog(log))
    }

    async fn scan(
        &self,
        definition: &Definition,
        after: Option<&PostgresKey>,
        limit: usize,
    ) -> Result<Vec<(PostgresKey, Option<SalesforceId>)>, PortError> {
        self.inner().scan(definition, after, limit).await
    }

    async fn beat(&self) -> Result<u64, PortError> {
        self.identity()?;
        let beat = self.inner().beat().await?;
        if self.shared.is_planted(Planted::RestoreUnnoticed) {
            return Ok(self.memory.state.pulse().await? + 1);
        }
        Ok(beat)
    }

    async fn capture_gaps(&self, definitions: &[Definition]) -> Result<BTreeMap<String, String>, PortError> {
        let gaps = self.inner().capture_gaps(definitions).await?;
        if self.shared.is_planted(Planted::CaptureOnlyRepaired) {
            for definition in definitions.iter().filter(|one| gaps.contains_key(&one.name)) {
                self.inner().repair_capture(definition).await?;
            }
            return Ok(BTreeMap::new());
        }
        Ok(gaps)
    }

    async fn repair_capture(&self, definition: &Definition) -> Result<(), PortError> {
        self.inner().repair_capture(definition).await
    }

    async fn housekeeping(&self, definitions: &[Definition], before: Timestamp) -> Result<(), PortError> {
        self.inner().housekeeping(definitions, before).await
    }

    async fn begin(&self, definition: &Definition) -> Result<SimTransaction<'_>, PortError> {
        self.identity()?;
        Ok(SimTransaction {
            inner: self.inner().begin(definition).await?,
            sync: definition.name.clone(),
            memory: self.memory.clone(),
            shared: self.shared.clone(),
        })
    }
}
