//! A queue in memory.

use crate::ports::SteppedClock;
use crate::yielding::yield_now;
use jiff::{SignedDuration, Timestamp};
use std::sync::{Arc, Mutex};
use syncline_sync::{Clock, Delivery, PortError, Queue};

#[derive(Clone, Debug)]
struct Message {
    number: u64,
    group: String,
    body: String,
    receive_count: u32,
    hidden_until: Timestamp,
    receipt: String,
}

#[derive(Clone, Default)]
struct Inner {
    messages: Vec<Message>,
    next: u64,
    most_receives: Option<u32>,
    dead: Vec<String>,
}

/// A queue in memory. A message that is not dealt with comes again `visibility` after it was received.
#[derive(Clone)]
pub struct MemoryQueue {
    inner: Arc<Mutex<Inner>>,
    clock: SteppedClock,
    visibility: SignedDuration,
}

impl MemoryQueue {
    /// An empty queue.
    #[must_use]
    pub fn new(clock: SteppedClock, visibility: SignedDuration) -> Self {
        Self { inner: Arc::default(), clock, visibility }
    }

    /// Sets how many receives make a message a dead letter.
    pub fn give_up_after(&self, receives: u32) {
        self.inner.lock().unwrap().most_receives = Some(receives);
    }

    /// The bodies of the dead letters.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<String> {
        self.inner.lock().unwrap().dead.clone()
    }

    /// The messages that are not dealt with yet.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.lock().unwrap().messages.len()
    }

    /// A copy of everything, for a later `restore`.
    #[must_use]
    pub fn backup(&self) -> Self {
        Self { inner: Arc::new(Mutex::new(self.inner.lock().unwrap().clone())), ..self.clone() }
    }

    /// Restores the queue to a copy. Messages that were being worked on come again.
    pub fn restore(&self, backup: &Self) {
        let mut inner = self.inner.lock().unwrap();
        let next = inner.next;
        *inner = backup.inner.lock().unwrap().clone();
        inner.next = next;
    }

    /// True if no message waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sends a waiting message a second time, as a queue with at-least-once delivery may do.
    pub fn duplicate(&self, place: usize) {
        let mut inner = self.inner.lock().unwrap();
        if let Some(message) = inner.messages.get(place).cloned() {
            push(&mut inner, message.group, message.body);
        }
    }
}

fn push(inner: &mut Inner, group: String, body: String) {
    inner.next += 1;
    let number = inner.next;
    let hidden_until = Timestamp::UNIX_EPOCH;
    inner.messages.push(Message {
        number,
        group,
        body,
        receive_count: 0,
        hidden_until,
        receipt: String::new(),
    });
}

impl Queue for MemoryQueue {
    async fn send(&self, messages: Vec<(String, String)>) -> Vec<Result<(), PortError>> {
        yield_now().await;
        let mut inner = self.inner.lock().unwrap();
        messages
            .into_iter()
            .map(|(group, body)| {
                push(&mut inner, group, body);
                Ok(())
            })
            .collect()
    }

    async fn receive(&self, max: usize) -> Result<Vec<Delivery>, PortError> {
        yield_now().await;
        let now = self.clock.now();
        let mut inner = self.inner.lock().unwrap();
        let held: Vec<String> = inner
            .messages
            .iter()
            .filter(|message| message.hidden_until > now)
            .map(|message| message.group.clone())
            .collect();
        if let Some(most) = inner.most_receives {
            let gone = |message: &&Message| message.receive_count >= most && !held.contains(&message.group);
            let dead: Vec<String> = inner.messages.iter().filter(gone).map(|one| one.body.clone()).collect();
            inner.messages.retain(|message| !gone(&message));
            inner.dead.extend(dead);
        }
        let mut deliveries = Vec::new();
        for message in &mut inner.messages {
            if deliveries.len() == max {
                break;
            }
            if held.contains(&message.group) {
                continue;
            }
            message.receive_count += 1;
            message.hidden_until = now + self.visibility;
            message.receipt = format!("{}.{}", message.number, message.receive_count);
            deliveries.push(Delivery {
                receipt: message.receipt.clone(),
                group: message.group.clone(),
                receive_count: message.receive_count,
                body: message.body.clone(),
            });
        }
        Ok(deliveries)
    }

    async fn done(&self, receipts: &[String]) -> Result<(), PortError> {
        yield_now().await;
        self.inner.lock().unwrap().messages.retain(|message| !receipts.contains(&message.receipt));
        Ok(())
    }

    async fn release(&self, receipts: &[String]) -> Result<(), PortError> {
        yield_now().await;
        for message in &mut self.inner.lock().unwrap().messages {
            if receipts.contains(&message.receipt) {
                message.hidden_until = Timestamp::UNIX_EPOCH;
            }
        }
        Ok(())
    }
}
