//! One POST of Salesforce in, one acknowledgement out.

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use std::num::NonZeroU32;
use subtle::ConstantTimeEq;
use syncline_engine::Definition;
use syncline_salesforce::{acknowledgement, parse_notifications};
use syncline_sync::{Clock, Ports, Queue, Source, Steps, Touch, ingest};

/// An outbound message of 100 notifications with the fields that this asks for is a hundredth of it; the limit is
/// that of a function URL, so that both modes take the same.
pub const BODY_LIMIT: usize = 6 * 1024 * 1024;
/// Calls a second that one process takes, with or without the secret. Salesforce sends few at once, each for up to
/// a hundred records.
const CALLS_PER_SECOND: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// And so many at once after a quiet time.
const BURST: NonZeroU32 = NonZeroU32::new(500).unwrap();

/// Who may call, and how often.
pub struct Caller {
    secret: SecretString,
    organization_id: String,
    pace: DefaultDirectRateLimiter,
}

impl Caller {
    /// Whoever knows this secret and speaks for this org.
    #[must_use]
    pub fn new(secret: SecretString, organization_id: String) -> Self {
        let pace = RateLimiter::direct(Quota::per_second(CALLS_PER_SECOND).allow_burst(BURST));
        Self { secret, organization_id, pace }
    }

    /// True if this is its secret. An empty secret lets nobody in.
    fn knows(&self, secret: &str) -> bool {
        let own = self.secret.expose_secret();
        !own.is_empty() && bool::from(secret.as_bytes().ct_eq(own.as_bytes()))
    }
}

/// What stands behind the door: no more than what touches need.
pub struct Door<'a, Q, S> {
    /// The queue.
    pub queue: &'a Q,
    /// Crash points.
    pub steps: &'a S,
    /// Now.
    pub now: Timestamp,
    /// The definitions.
    pub definitions: &'a [Definition],
    /// Who may call.
    pub caller: &'a Caller,
}

impl<'a, Q: Queue, S: Steps> Door<'a, Q, S> {
    /// The door of an instance.
    #[must_use]
    pub fn of<P: Ports<Queue = Q, Steps = S>>(
        ports: &'a P,
        definitions: &'a [Definition],
        caller: &'a Caller,
    ) -> Self {
        Self { queue: ports.queue(), steps: ports.steps(), now: ports.clock().now(), definitions, caller }
    }
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
    /// A refusal in words.
    #[must_use]
    pub fn refused(status: u16, message: impl std::fmt::Display) -> Self {
        Self { status, body: format!("{message}\n") }
    }
}

/// Touches every record that an outbound message names. It is acknowledged only once the queue has all of them;
/// anything else makes Salesforce send all of it again.
pub async fn handle<Q: Queue, S: Steps>(door: Door<'_, Q, S>, secret: &str, body: &[u8]) -> Answer {
    let caller = door.caller;
    if caller.pace.check().is_err() {
        return Answer::refused(429, "too many calls; Salesforce sends this message again by itself");
    }
    if !caller.knows(secret) {
        tracing::warn!("outbound message with a wrong secret in its address refused");
        return Answer::refused(404, "not found");
    }
    if body.len() > BODY_LIMIT {
        return Answer::refused(413, format!("more than {BODY_LIMIT} bytes"));
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
    let mut touches = Vec::new();
    for notification in message.notifications {
        let Some(id) = notification.record else { continue };
        for definition in
            door.definitions.iter().filter(|definition| definition.object == notification.object)
        {
            let mut touch = Touch::of_id(&definition.name, id.clone(), Source::OutboundMessage, door.now);
            touch.stamp = notification.stamp;
            touches.push(touch);
        }
    }
    match ingest::enqueue_to(door.queue, door.steps, touches).await {
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
    use std::sync::Mutex;
    use syncline_sync::{Delivery, PortError, Step};

    #[derive(Default)]
    struct Sent(Mutex<Vec<String>>);

    impl Queue for Sent {
        async fn send(&self, messages: Vec<(String, String)>) -> Vec<Result<(), PortError>> {
            let sent = messages.iter().map(|_| Ok(())).collect();
            self.0.lock().unwrap().extend(messages.into_iter().map(|(_, body)| body));
            std::future::ready(sent).await
        }
        async fn receive(&self, _max: usize) -> Result<Vec<Delivery>, PortError> {
            std::future::ready(Ok(vec![])).await
        }
        async fn done(&self, _receipts: &[String]) -> Result<(), PortError> {
            std::future::ready(Ok(())).await
        }
        async fn release(&self, _receipts: &[String]) -> Result<(), PortError> {
            std::future::ready(Ok(())).await
        }
    }

    struct Nothing;

    impl Steps for Nothing {
        async fn at(&self, _step: Step) {
            std::future::ready(()).await;
        }
    }

    async fn called(caller: &Caller, secret: &str, body: &[u8]) -> u16 {
        let queue = Sent::default();
        let now = Timestamp::UNIX_EPOCH;
        let door = Door { queue: &queue, steps: &Nothing, now, definitions: &[], caller };
        let status = handle(door, secret, body).await.status;
        assert!(queue.0.lock().unwrap().is_empty());
        status
    }

    #[tokio::test]
    async fn whoever_does_not_know_the_secret_is_told_nothing() {
        let caller = Caller::new(SecretString::from("s3cret"), "00D5e000000SIMuEAO".into());
        for wrong in ["", "s3cre", "s3cret ", "s3crets", "S3CRET"] {
            assert_eq!(called(&caller, wrong, b"<a/>").await, 404, "{wrong:?}");
        }
        assert_eq!(called(&caller, "s3cret", b"<a/>").await, 400);
        let open = Caller::new(SecretString::from(""), "00D5e000000SIMuEAO".into());
        assert_eq!(called(&open, "", b"<a/>").await, 404, "no secret is no open door");
    }

    #[tokio::test]
    async fn too_long_a_body_and_too_many_calls_are_refused() {
        let caller = Caller::new(SecretString::from("s3cret"), "00D5e000000SIMuEAO".into());
        assert_eq!(called(&caller, "s3cret", &vec![b' '; BODY_LIMIT + 1]).await, 413);
        let mut refused = 0;
        for _ in 0..2_000 {
            refused += u32::from(called(&caller, "guess", b"").await == 429);
        }
        assert!(refused > 1_000, "{refused} of 2000 guesses were refused by their number");
    }

    #[test]
    fn an_org_is_known_by_15_or_18_characters() {
        assert!(same_organization("00D5e000000SIMu", "00D5e000000SIMuEAO"));
        assert!(!same_organization("00D5e000000SIMv", "00D5e000000SIMuEAO"));
        assert!(!same_organization("", "00D5e000000SIMuEAO"));
    }
}
