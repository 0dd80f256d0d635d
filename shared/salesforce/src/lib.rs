//! The Salesforce side: the sign-in, the `Salesforce` port of `syncline-sync` on the REST API, and the parser
//! of outbound messages.
//!
//! This crate follows the REST API and OAuth documentation of Salesforce. Where the code encodes a fact of
//! that documentation, the item names its source.
//!
//! Not in this crate: decisions about records (`syncline-engine` and `syncline-sync` make them), and the HTTP
//! server that receives outbound messages (`functions/ingest`).
//!
//! Begin with [`Client`], which makes the calls to one org, and with the implementation of
//! [`syncline_sync::Salesforce`] for it in `records`. For messages that Salesforce sends, begin with
//! [`parse_notifications`].
//!
//! # Layout
//!
//! - `client`: one HTTP client per org: its session, its retries, the org's clock and its daily allowance.
//! - `credentials`: reads the secret of each way to sign in, and signs in.
//! - `records`: the `Salesforce` port: scans, reads, creates, updates and deletes of records.
//! - `soql`: queries and the pages of their answers.
//! - `describe`: reads which fields an object has, and of which types.
//! - `json`: records, and what became of them, in the JSON of the API.
//! - `outbound`: parses outbound messages, and answers them.
//! - `error`: the errors of a call, and what each means to `syncline-sync`.

mod client;
mod credentials;
mod describe;
mod error;
mod json;
mod outbound;
mod records;
mod soql;

pub use client::{Client, Duplicates, LONGEST_CALL, Usage, WriteOptions};
pub use credentials::{Auth, Credentials, CredentialsError, install_crypto_provider};
pub use describe::{DescribedField, DescribedObject};
pub use error::SalesforceError;
pub use outbound::{Notification, Notifications, OutboundError, acknowledgement, parse_notifications};
