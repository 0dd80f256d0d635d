//! Lambda's events: messages of SQS.

use crate::handler::handle;
use aws_lambda_events::event::sqs::{SqsBatchResponse, SqsEvent};
use jiff::Timestamp;
use lambda_runtime::{Error, LambdaEvent};
use syncline_aws::{Function, Metric, Wired, partial_batch, traces};
use syncline_sync::Delivery;
use syncline_sync::apply::Applied;

/// Reconciles the messages of one event. What fails comes again, and nothing else does.
///
/// # Errors
/// When what the function is wired with cannot be had: all messages come again.
pub async fn call(function: &Function, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Error> {
    function.begin(event.context.xray_trace_id.clone());
    let deadline = Timestamp::try_from(event.context.deadline()).ok();
    let Some(wired) = function.ready().await? else {
        return Err("touches without an applied definition; run `syncline apply --stack`".into());
    };
    tracing::debug!(traces = ?traces(&event.payload), "received");
    let work = async |deliveries: &[Delivery]| {
        let applied = handle(&wired.runtime, &wired.definitions, deliveries, deadline).await;
        function.emit(&metrics(&wired, &applied));
        applied.done
    };
    Ok(partial_batch(event.payload, work).await)
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
