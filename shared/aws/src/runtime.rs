//! All ports of `syncline-sync` as poll and applier use them in AWS.

use crate::alerts::SnsAlerts;
use crate::queue::SqsQueue;
use crate::state::DynamoState;
use syncline_config::{NoSteps, SystemClock, SystemRandom};
use syncline_postgres::PostgresDatabase;
use syncline_salesforce::Client;
use syncline_sync::{Ports, Settings, Steps};

/// The ports that poll and applier work with, and the instance's settings. [`Ports`] gives access to each.
pub struct AwsRuntime<S = NoSteps> {
    /// The REST client of the Salesforce side, signed in with the stack's secret.
    pub salesforce: Client,
    /// The Postgres side.
    pub database: PostgresDatabase,
    /// The state store, on DynamoDB.
    pub state: DynamoState,
    /// The queue of touches, on SQS.
    pub queue: SqsQueue,
    /// Alerts, to an SNS topic and the log.
    pub alerts: SnsAlerts,
    /// The system's source of random bits.
    pub random: SystemRandom,
    /// Crash points: they do nothing in production; a test ends the run at one of them.
    pub steps: S,
    /// The instance's settings, as `syncline apply --stack` stored them.
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
