//! The `Queue` port of `syncline-sync` on an SQS FIFO queue, and the dead letters of such a queue.
//!
//! Source: the API reference of Amazon SQS.

use crate::item::token;
use crate::table::{failed, wait};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message,
    MessageSystemAttributeName, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
    QueueAttributeName, SendMessageBatchRequestEntry,
};
use futures_util::StreamExt as _;
use std::sync::{Arc, Mutex, PoisonError};
use syncline_sync::{DeadLetter, Delivery, PortError, Queue};

/// The most entries in one batch (API reference, `SendMessageBatch`).
const BATCH: usize = 10;
/// The most bytes of message bodies in one batch: 256 KiB. SQS accepts 1 MiB; older endpoints accept 256 KiB
/// only.
const BATCH_BYTES: usize = 256 * 1024;
/// How often an entry is sent in all, where SQS answers that it failed through no fault of the sender.
const TRIES: u32 = 5;
/// The most batches that are being sent at the same time.
const AT_ONCE: usize = 8;
/// The visibility timeout of dead letters while they are read, in seconds: during that time no other reader
/// receives them.
const LOOK_S: i32 = 20;

/// An SQS FIFO queue. Clones share one client and one trace header.
#[derive(Clone)]
pub struct SqsQueue {
    client: Client,
    url: String,
    /// The trace header of the invocation under way. Clones share it, because a process of a function has one
    /// invocation at a time.
    trace: Arc<Mutex<Option<String>>>,
}

/// One message to send.
struct Entry {
    /// The position of the message among the messages of the call.
    item_key: usize,
    group: String,
    body: String,
    /// A random id, which is reused only when this same entry is sent again. With an id computed from the
    /// body, SQS would drop a second touch with the same body for five minutes.
    deduplication: String,
}

impl SqsQueue {
    /// The queue with this URL.
    #[must_use]
    pub fn new(client: Client, url: impl Into<String>) -> Self {
        Self { client, url: url.into(), trace: Arc::default() }
    }

    /// Sets the X-Ray trace header (`AWSTraceHeader`) of all messages that are sent from now on; `None` sends
    /// none.
    pub fn set_trace(&self, trace: Option<String>) {
        *self.trace.lock().unwrap_or_else(PoisonError::into_inner) = trace;
    }

    fn what(&self, call: &str) -> String {
        format!("SQS {call} on {}", self.url.rsplit('/').next().unwrap_or_default())
    }

    /// Sends one batch. Entries that SQS reports as failed through a fault of its own are sent again. The
    /// results are pairs of the message's position and its result, in no particular order.
    async fn send_batch(&self, mut entries: Vec<Entry>) -> Vec<(usize, Result<(), PortError>)> {
        let mut sent = Vec::new();
        for tried in 0..TRIES {
            let requests: Result<Vec<_>, _> = entries.iter().map(|entry| self.request(entry)).collect();
            let answer = match requests {
                Ok(requests) => self
                    .client
                    .send_message_batch()
                    .queue_url(&self.url)
                    .set_entries(Some(requests))
                    .send()
                    .await
                    .map_err(|error| failed(&self.what("SendMessageBatch"), error)),
                Err(error) => Err(PortError::Store { message: error.to_string() }),
            };
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    sent.extend(entries.into_iter().map(|entry| (entry.item_key, Err(error.clone()))));
                    return sent;
                }
            };
            let mut left = Vec::new();
            for entry in entries {
                let item_key = entry.item_key.to_string();
                match answer.failed.iter().find(|failed| failed.id == item_key) {
                    None => sent.push((entry.item_key, Ok(()))),
                    Some(failed) if failed.sender_fault || tried + 1 == TRIES => {
                        let words = failed.message.as_deref().unwrap_or("no message");
                        let message = format!("{}: {}: {words}", self.what("SendMessageBatch"), failed.code);
                        sent.push((entry.item_key, Err(PortError::Store { message })));
                    }
                    Some(_) => left.push(entry),
                }
            }
            if left.is_empty() {
                break;
            }
            entries = left;
            wait(tried).await;
        }
        sent
    }

    fn request(&self, entry: &Entry) -> Result<SendMessageBatchRequestEntry, aws_sdk_sqs::error::BuildError> {
        let trace = self.trace.lock().unwrap_or_else(PoisonError::into_inner).clone().map(|trace| {
            MessageSystemAttributeValue::builder().data_type("String").string_value(trace).build()
        });
        let trace = trace
            .transpose()?
            .map(|trace| [(MessageSystemAttributeNameForSends::AwsTraceHeader, trace)].into());
        SendMessageBatchRequestEntry::builder()
            .id(entry.item_key.to_string())
            .message_body(&entry.body)
            .message_group_id(&entry.group)
            .message_deduplication_id(&entry.deduplication)
            .set_message_system_attributes(trace)
            .build()
    }

    async fn received(&self, max: usize, visibility_s: Option<i32>) -> Result<Vec<Delivery>, PortError> {
        let answer = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(i32::try_from(max.clamp(1, BATCH)).unwrap_or(1))
            .set_visibility_timeout(visibility_s)
            // With a wait time of 0 SQS asks only a part of its servers, and may answer nothing although
            // there are messages (API reference, ReceiveMessage).
            .set_wait_time_seconds(visibility_s.map(|_| 2))
            .message_system_attribute_names(MessageSystemAttributeName::MessageGroupId)
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount)
            .message_system_attribute_names(MessageSystemAttributeName::SentTimestamp)
            .send()
            .await
            .map_err(|error| failed(&self.what("ReceiveMessage"), error))?;
        Ok(answer.messages.unwrap_or_default().into_iter().map(delivery).collect())
    }

    async fn make_visible(&self, receipts: &[String]) -> Result<(), PortError> {
        for chunk in receipts.chunks(BATCH) {
            let entries = chunk.iter().enumerate().map(|(item_key, receipt)| {
                ChangeMessageVisibilityBatchRequestEntry::builder()
                    .id(item_key.to_string())
                    .receipt_handle(receipt)
                    .visibility_timeout(0)
                    .build()
            });
            let entries = entries.collect::<Result<Vec<_>, _>>();
            self.client
                .change_message_visibility_batch()
                .queue_url(&self.url)
                .set_entries(Some(entries.map_err(|error| PortError::Store { message: error.to_string() })?))
                .send()
                .await
                .map_err(|error| failed(&self.what("ChangeMessageVisibilityBatch"), error))?;
        }
        Ok(())
    }

    /// About how many messages are in the queue: those that can be received, and those that were received but
    /// not deleted yet. SQS counts approximately.
    ///
    /// # Errors
    /// When SQS does not answer.
    pub async fn depth(&self) -> Result<u64, PortError> {
        let answer = self
            .client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            .send()
            .await
            .map_err(|error| failed(&self.what("GetQueueAttributes"), error))?;
        let counts = answer.attributes.unwrap_or_default();
        Ok(counts.values().filter_map(|count| count.parse::<u64>().ok()).sum())
    }

    /// The messages of this queue of dead letters. They stay in the queue and can be received again at once.
    /// Of one group at most ten are listed, because SQS delivers no more of a group until those are deleted
    /// or visible again.
    ///
    /// # Errors
    /// When SQS does not answer.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, PortError> {
        let mut found = Vec::new();
        loop {
            let deliveries = self.received(BATCH, Some(LOOK_S)).await?;
            if deliveries.is_empty() {
                break;
            }
            found.extend(deliveries);
        }
        let receipts: Vec<String> = found.iter().map(|delivery| delivery.receipt.clone()).collect();
        self.make_visible(&receipts).await?;
        Ok(found.iter().map(|one| DeadLetter::of(&one.body, one.receive_count, None)).collect())
    }

    /// Moves all messages of this queue of dead letters to the queue `to`, and answers how many it moved. A
    /// message is deleted from this queue only after the other queue has accepted it.
    ///
    /// # Errors
    /// When SQS does not answer. Messages that were not sent are still in this queue.
    pub async fn redrive(&self, to: &Self) -> Result<u64, PortError> {
        let mut count = 0;
        loop {
            let deliveries = self.received(BATCH, Some(LOOK_S)).await?;
            if deliveries.is_empty() {
                return Ok(count);
            }
            let messages = deliveries.iter().map(|one| (one.group.clone(), one.body.clone())).collect();
            let sent = to.send(messages).await;
            let receipts: Vec<String> = deliveries
                .iter()
                .zip(&sent)
                .filter(|(_, sent)| sent.is_ok())
                .map(|(delivery, _)| delivery.receipt.clone())
                .collect();
            count += receipts.len() as u64;
            self.done(&receipts).await?;
            for sent in sent {
                sent?;
            }
        }
    }
}

fn delivery(message: Message) -> Delivery {
    let attributes = message.attributes.unwrap_or_default();
    let attribute = |name| attributes.get(&name).cloned().unwrap_or_default();
    Delivery {
        receipt: message.receipt_handle.unwrap_or_default(),
        group: attribute(MessageSystemAttributeName::MessageGroupId),
        receive_count: attribute(MessageSystemAttributeName::ApproximateReceiveCount).parse().unwrap_or(1),
        body: message.body.unwrap_or_default(),
    }
}

/// Splits messages into batches of at most [`BATCH`] entries and [`BATCH_BYTES`] bytes, in their order.
fn batches(messages: Vec<(String, String)>) -> Vec<Vec<Entry>> {
    let mut batches: Vec<Vec<Entry>> = Vec::new();
    let mut bytes = 0;
    for (item_key, (group, body)) in messages.into_iter().enumerate() {
        let full =
            batches.last().is_none_or(|batch| batch.len() == BATCH) || bytes + body.len() > BATCH_BYTES;
        if full {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += body.len();
        if let Some(batch) = batches.last_mut() {
            batch.push(Entry { item_key, group, body, deduplication: token() + &token() });
        }
    }
    batches
}

impl Queue for SqsQueue {
    async fn send(&self, messages: Vec<(String, String)>) -> Vec<Result<(), PortError>> {
        let count = messages.len();
        let mut sent: Vec<(usize, Result<(), PortError>)> = futures_util::stream::iter(batches(messages))
            .map(|batch| self.send_batch(batch))
            .buffer_unordered(AT_ONCE)
            .concat()
            .await;
        sent.sort_by_key(|(item_key, _)| *item_key);
        debug_assert_eq!(sent.len(), count);
        sent.into_iter().map(|(_, sent)| sent).collect()
    }

    async fn receive(&self, max: usize) -> Result<Vec<Delivery>, PortError> {
        self.received(max, None).await
    }

    async fn done(&self, receipts: &[String]) -> Result<(), PortError> {
        for chunk in receipts.chunks(BATCH) {
            let entries = chunk.iter().enumerate().map(|(item_key, receipt)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(item_key.to_string())
                    .receipt_handle(receipt)
                    .build()
            });
            let entries = entries.collect::<Result<Vec<_>, _>>();
            self.client
                .delete_message_batch()
                .queue_url(&self.url)
                .set_entries(Some(entries.map_err(|error| PortError::Store { message: error.to_string() })?))
                .send()
                .await
                .map_err(|error| failed(&self.what("DeleteMessageBatch"), error))?;
        }
        Ok(())
    }

    async fn release(&self, receipts: &[String]) -> Result<(), PortError> {
        self.make_visible(receipts).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_filled_by_count_and_by_bytes() {
        let sizes = |lengths: &[usize]| {
            let messages = lengths.iter().map(|length| ("g".to_owned(), "x".repeat(*length))).collect();
            batches(messages).iter().map(Vec::len).collect::<Vec<_>>()
        };
        assert_eq!(sizes(&[]), [] as [usize; 0]);
        assert_eq!(sizes(&[1; 23]), [10, 10, 3]);
        assert_eq!(sizes(&[200_000, 62_144, 1, 262_144, 5]), [2, 1, 1, 1]);
    }

    #[tokio::test]
    async fn messages_bear_the_trace_of_the_invocation_that_sends_them() {
        let config =
            aws_sdk_sqs::Config::builder().behavior_version(aws_sdk_sqs::config::BehaviorVersion::latest());
        let queue = SqsQueue::new(Client::from_conf(config.build()), "https://sqs/touches.fifo");
        queue.clone().set_trace(Some("Root=1-5759e988-bd862e3fe1be46a994272793".to_owned()));
        let entry = batches(vec![("g".to_owned(), "{}".to_owned())]).remove(0).remove(0);
        let request = queue.request(&entry).unwrap();
        let attributes = request.message_system_attributes().unwrap();
        let trace = attributes[&MessageSystemAttributeNameForSends::AwsTraceHeader].string_value().unwrap();
        assert!(trace.starts_with("Root=1-5759e988"), "{trace}");
    }

    #[test]
    fn no_two_entries_have_one_deduplication_id_though_their_content_is_the_same() {
        let messages = vec![("g".to_owned(), "same".to_owned()); 2];
        let batch = batches(messages).remove(0);
        assert_ne!(batch[0].deduplication, batch[1].deduplication);
    }
}
