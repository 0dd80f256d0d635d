//! CloudWatch metrics, as lines of the function's log.

use serde_json::{Map, Value, json};

/// A CloudWatch metric in the namespace `Syncline`, with the instance's name as its only dimension
/// (`Instance`). There is no dimension for the sync: CloudWatch charges each distinct metric every month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Touches that one run of poll queued.
    Touches,
    /// Seconds from the moment at which the oldest touch of an invocation of the applier was noticed to the
    /// end of that invocation's work.
    Lag,
    /// Rows that one invocation of the applier inserted and updated. Deleted rows are not counted.
    RowsWritten,
    /// Salesforce records that one invocation of the applier created and updated. Deleted records are not
    /// counted.
    RecordsWritten,
    /// Conflicts that one invocation of the applier recorded.
    Conflicts,
    /// Records that one invocation of the applier rejected.
    Rejected,
    /// Touches that one invocation of the applier deferred.
    Deferred,
    /// 1 each time poll or the applier reports its metrics while Salesforce or the database refuses its
    /// sign-in.
    SignInFailures,
    /// The percentage of the org's allowance of Salesforce calls within 24 hours that is used, by Syncline
    /// and by all other clients of the org.
    QuotaUsed,
    /// Syncs that are paused at the end of a run of poll.
    Paused,
}

impl Metric {
    /// All metrics.
    pub const ALL: [Self; 10] = [
        Self::Touches,
        Self::Lag,
        Self::RowsWritten,
        Self::RecordsWritten,
        Self::Conflicts,
        Self::Rejected,
        Self::Deferred,
        Self::SignInFailures,
        Self::QuotaUsed,
        Self::Paused,
    ];

    /// The metric's name and unit in CloudWatch.
    #[must_use]
    pub fn name(self) -> (&'static str, &'static str) {
        match self {
            Self::Touches => ("Touches", "Count"),
            Self::Lag => ("Lag", "Seconds"),
            Self::RowsWritten => ("RowsWritten", "Count"),
            Self::RecordsWritten => ("RecordsWritten", "Count"),
            Self::Conflicts => ("Conflicts", "Count"),
            Self::Rejected => ("Rejected", "Count"),
            Self::Deferred => ("Deferred", "Count"),
            Self::SignInFailures => ("SignInFailures", "Count"),
            Self::QuotaUsed => ("QuotaUsed", "Percent"),
            Self::Paused => ("Paused", "Count"),
        }
    }
}

/// One line in the embedded metric format (CloudWatch's embedded metric format specification). CloudWatch
/// reads the line in the function's log and makes metrics of it, so that no API call is needed. Each value
/// has the unit of its metric.
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
