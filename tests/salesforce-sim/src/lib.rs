//! A Salesforce that runs on this machine: the HTTP that Salesforce speaks, over the model of `org`, and the
//! faults that a careful client has to survive. The README lists what it serves and its control API.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test double may panic on its own bugs")]

mod control;
mod describe;
mod http;
mod oauth;
mod outbound;
mod rest;
mod soql;
mod tls;

pub use http::{Simulator, SimulatorConfig};
pub use org::{
    ApiCall, Automation, Change, Fault, Faults, FieldType, LastingAnswer, ObjectSchema, Org, OutboundMessage,
    Record, SaveError, SchemaField, Stored, User, ValidationRule,
};
pub use tls::CERTIFICATE;
