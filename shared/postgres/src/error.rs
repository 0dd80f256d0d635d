//! What goes wrong between us and Postgres.

use syncline_engine::Side;
use syncline_sync::PortError;
use tokio_postgres::error::SqlState;

/// An error of the database, in its own words.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// The address or its parameters cannot be used.
    #[error("the database address cannot be used: {0}")]
    Address(String),
    /// No connection.
    #[error("no connection to Postgres at {at}: {message}")]
    Connect {
        /// Host, port and database.
        at: String,
        /// The words of whoever refused.
        message: String,
    },
    /// A statement failed.
    #[error("{0}")]
    Statement(String, #[source] tokio_postgres::Error),
    /// What was asked for is not there.
    #[error("{0}")]
    Missing(String),
}

impl From<tokio_postgres::Error> for DatabaseError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Statement(words(&error), error)
    }
}

/// Postgres's words, with detail and hint.
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

/// An error of a call on the user's tables.
pub(crate) fn port_error(error: &tokio_postgres::Error) -> PortError {
    let side = Side::Postgres;
    let message = words(error);
    match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => PortError::Definition {
            side,
            message: format!(
                "{message}; grant the role what `syncline apply` needs, or BYPASSRLS where row security hides rows"
            ),
        },
        Some(&(SqlState::UNDEFINED_COLUMN | SqlState::UNDEFINED_TABLE | SqlState::UNDEFINED_FUNCTION)) => {
            PortError::Definition { side, message: format!("{message}; run `syncline apply`") }
        }
        _ => PortError::Outage { side, message },
    }
}

/// An error of the state store or the queue.
#[must_use]
pub fn store_error(error: &tokio_postgres::Error) -> PortError {
    PortError::Store { message: words(error) }
}
