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

/// What an error is about. The classes are those of the PostgreSQL documentation, PostgreSQL Error Codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Concern {
    /// A row or a value of the statement.
    Row,
    /// The table, a column, a function, a privilege.
    Definition,
    /// The moment: a lock, a deadlock, a statement that took too long.
    Busy,
    /// The server, or the way to it.
    Outage,
}

impl Concern {
    pub(crate) fn of(error: &tokio_postgres::Error) -> Self {
        error.code().map_or(Self::Outage, |code| Self::of_code(code.code()))
    }

    fn of_code(code: &str) -> Self {
        match code.get(..2).unwrap_or_default() {
            // Data corruption is found at single rows.
            "XX" if matches!(code, "XX001" | "XX002") => Self::Row,
            _ if code == "57014" => Self::Busy,
            "40" | "55" => Self::Busy,
            "08" | "25" | "28" | "3D" | "53" | "57" | "58" | "XX" => Self::Outage,
            "21" | "22" | "23" | "44" | "54" | "P0" => Self::Row,
            _ => Self::Definition,
        }
    }
}

/// What an error means to `syncline-sync` if the statement was about the user's tables or Syncline's own
/// tables beside them, and was not about single rows. A missing privilege, column, table or function is an error of the
/// definition, which pauses the sync. So is a value that no statement about the table gets past.
pub(crate) fn port_error(error: &tokio_postgres::Error) -> PortError {
    let side = Side::Postgres;
    let message = words(error);
    match Concern::of(error) {
        Concern::Outage => PortError::Outage { side, message },
        Concern::Busy => PortError::Busy { side, message },
        Concern::Definition if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
            PortError::Definition {
                side,
                message: format!(
                    "{message}; grant the role what is missing, as infra/postgres/grants.sql does. If row security hides rows from the role, run ALTER ROLE ... BYPASSRLS"
                ),
            }
        }
        Concern::Definition | Concern::Row => {
            PortError::Definition { side, message: format!("{message}; run `syncline apply`") }
        }
    }
}

/// What an error means to `syncline-sync` if the statement was about the state store or the queue.
#[must_use]
pub fn store_error(error: &tokio_postgres::Error) -> PortError {
    PortError::Store { message: words(error) }
}

#[cfg(test)]
mod tests {
    use super::Concern;

    #[test]
    fn only_what_is_about_the_server_counts_as_its_outage() {
        let table = [
            ("08006", Concern::Outage),
            ("53300", Concern::Outage),
            ("57P01", Concern::Outage),
            ("28P01", Concern::Outage),
            ("XX000", Concern::Outage),
            ("XX001", Concern::Row),
            ("57014", Concern::Busy),
            ("55P03", Concern::Busy),
            ("40P01", Concern::Busy),
            ("40001", Concern::Busy),
            ("22003", Concern::Row),
            ("22008", Concern::Row),
            ("23505", Concern::Row),
            ("P0001", Concern::Row),
            ("42501", Concern::Definition),
            ("42P01", Concern::Definition),
            ("42804", Concern::Definition),
        ];
        for (code, concern) in table {
            assert_eq!(Concern::of_code(code), concern, "{code}");
        }
    }
}
