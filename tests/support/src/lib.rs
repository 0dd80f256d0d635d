//! What tests share: ports in memory, the contract that every state store and every queue keeps, builders of
//! definitions, and a private PostgreSQL with one database per test.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod build;
pub mod cluster;
pub mod contract;
mod database;
mod org;
mod ports;
mod queue;
mod state;
mod yielding;

pub use build::{contact_definition, field, fingerprint_key};
pub use database::{LogRow, MemoryDatabase, MemoryRow};
pub use org::{Held, Landing, MemoryOrg, OrgRecord, Request};
pub use ports::{MemoryPorts, NoSteps, RecordedAlerts, SeededRandom, SteppedClock, YieldingSteps};
pub use queue::MemoryQueue;
pub use state::MemoryState;
pub use yielding::yield_now;
