//! All ports of `syncline-sync` as poll and applier use them in AWS.

use crate::alerts::SnsAlerts;
use crate::queue::SqsQueue;
use crate::state::DynamoState;
use syncline_postgres::PostgresDatabase;
use syncline_process::{SystemClock, SystemRandom};
use syncline_salesforce::Client;
use syncline_sync::{NoSteps, PortSet};

/// The ports that poll and applier work with, and the instance's settings as `syncline apply --stack` stored them.
/// Salesforce is called with the stack's secret, the state is on DynamoDB, the queue on SQS, and alerts go to an
/// SNS topic and the log.
pub type AwsRuntime<S = NoSteps> =
    PortSet<Client, PostgresDatabase, DynamoState, SqsQueue, SystemClock, SystemRandom, SnsAlerts, S>;
