//! Lambda's events: a schedule, once a minute. One run serves every sync, several times where an interval is shorter.

use crate::handler::{keep_house, poll_log, poll_scans};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Error, LambdaEvent};
use std::time::Duration;
use syncline_aws::{Function, Metric, Wired};
use syncline_sync::{PortError, State};

/// A run ends before the next one is due.
const RUN: SignedDuration = SignedDuration::from_secs(55);
/// And so long before its own time-out.
const RESERVE: SignedDuration = SignedDuration::from_secs(15);
/// A look that found so much is followed by another at once.
const FULL: usize = 400;
/// When a look fails, the next one waits so long.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// What is out of date is dropped so often.
const HOUSE_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// Looks at everything that is due, until the next run takes over. Two runs at once do no harm, and a look that fails
/// does not end the run.
///
/// # Errors
/// When the last look failed; nothing is lost, and the next run looks again.
pub async fn call(function: &Function, event: LambdaEvent<serde_json::Value>) -> Result<(), Error> {
    function.begin(event.context.xray_trace_id.clone());
    let now = Timestamp::now();
    let deadline = Timestamp::try_from(event.context.deadline()).unwrap_or(now + RUN);
    let until = (now + RUN).min(deadline - RESERVE);
    let mut touched = 0;
    keep_house_in_turn(function).await;
    loop {
        let looked = look(function, &mut touched).await;
        let wait = match &looked {
            Ok(Next::More) => Duration::ZERO,
            Ok(Next::In(wait)) => *wait,
            Err(error) => {
                tracing::warn!(%error, "looked at again in a moment");
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
    /// At once: more waits.
    More,
    /// After a while.
    In(Duration),
}

/// One look at everything.
async fn look(function: &Function, touched: &mut usize) -> Result<Next, PortError> {
    let Some(wired) = function.ready().await? else {
        tracing::info!("nothing is applied yet; run `syncline apply --stack`");
        return Ok(Next::In(Duration::from_secs(60)));
    };
    let (ports, definitions) = (&wired.runtime, &wired.definitions);
    let logged = poll_log(ports, definitions).await;
    let scanned = poll_scans(ports, definitions).await;
    *touched += logged.as_ref().copied().unwrap_or(0) + scanned.as_ref().map_or(0, |(touched, _)| *touched);
    let (logged, (_, more)) = (logged?, scanned?);
    Ok(if more || logged >= FULL { Next::More } else { Next::In(pause(&wired)) })
}

/// Drops what is out of date, if no other run did within the hour. What fails is done in an hour's time.
async fn keep_house_in_turn(function: &Function) {
    let kept = async {
        let Some(wired) = function.ready().await? else { return Ok(()) };
        if wired.runtime.state.turn("house", Timestamp::now(), HOUSE_EVERY).await? {
            keep_house(&wired.runtime, &wired.definitions).await?;
        }
        Ok::<(), PortError>(())
    };
    if let Err(error) = kept.await {
        tracing::warn!(%error, "what is out of date could not be dropped, or the next partitions made");
    }
}

/// Metrics of the run.
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

/// How long to wait for the next look: the capture log's interval, or a sync's if that is shorter.
fn pause(wired: &Wired) -> Duration {
    let shortest = wired.definitions.iter().map(|definition| definition.poll_interval_s).min().unwrap_or(60);
    wired.log_interval.min(Duration::from_secs(u64::from(shortest.max(1))))
}
