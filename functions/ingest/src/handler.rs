//! One outbound message of Salesforce in, one acknowledgement out.
//!
//! Source: Salesforce's SOAP API guide, outbound messaging.

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};
use std::num::NonZeroU32;
use subtle::ConstantTimeEq;
use syncline_engine::Definition;
use syncline_salesforce::{acknowledgement, parse_notifications};
use syncline_sync::{Clock, Ports, Queue, Source, Steps, Touch, enqueue};

/// The longest body that is read, in bytes: 6 MiB, as for a function URL (Lambda quotas), so that Lambda and
/// `syncline serve` accept the same messages. An outbound message of 100 notifications with the fields `Id`
/// and `SystemModstamp` has about a hundredth of that.
pub const BODY_LIMIT: usize = 6 * 1024 * 1024;
/// How many calls a second one process accepts, with or without the right secret. Salesforce makes few calls
/// at once, each for up to 100 records.
const CALLS_PER_SECOND: NonZeroU32 = NonZeroU32::new(100).unwrap();
/// How many calls one process accepts at once after a time without calls.
const BURST: NonZeroU32 = NonZeroU32::new(500).unwrap();

/// The secret and the org of permitted callers, and how often they may call.
pub struct Caller {
    secret: SecretString,
    organization_id: String,
    pace: DefaultDirectRateLimiter,
}

impl Caller {
    /// Callers whose address contains `secret` and whose messages are from this org (an Id of 15 or 18
    /// characters). An empty secret permits nobody.
    #[must_use]
    pub fn new(secret: SecretString, organization_id: String) -> Self {
        let pace = RateLimiter::direct(Quota::per_second(CALLS_PER_SECOND).allow_burst(BURST));
        Self { secret, organization_id, pace }
    }

    /// True if `secret` is the right one, as it is or percent-encoded: whether the path that a program gets is decoded
    /// depends on what stands in front of it. Compared in constant time. Never true if the right secret is empty.
    fn knows(&self, secret: &str) -> bool {
        let own = self.secret.expose_secret();
        let decoded: Vec<u8> = percent_decode_str(secret).collect();
        let same = secret.as_bytes().ct_eq(own.as_bytes()) | decoded.ct_eq(own.as_bytes());
        !own.is_empty() && bool::from(same)
    }
}

/// What one call needs besides its body: no more than it takes to check the caller and to queue touches.
pub struct Door<'a, Q, S> {
    /// The queue of touches.
    pub queue: &'a Q,
    /// Crash points, which do nothing in production.
    pub steps: &'a S,
    /// The moment of the call, which becomes the moment of its touches.
    pub now: Timestamp,
    /// The definitions of the syncs that are served.
    pub definitions: &'a [Definition],
    /// Who may call, and how often.
    pub caller: &'a Caller,
}

impl<'a, Q: Queue, S: Steps> Door<'a, Q, S> {
    /// The door of an instance, with its queue, crash points and clock.
    #[must_use]
    pub fn of<P: Ports<Queue = Q, Steps = S>>(
        ports: &'a P,
        definitions: &'a [Definition],
        caller: &'a Caller,
    ) -> Self {
        Self { queue: ports.queue(), steps: ports.steps(), now: ports.clock().now(), definitions, caller }
    }
}

/// An HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status code.
    pub status: u16,
    /// The body: an acknowledgement in SOAP with status 200, or with status 503 if the queue failed; else a
    /// line of text.
    pub body: String,
}

impl Answer {
    /// A response that refuses the call with this status and this message as a line of text.
    #[must_use]
    pub fn refused(status: u16, message: impl std::fmt::Display) -> Self {
        Self { status, body: format!("{message}\n") }
    }
}

/// Queues a touch for every record that an outbound message names, once for each sync of the record's object.
///
/// The status is 200 only after the queue has accepted all touches. With any other status Salesforce sends
/// the whole message again: 429 (too many calls), 404 (wrong secret), 413 (body too long), 400 (not an
/// outbound message), 403 (another org), 503 (the queue failed).
pub async fn handle<Q: Queue, S: Steps>(door: Door<'_, Q, S>, secret: &str, body: &[u8]) -> Answer {
    let caller = door.caller;
    if caller.pace.check().is_err() {
        return Answer::refused(429, "too many calls; Salesforce sends this message again");
    }
    if !caller.knows(secret) {
        tracing::warn!(
            "a call was refused, because its address has a wrong secret; if Salesforce made it, correct the \
             endpoint URL of its outbound message"
        );
        return Answer::refused(404, "not found");
    }
    if body.len() > BODY_LIMIT {
        return Answer::refused(413, format!("the body is longer than {BODY_LIMIT} bytes"));
    }
    let message = match parse_notifications(body) {
        Ok(message) => message,
        Err(error) => {
            tracing::warn!(%error, "an outbound message was refused: it could not be read");
            return Answer::refused(400, error);
        }
    };
    if !same_organization(&message.organization_id, &caller.organization_id) {
        tracing::warn!(
            organization = %message.organization_id,
            "an outbound message was refused: it is from another org"
        );
        return Answer::refused(
            403,
            format!(
                "this message is from org {}, which is not the org that is synced",
                message.organization_id
            ),
        );
    }
    let mut touches = Vec::new();
    for notification in message.notifications {
        let Some(id) = notification.record else {
            tracing::debug!(
                notification = %notification.id,
                "a notification names no record, because the record was deleted before the message was sent; \
                 catch-up finds the delete"
            );
            continue;
        };
        for definition in
            door.definitions.iter().filter(|definition| definition.object == notification.object)
        {
            let mut touch = Touch::of_id(&definition.name, id.clone(), Source::OutboundMessage, door.now);
            touch.stamp = notification.stamp;
            touches.push(touch);
        }
    }
    match enqueue::enqueue_to(door.queue, door.steps, touches).await {
        Ok(count) => {
            tracing::debug!(count, "touches of an outbound message are queued");
            Answer { status: 200, body: acknowledgement(true) }
        }
        Err(error) => {
            tracing::error!(
                %error,
                "an outbound message is not acknowledged, because the queue did not accept its touches; \
                 Salesforce sends it again"
            );
            Answer { status: 503, body: acknowledgement(false) }
        }
    }
}

/// True if both Ids name the same org: an Id of 15 characters and the Id of 18 characters that begins with it
/// are the same.
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
        assert_eq!(called(&open, "", b"<a/>").await, 404, "an empty secret must permit nobody");
    }

    #[tokio::test]
    async fn a_secret_is_known_as_it_is_and_percent_encoded() {
        let caller = Caller::new(SecretString::from("a/b+c=="), "00D5e000000SIMuEAO".into());
        for right in ["a/b+c==", "a%2Fb%2Bc%3D%3D", "a%2Fb+c=="] {
            assert_eq!(called(&caller, right, b"<a/>").await, 400, "{right}");
        }
        assert_eq!(called(&caller, "a%2Fb", b"<a/>").await, 404);
        let percent = Caller::new(SecretString::from("100%25"), "00D5e000000SIMuEAO".into());
        assert_eq!(called(&percent, "100%25", b"<a/>").await, 400, "decoded already by what stands in front");
    }

    #[tokio::test]
    async fn too_long_a_body_and_too_many_calls_are_refused() {
        let caller = Caller::new(SecretString::from("s3cret"), "00D5e000000SIMuEAO".into());
        assert_eq!(called(&caller, "s3cret", &vec![b' '; BODY_LIMIT + 1]).await, 413);
        let mut refused = 0;
        for _ in 0..2_000 {
            refused += u32::from(called(&caller, "guess", b"").await == 429);
        }
        assert!(refused > 1_000, "only {refused} of 2000 calls with a wrong secret were refused as too many");
    }

    #[test]
    fn an_org_is_known_by_15_or_18_characters() {
        assert!(same_organization("00D5e000000SIMu", "00D5e000000SIMuEAO"));
        assert!(!same_organization("00D5e000000SIMv", "00D5e000000SIMuEAO"));
        assert!(!same_organization("", "00D5e000000SIMuEAO"));
    }
}
