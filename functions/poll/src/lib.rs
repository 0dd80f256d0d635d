//! Poll: looks for changes that nobody sends to Syncline, and queues touches for them. It reads the capture
//! log, the deferred touches that are due, and scans of both sides (first scans, and catch-up in Salesforce).
//!
//! Not in this crate: how each of these is read (`syncline_sync::poll`), the loops of `syncline serve`
//! (`cli`), and the wiring of a Lambda function (`syncline-aws`).
//!
//! Begin with [`poll_log`] and [`poll_scans`], which Lambda and `syncline serve` share.
//!
//! # Layout
//!
//! - `handler`: one look at the capture log, one at the scans, and housekeeping.
//! - `lambda` (feature `lambda`): one scheduled run of 55 seconds, with as many looks as the intervals ask
//!   for.
//! - `main.rs`: starts the function.

mod handler;
#[cfg(feature = "lambda")]
pub mod lambda;

pub use handler::{housekeeping, poll_log, poll_scans};
