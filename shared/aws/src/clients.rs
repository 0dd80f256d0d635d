//! The configuration that all AWS clients share: time-outs, retries and TLS. Credentials, region and endpoint
//! come from the environment (environment variables, profile or role), as for every AWS SDK.

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use std::time::Duration;

/// How often a throttled or failing call is tried in all. The waits between two tries double, up to 2 seconds
/// each.
const TRIES: u32 = 8;

/// Loads the configuration from which every AWS client is made. `program` becomes part of the user agent of
/// each call, so that CloudTrail shows which program made the call.
///
/// A connection is given up after 2 seconds, one try of a call after 5 seconds, and the call with all its
/// tries after 20 seconds.
pub async fn sdk_config(program: &'static str) -> SdkConfig {
    let http =
        aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let retries = RetryConfig::standard().with_max_attempts(TRIES).with_max_backoff(Duration::from_secs(2));
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(Duration::from_secs(2))
        .operation_attempt_timeout(Duration::from_secs(5))
        .operation_timeout(Duration::from_secs(20))
        .build();
    let mut loader = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .retry_config(retries)
        .timeout_config(timeouts);
    if let Ok(name) = AppName::new(program) {
        loader = loader.app_name(name);
    }
    loader.load().await
}
