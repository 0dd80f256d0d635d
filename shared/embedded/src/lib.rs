//! State and queue in the synced Postgres itself, for the one-process mode: nothing else need be installed.

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

async fn connection(pool: &Pool) -> Result<Connection, PortError> {
    pool.get().await.map_err(|error| match error {
        DatabaseError::Statement(_, error) => store_error(&error),
        other => PortError::Store { message: other.to_string() },
    })
}

fn side_of(word: &str) -> Side {
    if word == Side::Postgres.word() { Side::Postgres } else { Side::Salesforce }
}

fn unreadable(error: &serde_json::Error) -> PortError {
    PortError::Store { message: format!("an item that cannot be read: {error}") }
}
