//! A model of a Salesforce org: its objects, records and users, what users and programs save, and what the org
//! does by itself. The model has no I/O and no clock of its own, so a schedule can decide what happens when.
//!
//! Both Salesforces of the tests stand on this model. `support::MemoryOrg` gives it to the simulation through
//! the port `Salesforce`, and `salesforce-sim` serves it over HTTP. So a schedule meets the rules that the
//! clients meet.
//!
//! Begin with [`Org`]. [`Org::create`], [`Org::update`], [`Org::delete`] and [`Org::undelete`] are what users
//! do; `validate.rs` says what is refused, `save.rs` and `recycle_bin.rs` what a save and a delete bring about.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test double may panic on its own bugs")]

mod automation;
mod faults;
mod id;
mod long_transaction;
mod objects;
mod org;
mod outbox;
mod record;
mod recycle_bin;
mod save;
mod schema;
mod validate;
mod value;

pub use automation::{Automation, Relation, ValidationRule};
pub use faults::{Fault, Faults, LastingAnswer};
pub use org::{ApiCall, Change, Org, User};
pub use outbox::{Notification, OutboundMessage, Outbox};
pub use record::Record;
pub use save::Fields;
pub use schema::{FieldType, ObjectSchema, SchemaField};
pub use validate::SaveError;
pub use value::{Stored, moment, parse_moment};
