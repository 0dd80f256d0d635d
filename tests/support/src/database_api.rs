//! The Postgres in memory, as Syncline sees it.

use crate::database::{LogRow, MemoryDatabase, MemoryRow};
use crate::event::{By, Values};
use crate::table::{Change, LOCKED, Overlay};
use crate::yielding::yield_now;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use syncline_engine::{Definition, PostgresKey, SalesforceId, Side};
use syncline_sync::{
    Database, HistoryOutcome, HistoryRow, LogBatch, Origin, PortError, Row, RowOutcome, RowRef,
    RowUnreadable, RowWrite, Touch, Transaction,
};

/// A batch of rows taken from the capture log.
pub struct MemoryLog<'a> {
    database: &'a MemoryDatabase,
    numbers: BTreeSet<u64>,
    touches: Vec<Touch>,
    truncated: Vec<String>,
    deletes: BTreeMap<String, u64>,
}

impl MemoryLog<'_> {
    /// Drops the touches that `keep` does not accept from the batch. Nobody sees them: `commit` removes their
    /// log rows too.
    pub fn keep_only(&mut self, keep: impl Fn(u64, &Touch) -> bool) {
        let numbered: Vec<(u64, Touch)> =
            self.numbers.iter().copied().zip(std::mem::take(&mut self.touches)).collect();
        for (number, touch) in numbered {
            if keep(number, &touch) {
                self.touches.push(touch);
            }
        }
    }

    /// The touches of the batch, to be changed by a test.
    pub fn touches_mut(&mut self) -> &mut Vec<Touch> {
        &mut self.touches
    }

    /// Removes the log rows before the queue has accepted their touches, which is a planted bug.
    pub fn commit_early(&mut self) {
        let mut inner = self.database.inner.lock().unwrap();
        inner.log.retain(|row| !self.numbers.contains(&row.number));
    }

    /// The number of the last log row of the batch.
    #[must_use]
    pub fn last(&self) -> Option<u64> {
        self.numbers.last().copied()
    }
}

impl LogBatch for MemoryLog<'_> {
    fn touches(&self) -> &[Touch] {
        &self.touches
    }

    fn truncated(&self) -> &[String] {
        &self.truncated
    }

    fn deletes(&self) -> &BTreeMap<String, u64> {
        &self.deletes
    }

    async fn commit(self) -> Result<(), PortError> {
        yield_now().await;
        let mut inner = self.database.inner.lock().unwrap();
        inner.log.retain(|row| !self.numbers.contains(&row.number));
        inner.truncated.retain(|sync| !self.truncated.contains(sync));
        Ok(())
    }
}

/// A transaction. Its writes become visible to others when it commits. If it is dropped, it rolls back.
pub struct MemoryTransaction<'a> {
    database: &'a MemoryDatabase,
    sync: String,
    number: u64,
    overlay: Overlay,
    /// Keys whose log rows are removed: keys of rows written, and keys of rows deleted.
    echoes: BTreeSet<(PostgresKey, bool)>,
    history: Vec<HistoryRow>,
    closed: Vec<(String, HistoryOutcome)>,
}

impl Drop for MemoryTransaction<'_> {
    fn drop(&mut self) {
        let mut inner = self.database.inner.lock().unwrap();
        inner.locks.retain(|_, owner| *owner != self.number);
        inner.unlock(self.number);
    }
}

fn shown(key: &PostgresKey, row: &MemoryRow) -> Row {
    Row {
        key: key.clone(),
        link: row.link.clone(),
        row_version: row.version.to_string(),
        values: row.values.clone(),
    }
}

impl Transaction for MemoryTransaction<'_> {
    async fn lock(&mut self, records: &[String]) -> Result<Vec<bool>, PortError> {
        yield_now().await;
        let mut inner = self.database.inner.lock().unwrap();
        let lock = |name: &String| {
            let name = format!("{}/{name}", self.sync);
            *inner.locks.entry(name).or_insert(self.number) == self.number
        };
        Ok(records.iter().map(lock).collect())
    }

    async fn read(&mut self, refs: &[RowRef]) -> Result<Vec<Result<Vec<Row>, RowUnreadable>>, PortError> {
        yield_now().await;
        let hung = self.database.inner.lock().unwrap().hung.clone();
        if hung.is_some() && refs.iter().any(|wanted| wanted.key == hung) {
            std::future::pending::<()>().await;
        }
        let poisoned = self.database.inner.lock().unwrap().poisoned.clone();
        assert!(poisoned.is_none() || refs.iter().all(|wanted| wanted.key != poisoned), "poisoned");
        let inner = self.database.inner.lock().unwrap();
        let mut visible = inner.rows.clone();
        for (key, row) in &self.overlay.rows {
            match row {
                Some(row) => visible.insert(key.clone(), row.clone()),
                None => visible.remove(key),
            };
        }
        visible.retain(|_, row| row.sync == self.sync);
        let of_ref = |wanted: &RowRef| {
            if wanted.key.as_ref().is_some_and(|key| inner.unreadable.contains(key)) {
                let message = "missing chunk number 0 for toast value 1".to_owned();
                return Err(RowUnreadable { code: "XX001".to_owned(), message });
            }
            Ok(visible
                .iter()
                .filter(|(key, row)| {
                    wanted.key.as_ref() == Some(key)
                        || wanted.id.as_ref().is_some_and(|id| row.link.as_deref() == Some(id.as_str()))
                })
                .map(|(key, row)| shown(key, row))
                .collect())
        };
        Ok(refs.iter().map(of_ref).collect())
    }

    async fn origins(&mut self, keys: &[PostgresKey]) -> Result<Vec<Origin>, PortError> {
        yield_now().await;
        let inner = self.database.inner.lock().unwrap();
        let origin = |key: &PostgresKey| {
            let former_keys: Vec<PostgresKey> =
                std::iter::successors(inner.rekeyed.get(key), |key| inner.rekeyed.get(*key))
                    .cloned()
                    .collect();
            let inserted = |row: &&HistoryRow| {
                row.side == Side::Postgres
                    && row.reason == "created"
                    && row
                        .postgres_key
                        .as_ref()
                        .is_some_and(|known| known == key || former_keys.contains(known))
            };
            let inserted_for = inner.history.iter().rfind(inserted).and_then(|row| row.salesforce_id.clone());
            Origin { former_keys, inserted_for }
        };
        Ok(keys.iter().map(origin).collect())
    }

    async fn landed(&mut self, intents: &[String]) -> Result<BTreeMap<String, PostgresKey>, PortError> {
        yield_now().await;
        let inner = self.database.inner.lock().unwrap();
        let rows =
            inner.history.iter().filter(|row| row.side == Side::Postgres && intents.contains(&row.intent));
        Ok(rows.filter_map(|row| Some((row.intent.clone(), row.postgres_key.clone()?))).collect())
    }

    async fn write(&mut self, rows: &[RowWrite]) -> Result<Vec<RowOutcome>, PortError> {
        yield_now().await;
        Ok(rows.iter().map(|write| self.write_one(write)).collect())
    }

    async fn note(&mut self, history: &[HistoryRow]) -> Result<(), PortError> {
        yield_now().await;
        self.history.extend_from_slice(history);
        Ok(())
    }

    async fn drop_own_log(
        &mut self,
        written: &[PostgresKey],
        deleted: &[PostgresKey],
    ) -> Result<(), PortError> {
        yield_now().await;
        self.echoes.extend(written.iter().map(|key| (key.clone(), false)));
        self.echoes.extend(deleted.iter().map(|key| (key.clone(), true)));
        Ok(())
    }

    async fn close(
        &mut self,
        outcomes: &[(String, HistoryOutcome, Option<SalesforceId>)],
    ) -> Result<(), PortError> {
        yield_now().await;
        self.closed.extend(outcomes.iter().map(|(intent, outcome, _)| (intent.clone(), *outcome)));
        Ok(())
    }

    async fn commit(mut self) -> Result<(), PortError> {
        yield_now().await;
        let database = self.database;
        let mut inner = database.inner.lock().unwrap();
        if inner.down {
            drop(inner);
            return database.call();
        }
        let mut overlay = std::mem::take(&mut self.overlay);
        overlay.log.retain(|row| {
            let echo = row.touch.key.clone().map(|key| (key, row.touch.evidence.pg_deleted));
            row.touch.sync != self.sync || echo.is_none_or(|echo| !self.echoes.contains(&echo))
        });
        inner.commits += usize::from(!overlay.rows.is_empty());
        database.commit(&mut inner, overlay, By::Sync);
        inner.history.append(&mut self.history);
        inner.closed.append(&mut self.closed);
        drop(inner);
        Ok(())
    }

    async fn rollback(self) -> Result<(), PortError> {
        yield_now().await;
        Ok(())
    }
}

impl MemoryTransaction<'_> {
    /// Discards everything that this transaction has changed so far.
    pub fn drop_whole_log(&mut self) {
        self.overlay.log.clear();
    }

    /// Writes one row under a savepoint.
    fn write_one(&mut self, write: &RowWrite) -> RowOutcome {
        let database = self.database;
        let mut inner = database.inner.lock().unwrap();
        // If no rule can refuse the row halfway, there is nothing to roll back to and no copy is made.
        let rules = &database.rules;
        let plain = rules.before.is_none() && rules.after.is_none() && rules.foreign_key.is_none();
        let savepoint = (!plain).then(|| self.overlay.clone());
        let mut overlay = std::mem::take(&mut self.overlay);
        let (key, change) = match &write.row {
            None => {
                let link = write.link.as_ref().map(|id| id.as_str().to_owned());
                let names = |row: &MemoryRow| row.sync == self.sync && row.link == link;
                let taken = overlay.rows.values().flatten().any(names)
                    || inner.rows.iter().any(|(key, row)| !overlay.rows.contains_key(key) && names(row));
                if taken {
                    self.overlay = overlay;
                    return RowOutcome::Moved;
                }
                let number = inner.number();
                let free = |key: &PostgresKey| {
                    inner.row(&overlay, key).is_none() && !inner.row_locks.contains_key(key)
                };
                let key = write.key.clone().filter(free);
                let key = key.unwrap_or_else(|| PostgresKey(format!("[\"{number}\"]")));
                (key, Change::Insert { link, values: write.fields.clone() })
            }
            Some((key, version)) => {
                let stands = inner.rows.get(key).is_some_and(|row| row.version.to_string() == *version);
                let free = inner.row_locks.get(key).is_none_or(|owner| *owner == self.number);
                if !stands || !free {
                    self.overlay = overlay;
                    return RowOutcome::Moved;
                }
                let link = write.link.as_ref().map(|id| Some(id.as_str().to_owned()));
                let change = if write.delete {
                    Change::Delete
                } else {
                    Change::Update { link, values: write.fields.clone() }
                };
                (key.clone(), change)
            }
        };
        let asked: Values = write.fields.clone();
        overlay.asked.entry(key.clone()).or_default().extend(asked);
        let done = inner.change(rules, &mut overlay, self.number, &self.sync, &key, change);
        self.overlay = match (&done, savepoint) {
            (Err(_), Some(savepoint)) => savepoint,
            _ => overlay,
        };
        match done {
            Ok(()) => {}
            Err(refusal) if refusal.code == LOCKED => return RowOutcome::Moved,
            Err(refusal) => {
                return RowOutcome::Refused {
                    code: refusal.code,
                    message: refusal.message,
                    column: refusal.column,
                };
            }
        }
        if write.delete
            && let Some(row) = inner.rows.get(&key).cloned()
        {
            inner.tombstones.insert(key.clone(), row);
        }
        self.history.extend(write.history.iter().cloned().map(|mut row| {
            row.postgres_key = Some(key.clone());
            row
        }));
        RowOutcome::Written(key)
    }
}

impl Database for MemoryDatabase {
    type Transaction<'a> = MemoryTransaction<'a>;
    type Log<'a> = MemoryLog<'a>;

    async fn take_log(&self, limit: usize) -> Result<MemoryLog<'_>, PortError> {
        yield_now().await;
        self.call()?;
        let inner = self.inner.lock().unwrap();
        let rows: Vec<&LogRow> = inner.log.iter().take(limit).collect();
        let mut deletes: BTreeMap<String, u64> = BTreeMap::new();
        for row in inner.log.iter().filter(|row| row.touch.evidence.pg_deleted) {
            *deletes.entry(row.touch.sync.clone()).or_default() += 1;
        }
        Ok(MemoryLog {
            database: self,
            numbers: rows.iter().map(|row| row.number).collect(),
            touches: rows.iter().map(|row| row.touch.clone()).collect(),
            truncated: inner.truncated.clone(),
            deletes,
        })
    }

    async fn scan(
        &self,
        definition: &Definition,
        after: Option<&PostgresKey>,
        limit: usize,
    ) -> Result<Vec<(PostgresKey, Option<SalesforceId>)>, PortError> {
        yield_now().await;
        self.call()?;
        let inner = self.inner.lock().unwrap();
        let of_sync = inner.rows.iter().filter(|(_, row)| row.sync == definition.name);
        let rows = of_sync.filter(|(key, _)| after.is_none_or(|after| *key > after)).take(limit);
        Ok(rows
            .map(|(key, row)| {
                (key.clone(), row.link.as_deref().and_then(|link| SalesforceId::parse(link).ok()))
            })
            .collect())
    }

    async fn beat(&self) -> Result<u64, PortError> {
        yield_now().await;
        self.call()?;
        let mut inner = self.inner.lock().unwrap();
        inner.beat += 1;
        Ok(inner.beat)
    }

    async fn capture_gaps(&self, definitions: &[Definition]) -> Result<BTreeMap<String, String>, PortError> {
        yield_now().await;
        self.call()?;
        let inner = self.inner.lock().unwrap();
        let gone = definitions.iter().filter(|one| inner.uncaptured.contains(&one.name));
        Ok(gone.map(|one| (one.name.clone(), "the triggers are gone".to_owned())).collect())
    }

    async fn repair_capture(&self, definition: &Definition) -> Result<(), PortError> {
        yield_now().await;
        self.call()?;
        let mut inner = self.inner.lock().unwrap();
        if inner.triggers_refused {
            let message = "must be owner of the table".to_owned();
            return Err(PortError::Definition { side: Side::Postgres, message });
        }
        inner.uncaptured.remove(&definition.name);
        Ok(())
    }

    async fn housekeeping(&self, _definitions: &[Definition], _before: Timestamp) -> Result<(), PortError> {
        yield_now().await;
        self.call()
    }

    async fn begin(&self, definition: &Definition) -> Result<MemoryTransaction<'_>, PortError> {
        yield_now().await;
        self.call()?;
        let number = self.inner.lock().unwrap().number();
        Ok(MemoryTransaction {
            database: self,
            sync: definition.name.clone(),
            number,
            overlay: Overlay::default(),
            echoes: BTreeSet::new(),
            history: Vec::new(),
            closed: Vec::new(),
        })
    }
}
