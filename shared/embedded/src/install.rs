//! The tables of state and queue, and the instance's own row.

use syncline_engine::FingerprintKey;
use syncline_postgres::{Connection, DatabaseError, DatabaseIdentity, Instance, Migration, migrate};
use tokio_postgres::types::{ToSql, Type};

const MIGRATIONS: &[Migration] = &[
    Migration { sql: include_str!("../migrations/0001_state_and_queue.sql") },
    Migration { sql: include_str!("../migrations/0002_counters_pace_pulse_dead_letters.sql") },
    Migration { sql: include_str!("../migrations/0003_cause_of_a_pause.sql") },
];

/// What an instance is bound to.
#[derive(Clone, Debug)]
pub struct InstanceRow {
    /// The fingerprint key.
    pub key: FingerprintKey,
    /// The org.
    pub organization_id: String,
    /// The database; `None` where an earlier release applied it and did not ask for all of it.
    pub identity: Option<DatabaseIdentity>,
}

/// Brings the tables to their last version and binds the instance, the first time, to this org and database.
/// `fresh_key` becomes the fingerprint key if there is none yet.
///
/// # Errors
/// When the database refuses.
pub async fn install(
    connection: &mut Connection,
    instance: &Instance,
    organization_id: &str,
    identity: &DatabaseIdentity,
    fresh_key: [u8; 32],
) -> Result<InstanceRow, DatabaseError> {
    migrate(connection, instance, "embedded", MIGRATIONS).await?;
    let schema = instance.schema();
    let fresh_key = fresh_key.to_vec();
    let sql = format!(
        "INSERT INTO {schema}.instance (fingerprint_key, organization_id, system_identifier, database_name)
         VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING"
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 4] = [
        (&fresh_key, Type::BYTEA),
        (&organization_id, Type::TEXT),
        (&identity.system, Type::TEXT),
        (&identity.database, Type::TEXT),
    ];
    connection.execute_typed(&sql, &parameters).await?;
    let known = instance_row(connection, instance).await?;
    if known.is_some_and(|known| known.identity.is_none()) {
        rebind(connection, instance, organization_id, identity).await?;
    }
    instance_row(connection, instance).await?.ok_or_else(|| {
        DatabaseError::Missing(format!("schema {schema} has no instance row; run `syncline apply` again"))
    })
}

/// Binds the instance to this org and this database from now on.
///
/// # Errors
/// When the database refuses.
pub(crate) async fn rebind(
    connection: &Connection,
    instance: &Instance,
    organization_id: &str,
    identity: &DatabaseIdentity,
) -> Result<(), DatabaseError> {
    let schema = instance.schema();
    let sql = format!(
        "UPDATE {schema}.instance SET organization_id = $1, system_identifier = $2, timeline = $3,
                database_name = $4, database_oid = $5, host = $6"
    );
    let parameters: [(&(dyn ToSql + Sync), Type); 6] = [
        (&organization_id, Type::TEXT),
        (&identity.system, Type::TEXT),
        (&identity.timeline, Type::INT8),
        (&identity.database, Type::TEXT),
        (&identity.oid, Type::INT8),
        (&identity.host, Type::TEXT),
    ];
    connection.execute_typed(&sql, &parameters).await?;
    connection.execute_typed(&format!("DELETE FROM {schema}.pulse_seen"), &[]).await?;
    Ok(())
}

/// What the instance is bound to, or `None` where `apply` was never run.
///
/// # Errors
/// When the database refuses.
pub async fn instance_row(
    connection: &Connection,
    instance: &Instance,
) -> Result<Option<InstanceRow>, DatabaseError> {
    let schema = instance.schema();
    let table = format!("{schema}.instance");
    let there = connection.query_typed("SELECT to_regclass($1) IS NOT NULL", &[(&table, Type::TEXT)]).await?;
    if !there.first().map_or(Ok(false), |row| row.try_get(0))? {
        return Ok(None);
    }
    let rows = connection
        .query_typed(
            &format!(
                "SELECT fingerprint_key, organization_id, system_identifier, database_name, timeline, database_oid, host
                 FROM {schema}.instance"
            ),
            &[],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let bytes: Vec<u8> = row.try_get(0)?;
    let key = bytes.try_into().map_err(|_| {
        DatabaseError::Missing(format!("the fingerprint key in {schema}.instance has not 32 bytes"))
    })?;
    Ok(Some(InstanceRow {
        key: FingerprintKey::new(key),
        organization_id: row.try_get(1)?,
        identity: match (row.try_get(4)?, row.try_get(5)?, row.try_get(6)?) {
            (Some(timeline), Some(oid), Some(host)) => Some(DatabaseIdentity {
                system: row.try_get(2)?,
                database: row.try_get(3)?,
                timeline,
                oid,
                host,
            }),
            _ => None,
        },
    }))
}
