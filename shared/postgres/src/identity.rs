//! Reads what tells a database from its copies. A copy, a database that was restored, and a standby that took
//! over after a failover each differ from the original in at least one part of the identity.

use crate::connect::Connection;
use crate::error::DatabaseError;
use syncline_sync::DatabaseIdentity;

/// Reads the system identifier, the timeline, and the name and oid of the database. The timeline is the
/// greater of two: until the first checkpoint after a promotion, only `pg_control_recovery` shows the new
/// timeline of a promoted standby (PostgreSQL documentation, System Information Functions, Control Data
/// Functions).
pub(crate) const IDENTITY_SQL: &str = "SELECT (SELECT system_identifier::text FROM pg_control_system()),
    greatest((SELECT timeline_id FROM pg_control_checkpoint()),
             (SELECT min_recovery_end_timeline FROM pg_control_recovery()))::int8,
    d.datname::text, d.oid::int8 FROM pg_database d WHERE d.datname = current_database()";

/// The identity in a row of [`IDENTITY_SQL`]. The database does not know the host by which Syncline reaches
/// it, so the caller gives `host`.
pub(crate) fn identity_of(
    row: &tokio_postgres::Row,
    host: &str,
) -> Result<DatabaseIdentity, tokio_postgres::Error> {
    Ok(DatabaseIdentity {
        system: row.try_get(0)?,
        timeline: row.try_get(1)?,
        database: row.try_get(2)?,
        oid: row.try_get(3)?,
        host: host.to_owned(),
    })
}

/// The identity of the database to which a connection leads. `host` is the host and port by which Syncline
/// reaches the database ([`ConnectionSettings::host`](crate::ConnectionSettings::host)).
///
/// # Errors
/// When the database refuses, for instance because the role may not read the control data.
pub async fn read_identity(connection: &Connection, host: &str) -> Result<DatabaseIdentity, DatabaseError> {
    let rows = connection.query_typed(IDENTITY_SQL, &[]).await?;
    let row = rows.first().ok_or_else(|| {
        DatabaseError::Missing(
            "the database did not return its identity (system identifier, timeline, name and oid)".to_owned(),
        )
    })?;
    Ok(identity_of(row, host)?)
}
