//! What a statement does to tables in memory: rules before and after each row, foreign keys, cascades, and
//! the capture log.

use crate::database::{Inner, LogRow, MemoryRow};
use crate::event::Values;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use syncline_engine::{PostgresKey, SalesforceId};
use syncline_sync::{Source, Touch};

/// Why a row is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowRefusal {
    /// The SQLSTATE.
    pub code: String,
    /// The error message.
    pub message: String,
    /// The column that the error names.
    pub column: Option<String>,
}

/// The SQLSTATE `lock_not_available`: somebody else has locked the row.
pub(crate) const LOCKED: &str = "55P03";

/// A BEFORE trigger or a check of a sync's table. It is given the row before the change and the row to be
/// stored, which it may change.
pub type BeforeRule = dyn Fn(&str, Option<&Values>, &mut Values) -> Result<(), RowRefusal> + Send + Sync;

/// An AFTER trigger. It answers the values that other rows get, as the sync, the text of the key, the field
/// and the value.
pub type AfterRule =
    dyn Fn(&str, Option<&Values>, &Values) -> Vec<(String, String, String, Option<String>)> + Send + Sync;

/// What becomes of children whose parent is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnDelete {
    /// The children are deleted too.
    Cascade,
    /// The column of the children becomes null.
    SetNull,
}

/// A foreign key. When the parent's key changes, the child's column changes with it.
#[derive(Clone, Debug)]
pub struct ForeignKey {
    /// The sync of the child's table.
    pub child: String,
    /// The field of the child that holds the parent's key.
    pub field: String,
    /// The sync of the parent's table.
    pub parent: String,
    /// What becomes of children whose parent is deleted.
    pub on_delete: OnDelete,
}

/// What tables do by themselves.
#[derive(Clone, Default)]
pub struct TableRules {
    /// Runs before each row is written.
    pub before: Option<Arc<BeforeRule>>,
    /// Runs after each row is written.
    pub after: Option<Arc<AfterRule>>,
    /// The foreign key, if there is one.
    pub foreign_key: Option<ForeignKey>,
}

/// A change of one row.
pub(crate) enum Change {
    Insert { link: Option<String>, values: Values },
    Update { link: Option<Option<String>>, values: Values },
    Delete,
    Rekey(PostgresKey),
}

/// What a transaction has changed and not committed.
#[derive(Clone, Default)]
pub(crate) struct Overlay {
    pub(crate) rows: BTreeMap<PostgresKey, Option<MemoryRow>>,
    pub(crate) log: Vec<LogRow>,
    /// The values that statements asked for, by row. Changes of other rows were made by triggers.
    pub(crate) asked: BTreeMap<PostgresKey, Values>,
    pub(crate) rekeyed: Vec<(PostgresKey, PostgresKey)>,
}

/// The text of a key with one column.
#[must_use]
pub fn key_text(key: &PostgresKey) -> String {
    serde_json::from_str::<Vec<String>>(&key.0).unwrap_or_default().into_iter().next().unwrap_or_default()
}

/// The one-column key with this text.
#[must_use]
pub fn key_of_text(text: &str) -> PostgresKey {
    PostgresKey(format!("[\"{text}\"]"))
}

impl Inner {
    pub(crate) fn row(&self, overlay: &Overlay, key: &PostgresKey) -> Option<MemoryRow> {
        overlay.rows.get(key).cloned().unwrap_or_else(|| self.rows.get(key).cloned())
    }

    fn children(&self, overlay: &Overlay, foreign: &ForeignKey, parent: &PostgresKey) -> Vec<PostgresKey> {
        let text = key_text(parent);
        let keys = self.rows.keys().chain(overlay.rows.keys());
        let mut children: Vec<PostgresKey> = keys
            .filter(|key| {
                self.row(overlay, key).is_some_and(|row| {
                    row.sync == foreign.child
                        && row.values.get(&foreign.field).cloned().flatten().as_ref() == Some(&text)
                })
            })
            .cloned()
            .collect();
        children.sort();
        children.dedup();
        children
    }

    /// Runs one statement on one row, with all the changes that follow from it.
    pub(crate) fn change(
        &mut self,
        rules: &TableRules,
        overlay: &mut Overlay,
        transaction: u64,
        sync: &str,
        key: &PostgresKey,
        change: Change,
    ) -> Result<(), RowRefusal> {
        if self.row_locks.get(key).is_some_and(|owner| *owner != transaction) {
            return Err(refusal(LOCKED, "could not obtain lock on row", None));
        }
        let shared = self.key_shares.iter().any(|(parent, owner)| parent == key && *owner != transaction);
        if shared && matches!(change, Change::Delete | Change::Rekey(_)) {
            return Err(refusal(LOCKED, "could not obtain lock on row", None));
        }
        self.row_locks.insert(key.clone(), transaction);
        let stood = self.row(overlay, key);
        match change {
            Change::Delete => {
                let Some(row) = stood else { return Ok(()) };
                overlay.rows.insert(key.clone(), None);
                self.log(overlay, transaction, &row.sync, key, row.link.as_deref(), None, true);
                self.after_delete(rules, overlay, transaction, sync, key)
            }
            Change::Rekey(new) => {
                let Some(mut row) = stood else { return Ok(()) };
                row.version = self.number();
                let link = row.link.clone();
                overlay.rows.insert(key.clone(), None);
                overlay.rows.insert(new.clone(), Some(row));
                overlay.rekeyed.push((key.clone(), new.clone()));
                self.row_locks.insert(new.clone(), transaction);
                self.log(overlay, transaction, sync, &new, link.as_deref(), Some(key), false);
                let Some(foreign) = rules.foreign_key.clone().filter(|one| one.parent == sync) else {
                    return Ok(());
                };
                for child in self.children(overlay, &foreign, key) {
                    let values = BTreeMap::from([(foreign.field.clone(), Some(key_text(&new)))]);
                    let update = Change::Update { link: None, values };
                    self.change(rules, overlay, transaction, &foreign.child, &child, update)?;
                }
                Ok(())
            }
            Change::Insert { link, values } => {
                let row = MemoryRow { sync: sync.to_owned(), link, values, version: 0 };
                self.put_row(rules, overlay, transaction, key, None, row)
            }
            Change::Update { link, values } => {
                let Some(mut row) = stood.clone() else { return Ok(()) };
                row.values.extend(values);
                if let Some(link) = link {
                    row.link = link;
                }
                self.put_row(rules, overlay, transaction, key, stood, row)
            }
        }
    }

    fn put_row(
        &mut self,
        rules: &TableRules,
        overlay: &mut Overlay,
        transaction: u64,
        key: &PostgresKey,
        stood: Option<MemoryRow>,
        mut row: MemoryRow,
    ) -> Result<(), RowRefusal> {
        let old = stood.as_ref().map(|row| &row.values);
        if let Some(before) = &rules.before {
            before(&row.sync, old, &mut row.values)?;
        }
        if let Some(foreign) = rules.foreign_key.as_ref().filter(|one| one.child == row.sync)
            && let Some(parent) = row.values.get(&foreign.field).cloned().flatten()
        {
            let key = key_of_text(&parent);
            if self.row(overlay, &key).is_none_or(|parent| parent.sync != foreign.parent) {
                let message = format!("Key ({})=({parent}) is not present in table", foreign.field);
                return Err(refusal("23503", &message, None));
            }
            self.key_shares.push((key, transaction));
        }
        row.version = self.number();
        overlay.rows.insert(key.clone(), Some(row.clone()));
        self.log(overlay, transaction, &row.sync, key, row.link.as_deref(), None, false);
        let others = rules.after.as_ref().map(|after| after(&row.sync, old, &row.values));
        for (sync, text, field, value) in others.unwrap_or_default() {
            let other = key_of_text(&text);
            let Some(stands) = self.row(overlay, &other).filter(|row| row.sync == sync) else { continue };
            if stands.values.get(&field).cloned().flatten() == value {
                continue;
            }
            let update = Change::Update { link: None, values: BTreeMap::from([(field, value)]) };
            self.change(rules, overlay, transaction, &sync, &other, update)?;
        }
        Ok(())
    }

    fn after_delete(
        &mut self,
        rules: &TableRules,
        overlay: &mut Overlay,
        transaction: u64,
        sync: &str,
        key: &PostgresKey,
    ) -> Result<(), RowRefusal> {
        let Some(foreign) = rules.foreign_key.clone().filter(|one| one.parent == sync) else { return Ok(()) };
        for child in self.children(overlay, &foreign, key) {
            let change = match foreign.on_delete {
                OnDelete::Cascade => Change::Delete,
                OnDelete::SetNull => {
                    let values = BTreeMap::from([(foreign.field.clone(), None)]);
                    Change::Update { link: None, values }
                }
            };
            self.change(rules, overlay, transaction, &foreign.child, &child, change)?;
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "a log row has as many columns")]
    fn log(
        &mut self,
        overlay: &mut Overlay,
        transaction: u64,
        sync: &str,
        key: &PostgresKey,
        link: Option<&str>,
        old_key: Option<&PostgresKey>,
        deleted: bool,
    ) {
        let mut touch = Touch::of_key(sync, key.clone(), Source::CaptureLog, Timestamp::UNIX_EPOCH);
        touch.id = link.and_then(|link| SalesforceId::parse(link).ok());
        touch.old_key = old_key.cloned();
        touch.evidence.pg_deleted = deleted;
        let number = self.number();
        overlay.log.push(LogRow { number, transaction, touch });
    }
}

pub(crate) fn refusal(code: &str, message: &str, column: Option<&str>) -> RowRefusal {
    RowRefusal { code: code.to_owned(), message: message.to_owned(), column: column.map(str::to_owned) }
}
