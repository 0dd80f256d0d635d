//! The errors of this crate, and what each means to `syncline-sync`.

use syncline_engine::Side;
use syncline_sync::PortError;
use tokio_postgres::error::SqlState;

/// An error of the database, or of the way to it. The text contains the database's own words.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The address of the database cannot be parsed, or TLS cannot be set up as the address asks.
    #[error("the database address cannot be used: {0}")]
    Address(String),
    /// No connection could be made, or the pool has none free.
    #[error("no connection to Postgres at {at}: {message}")]
    Connect {
        /// Host, port and database, as `host:port/database`.
        at: String,
        /// The words of the database, the driver or the pool.
        message: String,
    },
    /// A statement failed. The text is the database's message with its detail and hint.
    #[error("{0}")]
    Statement(String, #[source] tokio_postgres::Error),
    /// Something in Syncline's schema or in the database is missing or not as expected. The text says what.
    #[error("{0}")]
    Missing(String),
}

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Statement(words(&error), error)
    }
}

/// The words of an error: Postgres's message, detail and hint, or the driver's own message with its cause if
/// the error did not come from Postgres.
pub(crate) fn words(error: &tokio_postgres::Error) -> String {
    let Some(db) = error.as_db_error() else {
        let cause = std::error::Error::source(error).map(ToString::to_string);
        return cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"));
    };
    let mut text = db.message().to_owned();
    for more in [db.detail(), db.hint()].into_iter().flatten() {
        text.push_str(". ");
        text.push_str(more.trim_end_matches('.'));
    }
    text
}

/// What an error means to `syncline-sync` if the statement was about the user's tables or Syncline's own
/// tables beside them. A missing privilege, column, table or function is an error of the definition, which
/// pauses the sync. Anything else counts as an outage of Postgres.
pub(crate) fn port_error(error: &tokio_postgres::Error) -> PortError {
    let side = Side::Postgres;
    let message = words(error);
    match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => PortError::Definition {
            side,
            message: format!(
                "{message}; grant the role what is missing, as infra/postgres/grants.sql does. If row security hides rows from the role, run ALTER ROLE ... BYPASSRLS"
            ),
        },
        Some(&(SqlState::UNDEFINED_COLUMN | SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_FUNCTION)) => {
            PortError::Definition { side, message: format!("{message}; run `syncline apply`") }
        }
        _ => PortError::Outage { side, message },
    }
}

/// What an error means to `syncline-sync` if the statement was about the state store or the queue.
#[must_use]
pub fn store_error(error: &tokio_postgres::Error) -> PortError {
    PortError::Store { message: words(error) }
}
