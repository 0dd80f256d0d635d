//! One POST of Salesforce in, one acknowledgement out.

use secrecy::{ExposeSecret, SecretString};
use subtle::ConstantTimeEq;
use syncline_engine::Definition;
use syncline_salesforce::{acknowledgement, parse_notifications};
use syncline_sync::{Clock, Ports, Source, Touch, ingest};

/// Who may call.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What has to stand in the address.
    pub secret: SecretString,
    /// The org that has to be the sender.
    pub organization_id: String,
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body, XML where Salesforce is the caller.
    pub body: String,
}

impl Answer {
    fn refused(status: u16, message: impl std::fmt::Display) -> Self {
        Self { status, body: format!("{message}\n") }
    }
}

/// Touches every record that an outbound message names. It is acknowledged only once the queue has all of them;
/// anything else makes Salesforce send all of it again.
pub async fn handle<P: Ports>(
    ports: &P,
    definitions: &[Definition],
    caller: &Caller,
    secret: &str,
    body: &[u8],
) -> Answer {
    if !bool::from(secret.as_bytes().ct_eq(caller.secret.expose_secret().as_bytes())) {
        tracing::warn!("outbound message with a wrong secret in its address refused");
        return Answer::refused(404, "not found");
    }
    let message = match parse_notifications(body) {
        Ok(message) => message,
        Err(error) => {
            tracing::warn!(%error, "outbound message refused");
            return Answer::refused(400, error);
        }
    };
    if !same_organization(&message.organization_id, &caller.organization_id) {
        tracing::warn!(organization = %message.organization_id, "outbound message of another org refused");
        return Answer::refused(
            403,
            format!("organization {} is not the one that is synced", message.organization_id),
        );
    }
    let now = ports.clock().now();
    let mut touches = Vec::new();
    for notification in message.notifications {
        let Some(id) = notification.record else { continue };
        for definition in definitions.iter().filter(|definition| definition.object == notification.object) {
            let mut touch = Touch::of_id(&definition.name, id.clone(), Source::OutboundMessage, now);
            touch.stamp = notification.stamp;
            touches.push(touch);
        }
    }
    match ingest::enqueue(ports, touches).await {
        Ok(count) => {
            tracing::debug!(count, "touched by an outbound message");
            Answer { status: 200, body: acknowledgement(true) }
        }
        Err(error) => {
            tracing::error!(%error, "outbound message not acknowledged: the queue did not take its touches");
            Answer { status: 503, body: acknowledgement(false) }
        }
    }
}

/// Ids of 15 characters name the same org as the 18 that begin with them.
fn same_organization(one: &str, other: &str) -> bool {
    one == other || (one.len().min(other.len()) == 15 && one.get(..15) == other.get(..15))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_org_is_known_by_15_or_18_characters() {
        assert!(same_organization("00D5e000000SIMu", "00D5e000000SIMuEAO"));
        assert!(!same_organization("00D5e000000SIMv", "00D5e000000SIMuEAO"));
        assert!(!same_organization("", "00D5e000000SIMuEAO"));
    }
}
