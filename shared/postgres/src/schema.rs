//! Syncline's own tables in the user's database: capture log, history, pulse, tombstones and changed keys.

use crate::connect::Connection;
use crate::error::DatabaseError;
use crate::migrate::{Migration, migrate};
use crate::names::Instance;
use tokio_postgres::types::Type;

const MIGRATIONS: &[Migration] = &[
    Migration { sql: include_str!("../migrations/0001_log_history_pulse.sql") },
    Migration { sql: include_str!("../migrations/0002_tombstones_and_changed_keys.sql") },
];

/// Runs the migrations of the instance's schema that are missing, and makes the next partitions of history.
/// Running this twice does no harm.
///
/// # Errors
/// When the database refuses a statement, or a newer release of Syncline has migrated the schema.
pub async fn install_schema(connection: &mut Connection, instance: &Instance) -> Result<(), DatabaseError> {
    migrate(connection, instance, "postgres", MIGRATIONS).await?;
    make_partitions(connection, instance).await
}

/// Makes the partitions of history for today and the next 7 days, by UTC. A day whose rows are in the default
/// partition already gets no partition of its own, because PostgreSQL refuses it (PostgreSQL documentation,
/// Table Partitioning); the rows stay in the default partition.
///
/// # Errors
/// When the database refuses for another reason.
pub async fn make_partitions(connection: &mut Connection, instance: &Instance) -> Result<(), DatabaseError> {
    let schema = instance.schema();
    connection
        .batch_execute(&format!(
            "DO $$
             DECLARE day date;
             BEGIN
               FOR day IN SELECT (now() AT TIME ZONE 'UTC')::date + n FROM generate_series(0, 7) n LOOP
                 BEGIN
                   EXECUTE format(
                     'CREATE TABLE IF NOT EXISTS {schema}.%I PARTITION OF {schema}.history FOR VALUES FROM (%L) TO (%L)',
                     'history_' || to_char(day, 'YYYYMMDD'),
                     day::text || ' 00:00:00+00', (day + 1)::text || ' 00:00:00+00');
                 EXCEPTION WHEN check_violation THEN NULL;
                 END;
               END LOOP;
             END $$"
        ))
        .await?;
    Ok(())
}

/// One row of history, as text for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// When it was written, in UTC: `YYYY-MM-DD HH:MM:SS.mmm`.
    pub at: String,
    /// The name of the sync.
    pub sync: String,
    /// The side that was written: `salesforce` or `postgres`.
    pub side: String,
    /// The field. `None` if the row is about the whole record, which was created or deleted.
    pub field: Option<String>,
    /// The value before the write. `None` if it was null, or if the row is about the whole record.
    pub before: Option<String>,
    /// The value after the write. `None` as for `before`.
    pub after: Option<String>,
    /// Which rule decided on the write.
    pub reason: String,
    /// Where the touch of the record came from, for instance `capture-log`.
    pub source: String,
    /// On whose behalf the row in Postgres was changed, if the app said so in `syncline.actor`.
    pub actor: Option<String>,
    /// What became of the write: `open`, `written`, `refused` or `unknown`. `unknown` means that nobody knows
    /// whether Salesforce took the write.
    pub outcome: String,
}

/// The history of a record, oldest first. `record` is the record's Salesforce Id, the key of its row as a
/// JSON array, or, for a key of one column, the text of that column.
///
/// # Errors
/// When the database refuses.
pub async fn read_history(
    connection: &Connection,
    instance: &Instance,
    record: &str,
) -> Result<Vec<HistoryEntry>, DatabaseError> {
    let schema = instance.schema();
    let rows = connection
        .query_typed(
            &format!(
                "SELECT to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.MS'), sync, side, field, before, after,
                        reason, source, actor, outcome
                 FROM {schema}.history
                 WHERE salesforce_id = $1 OR postgres_key = $1 OR postgres_key = '[' || to_json($1::text)::text || ']'
                 ORDER BY at, id"
            ),
            &[(&record, Type::TEXT)],
        )
        .await?;
    rows.iter()
        .map(|row| {
            Ok(HistoryEntry {
                at: row.try_get(0)?,
                sync: row.try_get(1)?,
                side: row.try_get(2)?,
                field: row.try_get(3)?,
                before: row.try_get(4)?,
                after: row.try_get(5)?,
                reason: row.try_get(6)?,
                source: row.try_get(7)?,
                actor: row.try_get(8)?,
                outcome: row.try_get(9)?,
            })
        })
        .collect()
}
