//! A whole Syncline for a test: real PostgreSQL, the simulator over HTTP, the one-process adapters, driven step by
//! step. Nothing waits for time to pass but what time is about.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

pub use world::{Options, SyncOptions, World};
