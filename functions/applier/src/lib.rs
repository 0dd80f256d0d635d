//! Applier: messages of the queue, reconciled.

mod handler;

pub use handler::handle;
