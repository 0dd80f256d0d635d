//! The ports of `syncline-sync` for `syncline serve`: state and queue are in the synced database.

use jiff::SignedDuration;
use syncline_config::{NoSteps, SystemClock, SystemRandom};
use syncline_embedded::{EmbeddedQueue, EmbeddedState};
use syncline_postgres::{DatabaseIdentity, Instance, Pool, PostgresDatabase};
use syncline_salesforce::Client;
use syncline_sync::{Alert, Alerts, Ports, Random, Settings};

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
pub(crate) struct Runtime {
    salesforce: Client,
    database: PostgresDatabase,
    state: EmbeddedState,
    queue: EmbeddedQueue,
    clock: SystemClock,
    random: SystemRandom,
    settings: Settings,
}

impl Runtime {
    pub(crate) fn new(
        salesforce: Client,
        pool: &Pool,
        instance: &Instance,
        identity: Option<DatabaseIdentity>,
        settings: Settings,
    ) -> Self {
        let random = SystemRandom::new();
        let receiver = format!("{:016x}", random.bits() >> 64);
        let visibility = settings.lease + VISIBILITY_BEYOND_LEASE;
        Self {
            salesforce,
            database: match identity {
                Some(identity) => PostgresDatabase::new(pool.clone(), instance.clone()).bound_to(identity),
                None => PostgresDatabase::new(pool.clone(), instance.clone()),
            },
            state: EmbeddedState::new(pool.clone(), instance),
            queue: EmbeddedQueue::new(pool.clone(), instance, receiver, visibility),
            clock: SystemClock,
            random,
            settings,
        }
    }
}

impl Ports for Runtime {
    type Salesforce = Client;
    type Database = PostgresDatabase;
    type State = EmbeddedState;
    type Queue = EmbeddedQueue;
    type Clock = SystemClock;
    type Random = SystemRandom;
    type Alerts = LoggedAlerts;
    type Steps = NoSteps;

    fn salesforce(&self) -> &Client {
        &self.salesforce
    }
    fn database(&self) -> &PostgresDatabase {
        &self.database
    }
    fn state(&self) -> &EmbeddedState {
        &self.state
    }
    fn queue(&self) -> &EmbeddedQueue {
        &self.queue
    }
    fn clock(&self) -> &SystemClock {
        &self.clock
    }
    fn random(&self) -> &SystemRandom {
        &self.random
    }
    fn alerts(&self) -> &LoggedAlerts {
        &LoggedAlerts
    }
    fn steps(&self) -> &NoSteps {
        &NoSteps
    }
    fn settings(&self) -> &Settings {
        &self.settings
    }
}
