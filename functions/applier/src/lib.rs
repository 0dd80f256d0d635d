//! Applier: messages of the queue, reconciled.

mod handler;
#[cfg(feature = "lambda")]
pub mod lambda;

pub use handler::handle;
