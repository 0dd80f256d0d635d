//! What the use cases need of the world.

mod database;
mod operator;
mod queue;
mod salesforce;
mod state;

pub use database::{
    Database, HistoryOutcome, HistoryRow, LogBatch, Origin, Row, RowOutcome, RowRef, RowWrite, Transaction,
};
pub use operator::{Binding, DatabaseIdentity, Operator};
pub use queue::{Delivery, MessageBody, Queue};
pub use salesforce::{
    DeletedRecord, FoundRecord, NewRecord, ReadAnswer, ReadOutcome, RecordUpdate, RemoteRecord, Salesforce,
    ScanFrom, ScanPage, ScannedRow, WriteAnswer, WriteOutcome,
};
pub use state::{
    Breaker, Cleared, Conflict, Cursor, Deferred, Due, HeldRecord, KnownRecord, Outcomes, Pause, PauseCause,
    Put, RecordRef, Rejected, State,
};

use crate::reconcile::Tally;
use jiff::{SignedDuration, Timestamp};
use std::future::Future;
use syncline_engine::{FingerprintKey, Side, SyncName};

/// An error of a port, by what has to be done about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The side does not answer, or answers that it cannot now. Nothing of this call was written.
    #[error("{side} is not available: {message}")]
    Outage {
        /// The side.
        side: Side,
        /// Its own words, or the connection's.
        message: String,
    },
    /// Salesforce's daily allowance of calls is spent.
    #[error("Salesforce's request limit is reached: {message}")]
    QuotaSpent {
        /// Salesforce's words.
        message: String,
    },
    /// The definition does not fit the side any more: a field or column is gone or hidden, a permission is
    /// missing. The sync pauses until somebody looks.
    #[error("{side} does not take the definition: {message}")]
    Definition {
        /// The side.
        side: Side,
        /// Its own words.
        message: String,
    },
    /// Not the database or the org that the instance is bound to. Everything pauses before anything is written.
    #[error("{message}")]
    Identity {
        /// What is expected and what was met, and the way out.
        message: String,
    },
    /// Something that a person has to set up is missing, or is of another release. It says which, and what to do.
    #[error("{message}")]
    NotConfigured {
        /// What is missing, and the command that sets it up.
        message: String,
    },
    /// The state store or the queue failed.
    #[error("the state store failed: {message}")]
    Store {
        /// Its own words.
        message: String,
    },
}

/// The moment; Syncline's own, never compared with Salesforce's.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
}

/// Random bytes.
pub trait Random: Send + Sync {
    /// 128 random bits.
    fn bits(&self) -> u128;
}

/// Something that a person should know soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The sync.
    pub sync: SyncName,
    /// What happened and what to do.
    pub message: String,
}

/// Where alerts go.
pub trait Alerts: Send + Sync {
    /// Raises an alert. It must not fail the caller.
    fn raise(&self, alert: Alert) -> impl Future<Output = ()> + Send;
}

/// The places in a run at which a crash makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// Bases are loaded.
    Loaded,
    /// Salesforce is read.
    ReadSalesforce,
    /// Rows are locked and read.
    ReadPostgres,
    /// Intents are saved.
    SavedIntents,
    /// Rows are written, not committed.
    WrotePostgres,
    /// The Postgres transaction is committed.
    CommittedPostgres,
    /// Salesforce has answered.
    WroteSalesforce,
    /// Links and outcomes are committed.
    Finished,
    /// Bases are saved.
    SavedBases,
    /// The queue has accepted touches, their source is not told yet.
    Queued,
    /// A message is reconciled, not acknowledged.
    Reconciled,
}

/// Does nothing in production; tests crash and interleave here.
pub trait Steps: Send + Sync {
    /// A run passes a step.
    fn at(&self, step: Step) -> impl Future<Output = ()> + Send;

    /// A run is about to store the fates of its touches. Tests see to it that the tally is even.
    fn tally(&self, tally: &Tally) {
        let _ = tally;
    }
}

/// What an instance is set to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The instance's name; stands in external Ids.
    pub instance: String,
    /// How long an intent keeps others away. A call to Salesforce, its time-out and the longest transaction
    /// behind it, has to fit into two thirds of it.
    pub lease: SignedDuration,
    /// How far catch-up looks back behind its cursor, for rows become visible minutes after their stamp.
    pub look_back: SignedDuration,
    /// The share of Salesforce's daily calls, or the calls, that Syncline may use; none sets no limit.
    pub daily_calls: Option<DailyCalls>,
    /// The instance's fingerprint key.
    pub key: FingerprintKey,
}

impl Settings {
    /// The longest that a call to Salesforce may take.
    #[must_use]
    pub fn longest_call(&self) -> SignedDuration {
        longest_call(self.lease)
    }
}

/// The longest that a call to Salesforce may take under a lease: two thirds of it. A call is begun only in the first
/// third of its intent's lease, so that it ends before the lease does.
#[must_use]
pub fn longest_call(lease: SignedDuration) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(lease.as_millis() * 2 / 3).unwrap_or(i64::MAX))
}

/// How many calls a day Syncline may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DailyCalls {
    /// Of a hundred calls of the org's allowance.
    Percent(u32),
    /// Calls.
    Count(u64),
}

/// All ports of an instance.
pub trait Ports: Send + Sync {
    /// The Salesforce side.
    type Salesforce: Salesforce;
    /// The Postgres side.
    type Database: Database;
    /// The state store.
    type State: State;
    /// The queue.
    type Queue: Queue;
    /// The clock.
    type Clock: Clock;
    /// Randomness.
    type Random: Random;
    /// Alerts.
    type Alerts: Alerts;
    /// Crash points.
    type Steps: Steps;

    /// The Salesforce side.
    fn salesforce(&self) -> &Self::Salesforce;
    /// The Postgres side.
    fn database(&self) -> &Self::Database;
    /// The state store.
    fn state(&self) -> &Self::State;
    /// The queue.
    fn queue(&self) -> &Self::Queue;
    /// The clock.
    fn clock(&self) -> &Self::Clock;
    /// Randomness.
    fn random(&self) -> &Self::Random;
    /// Alerts.
    fn alerts(&self) -> &Self::Alerts;
    /// Crash points.
    fn steps(&self) -> &Self::Steps;
    /// The instance's settings.
    fn settings(&self) -> &Settings;
}
