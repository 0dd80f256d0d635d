//! What tests of Syncline in AWS stand on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "for tests")]

pub mod local_aws;
