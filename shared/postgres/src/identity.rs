//! Which database this is: a copy, a restored one and a failed-over one answer something else.

use crate::connect::Connection;
use crate::error::DatabaseError;
use syncline_sync::DatabaseIdentity;

/// The timeline: a promoted standby knows it before its first checkpoint.
pub(crate) const IDENTITY_SQL: &str = "SELECT (SELECT system_identifier::text FROM pg_control_system()),
    greatest((SELECT timeline_id FROM pg_control_checkpoint()),
             (SELECT min_recovery_end_timeline FROM pg_control_recovery()))::int8,
    d.datname::text, d.oid::int8 FROM pg_database d WHERE d.datname = current_database()";

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

/// Which database a connection leads to.
///
/// # Errors
/// When the database does not say.
pub async fn read_identity(connection: &Connection, host: &str) -> Result<DatabaseIdentity, DatabaseError> {
    let rows = connection.query_typed(IDENTITY_SQL, &[]).await?;
    let row =
        rows.first().ok_or_else(|| DatabaseError::Missing("the database names no identity".to_owned()))?;
    Ok(identity_of(row, host)?)
}
