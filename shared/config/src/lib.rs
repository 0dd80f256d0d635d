//! `syncline.toml`: parsed and validated with every problem in one answer; secrets; telemetry; the system's clock and randomness.

mod parse;
mod reader;
mod secret;
mod system;
mod telemetry;

pub use parse::{
    Config, ConfigError, Field, Fields, IngestConfig, PostgresConfig, SalesforceConfig, ServeConfig, Sync,
};
pub use secret::{SecretError, SecretRef};
pub use syncline_salesforce::Auth;
pub use system::{NoSteps, SystemClock, SystemRandom};
pub use telemetry::{LogFormat, init_telemetry};
