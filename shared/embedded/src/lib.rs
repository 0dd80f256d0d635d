//! State store and queue in the synced Postgres database itself, for the one-process mode (`syncline serve`).
//! So this mode needs nothing else to be installed.
//!
//! All tables are in the schema of the instance, beside the tables of `syncline-postgres`. Documents are
//! stored as JSON text.
//!
//! Not in this crate: decisions about records (`syncline-engine` and `syncline-sync` make them), connections,
//! migrations and the user's tables (`syncline-postgres`), and the loops of `syncline serve` (`cli`).
//!
//! Begin with [`EmbeddedState`], which implements the `State` port of `syncline-sync`, and [`EmbeddedQueue`],
//! which implements the `Queue` port. [`install()`] creates the tables (`migrations/`) and binds an instance
//! to its org and database.
//!
//! # Layout
//!
//! - `install`: creates the tables, and stores to which org and database the instance is bound.
//! - `state`: the `State` port; its longer methods are in the next four modules.
//! - `bases`: bases, loaded by their keys and saved by compare-and-set together with their conflicts.
//! - `outcomes`: what a run found: rejected, held, cleared and linked records, and deferred touches.
//! - `deferred`: deferred touches and messages.
//! - `counters`: counters within a sliding window (the delete limit), the bucket of Salesforce calls, and the
//!   pulse.
//! - `queue`: the `Queue` port, with leases on groups of messages, and dead letters.
//! - `operator`: the `Operator` port: the numbers and lists that commands show, and what commands change.

mod bases;
mod counters;
mod deferred;
mod install;
mod operator;
mod outcomes;
mod queue;
mod state;

pub use install::{InstanceRow, install, instance_row};
pub use operator::EmbeddedOperator;
pub use queue::EmbeddedQueue;
pub use state::EmbeddedState;

use syncline_engine::Side;
use syncline_postgres::{Connection, DatabaseError, Pool, store_error};
use syncline_sync::PortError;

/// A connection from the pool. A failure counts as one of the state store.
async fn connection(pool: &Pool) -> Result<Connection, PortError> {
    pool.get().await.map_err(|error| match error {
        DatabaseError::Statement(_, error) => store_error(&error),
        other => PortError::Store { message: other.to_string() },
    })
}

/// The side of a stored word. Any word but that of Postgres counts as Salesforce.
fn side_of(word: &str) -> Side {
    if word == Side::Postgres.word() { Side::Postgres } else { Side::Salesforce }
}

/// The error for a document that cannot be read from JSON, or written as JSON.
fn unreadable(error: &serde_json::Error) -> PortError {
    PortError::Store { message: format!("a stored document is not the JSON that was expected: {error}") }
}
