//! The queue, which may refuse, and may take a message and not say so.

use super::Shared;
use crate::planted::Planted;
use jiff::SignedDuration;
use std::sync::Arc;
use support::MemoryPorts;
use syncline_sync::{Clock, Delivery, MessageBody, PortError, Queue};

/// The queue as a run meets it.
#[derive(Clone)]
pub struct SimQueue {
    pub(super) memory: Arc<MemoryPorts>,
    pub(super) shared: Arc<Shared>,
}

impl SimQueue {
    /// Whether the queue saw a message of these records within five minutes.
    fn seen(&self, body: &str) -> bool {
        let touches = serde_json::from_str::<MessageBody>(body).map(|body| body.touches).unwrap_or_default();
        let named: Vec<String> =
            touches.iter().map(|touch| format!("{}/{}", touch.sync, touch.record())).collect();
        let now = self.memory.clock.now();
        let before = self.shared.planted().sent.insert(named.join(" "), now);
        before.is_some_and(|before| now.duration_since(before) < SignedDuration::from_mins(5))
    }
}

impl Queue for SimQueue {
    async fn send(&self, messages: Vec<(String, String)>) -> Vec<Result<(), PortError>> {
        let mut answers = Vec::new();
        for (group, mut body) in messages {
            let faults = &self.shared.options.faults;
            let failed = || Err(PortError::Store { message: "the queue does not answer".to_owned() });
            if self.shared.strikes("fault: send failed", faults.send_failed) {
                answers.push(failed());
                continue;
            }
            if self.shared.is_planted(Planted::DeduplicationByContent) && self.seen(&body) {
                answers.push(Ok(()));
                continue;
            }
            if self.shared.is_planted(Planted::OneTouchForTheBatch)
                && let Ok(mut parsed) = serde_json::from_str::<MessageBody>(&body)
            {
                parsed.touches = parsed.touches.pop().into_iter().collect();
                body = serde_json::to_string(&parsed).unwrap();
            }
            self.shared.trace.say(|| format!("  queue {group} {body}"));
            let answer = self.memory.queue.send(vec![(group, body)]).await.swap_remove(0);
            let lost = self.shared.strikes("fault: send answer lost", faults.send_answer_lost);
            answers.push(if lost { failed() } else { answer });
        }
        answers
    }

    async fn receive(&self, max: usize) -> Result<Vec<Delivery>, PortError> {
        let deliveries = self.memory.queue.receive(max).await?;
        if self.shared.is_planted(Planted::AcknowledgedBeforeTheWork) {
            let receipts: Vec<String> = deliveries.iter().map(|delivery| delivery.receipt.clone()).collect();
            self.memory.queue.done(&receipts).await?;
        }
        Ok(deliveries)
    }

    async fn done(&self, receipts: &[String]) -> Result<(), PortError> {
        self.memory.queue.done(receipts).await
    }

    async fn release(&self, receipts: &[String]) -> Result<(), PortError> {
        self.memory.queue.release(receipts).await
    }
}
