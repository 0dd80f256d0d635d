//! Clients of the AWS APIs, with credentials, region and endpoint as the environment gives them.

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, SdkConfig};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use std::time::Duration;

/// Throttled and failing calls are tried so often, with waits that double, up to two seconds each.
const TRIES: u32 = 8;

/// What every API client is made from. `program` stands in the user agent of each call, and so in the user's
/// CloudTrail.
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
