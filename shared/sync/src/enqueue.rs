//! Touches into the queue.

use crate::ports::{MessageBody, PortError, Ports, Queue, Step, Steps};
use crate::touch::{Touch, fold};
use std::collections::BTreeMap;

/// Touches in one message, at most: with 1 KB each, well below the 256 KB that a queue takes.
const TOUCHES_PER_MESSAGE: usize = 200;

/// Folds touches and sends them. `Ok` means that the queue has accepted every one of them.
///
/// # Errors
/// When the queue refused any; the source must offer all of them again.
pub async fn enqueue<P: Ports>(ports: &P, touches: Vec<Touch>) -> Result<usize, PortError> {
    enqueue_to(ports.queue(), ports.steps(), touches).await
}

/// The same, for whoever has a queue and no more.
///
/// # Errors
/// When the queue refused any; the source must offer all of them again.
pub async fn enqueue_to<Q: Queue, S: Steps>(
    queue: &Q,
    steps: &S,
    touches: Vec<Touch>,
) -> Result<usize, PortError> {
    let touches = fold(touches);
    let count = touches.len();
    let mut groups: BTreeMap<String, Vec<Touch>> = BTreeMap::new();
    for touch in touches {
        groups.entry(touch.group()).or_default().push(touch);
    }
    let mut messages = Vec::new();
    for (group, touches) in groups {
        for chunk in touches.chunks(TOUCHES_PER_MESSAGE) {
            let body = serde_json::to_string(&MessageBody::new(chunk.to_vec()))
                .map_err(|error| PortError::Store { message: error.to_string() })?;
            messages.push((group.clone(), body));
        }
    }
    if messages.is_empty() {
        return Ok(0);
    }
    for sent in queue.send(messages).await {
        sent?;
    }
    steps.at(Step::Queued).await;
    Ok(count)
}
