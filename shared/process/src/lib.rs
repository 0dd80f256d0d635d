//! What every process of Syncline takes from the operating system: the clock, random bits and the log.
//!
//! `system.rs` has the ports of `syncline-sync` for the clock and for random bits. `telemetry.rs` starts the log.

mod system;
mod telemetry;

pub use system::{SystemClock, SystemRandom};
pub use telemetry::{LogFormat, init_telemetry};
