//! The ports of a function.

use crate::alerts::SnsAlerts;
use crate::queue::SqsQueue;
use crate::state::DynamoState;
use syncline_config::{NoSteps, SystemClock, SystemRandom};
use syncline_postgres::PostgresDatabase;
use syncline_salesforce::Client;
use syncline_sync::{Ports, Settings, Steps};

/// Everything that poll and applier work with.
pub struct AwsRuntime<S = NoSteps> {
    /// Salesforce.
    pub salesforce: Client,
    /// Postgres.
    pub database: PostgresDatabase,
    /// DynamoDB.
    pub state: DynamoState,
    /// SQS.
    pub queue: SqsQueue,
    /// SNS and the log.
    pub alerts: SnsAlerts,
    /// Randomness.
    pub random: SystemRandom,
    /// Nothing, but where a test kills it.
    pub steps: S,
    /// The instance's settings.
    pub settings: Settings,
}

impl<S: Steps> Ports for AwsRuntime<S> {
    type Salesforce = Client;
    type Database = PostgresDatabase;
    type State = DynamoState;
    type Queue = SqsQueue;
    type Clock = SystemClock;
    type Random = SystemRandom;
    type Alerts = SnsAlerts;
    type Steps = S;

    fn salesforce(&self) -> &Client {
        &self.salesforce
    }
    fn database(&self) -> &PostgresDatabase {
        &self.database
    }
    fn state(&self) -> &DynamoState {
        &self.state
    }
    fn queue(&self) -> &SqsQueue {
        &self.queue
    }
    fn clock(&self) -> &SystemClock {
        &SystemClock
    }
    fn random(&self) -> &SystemRandom {
        &self.random
    }
    fn alerts(&self) -> &SnsAlerts {
        &self.alerts
    }
    fn steps(&self) -> &S {
        &self.steps
    }
    fn settings(&self) -> &Settings {
        &self.settings
    }
}
