//! The applier: receives messages of touches from the queue and reconciles them.
//!
//! Not in this crate: reconciling itself (`syncline_sync::consume` and `syncline_sync::reconcile`) and the
//! wiring of a Lambda function (`syncline-aws`).
//!
//! Begin with [`handle`], which Lambda and `syncline serve` share.
//!
//! # Layout
//!
//! - `handler`: messages in, receipts of the messages that are dealt with out.
//! - `lambda` (feature `lambda`): SQS events in, the messages that failed out.
//! - `main.rs`: starts the function.

mod handler;
#[cfg(feature = "lambda")]
pub mod lambda;

pub use handler::handle;
