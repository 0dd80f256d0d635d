//! What a person's commands need of an instance, wherever its state is kept.

use super::{HeldRecord, PortError, Rejected};
use crate::view::{DeadLetter, Overview, ShownConflict};
use std::future::Future;
use syncline_engine::{Definition, SyncName};

/// What tells a database from its copies.
///
/// A clone by `TEMPLATE` has another name and oid; a promoted standby and a restore to a point in time another
/// timeline; a cold copy of the disk only another host.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DatabaseIdentity {
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

impl std::fmt::Display for DatabaseIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { system, timeline, database, oid, host } = self;
        write!(f, "database {database} (oid {oid}) of cluster {system}, timeline {timeline}, at {host}")
    }
}

impl DatabaseIdentity {
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

/// The org and the database to which an instance is bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// The org's Id.
    pub organization_id: String,
    /// The database. `None` if an earlier release applied the instance, which recorded only a part of it.
    pub identity: Option<DatabaseIdentity>,
}

/// What a person's commands read and change. All of it but [`Operator::binding`] and [`Operator::definitions`] fails
/// with [`PortError::NotConfigured`] where the instance was never applied.
pub trait Operator: Send + Sync {
    /// What the instance is bound to; `None` before the first `apply`.
    fn binding(&self) -> impl Future<Output = Result<Option<Binding>, PortError>> + Send;

    /// Binds the instance to this org and this database from now on. The pulse begins anew.
    fn rebind(
        &self,
        organization_id: &str,
        identity: &DatabaseIdentity,
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// The definitions that were applied last, by name; none before the first `apply`.
    fn definitions(&self) -> impl Future<Output = Result<Vec<Definition>, PortError>> + Send;

    /// Stores a definition and answers what stands. One that differs from the stored one in anything but its version
    /// gets the next version, and every record of its sync is looked at again.
    fn put_definition(
        &self,
        definition: &Definition,
    ) -> impl Future<Output = Result<Definition, PortError>> + Send;

    /// Forgets what was agreed on, and answers how many bases that were: every record is compared as at the first link.
    /// No run may be under way.
    fn forget_bases(&self) -> impl Future<Output = Result<u64, PortError>> + Send;

    /// The numbers that `syncline status` shows of these syncs.
    fn overview(&self, syncs: &[SyncName]) -> impl Future<Output = Result<Overview, PortError>> + Send;

    /// The last conflicts, newest first.
    fn conflicts(&self, limit: usize) -> impl Future<Output = Result<Vec<ShownConflict>, PortError>> + Send;

    /// The last rejected records, newest first.
    fn last_rejected(&self, limit: usize) -> impl Future<Output = Result<Vec<Rejected>, PortError>> + Send;

    /// The last held records, newest first, with the moment since when they are held.
    fn last_held(&self, limit: usize) -> impl Future<Output = Result<Vec<HeldRecord>, PortError>> + Send;

    /// The dead letters.
    fn dead_letters(&self) -> impl Future<Output = Result<Vec<DeadLetter>, PortError>> + Send;

    /// Sends the dead letters again, and answers how many that were.
    fn redrive(&self) -> impl Future<Output = Result<u64, PortError>> + Send;
}
