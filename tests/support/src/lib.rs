//! What tests share: ports in memory, the contracts of the ports, builders of definitions, and a private
//! PostgreSQL with one database per test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod build;
pub mod cluster;
pub mod contract;
mod database;
mod database_api;
mod event;
mod ports;
mod queue;
mod salesforce;
mod state;
mod table;
mod yielding;

pub use build::{contact_definition, field, fingerprint_key};
pub use database::{LogRow, MemoryDatabase, MemoryRow};
pub use database_api::{MemoryLog, MemoryTransaction};
pub use event::{By, Event, EventLog, Values, What, name_of};
pub use ports::{MemoryPortSet, MemoryPorts, RecordedAlerts, SeededRandom, SteppedClock, YieldingSteps};
pub use queue::MemoryQueue;
pub use salesforce::{Landing, MemoryOrg, OrgRecord, Overwritten, Request};
pub use state::MemoryState;
pub use table::{AfterRule, BeforeRule, ForeignKey, OnDelete, RowRefusal, TableRules, key_of_text, key_text};
pub use yielding::yield_now;
