//! Step 7: rows and their history, in one short transaction.

use super::image::depends_on_others;
use super::intents::Writing;
use super::rows::TransactionOf;
use super::{Backoff, PortError, Ports, Run};
use crate::ports::{HistoryRow, Row, RowOutcome, RowRef, RowWrite, Transaction};
use syncline_engine::{Action, FieldWrite, PostgresKey, Side, Value};

/// A row that was written: its key, what was meant, and how it was read before.
type Written<'w> = (PostgresKey, &'w RowWrite, Option<Row>);

impl<'a, P: Ports> Run<'a, P> {
    /// Step 7. Only rows that did not move since they were read; refused rows stand alone. Committed before
    /// Salesforce is called.
    pub(super) async fn write_postgres(
        &mut self,
        mut transaction: TransactionOf<'a, P>,
        mut writings: Vec<Writing>,
    ) -> Result<Vec<Writing>, PortError> {
        if writings.is_empty() {
            if self.history_closed {
                transaction.commit().await?;
            } else {
                transaction.rollback().await?;
            }
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
                        Action::Delete => self.summary.rows_deleted += 1,
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
                    if depends_on_others(&code) {
                        self.again(writing.work.retouch(), Backoff::Outage);
                    }
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
        let known = work.resolved.as_ref().and_then(|base| base.postgres_key.clone());
        RowWrite {
            row: work.row.as_ref().map(|row| (row.key.clone(), row.row_version.clone())),
            delete: work.plan.postgres == Action::Delete,
            key: known.filter(|_| creates),
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
        let (mut echoes, mut deleted) = (Vec::new(), Vec::new());
        for ((key, write, before), rows) in written.iter().zip(rows) {
            let Some(row) = rows.first() else {
                if write.delete {
                    deleted.push(key.clone());
                }
                continue;
            };
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
        transaction.drop_own_log(&echoes, &deleted).await
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
            Action::Create(_) | Action::Delete => {
                let reason = match work.plan.action(side) {
                    Action::Delete => syncline_engine::Reason::Deleted,
                    _ => syncline_engine::Reason::Created,
                };
                vec![row(None, &FieldWrite { before: Value::Null, after: Value::Null, reason })]
            }
            Action::Update(fields) => {
                fields.iter().map(|(name, write)| row(Some(name.clone()), write)).collect()
            }
        }
    }
}
