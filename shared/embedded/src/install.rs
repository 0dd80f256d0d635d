//! Creates the tables of the state store and the queue, and keeps the table `instance`. Its one row holds the
//! fingerprint key, and to which org and database the instance is bound.

use syncline_engine::FingerprintKey;
use syncline_postgres::{Connection, DatabaseError, DatabaseIdentity, Instance, Migration, migrate};
use tokio_postgres::types::{ToSql, Type};

const MIGRATIONS: &[Migration] = &[
    Migration { sql: include_str!("../migrations/0001_state_and_queue.sql") },
    Migration { sql: include_str!("../migrations/0002_counters_pace_pulse_dead_letters.sql") },
    Migration { sql: include_str!("../migrations/0003_cause_of_a_pause.sql") },
    Migration { sql: include_str!("../migrations/0004_served_syncs.sql") },
];

/// The row of the table `instance`.
#[derive(Clone, Debug)]
pub struct InstanceRow {
    /// The key of all fingerprints of the instance.
    pub key: FingerprintKey,
    /// The Id of the Salesforce org to which the instance is bound.
    pub organization_id: String,
    /// The database to which the instance is bound. `None` if an earlier release applied the instance, which
    /// stored only a part of the identity.
    pub identity: Option<DatabaseIdentity>,
}

/// Runs the migrations that are missing. If the instance is not bound yet, it is bound to this org and this
/// database, and `fresh_key` becomes its fingerprint key. If an earlier release stored only a part of the
/// database's identity, the instance is bound again and keeps its key. Answers the stored row, which may name
/// another org or database.
///
/// # Errors
/// When the database refuses, or a newer release of Syncline has migrated the tables.
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
        DatabaseError::Missing(format!(
            "table {schema}.instance has no row, so the instance is not bound to a database; run `syncline apply` again"
        ))
    })
}

/// Binds the instance to this org and this database from now on, and forgets the pulse that was seen last.
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

/// The row of the table `instance`. `None` if `syncline apply` was never run for this instance.
///
/// # Errors
/// When the database refuses, or the stored fingerprint key does not have 32 bytes.
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
        DatabaseError::Missing(format!(
            "the fingerprint key in table {schema}.instance does not have 32 bytes"
        ))
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
