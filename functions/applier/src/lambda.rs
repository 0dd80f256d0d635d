//! The applier in Lambda: SQS events in, partial batch responses out.
//!
//! Source: the AWS Lambda developer guide on SQS, partial batch responses.

use crate::handler::handle;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Error, LambdaEvent};
use syncline_aws::{Function, Metric, Wired, partial_batch, traces};
use syncline_sync::consume::BatchOutcome;
use syncline_sync::{Delivery, State as _};

/// How long messages are deferred when no message can be processed.
const PUT_ASIDE: SignedDuration = SignedDuration::from_secs(60);

/// Reconciles the messages of one event. The response names the messages that SQS has to deliver again.
///
/// If nothing was applied yet, or the function cannot be wired, the messages are stored unopened in the state
/// store and come due after 60 seconds.
///
/// # Errors
/// Never: a message that is neither reconciled nor stored is named in the response.
pub async fn call(function: &Function, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Error> {
    function.begin(event.context.xray_trace_id.clone());
    let deadline = Timestamp::try_from(event.context.deadline()).ok();
    let wired = match function.ready().await {
        Ok(Some(wired)) => wired,
        Ok(None) => {
            let why = "nothing is applied yet; run `syncline apply --stack NAME`";
            return Ok(put_aside(function, event, why).await);
        }
        Err(error) => return Ok(put_aside(function, event, &error.to_string()).await),
    };
    let lease = wired.runtime.settings.lease;
    if deadline.is_some_and(|deadline| Timestamp::now() + lease > deadline) {
        tracing::error!(
            "timing.lease is {lease:#}, and this function's time-out ends before such a lease does, so no \
             touch is reconciled: deploy with a longer ApplierTimeout, or set a shorter timing.lease and run \
             `syncline apply --stack NAME`"
        );
    }
    tracing::debug!(traces = ?traces(&event.payload), "received");
    let work = async |deliveries: &[Delivery]| {
        let applied = handle(&wired.runtime, &wired.definitions, deliveries, deadline).await;
        function.emit(&metrics(&wired, &applied));
        applied.done
    };
    Ok(partial_batch(event.payload, work).await)
}

/// Stores the messages of an event unopened in the state store, so that they come due after [`PUT_ASIDE`]. A
/// message that is left in the queue instead counts one more receive, and after five receives it becomes a
/// dead letter; receives are meant to count crashes only.
async fn put_aside(function: &Function, event: LambdaEvent<SqsEvent>, why: &str) -> SqsBatchResponse {
    tracing::error!(why, "no message can be processed; messages are deferred for 60 seconds");
    let due = Timestamp::now() + PUT_ASIDE;
    partial_batch(event.payload, async |deliveries: &[Delivery]| {
        let mut done = Vec::new();
        for delivery in deliveries {
            if function.state().defer_message(&delivery.group, &delivery.body, due).await.is_ok() {
                done.push(delivery.receipt.clone());
            }
        }
        done
    })
    .await
}

#[expect(clippy::cast_precision_loss, reason = "counts of one run are far below 2^52")]
fn metrics(wired: &Wired, outcome: &BatchOutcome) -> Vec<(Metric, f64)> {
    let summary = &outcome.summary;
    let mut metrics = wired.metrics();
    if let Some(oldest) = outcome.oldest {
        metrics.push((Metric::Lag, Timestamp::now().duration_since(oldest).as_secs_f64().max(0.0)));
    }
    let rows = summary.rows_inserted + summary.rows_updated;
    let records = summary.records_created + summary.records_updated;
    for (metric, count) in [
        (Metric::RowsWritten, rows),
        (Metric::RecordsWritten, records),
        (Metric::Conflicts, summary.conflicts),
        (Metric::Rejected, summary.rejected),
        (Metric::Deferred, summary.deferred),
    ] {
        metrics.push((metric, count as f64));
    }
    metrics
}
