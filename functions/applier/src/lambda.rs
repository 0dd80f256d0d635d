//! Lambda's events: messages of SQS.

use crate::handler::handle;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use jiff::{SignedDuration, Timestamp};
use lambda_runtime::{Error, LambdaEvent};
use syncline_aws::{Function, Metric, Wired, partial_batch, traces};
use syncline_sync::apply::Applied;
use syncline_sync::{Delivery, State as _};

/// So long wait messages that nothing can be done with.
const PUT_ASIDE: SignedDuration = SignedDuration::from_secs(60);

/// Reconciles the messages of one event. What fails comes again, and nothing else does.
///
/// # Errors
/// None so far: what the function is wired with cannot be had, its messages are kept for later.
pub async fn call(function: &Function, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Error> {
    function.begin(event.context.xray_trace_id.clone());
    let deadline = Timestamp::try_from(event.context.deadline()).ok();
    let wired = match function.ready().await {
        Ok(Some(wired)) => wired,
        Ok(None) => {
            return Ok(put_aside(function, event, "nothing is applied; run `syncline apply --stack`").await);
        }
        Err(error) => return Ok(put_aside(function, event, &error.to_string()).await),
    };
    let lease = wired.runtime.settings.lease;
    if deadline.is_some_and(|deadline| Timestamp::now() + lease > deadline) {
        tracing::error!(
            "serve.lease is {lease:#}, and no run of it ends within this function's time-out: nothing is done. Deploy with a longer ApplierTimeout, or set a shorter serve.lease and run `syncline apply --stack`"
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

/// Keeps messages that nothing can be done with now, unopened: receives are for crashes, and five are the end.
async fn put_aside(function: &Function, event: LambdaEvent<SqsEvent>, why: &str) -> SqsBatchResponse {
    tracing::error!(why, "touches wait");
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
fn metrics(wired: &Wired, applied: &Applied) -> Vec<(Metric, f64)> {
    let summary = &applied.summary;
    let mut metrics = wired.metrics();
    if let Some(oldest) = applied.oldest {
        metrics.push((Metric::Lag, Timestamp::now().duration_since(oldest).as_secs_f64().max(0.0)));
    }
    let rows = summary.rows_inserted + summary.rows_updated;
    let records = summary.records_created + summary.records_updated;
    for (metric, count) in [
        (Metric::RowsWritten, rows),
        (Metric::RecordsWritten, records),
        (Metric::Conflicts, summary.conflicts),
        (Metric::Rejected, summary.rejected),
        (Metric::PutOff, summary.put_off),
    ] {
        metrics.push((metric, count as f64));
    }
    metrics
}
