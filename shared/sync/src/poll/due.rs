//! Moves deferred touches that are due into the queue.

use crate::enqueue::enqueue;
use crate::ports::{Clock, PortError, Ports, Queue, State};

/// The maximum number of deferred touches and messages taken up in one call.
const DUE_TOUCHES: usize = 500;

/// Sends deferred touches and messages that are due to the queue, and answers how many.
///
/// # Errors
/// When the state store or the queue fails. Nothing is lost, because the touches stay stored until the queue
/// has accepted them.
pub async fn due<P: Ports>(ports: &P) -> Result<usize, PortError> {
    let due = ports.state().due(ports.clock().now(), DUE_TOUCHES).await?;
    if due.is_empty() {
        return Ok(0);
    }
    let mut touches = Vec::new();
    let mut messages = Vec::new();
    let mut tokens = Vec::new();
    for item in due {
        tokens.push(item.token);
        match item.touch {
            Ok(touch) => touches.push(touch),
            Err(message) => messages.push(message),
        }
    }
    let count = touches.len() + messages.len();
    enqueue(ports, touches).await?;
    if !messages.is_empty() {
        for sent in ports.queue().send(messages).await {
            sent?;
        }
    }
    ports.state().drop_due(&tokens).await?;
    Ok(count)
}
