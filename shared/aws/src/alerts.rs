//! Alerts to an SNS topic and to the log.

use aws_sdk_sns::Client;
use aws_sdk_sns::error::DisplayErrorContext;
use syncline_sync::{Alert, Alerts};

/// The `Alerts` port: each alert is written to the log and published to an SNS topic. If SNS refuses, the log
/// says so and the caller goes on.
#[derive(Clone)]
pub struct SnsAlerts {
    /// The SNS client.
    pub client: Client,
    /// The ARN of the topic. Without a topic, alerts are written to the log only.
    pub topic: Option<String>,
    /// The instance's name, for subject and text.
    pub instance: String,
}

impl Alerts for SnsAlerts {
    async fn raise(&self, alert: Alert) {
        tracing::error!(sync = %alert.sync, "{}", alert.message);
        let Some(topic) = &self.topic else { return };
        let subject = format!("Syncline {}: sync {} needs attention", self.instance, alert.sync);
        let sent = self
            .client
            .publish()
            .topic_arn(topic)
            // SNS takes fewer than 100 characters (API reference, Publish).
            .subject(subject.chars().take(99).collect::<String>())
            .message(format!("{}\n\nsync: {}\ninstance: {}\n", alert.message, alert.sync, self.instance))
            .send()
            .await;
        if let Err(error) = sent {
            tracing::error!(error = %DisplayErrorContext(&error), "the alert could not be published to SNS");
        }
    }
}
