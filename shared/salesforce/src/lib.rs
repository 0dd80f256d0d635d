//! The Salesforce side: sign-in, the REST API as the `Salesforce` port, and outbound messages.
//!
//! Written to Salesforce's REST API and OAuth documentation; where a fact of theirs is encoded, the item says so.

mod client;
mod credentials;
mod describe;
mod error;
mod outbound;
mod records;
mod soql;

pub use client::{Client, LONGEST_CALL, Usage};
pub use credentials::{Auth, Credentials, CredentialsError, install_crypto_provider};
pub use describe::{DescribedField, DescribedObject};
pub use error::SalesforceError;
pub use outbound::{Notification, Notifications, OutboundError, acknowledgement, parse_notifications};
