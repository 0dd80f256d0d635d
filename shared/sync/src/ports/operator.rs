//! The port for a person's commands: what the commands need of an instance, wherever its state is kept.

use super::{HeldRecord, PortError, Rejected};
use crate::view::{DeadLetter, Overview, ShownConflict, WaitingRecord};
use std::future::Future;
use syncline_engine::{Definition, SyncName};

/// What tells a database from its copies.
///
/// A clone made with `TEMPLATE` has another name and another oid. A promoted standby and a restore to a point
/// in time have another timeline. A cold copy of the disk differs only in its host.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DatabaseIdentity {
    /// The `system_identifier` of the cluster.
    pub system: String,
    /// The timeline of the cluster's write-ahead log.
    pub timeline: i64,
    /// The name of the database.
    pub database: String,
    /// The oid of the database.
    pub oid: i64,
    /// The host and the port at which Syncline reaches the database.
    pub host: String,
}

impl std::fmt::Display for DatabaseIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { system, timeline, database, oid, host } = self;
        write!(f, "database {database} (oid {oid}) of cluster {system}, timeline {timeline}, at {host}")
    }
}

impl DatabaseIdentity {
    /// Says why this is not the expected database, and the way out. `None` if it is the expected database.
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
    /// The Id of the org.
    pub organization_id: String,
    /// The identity of the database. `None` if an earlier release, which stored only a part of the identity,
    /// applied the instance.
    pub identity: Option<DatabaseIdentity>,
}

/// What a person's commands read and change. Every method except [`Operator::binding`] and
/// [`Operator::definitions`] fails with [`PortError::NotConfigured`] if the instance was never applied.
pub trait Operator: Send + Sync {
    /// Answers what the instance is bound to. `None` before the first `apply`.
    fn binding(&self) -> impl Future<Output = Result<Option<Binding>, PortError>> + Send;

    /// Binds the instance to this org and this database. The pulse begins again.
    fn rebind(
        &self,
        organization_id: &str,
        identity: &DatabaseIdentity,
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Answers the definitions that were applied last, in the order of their names. Empty before the first
    /// `apply`.
    fn definitions(&self) -> impl Future<Output = Result<Vec<Definition>, PortError>> + Send;

    /// Stores a definition and answers the definition that is stored. If it differs from the stored one in
    /// anything but its version, it gets the next version, and every record of its sync is looked at again.
    fn put_definition(
        &self,
        definition: &Definition,
    ) -> impl Future<Output = Result<Definition, PortError>> + Send;

    /// Deletes all bases and answers how many there were. Then every record is compared as at the first link.
    /// No run may be under way.
    fn forget_bases(&self) -> impl Future<Output = Result<u64, PortError>> + Send;

    /// Answers the numbers that `syncline status` shows for these syncs.
    fn overview(&self, syncs: &[SyncName]) -> impl Future<Output = Result<Overview, PortError>> + Send;

    /// Answers the newest conflicts, at most `limit`, newest first.
    fn conflicts(&self, limit: usize) -> impl Future<Output = Result<Vec<ShownConflict>, PortError>> + Send;

    /// Answers the newest rejected records, at most `limit`, newest first.
    fn last_rejected(&self, limit: usize) -> impl Future<Output = Result<Vec<Rejected>, PortError>> + Send;

    /// Answers the newest held records, at most `limit`, newest first, each with the moment since when it is
    /// held.
    fn last_held(&self, limit: usize) -> impl Future<Output = Result<Vec<HeldRecord>, PortError>> + Send;

    /// Answers records that wait for a parent that is not linked, at most `limit`.
    fn waiting(&self, limit: usize) -> impl Future<Output = Result<Vec<WaitingRecord>, PortError>> + Send;

    /// Answers the dead letters.
    fn dead_letters(&self) -> impl Future<Output = Result<Vec<DeadLetter>, PortError>> + Send;

    /// Sends all dead letters to the queue again and answers how many there were.
    fn redrive(&self) -> impl Future<Output = Result<u64, PortError>> + Send;
}
