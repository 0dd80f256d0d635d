//! The partial-batch wrapper, which every function uses that receives SQS messages.
//!
//! Source: the AWS Lambda developer guide on SQS, partial batch responses (`ReportBatchItemFailures`).

use aws_lambda_events::event::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent};
use futures_util::FutureExt as _;
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use syncline_sync::Delivery;

/// Gives the messages of an event to `work`, which answers the receipts of the messages that are dealt with.
/// The response names every other message as failed, so SQS delivers those again and no others.
///
/// If `work` panics, all messages of the event are named as failed. `syncline_sync::consume` then works on
/// each message alone, and halves it if that does not help.
pub async fn partial_batch(
    event: SqsEvent,
    work: impl AsyncFnOnce(&[Delivery]) -> Vec<String>,
) -> SqsBatchResponse {
    let (ids, deliveries): (Vec<String>, Vec<Delivery>) = event
        .records
        .into_iter()
        .map(|record| {
            let attribute = |name: &str| record.attributes.get(name).cloned().unwrap_or_default();
            let delivery = Delivery {
                group: attribute("MessageGroupId"),
                receive_count: attribute("ApproximateReceiveCount").parse().unwrap_or(1),
                receipt: record.receipt_handle.unwrap_or_default(),
                body: record.body.unwrap_or_default(),
            };
            (record.message_id.unwrap_or_default(), delivery)
        })
        .unzip();
    let done = AssertUnwindSafe(work(&deliveries)).catch_unwind().await;
    let done: BTreeSet<String> = done
        .unwrap_or_else(|_| {
            tracing::error!("the work on a batch panicked, which is a bug; SQS delivers its messages again");
            Vec::new()
        })
        .into_iter()
        .collect();
    let mut response = SqsBatchResponse::default();
    let all = ids.into_iter().zip(deliveries);
    response.batch_item_failures = all
        .filter(|(_, delivery)| !done.contains(&delivery.receipt))
        .map(|(id, _)| {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier = id;
            failure
        })
        .collect();
    response
}

/// The X-Ray trace headers of an event's messages (`AWSTraceHeader`), sorted, each once. They name the
/// invocations that sent the messages.
#[must_use]
pub fn traces(event: &SqsEvent) -> Vec<String> {
    let traces = event.records.iter().filter_map(|record| record.attributes.get("AWSTraceHeader").cloned());
    traces.collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(ids: &[&str]) -> SqsEvent {
        let records: Vec<serde_json::Value> = ids
            .iter()
            .map(|id| {
                serde_json::json!({
                    "messageId": id, "receiptHandle": format!("receipt of {id}"), "body": "{}", "eventSource": "aws:sqs",
                    "attributes": {"MessageGroupId": "g", "ApproximateReceiveCount": "3", "AWSTraceHeader": "Root=1-2"},
                })
            })
            .collect();
        serde_json::from_value(serde_json::json!({ "Records": records })).unwrap()
    }

    fn failed(response: SqsBatchResponse) -> Vec<String> {
        response.batch_item_failures.into_iter().map(|failure| failure.item_identifier).collect()
    }

    #[tokio::test]
    async fn what_is_not_dealt_with_comes_again_and_nothing_else() {
        let work = async |deliveries: &[Delivery]| {
            assert!(deliveries.iter().all(|one| one.receive_count == 3 && one.group == "g"));
            vec!["receipt of a".to_owned(), "receipt of c".to_owned()]
        };
        assert_eq!(failed(partial_batch(event(&["a", "b", "c"]), work).await), ["b"]);
        assert_eq!(traces(&event(&["a", "b"])), ["Root=1-2"]);
    }

    #[tokio::test]
    async fn a_panic_fails_the_batch_and_not_the_process() {
        let work = async |_: &[Delivery]| panic!("a bug");
        assert_eq!(failed(partial_batch(event(&["a", "b"]), work).await), ["a", "b"]);
    }
}
