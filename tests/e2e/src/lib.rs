//! Tests of Syncline as it is deployed in AWS, and what these tests have in common. A test deploys the stack
//! of `template.yaml` to a local AWS, starts a PostgreSQL and a simulated Salesforce of its own, drives
//! everything from outside, and asks the judge what became of every edit.
//!
//! - [`world`]: the deployed stack and everything around it. Begin with `World::deploy`.
//! - [`traffic`]: people who edit both sides and write a ledger.
//! - [`recorder`]: a proxy between the functions and AWS, which records calls and causes faults.
//! - [`iam`]: compares the recorded calls with what the roles allow.
//! - [`local_aws`]: starts and stops the local AWS.
//! - [`built`]: packages the functions and the template.
//! - [`bare`]: a table and a queue without a stack, for tests of the adapters alone.
//!
//! `tests/deployed.rs` is the first test to read. The program `deploy-local` starts the same world for a
//! person to use.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "for tests")]

pub mod bare;
pub mod built;
pub mod iam;
pub mod local_aws;
pub mod recorder;
pub mod traffic;
pub mod world;
