//! State on DynamoDB, queue on SQS FIFO, secrets in Secrets Manager, alerts to SNS, metrics by log lines; and what
//! every function is wired with.
//!
//! # The table
//!
//! One table, keys `pk` and `sk`, both text. Every record has partition keys of its own, so that no partition takes
//! the traffic of a whole sync. Documents are JSON in `body`, with a form number of their own.
//!
//! | pk | sk | what |
//! | --- | --- | --- |
//! | `base#SYNC#KEY` | `base` | a base: `version` for compare-and-set, `live` |
//! | | `rejected`, `held` | why the record needs a person |
//! | `id#SYNC#ID`, `key#SYNC#KEY`, `external-id#SYNC#ID` | `to` | pointers: `base`, the key of the base |
//! | `conflict#ID` | `conflict` | a conflict; `ttl` after a year |
//! | `put-off#SYNC#RECORD` | `put-off` | a touch that is put off: `token`, `free` if it waits for no parent |
//! | `message#TOKEN` | `put-off` | a message of a newer form, as it came |
//! | `waits#PARENT` | `!`, a `put-off` key | that somebody waits for this parent, and who; `ttl` after 30 days |
//! | `cursor#SYNC`, `breaker#SIDE`, `paused#SYNC`, `counter#NAME`, `pace`, `pulse`, `linked#SYNC`, `turn#WORK` | `-` | one each |
//! | `instance` | `instance`, `definition#SYNC` | what `apply` stores |
//!
//! The index `listed` (`list`, `at`) has conflicts, rejected and held records by time, bases that ended, and what is
//! put off by when it is due, each in four lists. Nothing that a merge rests on is read through it.
//!
//! A base and the pointers that a save changes are one transaction, and so are its conflicts. The number of linked
//! records is counted beside it: a process that dies in between leaves it off by a few, which only the share in a
//! delete limit and `status` see.

mod alerts;
mod bases;
#[cfg(feature = "lambda")]
mod batch;
mod clients;
mod counters;
mod function;
mod instance;
mod put_off;
mod queue;
mod runtime;
mod secret;
#[cfg(feature = "stack")]
mod stack;
mod state;
mod table;

pub use alerts::{Metric, SnsAlerts, metric_line};
pub use aws_config::SdkConfig;
#[cfg(feature = "lambda")]
pub use batch::{partial_batch, traces};
pub use clients::sdk_config;
pub use function::{Environment, Function, Wired, fingerprint_key};
pub use instance::{Applied, InstanceSettings, SETTINGS_FORM};
pub use queue::SqsQueue;
pub use runtime::AwsRuntime;
pub use secret::{Stage, Whereabouts, postgres_address, read_secret};
#[cfg(feature = "stack")]
pub use stack::Stack;
pub use state::DynamoState;
