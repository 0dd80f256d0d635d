//! Outbound messages that wait to be sent.
//!
//! Up to 100 notifications travel in one POST. Each notification waits on its own, and one that is not
//! acknowledged comes again. The content of the record is read when the notification is sent.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// An outbound message: which fields of which object go where.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OutboundMessage {
    /// The object.
    pub object: String,
    /// Where it goes.
    pub endpoint: String,
    /// The fields, `Id` always among them.
    pub fields: Vec<String>,
}

/// A notification that waits.
#[derive(Clone, Debug)]
pub struct Notification {
    /// The Id of the notification.
    pub id: String,
    /// The place of its outbound message in the list of outbound messages.
    pub message: usize,
    /// The Id of the record.
    pub record: String,
    /// When it is sent.
    pub due: Timestamp,
    attempts: u32,
}

/// The outbound messages, and the notifications that wait to be sent.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    /// The outbound messages.
    pub messages: Vec<OutboundMessage>,
    /// Every n-th notification is sent twice; 0 is never.
    pub duplicate_every: u64,
    /// Notifications wait this long before they are sent.
    pub delay: SignedDuration,
    /// Requests that were answered with anything but an Ack.
    pub refused: u64,
    /// Notifications that were acknowledged.
    pub acknowledged: u64,
    waiting: Vec<Notification>,
    next: u64,
}

impl Outbox {
    /// A record was saved: every outbound message of its object sends a notification.
    pub(crate) fn record_saved(&mut self, object: &str, record: &str, now: Timestamp) {
        for message in 0..self.messages.len() {
            if !self.messages[message].object.eq_ignore_ascii_case(object) {
                continue;
            }
            self.next += 1;
            let twice = self.duplicate_every > 0 && self.next.is_multiple_of(self.duplicate_every);
            for copy in 0..=u8::from(twice) {
                let due = now + self.delay + SignedDuration::from_millis(i64::from(copy) * 400);
                let id = format!("04l5e{:010}AAA", self.next);
                let record = record.to_owned();
                self.waiting.push(Notification { id, message, record, due, attempts: 0 });
            }
        }
    }

    /// Up to 100 notifications of one message that are due.
    #[must_use]
    pub fn take_due(&mut self, now: Timestamp) -> Vec<Notification> {
        let Some(first) = self.waiting.iter().find(|waiting| waiting.due <= now) else { return Vec::new() };
        let message = first.message;
        let mut taken = Vec::new();
        self.waiting.retain(|waiting| {
            let take = taken.len() < 100 && waiting.message == message && waiting.due <= now;
            if take {
                taken.push(waiting.clone());
            }
            !take
        });
        taken
    }

    /// Not acknowledged: again in two seconds, doubling, for 24 hours as Salesforce does.
    pub fn put_back(&mut self, notifications: Vec<Notification>, now: Timestamp) {
        self.refused += 1;
        for mut notification in notifications {
            notification.attempts += 1;
            let wait = 2_i64.saturating_pow(notification.attempts.min(13)).min(7_200);
            notification.due = now + SignedDuration::from_secs(wait);
            if notification.attempts < 32 {
                self.waiting.push(notification);
            }
        }
    }

    /// Notifications that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}
