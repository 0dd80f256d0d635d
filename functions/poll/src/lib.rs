//! Poll: the capture log, what was put off, and scans, into touches.

mod handler;
#[cfg(feature = "lambda")]
pub mod lambda;

pub use handler::{keep_house, poll_log, poll_scans};
