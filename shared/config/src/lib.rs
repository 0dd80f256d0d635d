//! `syncline.toml`: parsed and validated with every problem in one answer; secrets; telemetry.

mod parse;
mod reader;
mod secret;
mod telemetry;

pub use parse::{
    Auth, Config, ConfigError, DailyCalls, Field, Fields, IngestConfig, PostgresConfig, SalesforceConfig,
    ServeConfig, Sync,
};
pub use secret::{SalesforceSecret, SecretError, SecretRef};
pub use telemetry::{LogFormat, init_telemetry};
