//! Puts touches into the queue.

use crate::ports::{MessageBody, PortError, Ports, Queue, Step, Steps};
use crate::touch::{Touch, fold};
use std::collections::BTreeMap;

/// The maximum number of touches in one message. With at most 1 KB for each touch, a message stays below the
/// 256 KB that a queue takes.
const TOUCHES_PER_MESSAGE: usize = 200;

/// Folds touches and sends them. `Ok` means that the queue has accepted all of them; it holds the number
/// after folding.
///
/// # Errors
/// When the queue refused at least one touch. The source has to offer all of them again.
pub async fn enqueue<P: Ports>(ports: &P, touches: Vec<Touch>) -> Result<usize, PortError> {
    enqueue_to(ports.queue(), ports.steps(), touches).await
}

/// Does the same as [`enqueue`], for a caller that has only a queue and no other ports.
///
/// # Errors
/// When the queue refused at least one touch. The source has to offer all of them again.
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
