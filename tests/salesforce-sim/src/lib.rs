//! A Salesforce that runs on this machine: a pure org, the HTTP that Salesforce speaks over it, and the faults
//! that a careful client has to survive. The README lists what it serves and its control API.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test double may panic on its own bugs")]

mod control;
mod faults;
mod http;
mod oauth;
mod org;
mod outbound;
mod rest;
mod schema;
mod soql;
mod stored;
mod tls;

pub use faults::{Fault, Faults};
pub use http::{Simulator, SimulatorConfig};
pub use org::{ApiCall, Automation, Change, Org, Record, SaveError, User, ValidationRule};
pub use outbound::OutboundMessage;
pub use schema::{FieldType, ObjectSchema, SchemaField};
pub use stored::Stored;
pub use tls::CERTIFICATE;
