//! Ingest: outbound messages into touches.

mod handler;

pub use handler::{Answer, Caller, handle};
