//! Poll in Lambda: EventBridge Scheduler starts a run once a minute. One run serves all syncs, and looks
//! several times where an interval is shorter than a minute.

use crate::handler::{housekeeping, poll_log, poll_scans};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Error, LambdaEvent};
use std::time::Duration;
use syncline_aws::{Function, Metric, Wired};
use syncline_sync::{PortError, State};

/// How long a run goes on looking, so that it ends before the schedule starts the next run.
const RUN: SignedDuration = SignedDuration::from_secs(55);
/// How long before the function's time-out a run begins no further look.
const RESERVE: SignedDuration = SignedDuration::from_secs(15);
/// A look that queued this many touches of the capture log and of deferred touches is followed by the next
/// look at once.
const FULL: usize = 400;
/// How long a run waits after a look that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How often housekeeping is done, by whichever run comes first.
const HOUSEKEEPING_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Does housekeeping if it is due, then looks for changes until 55 seconds have passed. Two runs at the same
/// time do no harm. A look that fails does not end the run.
///
/// # Errors
/// When the last look failed, or the metrics could not be reported. Nothing is lost: the next run looks
/// again.
pub async fn call(function: &Function, event: LambdaEvent<serde_json::Value>) -> Result<(), Error> {
    function.begin(event.context.xray_trace_id.clone());
    let now = Timestamp::now();
    let deadline = Timestamp::try_from(event.context.deadline()).unwrap_or(now + RUN);
    let until = (now + RUN).min(deadline - RESERVE);
    let mut touched = 0;
    housekeeping_in_turn(function).await;
    loop {
        let looked = look(function, &mut touched).await;
        let wait = match &looked {
            Ok(Next::More) => Duration::ZERO,
            Ok(Next::In(wait)) => *wait,
            Err(error) => {
                tracing::warn!(%error, "a look for changes failed; the next one is in 5 seconds");
                AFTER_FAILURE
            }
        };
        if Timestamp::now() + SignedDuration::try_from(wait).unwrap_or(RUN) >= until {
            report(function, touched).await?;
            looked?;
            return Ok(());
        }
        tokio::time::sleep(wait).await;
    }
}

/// When to look again.
enum Next {
    /// At once, because there is more to read.
    More,
    /// After this time.
    In(Duration),
}

/// Looks once at the capture log, at the deferred touches and at the scans. Adds the touches queued to
/// `touched`, also where a part of the look fails.
async fn look(function: &Function, touched: &mut usize) -> Result<Next, PortError> {
    let Some(wired) = function.ready().await? else {
        tracing::info!("nothing is applied yet; run `syncline apply --stack NAME`");
        return Ok(Next::In(Duration::from_secs(60)));
    };
    let (ports, definitions) = (&wired.runtime, &wired.definitions);
    let logged = poll_log(ports, definitions).await;
    let scanned = poll_scans(ports, definitions).await;
    *touched += logged.as_ref().copied().unwrap_or(0) + scanned.as_ref().map_or(0, |(touched, _)| *touched);
    let (logged, (_, more)) = (logged?, scanned?);
    Ok(if more || logged >= FULL { Next::More } else { Next::In(pause(&wired)) })
}

/// Does housekeeping, if no other run did within the hour. If it fails, it is tried again within an hour.
async fn housekeeping_in_turn(function: &Function) {
    let kept = async {
        let Some(wired) = function.ready().await? else { return Ok(()) };
        if wired.runtime.state.turn("house", Timestamp::now(), HOUSEKEEPING_EVERY).await? {
            housekeeping(&wired.runtime, &wired.definitions).await?;
        }
        Ok::<(), PortError>(())
    };
    if let Err(error) = kept.await {
        tracing::warn!(%error, "housekeeping failed; it is tried again within an hour");
    }
}

/// Reports the metrics of the run: touches queued, paused syncs, and the metrics of the connections.
async fn report(function: &Function, touched: usize) -> Result<(), PortError> {
    let Some(wired) = function.ready().await? else { return Ok(()) };
    let mut paused = 0.0;
    for definition in &wired.definitions {
        paused += if wired.runtime.state.paused(&definition.name).await?.is_some() { 1.0 } else { 0.0 };
    }
    let mut metrics = wired.metrics();
    #[expect(clippy::cast_precision_loss, reason = "touches of one run are far below 2^52")]
    metrics.extend([(Metric::Touches, touched as f64), (Metric::Paused, paused)]);
    function.emit(&metrics);
    Ok(())
}

/// How long to wait for the next look: `LogInterval`, or the shortest `poll_interval` of a sync (counted as 1
/// second at least) if that is shorter.
fn pause(wired: &Wired) -> Duration {
    let shortest = wired.definitions.iter().map(|definition| definition.poll_interval_s).min().unwrap_or(60);
    wired.log_interval.min(Duration::from_secs(u64::from(shortest.max(1))))
}
