//! A Postgres in memory: one table per definition, a capture log, history, row locks and transactions that see
//! what is committed.

use crate::yielding::yield_now;
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use syncline_engine::{Definition, PostgresKey, SalesforceId, Side};
use syncline_sync::{
    Database, HistoryOutcome, HistoryRow, LogBatch, Origin, PortError, Row, RowOutcome, RowRef, RowWrite,
    Source, Touch, Transaction,
};

/// One row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryRow {
    /// Its link column.
    pub link: Option<String>,
    /// Its mapped columns, by field.
    pub values: BTreeMap<String, Option<String>>,
    version: u64,
}

/// One row of the capture log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    number: u64,
    transaction: u64,
    touch: Touch,
}

#[derive(Clone, Default)]
struct Inner {
    rows: BTreeMap<PostgresKey, MemoryRow>,
    log: Vec<LogRow>,
    history: Vec<HistoryRow>,
    locks: BTreeMap<String, u64>,
    row_locks: BTreeMap<PostgresKey, u64>,
    timeline: Vec<(PostgresKey, String, Option<String>, bool)>,
    next: u64,
    beat: u64,
    tombstones: BTreeMap<PostgresKey, MemoryRow>,
    down: bool,
    truncated: Vec<String>,
    rekeyed: BTreeMap<PostgresKey, PostgresKey>,
    poisoned: Option<PostgresKey>,
    hung: Option<PostgresKey>,
}

impl Inner {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn capture(
        &mut self,
        sync: &str,
        key: &PostgresKey,
        link: Option<&str>,
        transaction: u64,
        deleted: bool,
    ) {
        let mut touch = Touch::of_key(sync, key.clone(), Source::CaptureLog, Timestamp::UNIX_EPOCH);
        touch.id = link.and_then(|link| SalesforceId::parse(link).ok());
        touch.evidence.pg_deleted = deleted;
        let number = self.number();
        self.log.push(LogRow { number, transaction, touch });
    }
}

/// A Postgres in memory.
#[derive(Clone, Default)]
pub struct MemoryDatabase {
    inner: Arc<Mutex<Inner>>,
}

impl MemoryDatabase {
    /// A user's insert.
    pub fn insert(&self, sync: &str, values: BTreeMap<String, Option<String>>) -> PostgresKey {
        let mut inner = self.inner.lock().unwrap();
        let number = inner.number();
        let key = PostgresKey(format!("[\"{number}\"]"));
        for (field, value) in &values {
            inner.timeline.push((key.clone(), field.clone(), value.clone(), false));
        }
        inner.rows.insert(key.clone(), MemoryRow { link: None, values, version: number });
        inner.capture(sync, &key, None, number, false);
        key
    }

    /// A user's update; false if the row is gone or locked.
    pub fn edit(&self, sync: &str, key: &PostgresKey, field: &str, value: Option<&str>) -> bool {
        let mut inner = self.inner.lock().unwrap();
        if inner.row_locks.contains_key(key) {
            return false;
        }
        let number = inner.number();
        let Some(row) = inner.rows.get_mut(key) else { return false };
        row.values.insert(field.to_owned(), value.map(str::to_owned));
        row.version = number;
        let link = row.link.clone();
        inner.timeline.push((key.clone(), field.to_owned(), value.map(str::to_owned), false));
        inner.capture(sync, key, link.as_deref(), number, false);
        true
    }

    /// A user's delete; false if the row is gone or locked.
    pub fn delete(&self, sync: &str, key: &PostgresKey) -> bool {
        let mut inner = self.inner.lock().unwrap();
        if inner.row_locks.contains_key(key) {
            return false;
        }
        let Some(row) = inner.rows.remove(key) else { return false };
        inner.timeline.push((key.clone(), String::new(), None, false));
        let number = inner.number();
        inner.capture(sync, key, row.link.as_deref(), number, true);
        true
    }

    /// A user inserts a row under a key that was deleted; false if it stands or is locked.
    pub fn insert_again(
        &self,
        sync: &str,
        key: &PostgresKey,
        link: Option<String>,
        values: BTreeMap<String, Option<String>>,
    ) -> bool {
        let mut inner = self.inner.lock().unwrap();
        if inner.rows.contains_key(key) || inner.row_locks.contains_key(key) {
            return false;
        }
        let number = inner.number();
        for (field, value) in &values {
            inner.timeline.push((key.clone(), field.clone(), value.clone(), false));
        }
        inner.capture(sync, key, link.as_deref(), number, false);
        inner.rows.insert(key.clone(), MemoryRow { link, values, version: number });
        true
    }

    /// A user changes a row's key; `None` if the row is gone or locked.
    pub fn change_key(&self, sync: &str, key: &PostgresKey) -> Option<PostgresKey> {
        let mut inner = self.inner.lock().unwrap();
        if inner.row_locks.contains_key(key) {
            return None;
        }
        let mut row = inner.rows.remove(key)?;
        inner.timeline.push((key.clone(), String::new(), None, false));
        let number = inner.number();
        row.version = number;
        let new = PostgresKey(format!("[\"{number}\"]"));
        for (field, value) in &row.values {
            inner.timeline.push((new.clone(), field.clone(), value.clone(), false));
        }
        let link = row.link.clone();
        inner.rekeyed.insert(new.clone(), key.clone());
        inner.rows.insert(new.clone(), row);
        let mut rekey = Touch::of_key(sync, new.clone(), Source::CaptureLog, Timestamp::UNIX_EPOCH);
        rekey.id = link.and_then(|link| SalesforceId::parse(&link).ok());
        rekey.old_key = Some(key.clone());
        let log = LogRow { number: inner.number(), transaction: number, touch: rekey };
        inner.log.push(log);
        Some(new)
    }

    /// A user writes over a row's link column; false if the row is gone or locked.
    pub fn write_link(&self, sync: &str, key: &PostgresKey, link: Option<&str>) -> bool {
        let mut inner = self.inner.lock().unwrap();
        if inner.row_locks.contains_key(key) {
            return false;
        }
        let number = inner.number();
        let Some(row) = inner.rows.get_mut(key) else { return false };
        row.link = link.map(str::to_owned);
        row.version = number;
        inner.capture(sync, key, link, number, false);
        true
    }

    /// A user truncates the table.
    pub fn truncate(&self, sync: &str) {
        let mut inner = self.inner.lock().unwrap();
        inner.rows.clear();
        inner.truncated.push(sync.to_owned());
    }

    /// Everything as it is now, to be restored later.
    #[must_use]
    pub fn backup(&self) -> Self {
        let mut inner = self.inner.lock().unwrap().clone();
        inner.locks.clear();
        inner.row_locks.clear();
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    /// The database is as it was then.
    pub fn restore(&self, backup: &Self) {
        let mut inner = self.inner.lock().unwrap();
        let next = inner.next;
        *inner = backup.inner.lock().unwrap().clone();
        inner.next = next;
    }

    /// Whoever reads this row panics.
    pub fn poison(&self, key: Option<PostgresKey>) {
        self.inner.lock().unwrap().poisoned = key;
    }

    /// Whoever reads this row waits for ever.
    pub fn hang(&self, key: Option<PostgresKey>) {
        self.inner.lock().unwrap().hung = key;
    }

    /// Whether every call fails.
    pub fn set_down(&self, down: bool) {
        self.inner.lock().unwrap().down = down;
    }

    fn call(&self) -> Result<(), PortError> {
        if self.inner.lock().unwrap().down {
            let message = "the server closed the connection".to_owned();
            return Err(PortError::Outage { side: Side::Postgres, message });
        }
        Ok(())
    }

    /// All rows.
    #[must_use]
    pub fn rows(&self) -> BTreeMap<PostgresKey, MemoryRow> {
        self.inner.lock().unwrap().rows.clone()
    }

    /// Rows that wait in the capture log.
    #[must_use]
    pub fn log_len(&self) -> usize {
        self.inner.lock().unwrap().log.len()
    }

    /// Every value that ever stood in a field: row, field, value, and whether Syncline wrote it. An empty field says
    /// that the row was deleted.
    #[must_use]
    pub fn timeline(&self) -> Vec<(PostgresKey, String, Option<String>, bool)> {
        self.inner.lock().unwrap().timeline.clone()
    }

    /// History so far.
    #[must_use]
    pub fn history(&self) -> Vec<HistoryRow> {
        self.inner.lock().unwrap().history.clone()
    }
}

/// Log rows taken.
pub struct MemoryLog<'a> {
    database: &'a MemoryDatabase,
    numbers: BTreeSet<u64>,
    touches: Vec<Touch>,
    truncated: Vec<String>,
    deletes: BTreeMap<String, u64>,
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

/// A transaction. Its writes are visible to others once it commits; dropped, it rolls back.
pub struct MemoryTransaction<'a> {
    database: &'a MemoryDatabase,
    sync: String,
    number: u64,
    rows: BTreeMap<PostgresKey, MemoryRow>,
    deleted: BTreeSet<PostgresKey>,
    deleted_echoes: BTreeSet<PostgresKey>,
    echoes: BTreeSet<PostgresKey>,
    written: Vec<PostgresKey>,
    history: Vec<HistoryRow>,
}

impl Drop for MemoryTransaction<'_> {
    fn drop(&mut self) {
        let mut inner = self.database.inner.lock().unwrap();
        inner.locks.retain(|_, owner| *owner != self.number);
        inner.row_locks.retain(|_, owner| *owner != self.number);
    }
}

impl MemoryTransaction<'_> {
    fn row(&self, key: &PostgresKey, row: &MemoryRow) -> Row {
        Row {
            key: key.clone(),
            link: row.link.clone(),
            row_version: row.version.to_string(),
            values: row.values.clone(),
        }
    }
}

impl Transaction for MemoryTransaction<'_> {
    async fn lock(&mut self, records: &[String]) -> Result<Vec<bool>, PortError> {
        yield_now().await;
        let mut inner = self.database.inner.lock().unwrap();
        let lock = |name: &String| *inner.locks.entry(name.clone()).or_insert(self.number) == self.number;
        Ok(records.iter().map(lock).collect())
    }

    async fn read(&mut self, refs: &[RowRef]) -> Result<Vec<Vec<Row>>, PortError> {
        yield_now().await;
        let hung = self.database.inner.lock().unwrap().hung.clone();
        if hung.is_some() && refs.iter().any(|wanted| wanted.key == hung) {
            std::future::pending::<()>().await;
        }
        let poisoned = self.database.inner.lock().unwrap().poisoned.clone();
        assert!(poisoned.is_none() || refs.iter().all(|wanted| wanted.key != poisoned), "poisoned");
        let inner = self.database.inner.lock().unwrap();
        let mut visible = inner.rows.clone();
        visible.extend(self.rows.clone());
        visible.retain(|key, _| !self.deleted.contains(key));
        let of_ref = |wanted: &RowRef| {
            visible
                .iter()
                .filter(|(key, row)| {
                    wanted.key.as_ref() == Some(key)
                        || wanted.id.as_ref().is_some_and(|id| row.link.as_deref() == Some(id.as_str()))
                })
                .map(|(key, row)| self.row(key, row))
                .collect()
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
        let mut inner = self.database.inner.lock().unwrap();
        let mut outcomes = Vec::new();
        for write in rows {
            let (key, mut row) = match &write.row {
                None => {
                    let link = write.link.as_ref().map(SalesforceId::as_str);
                    if inner.rows.values().any(|row| row.link.as_deref() == link) {
                        outcomes.push(RowOutcome::Moved);
                        continue;
                    }
                    let number = inner.number();
                    let free = |key: &PostgresKey| {
                        !inner.rows.contains_key(key) && !inner.row_locks.contains_key(key)
                    };
                    match write.key.clone().filter(free) {
                        Some(key) => (key, MemoryRow::default()),
                        None => (PostgresKey(format!("[\"{number}\"]")), MemoryRow::default()),
                    }
                }
                Some((key, version)) => {
                    let stands = inner.rows.get(key);
                    let free = inner.row_locks.get(key).is_none_or(|owner| *owner == self.number);
                    match stands {
                        Some(row) if free && row.version.to_string() == *version => {
                            (key.clone(), row.clone())
                        }
                        _ => {
                            outcomes.push(RowOutcome::Moved);
                            continue;
                        }
                    }
                }
            };
            if write.delete {
                inner.row_locks.insert(key.clone(), self.number);
                inner.tombstones.insert(key.clone(), row);
                self.deleted.insert(key.clone());
                self.history.extend(write.history.iter().cloned().map(|mut row| {
                    row.postgres_key = Some(key.clone());
                    row
                }));
                outcomes.push(RowOutcome::Written(key));
                continue;
            }
            row.values.extend(write.fields.clone());
            if let Some(link) = &write.link {
                row.link = Some(link.as_str().to_owned());
            }
            row.version = inner.number();
            inner.row_locks.insert(key.clone(), self.number);
            self.rows.insert(key.clone(), row);
            self.written.push(key.clone());
            self.history.extend(write.history.iter().cloned().map(|mut row| {
                row.postgres_key = Some(key.clone());
                row
            }));
            outcomes.push(RowOutcome::Written(key));
        }
        Ok(outcomes)
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
        self.echoes.extend(written.iter().cloned());
        self.deleted_echoes.extend(deleted.iter().cloned());
        Ok(())
    }

    async fn close(
        &mut self,
        _outcomes: &[(String, HistoryOutcome, Option<SalesforceId>)],
    ) -> Result<(), PortError> {
        yield_now().await;
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
        for key in std::mem::take(&mut self.deleted) {
            let link = inner.rows.remove(&key).and_then(|row| row.link);
            inner.timeline.push((key.clone(), String::new(), None, true));
            if !self.deleted_echoes.contains(&key) {
                inner.capture(&self.sync, &key, link.as_deref(), self.number, true);
            }
        }
        let rows = std::mem::take(&mut self.rows);
        for key in std::mem::take(&mut self.written) {
            if !self.echoes.contains(&key) {
                let link = rows.get(&key).and_then(|row| row.link.clone());
                inner.capture(&self.sync, &key, link.as_deref(), self.number, false);
            }
        }
        for (key, row) in &rows {
            let before = inner.rows.get(key).cloned().unwrap_or_default();
            for (field, value) in &row.values {
                if before.values.get(field) != Some(value) {
                    inner.timeline.push((key.clone(), field.clone(), value.clone(), true));
                }
            }
        }
        inner.rows.extend(rows);
        inner.history.append(&mut self.history);
        drop(inner);
        Ok(())
    }

    async fn rollback(self) -> Result<(), PortError> {
        yield_now().await;
        Ok(())
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
        Ok(MemoryLog {
            database: self,
            numbers: rows.iter().map(|row| row.number).collect(),
            touches: rows.iter().map(|row| row.touch.clone()).collect(),
            truncated: inner.truncated.clone(),
            deletes: inner.log.iter().filter(|row| row.touch.evidence.pg_deleted).fold(
                BTreeMap::new(),
                |mut counts, row| {
                    *counts.entry(row.touch.sync.clone()).or_default() += 1;
                    counts
                },
            ),
        })
    }

    async fn scan(
        &self,
        _definition: &Definition,
        after: Option<&PostgresKey>,
        limit: usize,
    ) -> Result<Vec<(PostgresKey, Option<SalesforceId>)>, PortError> {
        yield_now().await;
        self.call()?;
        let inner = self.inner.lock().unwrap();
        let rows = inner.rows.iter().filter(|(key, _)| after.is_none_or(|after| *key > after)).take(limit);
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

    async fn keep_house(&self, _definitions: &[Definition], _before: Timestamp) -> Result<(), PortError> {
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
            rows: BTreeMap::new(),
            deleted: BTreeSet::new(),
            deleted_echoes: BTreeSet::new(),
            echoes: BTreeSet::new(),
            written: Vec::new(),
            history: Vec::new(),
        })
    }
}
