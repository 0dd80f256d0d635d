//! Reads what tells a database from its copies. A copy, a database that was restored, and a standby that took
//! over after a failover each differ from the original in at least one part of the identity.

use crate::connect::Connection;
use crate::error::DatabaseError;
use syncline_sync::DatabaseIdentity;
use tokio_postgres::error::SqlState;

/// Reads the system identifier, the timeline, and the name and oid of the database. The timeline is the
/// greater of two: until the first checkpoint after a promotion, only `pg_control_recovery` shows the new
/// timeline of a promoted standby (PostgreSQL documentation, System Information Functions, Control Data
/// Functions).
const WITH_TIMELINE: &str = "SELECT (SELECT system_identifier::text FROM pg_control_system()),
    greatest((SELECT timeline_id FROM pg_control_checkpoint()),
             (SELECT min_recovery_end_timeline FROM pg_control_recovery()))::int8,
    d.datname::text, d.oid::int8 FROM pg_database d WHERE d.datname = current_database()";

/// The same without the timeline, for a database that shows none: Amazon Aurora has no timelines and refuses
/// `pg_control_checkpoint()`.
const WITHOUT_TIMELINE: &str = "SELECT (SELECT system_identifier::text FROM pg_control_system()), 0::int8,
    d.datname::text, d.oid::int8 FROM pg_database d WHERE d.datname = current_database()";

/// The timeline of a database that shows none.
const NO_TIMELINE: i64 = 0;

/// The statement that reads the identity of a database that is expected to be this one.
pub(crate) fn identity_sql(expected: &DatabaseIdentity) -> &'static str {
    if expected.timeline == NO_TIMELINE { WITHOUT_TIMELINE } else { WITH_TIMELINE }
}

/// The identity in a row of [`identity_sql`]. The database does not know the host by which Syncline reaches
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
    let rows = match connection.query_typed(WITH_TIMELINE, &[]).await {
        Err(error) if shows_no_timeline(&error) => connection.query_typed(WITHOUT_TIMELINE, &[]).await?,
        other => other?,
    };
    let row = rows.first().ok_or_else(|| {
        DatabaseError::Missing(
            "the database did not return its identity (system identifier, timeline, name and oid)".to_owned(),
        )
    })?;
    Ok(identity_of(row, host)?)
}

/// True if the database does not have the functions that show the timeline, or lets nobody call them.
fn shows_no_timeline(error: &tokio_postgres::Error) -> bool {
    let codes =
        [SqlState::FEATURE_NOT_SUPPORTED, SqlState::INSUFFICIENT_PRIVILEGE, SqlState::UNDEFINED_FUNCTION];
    error.code().is_some_and(|code| codes.contains(code))
}
