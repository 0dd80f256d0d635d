//! Which database this is: a copy, a restored one and a failed-over one answer something else.

use crate::connect::Connection;
use crate::error::DatabaseError;
use std::fmt;

/// What tells a database from its copies.
///
/// A clone by `TEMPLATE` has another name and oid; a promoted standby and a restore to a point in time another
/// timeline; a cold copy of the disk only another host.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// `system_identifier` of the cluster.
    pub system: String,
    /// The timeline of its write-ahead log.
    pub timeline: i64,
    /// The database's name.
    pub database: String,
    /// The database's oid.
    pub oid: i64,
    /// Host and port by which Syncline reaches it.
    pub host: String,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { system, timeline, database, oid, host } = self;
        write!(f, "database {database} (oid {oid}) of cluster {system}, timeline {timeline}, at {host}")
    }
}

impl Identity {
    /// Why this is not the expected database, with the way out.
    #[must_use]
    pub fn mismatch(&self, expected: &Self, instance: &str) -> Option<String> {
        (self != expected).then(|| {
            format!(
                "instance {instance} is bound to {expected}, and this is {self}. A copy, a restore or a failover looks like this; nothing is written. If this database is to be synced from now on, run `syncline state rebind`"
            )
        })
    }
}

/// The timeline: a promoted standby knows it before its first checkpoint.
pub(crate) const IDENTITY_SQL: &str = "SELECT (SELECT system_identifier::text FROM pg_control_system()),
    greatest((SELECT timeline_id FROM pg_control_checkpoint()),
             (SELECT min_recovery_end_timeline FROM pg_control_recovery()))::int8,
    d.datname::text, d.oid::int8 FROM pg_database d WHERE d.datname = current_database()";

pub(crate) fn identity_of(row: &tokio_postgres::Row, host: &str) -> Result<Identity, tokio_postgres::Error> {
    Ok(Identity {
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
pub async fn read_identity(connection: &Connection, host: &str) -> Result<Identity, DatabaseError> {
    let rows = connection.query_typed(IDENTITY_SQL, &[]).await?;
    let row =
        rows.first().ok_or_else(|| DatabaseError::Missing("the database names no identity".to_owned()))?;
    Ok(identity_of(row, host)?)
}
