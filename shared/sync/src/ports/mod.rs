//! The ports: what the use cases need of the outside world, as traits. Adapters in other crates implement
//! them.

mod database;
mod operator;
mod queue;
mod salesforce;
mod set;
mod state;
mod stored;

pub use database::{
    Database, HistoryOutcome, HistoryRow, LogBatch, Origin, Row, RowOutcome, RowRef, RowUnreadable, RowWrite,
    Transaction,
};
pub use operator::{Binding, DatabaseIdentity, Operator};
pub use queue::{Delivery, MessageBody, Queue};
pub use salesforce::{
    CallUsage, DeletedRecord, FoundRecord, NewRecord, ReadAnswer, ReadOutcome, RecordUpdate, RemoteRecord,
    Salesforce, ScanFrom, ScanPage, ScannedRow, WriteAnswer, WriteOutcome,
};
pub use set::{HasPorts, PortSet};
pub use state::State;
pub(crate) use stored::depends_on_others;
pub use stored::{
    Breaker, Cleared, Conflict, Cursor, Deferred, Due, HeldRecord, KnownRecord, Outcomes, Pause, PauseCause,
    Put, RecordRef, Rejected,
};

use crate::process_memory::ProcessMemory;
use crate::reconcile::Tally;
use jiff::{SignedDuration, Timestamp};
use std::future::Future;
use syncline_engine::{FingerprintKey, Side, SyncName};

/// An error of a port. The variants say what has to be done about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// The side does not answer, or says that it cannot answer at present. This call wrote nothing.
    #[error("{side} is not available: {message}")]
    Outage {
        /// The side that is away.
        side: Side,
        /// The error message of the side, or of the connection.
        message: String,
    },
    /// The side answers, but not to this call at present: somebody has a table locked, or a statement took too long.
    /// Nothing is said of other calls. This call wrote nothing.
    #[error("{side} is busy: {message}")]
    Busy {
        /// The side that is busy.
        side: Side,
        /// The error message of the side.
        message: String,
    },
    /// Salesforce's daily allowance of API calls is used up.
    #[error("Salesforce's request limit is reached: {message}")]
    QuotaSpent {
        /// Salesforce's error message.
        message: String,
    },
    /// The definition no longer fits the side: a field or column is gone or hidden, or a permission is
    /// missing. The sync is paused until somebody has looked at it.
    #[error("{side} does not take the definition: {message}")]
    Definition {
        /// The side that does not fit.
        side: Side,
        /// The error message of the side.
        message: String,
    },
    /// The database or the org is not the one that the instance is bound to. All syncs are paused before
    /// anything is written.
    #[error("{message}")]
    Identity {
        /// What was expected, what was found, and the way out.
        message: String,
    },
    /// Something that a person has to set up is missing or belongs to another release. The message says what
    /// it is and what to do.
    #[error("{message}")]
    NotConfigured {
        /// What is missing, and the command that sets it up.
        message: String,
    },
    /// The state store or the queue failed.
    #[error("the state store failed: {message}")]
    Store {
        /// The error message of the store or the queue.
        message: String,
    },
}

/// Syncline's own clock. Its time is never compared with Salesforce's.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> Timestamp;
}

/// A source of random bits.
pub trait Random: Send + Sync {
    /// Returns 128 random bits.
    fn bits(&self) -> u128;
}

/// Something that a person should know soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alert {
    /// The sync that the alert is about.
    pub sync: SyncName,
    /// What happened and what to do.
    pub message: String,
}

/// The channel by which alerts reach a person.
pub trait Alerts: Send + Sync {
    /// Raises an alert. A failure to do so must not fail the caller.
    fn raise(&self, alert: Alert) -> impl Future<Output = ()> + Send;
}

/// The points at which a crash or another run can make a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The bases are loaded.
    Loaded,
    /// Salesforce is read.
    ReadSalesforce,
    /// The rows are locked and read.
    ReadPostgres,
    /// The intents are saved.
    SavedIntents,
    /// The rows are written, but not committed.
    WrotePostgres,
    /// The Postgres transaction is committed.
    CommittedPostgres,
    /// Salesforce has answered the writes.
    WroteSalesforce,
    /// The links of new records are committed, and the history of the writes to Salesforce is closed.
    Finished,
    /// The bases are saved.
    SavedBases,
    /// The queue has accepted touches, but their source does not know it yet.
    Queued,
    /// A message is reconciled, but not acknowledged.
    Reconciled,
}

impl Step {
    /// Every step, in the order in which they are passed.
    pub const ALL: [Self; 11] = [
        Self::Loaded,
        Self::ReadSalesforce,
        Self::ReadPostgres,
        Self::SavedIntents,
        Self::WrotePostgres,
        Self::CommittedPostgres,
        Self::WroteSalesforce,
        Self::Finished,
        Self::SavedBases,
        Self::Queued,
        Self::Reconciled,
    ];
}

/// Is told of each step. It does nothing in production; tests crash a run or let another run go on here.
pub trait Steps: Send + Sync {
    /// Is called when a step is reached.
    fn at(&self, step: Step) -> impl Future<Output = ()> + Send;

    /// Is called when a run is about to store the fates of its touches. Tests check that as many touches
    /// entered the run as left it.
    fn tally(&self, tally: &Tally) {
        let _ = tally;
    }
}

/// Steps at which nothing happens, as in production. Only tests stop a run between two of its steps.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSteps;

impl Steps for NoSteps {
    async fn at(&self, _step: Step) {
        std::future::ready(()).await;
    }
}

/// The settings of an instance.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The name of the instance. It is part of the external Ids.
    pub instance: String,
    /// How long an intent keeps other runs away from a record. A call to Salesforce, with its time-out and
    /// the longest transaction that it can start, has to fit into two thirds of the lease.
    pub lease: SignedDuration,
    /// How far catch-up looks back behind its cursor. Rows can become visible minutes after their stamp.
    pub look_back: SignedDuration,
    /// How many of Salesforce's daily calls Syncline may use, as a share or as a number. `None` sets no
    /// limit.
    pub daily_calls: Option<DailyCalls>,
    /// The key with which the instance makes fingerprints.
    pub key: FingerprintKey,
}

impl Settings {
    /// The longest time that a call to Salesforce may take.
    #[must_use]
    pub fn longest_call(&self) -> SignedDuration {
        longest_call(self.lease)
    }
}

/// The longest time that a call to Salesforce may take under a lease: two thirds of the lease. A call begins
/// only in the first third of its intent's lease, so the call ends before the lease does.
#[must_use]
pub fn longest_call(lease: SignedDuration) -> SignedDuration {
    SignedDuration::from_millis(i64::try_from(lease.as_millis() * 2 / 3).unwrap_or(i64::MAX))
}

/// How many calls a day Syncline may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DailyCalls {
    /// A percentage of the org's daily allowance.
    Percent(u32),
    /// A number of calls.
    Count(u64),
}

/// All ports of an instance, and its settings.
pub trait Ports: Send + Sync {
    /// The type of the port to Salesforce.
    type Salesforce: Salesforce;
    /// The type of the port to Postgres.
    type Database: Database;
    /// The type of the state store.
    type State: State;
    /// The type of the queue.
    type Queue: Queue;
    /// The type of the clock.
    type Clock: Clock;
    /// The type of the source of random bits.
    type Random: Random;
    /// The type of the channel for alerts.
    type Alerts: Alerts;
    /// The type that is told of each step.
    type Steps: Steps;

    /// The port to Salesforce.
    fn salesforce(&self) -> &Self::Salesforce;
    /// The port to Postgres.
    fn database(&self) -> &Self::Database;
    /// The state store.
    fn state(&self) -> &Self::State;
    /// The queue.
    fn queue(&self) -> &Self::Queue;
    /// The clock.
    fn clock(&self) -> &Self::Clock;
    /// The source of random bits.
    fn random(&self) -> &Self::Random;
    /// The channel for alerts.
    fn alerts(&self) -> &Self::Alerts;
    /// The port that is told of each step.
    fn steps(&self) -> &Self::Steps;
    /// The instance's settings.
    fn settings(&self) -> &Settings;
    /// What this process remembers between its runs.
    fn process_memory(&self) -> &ProcessMemory;
}
