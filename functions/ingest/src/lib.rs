//! Ingest: receives Salesforce's outbound messages by HTTP, and queues a touch for each record that they
//! name.
//!
//! Not in this crate: the parser of outbound messages (`syncline-salesforce`), queueing touches
//! (`syncline_sync::enqueue`), the HTTP server of `syncline serve` (`cli`), and the wiring of a Lambda
//! function (`syncline-aws`). In Lambda, ingest may read neither Salesforce's secret nor the database's.
//!
//! Begin with [`handle`], which Lambda and `syncline serve` share.
//!
//! # Layout
//!
//! - `handler`: who may call; one outbound message in, one acknowledgement out.
//! - `lambda` (feature `lambda`): events of a function URL or an HTTP API in, HTTP responses out.
//! - `main.rs`: starts the function.

mod handler;
#[cfg(feature = "lambda")]
pub mod lambda;

pub use handler::{Answer, BODY_LIMIT, Caller, Door, handle};
