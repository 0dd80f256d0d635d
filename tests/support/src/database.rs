//! A Postgres in memory: tables, a capture log, history, row locks, and transactions that see committed data
//! only. This file holds what people do to the database; [`database_api`](super::database_api) holds what
//! Syncline does.

use crate::event::{By, EventLog, Sets, Values, What};
use crate::table::{Change, Overlay, RowRefusal, TableRules};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use syncline_engine::{PostgresKey, Side};
use syncline_sync::{HistoryOutcome, HistoryRow, PortError, Touch};

/// A row of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryRow {
    /// The sync that the row's table belongs to.
    pub sync: String,
    /// The content of the link column.
    pub link: Option<String>,
    /// The mapped columns, by field.
    pub values: Values,
    pub(crate) version: u64,
}

/// A row of the capture log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRow {
    /// The number of the row. A transaction that commits late fills a gap in the numbers later.
    pub number: u64,
    pub(crate) transaction: u64,
    /// The touch that the row stands for.
    pub touch: Touch,
}

#[derive(Clone, Default)]
pub(crate) struct Inner {
    pub(crate) rows: BTreeMap<PostgresKey, MemoryRow>,
    pub(crate) log: Vec<LogRow>,
    pub(crate) history: Vec<HistoryRow>,
    pub(crate) closed: Vec<(String, HistoryOutcome)>,
    pub(crate) locks: BTreeMap<String, u64>,
    pub(crate) row_locks: BTreeMap<PostgresKey, u64>,
    /// Keys of parents of rows that open transactions have written. Such a key cannot change while the
    /// transaction is open.
    pub(crate) key_shares: Vec<(PostgresKey, u64)>,
    pub(crate) late: BTreeMap<u64, Overlay>,
    pub(crate) next: u64,
    pub(crate) beat: u64,
    pub(crate) tombstones: BTreeMap<PostgresKey, MemoryRow>,
    pub(crate) down: bool,
    pub(crate) truncated: Vec<String>,
    pub(crate) rekeyed: BTreeMap<PostgresKey, PostgresKey>,
    pub(crate) poisoned: Option<PostgresKey>,
    pub(crate) hung: Option<PostgresKey>,
    pub(crate) commits: usize,
    pub(crate) uncaptured: BTreeSet<String>,
    pub(crate) triggers_refused: bool,
    pub(crate) unreadable: BTreeSet<PostgresKey>,
}

impl Inner {
    pub(crate) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(crate) fn unlock(&mut self, transaction: u64) {
        self.row_locks.retain(|_, owner| *owner != transaction);
        self.key_shares.retain(|(_, owner)| *owner != transaction);
    }
}

/// A Postgres in memory.
#[derive(Clone)]
pub struct MemoryDatabase {
    pub(crate) inner: Arc<Mutex<Inner>>,
    events: EventLog,
    /// What the tables do by themselves.
    pub rules: TableRules,
    /// True if changes by triggers and cascades are not captured, as with a capture that misses them.
    pub silent: bool,
}

impl MemoryDatabase {
    /// A database with empty tables.
    #[must_use]
    pub fn new(events: EventLog) -> Self {
        Self { inner: Arc::default(), events, rules: TableRules::default(), silent: false }
    }

    /// Runs the statements of a user and commits them. If a statement fails, nothing is changed.
    fn by_user(
        &self,
        work: impl FnOnce(&mut Inner, &mut Overlay, u64) -> Result<(), RowRefusal>,
    ) -> Result<(), RowRefusal> {
        let mut inner = self.inner.lock().unwrap();
        let transaction = inner.number();
        let mut overlay = Overlay::default();
        let done = work(&mut inner, &mut overlay, transaction);
        if done.is_ok() {
            self.commit(&mut inner, overlay, By::User);
        }
        inner.unlock(transaction);
        done
    }

    /// Makes the changes of a transaction visible to others.
    pub(crate) fn commit(&self, inner: &mut Inner, overlay: Overlay, by: By) {
        let note = |record: &PostgresKey, values: &Values, by, what| {
            self.events.note(Side::Postgres, &record.0, values, by, what);
        };
        for (old, new) in &overlay.rekeyed {
            inner.rekeyed.insert(new.clone(), old.clone());
            if let Some(Some(row)) = overlay.rows.get(new) {
                note(new, &row.values, by, What::Rekeyed(old.0.clone()));
            }
        }
        for (key, after) in overlay.rows {
            let former = overlay.rekeyed.iter().find(|(_, new)| *new == key).map(|(old, _)| old);
            let moved_on = overlay.rekeyed.iter().any(|(old, _)| *old == key);
            let before = match former {
                // A row whose key changed kept its values, so none of them was set.
                Some(_) => after.clone(),
                None => inner.rows.get(&key).cloned(),
            };
            let nothing = Values::new();
            let asked = overlay.asked.get(&key);
            let by = if asked.is_some() { by } else { By::Automation };
            match (&before, &after) {
                (Some(row), None) if !moved_on => {
                    note(&key, &row.values, by, What::Died(row.values.clone()));
                }
                (_, None) => {}
                (before, Some(row)) => {
                    if before.is_none() {
                        note(&key, &row.values, by, What::Born);
                    }
                    let before = before.as_ref().map_or(&nothing, |row| &row.values);
                    let sets = Sets { before, asked: asked.unwrap_or(&nothing), after: &row.values };
                    self.events.note_sets(Side::Postgres, &key.0, by, &sets);
                }
            }
            match after {
                Some(row) => inner.rows.insert(key, row),
                None => inner.rows.remove(&key),
            };
        }
        let asked = |row: &LogRow| row.touch.key.as_ref().is_some_and(|key| overlay.asked.contains_key(key));
        let uncaptured = inner.uncaptured.clone();
        let captured = |row: &LogRow| !uncaptured.contains(&row.touch.sync) && (!self.silent || asked(row));
        inner.log.extend(overlay.log.into_iter().filter(captured));
        inner.log.sort_by_key(|row| row.number);
    }

    /// Inserts a row, as a user.
    pub fn insert(&self, sync: &str, values: Values) -> PostgresKey {
        let key = self.free_key();
        self.insert_as(sync, &key, None, values).unwrap();
        key
    }

    /// A key that no row has.
    #[must_use]
    pub fn free_key(&self) -> PostgresKey {
        let number = self.inner.lock().unwrap().number();
        PostgresKey(format!("[\"{number}\"]"))
    }

    /// Inserts a row with a given key and link, as a user.
    ///
    /// # Errors
    /// When the key is used or locked, or a rule refuses the row.
    pub fn insert_as(
        &self,
        sync: &str,
        key: &PostgresKey,
        link: Option<String>,
        values: Values,
    ) -> Result<(), RowRefusal> {
        self.by_user(|inner, overlay, transaction| {
            if inner.rows.contains_key(key) {
                return Err(crate::table::refusal("23505", "duplicate key value", None));
            }
            overlay.asked.insert(key.clone(), values.clone());
            inner.change(&self.rules, overlay, transaction, sync, key, Change::Insert { link, values })
        })
    }

    /// Updates a field of a row, as a user. `false` if the row is gone, locked or refused.
    pub fn edit(&self, sync: &str, key: &PostgresKey, field: &str, value: Option<&str>) -> bool {
        self.edit_all(sync, std::slice::from_ref(key), &[(field.to_owned(), value.map(str::to_owned))].into())
    }

    /// Updates fields of several rows in one statement, as a user. `false` if any row is gone, locked or
    /// refused.
    pub fn edit_all(&self, sync: &str, keys: &[PostgresKey], values: &Values) -> bool {
        let done = self.by_user(|inner, overlay, transaction| {
            for key in keys {
                if !inner.rows.contains_key(key) {
                    return Err(crate::table::refusal("02000", "no such row", None));
                }
                overlay.asked.insert(key.clone(), values.clone());
                let update = Change::Update { link: None, values: values.clone() };
                inner.change(&self.rules, overlay, transaction, sync, key, update)?;
            }
            Ok(())
        });
        done.is_ok()
    }

    /// Deletes a row, as a user. `false` if the row is gone or locked.
    pub fn delete(&self, sync: &str, key: &PostgresKey) -> bool {
        let done = self.by_user(|inner, overlay, transaction| {
            if !inner.rows.contains_key(key) {
                return Err(crate::table::refusal("02000", "no such row", None));
            }
            overlay.asked.insert(key.clone(), Values::new());
            inner.change(&self.rules, overlay, transaction, sync, key, Change::Delete)
        });
        done.is_ok()
    }

    /// Changes the key of a row, as a user. `None` if the row is gone or locked.
    pub fn change_key(&self, sync: &str, key: &PostgresKey) -> Option<PostgresKey> {
        let new = self.free_key();
        self.change_key_to(sync, key, &new).then_some(new)
    }

    /// Changes the key of a row to a given key that no other row has, as a user. `false` if the row is gone
    /// or locked.
    pub fn change_key_to(&self, sync: &str, key: &PostgresKey, new: &PostgresKey) -> bool {
        let done = self.by_user(|inner, overlay, transaction| {
            if !inner.rows.contains_key(key) {
                return Err(crate::table::refusal("02000", "no such row", None));
            }
            overlay.asked.insert(new.clone(), Values::new());
            inner.change(&self.rules, overlay, transaction, sync, key, Change::Rekey(new.clone()))
        });
        done.is_ok()
    }

    /// Overwrites the link column of a row, as a user. `false` if the row is gone or locked.
    pub fn write_link(&self, sync: &str, key: &PostgresKey, link: Option<&str>) -> bool {
        let done = self.by_user(|inner, overlay, transaction| {
            if !inner.rows.contains_key(key) {
                return Err(crate::table::refusal("02000", "no such row", None));
            }
            overlay.asked.insert(key.clone(), Values::new());
            let link = Some(link.map(str::to_owned));
            let update = Change::Update { link, values: Values::new() };
            inner.change(&self.rules, overlay, transaction, sync, key, update)
        });
        done.is_ok()
    }

    /// Updates a row, as a user, in a transaction that stays open. `false` if the row is gone or locked.
    pub fn begin_edit(&self, sync: &str, key: &PostgresKey, field: &str, value: Option<&str>) -> bool {
        let mut inner = self.inner.lock().unwrap();
        if !inner.rows.contains_key(key) {
            return false;
        }
        let transaction = inner.number();
        let mut overlay = Overlay::default();
        let values: Values = [(field.to_owned(), value.map(str::to_owned))].into();
        overlay.asked.insert(key.clone(), values.clone());
        let update = Change::Update { link: None, values };
        let done = inner.change(&self.rules, &mut overlay, transaction, sync, key, update).is_ok();
        if done {
            inner.late.insert(transaction, overlay);
        } else {
            inner.unlock(transaction);
        }
        done
    }

    /// Commits the open transactions of users.
    pub fn commit_edits(&self) {
        let mut inner = self.inner.lock().unwrap();
        for (transaction, overlay) in std::mem::take(&mut inner.late) {
            self.commit(&mut inner, overlay, By::User);
            inner.unlock(transaction);
        }
    }

    /// Drops the capture triggers of a sync's table: from now on, changes of its rows go unnoticed.
    pub fn drop_capture(&self, sync: &str) {
        self.inner.lock().unwrap().uncaptured.insert(sync.to_owned());
    }

    /// True while changes of some table go unnoticed.
    #[must_use]
    pub fn is_capture_lost(&self) -> bool {
        !self.inner.lock().unwrap().uncaptured.is_empty()
    }

    /// Sets whether the database refuses to create triggers.
    pub fn refuse_triggers(&self, refused: bool) {
        self.inner.lock().unwrap().triggers_refused = refused;
    }

    /// Truncates the table, as a user.
    pub fn truncate(&self, sync: &str) {
        let mut inner = self.inner.lock().unwrap();
        inner.rows.retain(|_, row| row.sync != sync);
        inner.truncated.push(sync.to_owned());
    }

    /// A copy of everything, for a later `restore`.
    #[must_use]
    pub fn backup(&self) -> Self {
        let mut inner = self.inner.lock().unwrap().clone();
        inner.locks.clear();
        inner.row_locks.clear();
        inner.key_shares.clear();
        inner.late.clear();
        Self { inner: Arc::new(Mutex::new(inner)), ..self.clone() }
    }

    /// Restores the database to a copy.
    pub fn restore(&self, backup: &Self) {
        let mut inner = self.inner.lock().unwrap();
        let (next, commits) = (inner.next, inner.commits);
        *inner = backup.inner.lock().unwrap().clone();
        inner.next = next;
        inner.commits = commits;
    }

    /// Sets whether a row can be read under its key.
    pub fn set_unreadable(&self, key: &PostgresKey, unreadable: bool) {
        let keys = &mut self.inner.lock().unwrap().unreadable;
        if unreadable {
            keys.insert(key.clone())
        } else {
            keys.remove(key)
        };
    }

    /// Makes every read of this row panic.
    pub fn poison(&self, key: Option<PostgresKey>) {
        self.inner.lock().unwrap().poisoned = key;
    }

    /// Makes every read of this row wait for ever.
    pub fn hang(&self, key: Option<PostgresKey>) {
        self.inner.lock().unwrap().hung = key;
    }

    /// Sets whether every call fails.
    pub fn set_down(&self, down: bool) {
        self.inner.lock().unwrap().down = down;
    }

    pub(crate) fn call(&self) -> Result<(), PortError> {
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

    /// The version of a row, as a run reads it.
    #[must_use]
    pub fn version_of(&self, key: &PostgresKey) -> Option<String> {
        self.inner.lock().unwrap().rows.get(key).map(|row| row.version.to_string())
    }

    /// True if a row that had this key was given another key and has no link.
    #[must_use]
    pub fn moved_unlinked_from(&self, key: &PostgresKey) -> bool {
        let inner = self.inner.lock().unwrap();
        let unlinked = |key: &PostgresKey| inner.rows.get(key).is_some_and(|row| row.link.is_none());
        inner.rekeyed.iter().any(|(new, old)| old == key && unlinked(new))
    }

    /// The rows that wait in the capture log.
    #[must_use]
    pub fn log_len(&self) -> usize {
        self.inner.lock().unwrap().log.len()
    }

    /// The number of transactions of Syncline that wrote rows and committed.
    #[must_use]
    pub fn commits(&self) -> usize {
        self.inner.lock().unwrap().commits
    }

    /// The history so far.
    #[must_use]
    pub fn history(&self) -> Vec<HistoryRow> {
        self.inner.lock().unwrap().history.clone()
    }

    /// The outcome of each write to Salesforce, with its intent, in the order in which the outcomes were
    /// stored.
    #[must_use]
    pub fn closed(&self) -> Vec<(String, HistoryOutcome)> {
        self.inner.lock().unwrap().closed.clone()
    }
}
