//! Pace: a bucket of Salesforce calls that fills from the daily budget. While the bucket is empty, touches
//! are deferred and folded.

use crate::ports::{Clock, DailyCalls, PortError, Ports, Salesforce, State};
use jiff::SignedDuration;

const SECONDS_PER_DAY: f64 = 86_400.0;
/// The bucket holds this share of a day's calls, so that Syncline can handle bursts.
const BURST_SHARE: f64 = 0.1;
/// The smallest size of the bucket, in calls. With a smaller one, a small budget would never allow a call at
/// once.
const SMALLEST_BURST: f64 = 20.0;

/// Takes the calls made since the last `draw` from the bucket. Answers for how long no further call should be
/// made, or `None` if calls may be made at once.
pub(crate) async fn draw<P: Ports>(ports: &P) -> Result<Option<SignedDuration>, PortError> {
    let (calls, allowance) = ports.salesforce().take_usage();
    #[expect(clippy::cast_precision_loss, reason = "calls of a day are far below 2^52")]
    let budget = match (ports.settings().daily_calls, allowance) {
        (None, _) | (Some(DailyCalls::Percent(_)), None) => return Ok(None),
        (Some(DailyCalls::Count(count)), _) => count as f64,
        (Some(DailyCalls::Percent(percent)), Some(allowance)) => {
            allowance as f64 * f64::from(percent) / 100.0
        }
    };
    let per_second = (budget / SECONDS_PER_DAY).max(f64::MIN_POSITIVE);
    let capacity = (budget * BURST_SHARE).max(SMALLEST_BURST);
    let left = ports.state().draw(calls, per_second, capacity, ports.clock().now()).await?;
    if left >= 1.0 {
        return Ok(None);
    }
    let seconds = ((1.0 - left) / per_second).clamp(1.0, SECONDS_PER_DAY);
    Ok(Some(SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::from_secs(60))))
}
