//! The queue of touches.

use super::PortError;
use crate::touch::Touch;
use serde::{Deserialize, Serialize};
use std::future::Future;

/// What a message holds: up to a few hundred touches of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageBody {
    /// The form of this document.
    #[serde(rename = "v")]
    pub form: u8,
    /// The touches.
    pub touches: Vec<Touch>,
}

impl MessageBody {
    /// The form that this code writes.
    pub const FORM: u8 = 1;

    /// A body of this form.
    #[must_use]
    pub fn new(touches: Vec<Touch>) -> Self {
        Self { form: Self::FORM, touches }
    }
}

/// A message that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Names this receipt of the message.
    pub receipt: String,
    /// Its group.
    pub group: String,
    /// How often it was received, this time included.
    pub receive_count: u32,
    /// Its JSON.
    pub body: String,
}

/// The queue. At least once; no two messages of one group are out at the same time, whatever their order.
pub trait Queue: Send + Sync {
    /// Sends messages of (group, JSON). The result is per message: what failed may be sent again.
    fn send(
        &self,
        messages: Vec<(String, String)>,
    ) -> impl Future<Output = Vec<Result<(), PortError>>> + Send;

    /// Receives up to `max` messages of groups that nobody else holds.
    fn receive(&self, max: usize) -> impl Future<Output = Result<Vec<Delivery>, PortError>> + Send;

    /// These messages are dealt with.
    fn done(&self, receipts: &[String]) -> impl Future<Output = Result<(), PortError>> + Send;

    /// These are not; they are to be received again soon.
    fn release(&self, receipts: &[String]) -> impl Future<Output = Result<(), PortError>> + Send;
}
