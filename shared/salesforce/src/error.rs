//! What goes wrong between us and Salesforce.

use syncline_engine::Side;
use syncline_sync::PortError;

/// An error of a whole call. What concerns one record of a collection is an outcome, not an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SalesforceError {
    /// No connection; nothing was sent.
    #[error("no connection to {url}: {message}")]
    Unreachable {
        /// Where.
        url: String,
        /// The connection's words.
        message: String,
    },
    /// Sent, and no answer, or one that says that the server failed. It may have been carried out.
    #[error("no usable answer from {url}: {message}")]
    Unanswered {
        /// Where.
        url: String,
        /// What came instead.
        message: String,
    },
    /// The sign-in was refused.
    #[error("Salesforce refused the sign-in at {url}: {error}: {description}")]
    SignIn {
        /// Where.
        url: String,
        /// OAuth's error word.
        error: String,
        /// Salesforce's description.
        description: String,
    },
    /// The private key for JWT bearer cannot be used.
    #[error(
        "the private key for the JWT sign-in cannot be used: {0}; it has to be an RSA key of 2048 bits or more in PEM (PKCS#8 or PKCS#1)"
    )]
    PrivateKey(String),
    /// The sign-in leads to another org than the instance is bound to.
    #[error(
        "the instance is bound to org {expected}, and the sign-in leads to org {found}: another org, or a sandbox that was refreshed. Nothing is written. If this org is to be synced from now on, run `syncline state rebind`"
    )]
    OtherOrg {
        /// The org that the instance is bound to.
        expected: String,
        /// The org of the session.
        found: String,
    },
    /// The daily allowance is spent.
    #[error("REQUEST_LIMIT_EXCEEDED: {0}")]
    QuotaSpent(String),
    /// The call was refused as a whole; nothing was carried out.
    #[error("{code}: {message}")]
    Refused {
        /// Salesforce's code, such as `INVALID_FIELD`.
        code: String,
        /// Salesforce's words.
        message: String,
    },
    /// The answer is not what the API documents.
    #[error("an answer that cannot be understood: {0}")]
    Malformed(String),
}

impl From<SalesforceError> for PortError {
    fn from(error: SalesforceError) -> Self {
        let side = Side::Salesforce;
        match error {
            SalesforceError::QuotaSpent(message) => Self::QuotaSpent { message },
            SalesforceError::OtherOrg { .. } => Self::Identity { message: error.to_string() },
            SalesforceError::Refused { ref code, .. } if is_about_the_definition(code) => {
                Self::Definition { side, message: error.to_string() }
            }
            other => Self::Outage { side, message: other.to_string() },
        }
    }
}

/// Codes by which Salesforce says that an object or field is not there, or not for this user.
pub(crate) fn is_about_the_definition(code: &str) -> bool {
    matches!(
        code,
        "INVALID_FIELD"
            | "INVALID_TYPE"
            | "NOT_FOUND"
            | "INSUFFICIENT_ACCESS"
            | "INVALID_FIELD_FOR_INSERT_UPDATE"
    )
}
