//! The AWS adapters of Syncline: the ports of `syncline-sync` on AWS services, and the wiring of a Lambda
//! function.
//!
//! | what Syncline needs | AWS service |
//! | --- | --- |
//! | state store | one DynamoDB table |
//! | queue of touches, and its dead letters | SQS FIFO queues |
//! | secrets of both sides, the fingerprint key, the secret in ingest's address | Secrets Manager |
//! | alerts | an SNS topic, and the log |
//! | metrics | log lines in CloudWatch's embedded metric format |
//!
//! Not in this crate: decisions about records (`syncline-engine` and `syncline-sync` make them), the handlers
//! and the event types of each function (`functions/`; only the answer to a batch of SQS messages is here),
//! and the resources themselves (`template.yaml`).
//!
//! Begin with [`Function`], which shows what a process of a function is made of, then read [`DynamoState`]
//! and [`SqsQueue`].
//!
//! # Layout
//!
//! - `function`: reads the environment, secrets and stored settings, and connects a function to both sides.
//! - `runtime`: all ports of `syncline-sync` in one struct.
//! - `applied`: what `syncline apply --stack` stores for the functions; `operator`: the numbers and lists that
//!   commands show.
//! - `state`: the `State` port; its longer methods are in the next three modules.
//! - `bases`: bases with their pointers and conflicts.
//! - `deferred`: deferred touches and messages, and the parents that touches wait for.
//! - `counters`: counters within a sliding window (the delete limit), and the bucket of Salesforce calls.
//! - `item`: items of the table, and conditions on them.
//! - `table`: calls to one DynamoDB table: keys, conditions, batches, transactions, retries.
//! - `queue`: the `Queue` port on SQS FIFO, and dead letters.
//! - `alerts`: alerts to SNS. `metrics`: CloudWatch metrics.
//! - `secret`: versions of a secret, and the database address in a secret.
//! - `clients`: time-outs and retries that all AWS clients share.
//! - `batch` (feature `lambda`): answers SQS which messages of an event failed.
//! - `stack` (feature `stack`): finds a deployed stack by its name.
//!
//! # The table
//!
//! The table has the keys `pk` (partition) and `sk` (sort), both text. Each record has partition keys of its
//! own, so that the traffic of a sync is spread over many partitions. A document is JSON in the attribute
//! `body`. Documents carry a form number of their own (`v` or `form`), except conflicts, counters and the
//! bucket of calls. `put-off` is the stored word for deferred: items of earlier releases have it.
//!
//! | pk | sk | what the item holds |
//! | --- | --- | --- |
//! | `base#SYNC#KEY` | `base` | a base; `version` for compare-and-set, `live` as in the base |
//! | `base#SYNC#KEY` | `rejected`, `held` | why the record is rejected or held |
//! | `id#SYNC#ID`, `key#SYNC#KEY`, `external-id#SYNC#ID` | `to` | a pointer: `base` is the key of the base |
//! | `conflict#ID` | `conflict` | one or several conflicts of one record; `ttl` after 365 days |
//! | `put-off#SYNC#RECORD` | `put-off` | a deferred touch; `token`: its version; `free`: awaits no parent; `refused`: a side refused or hides the record |
//! | `message#TOKEN` | `put-off` | a deferred message, unopened: `body` as it was received, and its `group` |
//! | `waits#PARENT` | `!` | a mark: deferred touches wait for this parent; `ttl` after 30 days |
//! | `waits#PARENT` | pk of a `put-off` item | one touch that waits for this parent; `ttl` after 30 days |
//! | `cursor#SYNC`, `paused#SYNC`, `linked#SYNC` | `-` | one item for each sync |
//! | `breaker#SIDE`, `counter#NAME`, `turn#WORK` | `-` | one item for each side, counter, scheduled work |
//! | `pace`, `pulse` | `-` | one item for the instance |
//! | `instance` | `instance`, `definition#SYNC` | what `syncline apply --stack` stores |
//!
//! The index `listed` (keys `list` and `at`) lists conflicts, rejected records, held records, ended bases,
//! and deferred touches and messages by when they are due. Each kind is spread over four lists. The index
//! lags behind the table, so nothing that a merge rests on is read through the index.
//!
//! A save writes a base, the pointers that the save changes, and the base's conflicts in one DynamoDB
//! transaction. The number of linked records (`linked#SYNC`) is updated by a separate call after that. If the
//! process ends between the two, the number stays wrong by a few records. Only `syncline status` and the
//! percentage of a delete limit use the number.

mod alerts;
mod applied;
mod bases;
#[cfg(feature = "lambda")]
mod batch;
mod clients;
mod counters;
mod deferred;
mod function;
mod item;
mod metrics;
mod operator;
mod queue;
mod runtime;
mod secret;
#[cfg(feature = "stack")]
mod stack;
mod state;
mod table;

pub use alerts::SnsAlerts;
pub use applied::{AppliedConfig, InstanceSettings, SETTINGS_FORM};
pub use aws_config::SdkConfig;
#[cfg(feature = "lambda")]
pub use batch::{partial_batch, traces};
pub use clients::sdk_config;
pub use function::{Environment, Function, Wired, fingerprint_key};
pub use metrics::{Metric, metric_line};
pub use operator::StackOperator;
pub use queue::SqsQueue;
pub use runtime::AwsRuntime;
pub use secret::{Stage, Whereabouts, postgres_address, read_secret};
#[cfg(feature = "stack")]
pub use stack::Stack;
pub use state::DynamoState;
