//! The `Transaction` port: the transaction in which a run reads and writes the table of one sync.

use crate::catalog::columns_of;
use crate::connect::Connection;
use crate::drift::as_it_is_now;
use crate::error::port_error;
use crate::names::{Instance, quote};
use crate::read::read_rows;
use std::collections::BTreeMap;
use syncline_engine::{Definition, PostgresKey, SalesforceId, Side};
use syncline_sync::{
    HistoryOutcome, HistoryRow, Origin, PortError, Row, RowOutcome, RowRef, RowUnreadable, RowWrite,
    Transaction,
};
use tokio_postgres::types::{ToSql, Type};

/// Begins a transaction with its settings. `row_security = off` makes a statement fail where a policy would
/// hide rows from it. The time-outs limit every wait. The other settings give each value only one text form.
/// (PostgreSQL documentation, Client Connection Defaults.)
const BEGIN: &str = "BEGIN;
    SET LOCAL row_security = off;
    SET LOCAL lock_timeout = '2s';
    SET LOCAL statement_timeout = '30s';
    SET LOCAL idle_in_transaction_session_timeout = '90s';
    SET LOCAL timezone = 'UTC';
    SET LOCAL datestyle = 'ISO, YMD';
    SET LOCAL intervalstyle = 'postgres';
    SET LOCAL extra_float_digits = 1";

/// An open transaction on the table of one sync. If it is dropped without a commit or a rollback, its
/// connection is closed, and the database rolls the transaction back.
pub struct PostgresTransaction {
    connection: Option<Connection>,
    pub(crate) instance: Instance,
    pub(crate) definition: Definition,
    /// Log rows that this transaction causes have ids above this one. It is read from the capture log's
    /// sequence before the first write, and is absent until then.
    log_before: Option<i64>,
}

impl Drop for PostgresTransaction {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            drop(deadpool_postgres::Object::take(connection));
        }
    }
}

/// The text of each key column, in the order of the definition's key.
///
/// # Errors
/// [`PortError::Definition`] if the key does not have as many columns as the definition's key.
pub(crate) fn key_columns(definition: &Definition, key: &PostgresKey) -> Result<Vec<String>, PortError> {
    let texts: Vec<String> = serde_json::from_str(&key.0).unwrap_or_default();
    if texts.len() == definition.key.len() {
        return Ok(texts);
    }
    Err(PortError::Definition {
        side: Side::Postgres,
        message: format!(
            "key {key} does not have the {} columns of the primary key of {}.{}",
            definition.key.len(),
            definition.schema,
            definition.table
        ),
    })
}

impl PostgresTransaction {
    /// Begins the transaction and keeps the table from being altered until it ends. The lock is the one that a read
    /// takes anyway (PostgreSQL documentation, Explicit Locking).
    ///
    /// # Errors
    /// [`PortError::Definition`] if the definition does not fit the table any more.
    pub(crate) async fn begin(
        connection: Connection,
        instance: Instance,
        definition: Definition,
    ) -> Result<Self, PortError> {
        let mut transaction = Self { connection: Some(connection), instance, definition, log_before: None };
        let table = transaction.table();
        let begin = format!("{BEGIN}; LOCK TABLE ONLY {table} IN ACCESS SHARE MODE");
        let connection = transaction.connection()?;
        // Both are sent at once, and the server carries out one after the other.
        let (begun, columns) = tokio::join!(connection.batch_execute(&begin), columns_of(connection, &table));
        begun.map_err(|error| port_error(&error))?;
        let (oid, columns) = columns.map_err(|error| port_error(&error))?;
        transaction.definition = as_it_is_now(transaction.definition.clone(), oid, &columns)?;
        Ok(transaction)
    }

    pub(crate) fn connection(&self) -> Result<&Connection, PortError> {
        self.connection.as_ref().ok_or_else(|| PortError::Outage {
            side: Side::Postgres,
            message: "the transaction has ended already".to_owned(),
        })
    }

    pub(crate) async fn query(
        &self,
        sql: &str,
        parameters: &[(&(dyn ToSql + Sync), Type)],
    ) -> Result<Vec<tokio_postgres::Row>, PortError> {
        self.connection()?.query_typed(sql, parameters).await.map_err(|error| port_error(&error))
    }

    /// Ends the transaction with COMMIT or ROLLBACK.
    async fn end(mut self, sql: &str) -> Result<(), PortError> {
        self.connection()?.batch_execute(sql).await.map_err(|error| port_error(&error))?;
        // Nothing is open on the connection any more, so it may go back to the pool.
        self.connection.take();
        Ok(())
    }

    /// The quoted name of the sync's table, with its schema.
    pub(crate) fn table(&self) -> String {
        format!("{}.{}", quote(&self.definition.schema), quote(&self.definition.table))
    }

    /// The keys as one array of texts for each key column, for [`Self::key_join`].
    pub(crate) fn key_arrays(&self, keys: &[&PostgresKey]) -> Result<Vec<Vec<String>>, PortError> {
        let mut arrays = vec![Vec::with_capacity(keys.len()); self.definition.key.len()];
        for key in keys {
            for (array, text) in arrays.iter_mut().zip(key_columns(&self.definition, key)?) {
                array.push(text);
            }
        }
        Ok(arrays)
    }

    /// SQL that joins keys with the table: a source `u(ordinal, k0, k1, …)` made of the parameters from `$1`
    /// on, and the condition that joins its keys with the table alias `t`. `$1` is an array of ordinals. The
    /// arrays of [`Self::key_arrays`] follow it.
    pub(crate) fn key_join(&self) -> (String, String) {
        let count = self.definition.key.len();
        let arrays: Vec<String> = (0..count).map(|ordinal| format!("${}::text[]", ordinal + 2)).collect();
        let names: Vec<String> = (0..count).map(|ordinal| format!("k{ordinal}")).collect();
        let conditions: Vec<String> = self
            .definition
            .key
            .iter()
            .enumerate()
            .map(|(ordinal, (column, cast))| format!("t.{} = u.k{ordinal}::{cast}", quote(column)))
            .collect();
        (
            format!("unnest($1::int4[], {}) AS u(ordinal, {})", arrays.join(", "), names.join(", ")),
            conditions.join(" AND "),
        )
    }

    /// Notes the last id of the capture log, before the first write of this transaction. Later calls do
    /// nothing.
    pub(crate) async fn note_log(&mut self) -> Result<(), PortError> {
        if self.log_before.is_some() {
            return Ok(());
        }
        let sequence = format!("{}.log_id_seq", self.instance.schema());
        let rows = self.query(&format!("SELECT last_value FROM {sequence}"), &[]).await?;
        let last: i64 =
            rows.first().map_or(Ok(0), |row| row.try_get(0)).map_err(|error| port_error(&error))?;
        self.log_before = Some(last - 1);
        Ok(())
    }

    /// Writes history rows, all with the same outcome (`open` or `written`).
    pub(crate) async fn write_history(
        &self,
        rows: &[HistoryRow],
        outcome: &str,
    ) -> Result<(), tokio_postgres::Error> {
        let Some(connection) = &self.connection else { return Ok(()) };
        let texts = |of: &dyn Fn(&HistoryRow) -> Option<String>| rows.iter().map(of).collect::<Vec<_>>();
        let columns: Vec<Vec<Option<String>>> = vec![
            texts(&|row| Some(row.at.to_string())),
            texts(&|row| Some(row.record.clone())),
            texts(&|row| row.salesforce_id.as_ref().map(ToString::to_string)),
            texts(&|row| row.postgres_key.as_ref().map(ToString::to_string)),
            texts(&|row| Some(row.side.word().to_owned())),
            texts(&|row| row.field.clone()),
            texts(&|row| row.before.text()),
            texts(&|row| row.after.text()),
            texts(&|row| Some(row.source.clone())),
            texts(&|row| Some(row.reason.clone())),
            texts(&|row| row.actor.clone()),
            texts(&|row| Some(row.intent.clone())),
        ];
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> =
            vec![(&self.definition.name, Type::TEXT), (&outcome, Type::TEXT)];
        parameters.extend(columns.iter().map(|column| (column as &(dyn ToSql + Sync), Type::TEXT_ARRAY)));
        let sql = format!(
            "INSERT INTO {}.history (sync, outcome, at, record, salesforce_id, postgres_key, side, field, before, after,
                                     source, reason, actor, intent)
             SELECT $1, $2, u.at::timestamptz, u.record, u.id, u.key, u.side, u.field, u.before, u.after,
                    u.source, u.reason, u.actor, u.intent
             FROM unnest($3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
                         $10::text[], $11::text[], $12::text[], $13::text[], $14::text[])
                  AS u(at, record, id, key, side, field, before, after, source, reason, actor, intent)",
            self.instance.schema()
        );
        connection.execute_typed(&sql, &parameters).await?;
        Ok(())
    }
}

impl Transaction for PostgresTransaction {
    async fn lock(&mut self, records: &[String]) -> Result<Vec<bool>, PortError> {
        let names: Vec<String> =
            records.iter().map(|record| format!("{}/{record}", self.definition.name)).collect();
        let space = i64::from(
            self.instance
                .0
                .bytes()
                .fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte))),
        );
        let rows = self
            .query(
                "SELECT pg_try_advisory_xact_lock(hashtextextended(u.name, $2))
                 FROM unnest($1::text[]) WITH ORDINALITY AS u(name, ordinal) ORDER BY u.ordinal",
                &[(&names, Type::TEXT_ARRAY), (&space, Type::INT8)],
            )
            .await?;
        rows.iter().map(|row| row.try_get(0).map_err(|error| port_error(&error))).collect()
    }

    async fn read(&mut self, refs: &[RowRef]) -> Result<Vec<Result<Vec<Row>, RowUnreadable>>, PortError> {
        read_rows(self, refs).await
    }

    async fn origins(&mut self, keys: &[PostgresKey]) -> Result<Vec<Origin>, PortError> {
        let texts: Vec<&str> = keys.iter().map(|key| key.0.as_str()).collect();
        let sql = format!(
            "SELECT former.keys, h.salesforce_id FROM unnest($2::text[]) WITH ORDINALITY AS u(key, ordinal)
             CROSS JOIN LATERAL (
                 WITH RECURSIVE before AS (
                     SELECT r.old_key, 1 AS step FROM {0}.rekeyed r WHERE r.sync = $1 AND r.key = u.key
                     UNION ALL
                     SELECT r.old_key, b.step + 1 FROM before b JOIN {0}.rekeyed r ON r.sync = $1 AND r.key = b.old_key
                     WHERE b.step < 10)
                 SELECT coalesce(array_agg(old_key ORDER BY step), '{{}}') AS keys FROM before) former
             LEFT JOIN LATERAL (
                 SELECT salesforce_id FROM {0}.history
                 WHERE sync = $1 AND postgres_key = ANY (u.key || former.keys) AND side = 'postgres'
                   AND reason = 'created'
                 ORDER BY at DESC LIMIT 1) h ON true
             ORDER BY u.ordinal",
            self.instance.schema()
        );
        let parameters: [(&(dyn ToSql + Sync), Type); 2] =
            [(&self.definition.name, Type::TEXT), (&texts, Type::TEXT_ARRAY)];
        let rows = self.query(&sql, &parameters).await?;
        let origin = |row: &tokio_postgres::Row| {
            let id: Option<String> = row.try_get(1)?;
            Ok(Origin {
                former_keys: row.try_get::<_, Vec<String>>(0)?.into_iter().map(PostgresKey).collect(),
                inserted_for: id.and_then(|id| SalesforceId::parse(&id).ok()),
            })
        };
        rows.iter()
            .map(origin)
            .collect::<Result<_, tokio_postgres::Error>>()
            .map_err(|error| port_error(&error))
    }

    async fn landed(&mut self, intents: &[String]) -> Result<BTreeMap<String, PostgresKey>, PortError> {
        let sql = format!(
            "SELECT intent, postgres_key FROM {}.history
             WHERE intent = ANY($1) AND side = 'postgres' AND postgres_key IS NOT NULL",
            self.instance.schema()
        );
        let rows = self.query(&sql, &[(&intents, Type::TEXT_ARRAY)]).await?;
        rows.iter()
            .map(|row| Ok((row.try_get(0)?, PostgresKey(row.try_get(1)?))))
            .collect::<Result<_, tokio_postgres::Error>>()
            .map_err(|error| port_error(&error))
    }

    async fn write(&mut self, rows: &[RowWrite]) -> Result<Vec<RowOutcome>, PortError> {
        self.note_log().await?;
        crate::write::write(self, rows).await
    }

    async fn note(&mut self, history: &[HistoryRow]) -> Result<(), PortError> {
        self.write_history(history, "open").await.map_err(|error| port_error(&error))
    }

    async fn drop_own_log(
        &mut self,
        written: &[PostgresKey],
        deleted: &[PostgresKey],
    ) -> Result<(), PortError> {
        let Some(before) = self.log_before else { return Ok(()) };
        if written.is_empty() && deleted.is_empty() {
            return Ok(());
        }
        let texts = |keys: &[PostgresKey]| keys.iter().map(|key| key.0.clone()).collect::<Vec<String>>();
        let (written, deleted) = (texts(written), texts(deleted));
        let sql = format!(
            "DELETE FROM {}.log
             WHERE id > $1 AND xid = pg_current_xact_id() AND sync = $2
               AND (key = ANY($3) AND operation <> 'delete' OR key = ANY($4) AND operation = 'delete')",
            self.instance.schema()
        );
        let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
            (&before, Type::INT8),
            (&self.definition.name, Type::TEXT),
            (&written, Type::TEXT_ARRAY),
            (&deleted, Type::TEXT_ARRAY),
        ];
        self.query(&sql, &parameters).await?;
        Ok(())
    }

    async fn close(
        &mut self,
        outcomes: &[(String, HistoryOutcome, Option<SalesforceId>)],
    ) -> Result<(), PortError> {
        let intents: Vec<&str> = outcomes.iter().map(|(intent, _, _)| intent.as_str()).collect();
        let words: Vec<&str> = outcomes
            .iter()
            .map(|(_, outcome, _)| match outcome {
                HistoryOutcome::Written => "written",
                HistoryOutcome::Refused => "refused",
                HistoryOutcome::Unknown => "unknown",
            })
            .collect();
        let ids: Vec<Option<&str>> =
            outcomes.iter().map(|(_, _, id)| id.as_ref().map(SalesforceId::as_str)).collect();
        let sql = format!(
            "UPDATE {}.history h
             SET outcome = u.outcome, closed_at = clock_timestamp(), salesforce_id = coalesce(h.salesforce_id, u.id)
             FROM unnest($1::text[], $2::text[], $3::text[]) AS u(intent, outcome, id)
             WHERE h.intent = u.intent AND h.side = 'salesforce' AND h.outcome IN ('open', 'unknown')",
            self.instance.schema()
        );
        let parameters: [(&(dyn ToSql + Sync), Type); 3] =
            [(&intents, Type::TEXT_ARRAY), (&words, Type::TEXT_ARRAY), (&ids, Type::TEXT_ARRAY)];
        self.query(&sql, &parameters).await?;
        Ok(())
    }

    async fn commit(self) -> Result<(), PortError> {
        self.end("COMMIT").await
    }

    async fn rollback(self) -> Result<(), PortError> {
        self.end("ROLLBACK").await
    }
}
