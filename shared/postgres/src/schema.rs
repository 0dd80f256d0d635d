//! The instance's schema in the user's database: capture log, history, pulse.

use crate::connect::Connection;
use crate::error::DatabaseError;
use crate::migrate::{Migration, migrate};
use crate::names::Instance;
use tokio_postgres::types::Type;

const MIGRATIONS: &[Migration] = &[
    Migration { sql: include_str!("../migrations/0001_log_history_pulse.sql") },
    Migration { sql: include_str!("../migrations/0002_tombstones_and_changed_keys.sql") },
];

/// Brings the schema to its last version and makes history's next partitions.
///
/// # Errors
/// When the database refuses.
pub async fn install_schema(connection: &mut Connection, instance: &Instance) -> Result<(), DatabaseError> {
    migrate(connection, instance, "postgres", MIGRATIONS).await?;
    make_partitions(connection, instance).await
}

/// Makes history's partitions of today and the next days. Where rows of a day are in the default partition
/// already, they stay there.
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

/// One row of history, as a person reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// When.
    pub at: String,
    /// The sync.
    pub sync: String,
    /// The side that was written.
    pub side: String,
    /// The field; `None` where the record was created.
    pub field: Option<String>,
    /// Before.
    pub before: Option<String>,
    /// After.
    pub after: Option<String>,
    /// Which rule decided.
    pub reason: String,
    /// What touched the record.
    pub source: String,
    /// On whose behalf.
    pub actor: Option<String>,
    /// open, written, refused or unknown.
    pub outcome: String,
}

/// The history of a record, named by its Salesforce Id, its row's key or one key column's text; oldest first.
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
