//! Ingest: outbound messages into touches.

mod handler;
#[cfg(feature = "lambda")]
pub mod lambda;

pub use handler::{Answer, BODY_LIMIT, Caller, Door, handle};
