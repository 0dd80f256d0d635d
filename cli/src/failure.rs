//! The error of a command.

use std::fmt;

/// Why a command failed: a message for its user, which says what happened, to which thing, and what to do. It keeps the
/// errors that led to it.
#[derive(Debug)]
pub(crate) struct Failure(anyhow::Error);

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(anyhow::Error::msg(message.into()))
    }

    /// A message about an error, whose words it contains as far as they help the user.
    pub(crate) fn about<E>(message: impl Into<String>, error: E) -> Self
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        Self(anyhow::Error::new(error).context(message.into()))
    }

    /// The words of the errors that led to this one, from the nearest to the first.
    pub(crate) fn causes(&self) -> impl Iterator<Item = String> {
        self.0.chain().skip(1).map(ToString::to_string)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<E: std::error::Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(anyhow::Error::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Error, ErrorKind};

    #[test]
    fn a_failure_shows_its_message_and_keeps_its_causes() {
        let refused = Error::new(ErrorKind::ConnectionRefused, "connection refused");
        let failure = Failure::about("Postgres cannot be reached; start it", refused);
        assert_eq!(failure.to_string(), "Postgres cannot be reached; start it");
        assert_eq!(failure.causes().collect::<Vec<_>>(), ["connection refused"]);
        assert_eq!(Failure::new("no such sync").causes().count(), 0);
    }
}
