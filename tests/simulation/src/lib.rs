//! Seeded random schedules over the real use cases and the real engine, with ports in memory.
//!
//! One seed in, one report out. Two appliers and a poller are stepped one await at a time in an order that the seed
//! chooses; between any two steps users edit either side, writes to Salesforce land, are lost, or are written and
//! their answer is lost, runs crash, messages are doubled, time passes. Then the edits stop and everything has to
//! come to rest; the checkers judge what is left from the users' own ledger.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod checks;
mod exhaustive;
mod schedule;
mod users;

pub use checks::check;
pub use exhaustive::{Bounds, Explored, Safeguard, explore};
pub use schedule::{Faults, Report, run};
pub use users::{Edit, Users};
