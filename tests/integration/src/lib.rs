//! Tests of the whole of Syncline in the one-process mode, and the world that they share: a real PostgreSQL,
//! the Salesforce simulator over HTTP, and the embedded state store and queue. A test drives poll and applier
//! step by step. It waits for time to pass only if it tests something that depends on time.
//!
//! Begin with [`World`], which creates the app's tables, starts Salesforce and applies the syncs. Then read
//! `tests/flow.rs`, which has edits on either side. Each other file of `tests/` has one subject, which its
//! first lines name.
//!
//! The tests need a PostgreSQL: `cargo run -p support --bin with-postgres -- cargo test -p integration`
//! starts one for them.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

pub use world::{Gallows, Options, SyncOptions, World, WorldPorts};
