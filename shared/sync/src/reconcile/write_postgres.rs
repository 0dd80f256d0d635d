//! Step 7: rows and their history are written in one short transaction.

use super::fate::{Exits, Fate, Stepped};
use super::read_postgres::{Opened, TransactionOf, read_again};
use super::record::{InRun, Intended};
use super::{Backoff, PortError, Ports, Run};
use crate::ports::{HistoryRow, Row, RowOutcome, RowRef, RowWrite, Steps, Transaction, depends_on_others};
use syncline_engine::{Action, PostgresKey, Side};

/// A row that was written.
struct WrittenRow<'w> {
    /// Its key, new or not.
    key: PostgresKey,
    /// What was meant.
    write: &'w RowWrite,
    /// How the row was read before.
    before: Option<Row>,
}

impl<'a, P: Ports> Run<'a, P> {
    /// Step 7. Writes the rows that did not move since they were read; a refused row stands alone. The transaction is
    /// committed before Salesforce is called. A record goes on if Salesforce is to be written.
    pub(super) async fn write_postgres(
        &mut self,
        opened: Opened<'a, P>,
        mut records: Vec<Intended>,
    ) -> Result<Stepped<Intended>, PortError> {
        let mut exits = Exits::default();
        let Opened { mut transaction, closed_history } = opened;
        if records.is_empty() {
            if closed_history {
                transaction.commit().await?;
            } else {
                transaction.rollback().await?;
            }
            return Ok(exits.with(records));
        }
        self.write_rows(&mut transaction, &mut records, &mut exits).await?;
        let notes: Vec<HistoryRow> = records
            .iter()
            .filter(|intended| intended.decided.is_none())
            .flat_map(|intended| self.history(intended, Side::Salesforce))
            .collect();
        if !notes.is_empty() {
            transaction.note(&notes).await?;
        }
        self.ports.steps().at(crate::ports::Step::WrotePostgres).await;
        if self.is_lease_over(&records) {
            transaction.rollback().await?;
            return Ok(self.rolled_back(records));
        }
        transaction.commit().await?;
        let mut ready = Vec::new();
        for intended in records {
            if intended.decided.is_some() || intended.planned.plan.salesforce.is_none() {
                exits.leave_with(self.leave_written(intended));
            } else {
                ready.push(intended);
            }
        }
        Ok(exits.with(ready))
    }

    /// The lease ended before the transaction was committed: nothing of it stands, and each record is tried again.
    fn rolled_back(&self, records: Vec<Intended>) -> Stepped<Intended> {
        let mut exits = Exits::default();
        for mut intended in records {
            let again = self.again(intended.retouch(), Backoff::Contention);
            match intended.decided.take() {
                Some(rejected @ Fate::Rejected(_)) => {
                    exits.touch(again);
                    exits.leave(intended, rejected);
                }
                _ => exits.leave(intended, Fate::Again(again)),
            }
        }
        exits.with(Vec::new())
    }

    async fn write_rows(
        &mut self,
        transaction: &mut TransactionOf<'a, P>,
        records: &mut [Intended],
        exits: &mut Exits,
    ) -> Result<(), PortError> {
        let writes_row = |intended: &&mut Intended| {
            !intended.planned.plan.postgres.is_none() || intended.planned.read.link.is_some()
        };
        let writing: Vec<&mut Intended> = records.iter_mut().filter(writes_row).collect();
        let rows: Vec<RowWrite> = writing.iter().map(|intended| self.row_write(intended)).collect();
        let outcomes = if rows.is_empty() { Vec::new() } else { transaction.write(&rows).await? };
        let mut written: Vec<WrittenRow<'_>> = Vec::new();
        for ((intended, write), outcome) in writing.into_iter().zip(&rows).zip(outcomes) {
            match outcome {
                RowOutcome::Written(key) => {
                    match intended.planned.plan.postgres {
                        Action::Create(_) => self.summary.rows_inserted += 1,
                        Action::Delete => self.summary.rows_deleted += 1,
                        _ => self.summary.rows_updated += 1,
                    }
                    intended.landed.postgres = Some(key.clone());
                    let before = intended.planned.read.row.clone();
                    written.push(WrittenRow { key, write, before });
                }
                RowOutcome::Moved => intended.decided = Some(Fate::AgainOnceSaved),
                RowOutcome::Refused { code, message, column } => {
                    let fields = self.fields_of(column);
                    exits.touch(match depends_on_others(&code) {
                        true => self.again(intended.retouch(), Backoff::Outage),
                        false => self.after_refusal(intended.retouch()),
                    });
                    self.summary.refused_deletes += u64::from(write.delete);
                    let rejected = self.rejected(intended, Side::Postgres, &code, message, fields);
                    intended.decided = Some(Fate::Rejected(rejected));
                }
            }
        }
        self.drop_echoes(transaction, &written).await
    }

    /// The field that is mapped to a column, or the column's own name.
    fn fields_of(&self, column: Option<String>) -> Vec<String> {
        let mapped = self.definition.fields.iter().find(|mapping| Some(&mapping.column) == column.as_ref());
        mapped.map(|mapping| mapping.field.clone()).or(column).into_iter().collect()
    }

    fn is_lease_over(&self, records: &[Intended]) -> bool {
        let now = self.now();
        records.iter().filter_map(Intended::lease_until).min().is_some_and(|until| until <= now)
    }

    fn row_write(&self, intended: &Intended) -> RowWrite {
        let planned = &intended.planned;
        let fields = planned.plan.postgres.fields().into_iter().flatten();
        let fields = fields.map(|(name, _)| (name.clone(), planned.texts.get(name).cloned())).collect();
        let creates = matches!(planned.plan.postgres, Action::Create(_));
        let known = planned.resolved.as_ref().and_then(|base| base.postgres_key.clone());
        let row = planned.read.row.as_ref();
        RowWrite {
            row: row.map(|row| (row.key.clone(), row.row_version.clone())),
            delete: planned.plan.postgres == Action::Delete,
            key: known.filter(|_| creates),
            link: if creates { intended.id() } else { planned.read.link.clone() },
            fields,
            history: self.history(intended, Side::Postgres),
        }
    }

    /// Drops the log rows of what this transaction wrote itself, where the rows hold what was meant. Whatever a
    /// trigger changed on the way stays in the log, as an ordinary touch.
    async fn drop_echoes(
        &self,
        transaction: &mut TransactionOf<'a, P>,
        written: &[WrittenRow<'_>],
    ) -> Result<(), PortError> {
        if written.is_empty() || self.definition.table_shared {
            return Ok(());
        }
        let refs: Vec<RowRef> =
            written.iter().map(|one| RowRef { key: Some(one.key.clone()), id: None }).collect();
        let rows = read_again(transaction, &refs).await?;
        let (mut echoes, mut deleted) = (Vec::new(), Vec::new());
        for (WrittenRow { key, write, before }, rows) in written.iter().zip(rows) {
            match rows.first() {
                Some(row) if self.holds_what_was_meant(write, before.as_ref(), row) => {
                    echoes.push(key.clone());
                }
                None if write.delete => deleted.push(key.clone()),
                _ => {}
            }
        }
        transaction.drop_own_log(&echoes, &deleted).await
    }

    /// The row holds what was written, and in the fields that were not written what it held before: an insert leaves
    /// those null. A default, a trigger or a deferred trigger that changes any of them is a change to carry across.
    fn holds_what_was_meant(&self, write: &RowWrite, before: Option<&Row>, row: &Row) -> bool {
        let linked = write.link.as_ref().is_none_or(|id| row.link.as_deref() == Some(id.as_str()));
        let meant = write
            .fields
            .iter()
            .all(|(name, text)| self.same_value(name, text_of(row, name), text.as_deref()));
        let mut others =
            self.definition.fields.iter().filter(|mapping| !write.fields.contains_key(&mapping.field));
        let untouched = |name: &str| {
            let stood = before.and_then(|row| text_of(row, name));
            self.same_value(name, text_of(row, name), stood)
        };
        linked && meant && others.all(|mapping| untouched(&mapping.field))
    }
}

fn text_of<'r>(row: &'r Row, field: &str) -> Option<&'r str> {
    row.values.get(field).and_then(Option::as_deref)
}
