//! Alerts to a topic, metrics to the log.

use aws_sdk_sns::Client;
use aws_sdk_sns::error::DisplayErrorContext;
use serde_json::{Map, Value, json};
use syncline_sync::{Alert, Alerts};

/// Alerts go to an SNS topic, and to the log.
#[derive(Clone)]
pub struct SnsAlerts {
    /// The API.
    pub client: Client,
    /// The topic; without one, the log alone has them.
    pub topic: Option<String>,
    /// The instance, for the subject.
    pub instance: String,
}

impl Alerts for SnsAlerts {
    async fn raise(&self, alert: Alert) {
        tracing::error!(sync = %alert.sync, "{}", alert.message);
        let Some(topic) = &self.topic else { return };
        let subject = format!("Syncline {}: sync {} needs a look", self.instance, alert.sync);
        let sent = self
            .client
            .publish()
            .topic_arn(topic)
            .subject(subject.chars().take(99).collect::<String>())
            .message(format!("{}\n\nsync: {}\ninstance: {}\n", alert.message, alert.sync, self.instance))
            .send()
            .await;
        if let Err(error) = sent {
            tracing::error!(error = %DisplayErrorContext(&error), "the alert could not be published");
        }
    }
}

/// A metric. There are ten, all by instance and none by sync: each distinct one costs its user money every month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Touches that were queued.
    Touches,
    /// Seconds since the oldest touch of a run was noticed.
    Lag,
    /// Rows inserted, updated and deleted.
    RowsWritten,
    /// Salesforce records created, updated and deleted.
    RecordsWritten,
    /// Conflicts.
    Conflicts,
    /// Records rejected.
    Rejected,
    /// Touches put off.
    PutOff,
    /// Sign-ins that were refused.
    SignInFailures,
    /// Of a hundred Salesforce calls of the day, those used, by whomever.
    QuotaUsed,
    /// Syncs that are paused.
    Paused,
}

impl Metric {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Touches,
        Self::Lag,
        Self::RowsWritten,
        Self::RecordsWritten,
        Self::Conflicts,
        Self::Rejected,
        Self::PutOff,
        Self::SignInFailures,
        Self::QuotaUsed,
        Self::Paused,
    ];

    /// Its name and unit in CloudWatch.
    #[must_use]
    pub fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Touches => ("Touches", "Count"),
            Self::Lag => ("Lag", "Seconds"),
            Self::RowsWritten => ("RowsWritten", "Count"),
            Self::RecordsWritten => ("RecordsWritten", "Count"),
            Self::Conflicts => ("Conflicts", "Count"),
            Self::Rejected => ("Rejected", "Count"),
            Self::PutOff => ("PutOff", "Count"),
            Self::SignInFailures => ("SignInFailures", "Count"),
            Self::QuotaUsed => ("QuotaUsed", "Percent"),
            Self::Paused => ("Paused", "Count"),
        }
    }
}

/// One line of the embedded metric format, which CloudWatch makes metrics of without a call.
#[must_use]
pub fn metric_line(instance: &str, at: jiff::Timestamp, values: &[(Metric, f64)]) -> String {
    let metrics: Vec<Value> = values
        .iter()
        .map(|(metric, _)| {
            let (name, unit) = metric.name();
            json!({"Name": name, "Unit": unit})
        })
        .collect();
    let mut line = Map::new();
    line.insert(
        "_aws".to_owned(),
        json!({
            "Timestamp": at.as_millisecond(),
            "CloudWatchMetrics": [{"Namespace": "Syncline", "Dimensions": [["Instance"]], "Metrics": metrics}],
        }),
    );
    line.insert("Instance".to_owned(), json!(instance));
    for (metric, value) in values {
        line.insert(metric.name().0.to_owned(), json!(value));
    }
    Value::Object(line).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_line_is_what_cloudwatch_reads() {
        let at = jiff::Timestamp::from_second(5).unwrap();
        let line = metric_line("prod", at, &[(Metric::Lag, 1.5), (Metric::Touches, 2.0)]);
        let read: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["_aws"]["Timestamp"], 5_000);
        let directive = &read["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Dimensions"], json!([["Instance"]]));
        assert_eq!(directive["Metrics"][0], json!({"Name": "Lag", "Unit": "Seconds"}));
        assert_eq!((&read["Lag"], &read["Instance"]), (&json!(1.5), &json!("prod")));
    }

    #[test]
    fn there_are_ten_metrics_and_no_two_of_one_name() {
        let mut names: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name().0).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), 10);
    }
}
