//! What tests of Syncline in AWS stand on: a local AWS, the stack of `template.yaml` in it, a PostgreSQL and a
//! Salesforce of their own, and traffic from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, reason = "for tests")]

pub mod bare;
pub mod built;
pub mod iam;
pub mod local_aws;
pub mod recorder;
pub mod traffic;
pub mod world;
