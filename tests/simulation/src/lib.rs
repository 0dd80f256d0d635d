//! Seeded random schedules over the real use cases: one seed in, one report out. One thread, a virtual clock, sides in
//! memory, and nothing random but the seed. See the README beside it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

pub mod checks;
pub mod coverage;
pub mod deeds;
pub mod interleavings;
pub mod options;
pub mod planted;
pub mod ports;
mod recording;
pub mod schedule;
pub mod script;
pub mod shrink;
pub mod trace;
mod users;
pub mod world;

pub use checks::check;
pub use coverage::Coverage;
pub use options::{Faults, Features, Options};
pub use planted::{PLANTED, Planted};
pub use recording::{HASHED_SEEDS, RECORDED_SEEDS, record};
pub use schedule::{Report, run, run_script};
pub use script::{Kind, Op, script};
pub use shrink::shrink;
