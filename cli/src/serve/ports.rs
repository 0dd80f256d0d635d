//! The ports of `syncline-sync` for `syncline serve`: state and queue are in the synced database.

use jiff::SignedDuration;
use syncline_embedded::{EmbeddedQueue, EmbeddedState};
use syncline_postgres::{DatabaseIdentity, Instance, Pool, PostgresDatabase};
use syncline_process::{SystemClock, SystemRandom};
use syncline_salesforce::Client;
use syncline_sync::process_memory::ProcessMemory;
use syncline_sync::{Alert, Alerts, NoSteps, PortSet, Random, Settings};

/// A message that was received is not received again for the lease and this time. By then the intents of a
/// run that died have ended, and the next run can take over.
const VISIBILITY_BEYOND_LEASE: SignedDuration = SignedDuration::from_secs(5);

/// Writes alerts to the log, as errors.
pub(crate) struct LoggedAlerts;

impl Alerts for LoggedAlerts {
    async fn raise(&self, alert: Alert) {
        tracing::error!(sync = %alert.sync, "{}", alert.message);
        std::future::ready(()).await;
    }
}

/// All ports of `serve`.
pub(crate) type Runtime = PortSet<
    Client,
    PostgresDatabase,
    EmbeddedState,
    EmbeddedQueue,
    SystemClock,
    SystemRandom,
    LoggedAlerts,
    NoSteps,
>;

/// Puts the ports of `serve` together.
pub(crate) fn runtime(
    salesforce: Client,
    pool: &Pool,
    instance: &Instance,
    identity: Option<DatabaseIdentity>,
    settings: Settings,
) -> Runtime {
    let random = SystemRandom::new();
    let receiver = format!("{:016x}", random.bits() >> 64);
    let visibility = settings.lease + VISIBILITY_BEYOND_LEASE;
    let database = PostgresDatabase::new(pool.clone(), instance.clone());
    PortSet {
        salesforce,
        database: match identity {
            Some(identity) => database.bound_to(identity),
            None => database,
        },
        state: EmbeddedState::new(pool.clone(), instance),
        queue: EmbeddedQueue::new(pool.clone(), instance, receiver, visibility),
        clock: SystemClock,
        random,
        alerts: LoggedAlerts,
        steps: NoSteps,
        settings,
        process_memory: ProcessMemory::default(),
    }
}
