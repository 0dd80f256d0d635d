//! The port to the queue of touches.

use super::PortError;
use crate::touch::Touch;
use serde::{Deserialize, Serialize};
use std::future::Future;

/// The body of a message: up to a few hundred touches of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageBody {
    /// The version of this document's format.
    #[serde(rename = "v")]
    pub form: u8,
    /// The touches of the message.
    pub touches: Vec<Touch>,
    /// True if a run with these touches did not come to its end, twice. The message runs alone, so that no
    /// other message suffers from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub suspect: bool,
}

impl MessageBody {
    /// The version of the format that this release writes.
    pub const FORM: u8 = 1;

    /// A body in the format that this release writes.
    #[must_use]
    pub fn new(touches: Vec<Touch>) -> Self {
        Self { form: Self::FORM, touches, suspect: false }
    }

    /// A body with touches, at least one of which may be what ends its runs.
    #[must_use]
    pub fn suspect(touches: Vec<Touch>) -> Self {
        Self { suspect: true, ..Self::new(touches) }
    }

    /// True if this release can read the body and each of its touches.
    #[must_use]
    pub fn is_known_form(&self) -> bool {
        self.form <= Self::FORM && self.touches.iter().all(|touch| touch.form <= crate::TOUCH_FORM)
    }
}

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Names this receipt of the message, for `done` and `release`.
    pub receipt: String,
    /// The group of the message.
    pub group: String,
    /// How many times the message was received, including this time.
    pub receive_count: u32,
    /// The JSON of its [`MessageBody`].
    pub body: String,
}

/// The queue. A message is delivered at least once. Two messages of one group are never being worked on at
/// the same time; messages of one group may come in any order.
pub trait Queue: Send + Sync {
    /// Sends messages, each as (group, JSON). There is one result for each message; a message that failed may
    /// be sent again.
    fn send(
        &self,
        messages: Vec<(String, String)>,
    ) -> impl Future<Output = Vec<Result<(), PortError>>> + Send;

    /// Receives up to `max` messages, only of groups of which no other receiver holds a message.
    fn receive(&self, max: usize) -> impl Future<Output = Result<Vec<Delivery>, PortError>> + Send;

    /// Acknowledges messages that are dealt with. They do not come again.
    fn done(&self, receipts: &[String]) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Gives messages back that are not dealt with. They are soon received again.
    fn release(&self, receipts: &[String]) -> impl Future<Output = Result<(), PortError>> + Send;
}
