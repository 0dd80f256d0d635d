//! The errors of calls to Salesforce, and what each means to `syncline-sync`.

use syncline_engine::Side;
use syncline_sync::{Concern, PortError};

/// An error of a whole call. If Salesforce refuses one record of a collection, that is an outcome of the
/// record and not an error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SalesforceError {
    /// There was no connection. Nothing was sent.
    #[error("no connection to {url}: {message}")]
    Unreachable {
        /// The address that was called.
        url: String,
        /// The message of the connection's error.
        message: String,
    },
    /// The call was sent, but no answer came, or an answer that the server failed. Salesforce may have
    /// carried out the call.
    #[error("no usable answer from {url}: {message}")]
    Unanswered {
        /// The address that was called.
        url: String,
        /// What came instead of an answer.
        message: String,
    },
    /// Salesforce refused the sign-in.
    #[error("Salesforce refused the sign-in at {url}: {error}: {description}")]
    SignIn {
        /// The address that was called.
        url: String,
        /// The error code of OAuth, such as `invalid_grant`.
        error: String,
        /// Salesforce's description of the error.
        description: String,
    },
    /// The private key for JWT bearer cannot be used.
    #[error(
        "the private key for the JWT sign-in cannot be used: {0}. The key has to be an RSA key of 2048 bits or more in PEM (PKCS#8 or PKCS#1)"
    )]
    PrivateKey(String),
    /// The sign-in leads to an org other than the one to which the instance is bound.
    #[error(
        "the instance is bound to org {expected}, but the sign-in leads to org {found}. That is another org, or the sandbox was refreshed. Nothing is written. To sync with org {found} from now on, run `syncline state rebind`"
    )]
    OtherOrg {
        /// The Id of the org to which the instance is bound.
        expected: String,
        /// The Id of the org to which the sign-in leads.
        found: String,
    },
    /// The quota is spent: Salesforce's daily allowance of calls is used up.
    #[error("REQUEST_LIMIT_EXCEEDED: {0}")]
    QuotaSpent(String),
    /// Salesforce refused the call as a whole. Nothing was carried out.
    #[error("{code}: {message}")]
    Refused {
        /// Salesforce's error code, such as `INVALID_FIELD`.
        code: String,
        /// Salesforce's message.
        message: String,
    },
    /// The answer does not have the form that the API's documentation gives.
    #[error("Salesforce's answer cannot be understood: {0}")]
    Malformed(String),
}

impl SalesforceError {
    /// True if Salesforce refused a whole call, and the same records succeed in smaller calls.
    pub(crate) fn is_about_the_size(&self) -> bool {
        matches!(self, Self::Refused { code, message } if Concern::of_call(code, message) == Concern::Size)
    }

    /// True if Salesforce refused a whole call because of one of its records. Then the call is halved until that record
    /// is alone.
    pub(crate) fn is_about_a_record(&self) -> bool {
        matches!(self, Self::Refused { code, message } if Concern::of_call(code, message) == Concern::Record)
    }
}

impl From<SalesforceError> for PortError {
    fn from(error: SalesforceError) -> Self {
        let side = Side::Salesforce;
        match error {
            SalesforceError::QuotaSpent(message) => Self::QuotaSpent { message },
            SalesforceError::OtherOrg { .. } => Self::Identity { message: error.to_string() },
            SalesforceError::Refused { ref code, ref message }
                if Concern::of_call(code, message) == Concern::Definition =>
            {
                Self::Definition { side, message: error.to_string() }
            }
            other => Self::Outage { side, message: other.to_string() },
        }
    }
}
