//! The configuration file `syncline.toml`, and what every real process of Syncline needs besides: secrets,
//! logging, the system's clock and the system's randomness.
//!
//! Not in this crate: connections to either side. Whether the objects, fields, tables and columns of the file
//! exist is found out by `syncline_sync::define`, from what both sides describe. Secrets in AWS Secrets
//! Manager are read by `syncline-aws`.
//!
//! Begin with [`Config`] and [`Config::parse`]. `syncline.example.toml` shows every section and key of the
//! file.
//!
//! # Layout
//!
//! - `settings`: what a file says, as types.
//! - `parse`: reads a file; `sections`: its sections; `syncs`: its syncs.
//! - `keys`: every key with its type, its default and an example; `docs/configuration.md` is made from it.
//! - `reader`: reads single values from TOML tables, and collects every problem.
//! - `secret`: references to secrets, such as `env:NAME`, and the secrets that they name.
//! - `telemetry`: starts logging, for people or as JSON.
//! - `system`: the ports of `syncline-sync` for the clock, for randomness and for crash points.

mod keys;
mod parse;
mod reader;
mod secret;
mod sections;
mod settings;
mod syncs;

pub use keys::{KEYS, Key, page};
pub use parse::ConfigError;
pub use secret::{SecretError, SecretRef};
pub use settings::{
    Config, Field, Fields, IngestConfig, PostgresConfig, SalesforceConfig, ServeConfig, Sync, TimingConfig,
};
pub use syncline_salesforce::Auth;
