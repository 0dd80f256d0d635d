//! Pace: a bucket of Salesforce calls that fills from the daily budget. While the bucket is empty, touches
//! are deferred and folded.

use crate::ports::{CallUsage, Clock, DailyCalls, PortError, Ports, Salesforce, State};
use jiff::SignedDuration;

const SECONDS_PER_DAY: f64 = 86_400.0;
/// The bucket holds this share of a day's calls, so that Syncline can handle bursts.
const BURST_SHARE: f64 = 0.1;
/// The smallest size of the bucket, in calls. With a smaller one, a small budget would never allow a call at
/// once.
const SMALLEST_BURST: f64 = 20.0;

/// What an org allows at least within 24 hours: the allowance of a Developer Edition. Source: API Request Limits and
/// Allocations (Salesforce Developer Limits and Allocations Quick Reference).
const SMALLEST_ALLOWANCE: u64 = 15_000;

/// How many calls Syncline may make within 24 hours. If Salesforce's answers do not say how many the org allows, the
/// smallest allowance is assumed: what cannot be read is not unlimited.
#[expect(clippy::cast_precision_loss, reason = "calls of a day are far below 2^52")]
fn budget(daily: DailyCalls, org: Option<u64>, app: Option<u64>) -> f64 {
    let wanted = match daily {
        DailyCalls::Count(count) => count as f64,
        DailyCalls::Percent(percent) => org.unwrap_or(SMALLEST_ALLOWANCE) as f64 * f64::from(percent) / 100.0,
    };
    app.map_or(wanted, |app| wanted.min(app as f64))
}

/// Takes the calls made since the last `draw` from the bucket. Answers for how long no further call should be
/// made, or `None` if calls may be made at once.
pub(crate) async fn draw<P: Ports>(ports: &P) -> Result<Option<SignedDuration>, PortError> {
    let CallUsage { calls, answered, org, app } = ports.salesforce().take_usage();
    let Some(daily) = ports.settings().daily_calls else { return Ok(None) };
    if matches!(daily, DailyCalls::Percent(_)) && !answered {
        return Ok(None);
    }
    let budget = budget(daily, org, app);
    let per_second = (budget / SECONDS_PER_DAY).max(f64::MIN_POSITIVE);
    let capacity = (budget * BURST_SHARE).max(SMALLEST_BURST);
    let left = ports.state().draw(calls, per_second, capacity, ports.clock().now()).await?;
    if left >= 1.0 {
        return Ok(None);
    }
    let seconds = ((1.0 - left) / per_second).clamp(1.0, SECONDS_PER_DAY);
    Ok(Some(SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::from_secs(60))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_that_is_not_known_is_not_unlimited_and_the_apps_own_limit_counts() {
        let half = DailyCalls::Percent(50);
        for (daily, org, app, expected) in [
            (half, Some(100_000), None, 50_000.0),
            (half, None, None, 7_500.0),
            (half, Some(100_000), Some(250), 250.0),
            (DailyCalls::Count(1_000), Some(100_000), Some(250), 250.0),
            (DailyCalls::Count(1_000), None, None, 1_000.0),
        ] {
            let found = budget(daily, org, app);
            assert!((found - expected).abs() < 0.5, "{daily:?} {org:?} {app:?}: {found}");
        }
    }
}
