//! Takes messages from the queue and reconciles their touches.

use crate::outage::{any_away, note_error};
use crate::pace;
use crate::pause::pause_all;
use crate::ports::{
    Clock, Deferred, Delivery, MessageBody, Outcomes, PauseCause, PortError, Ports, Queue, Random, State,
    Step, Steps,
};
use crate::reconcile::{Summary, reconcile};
use crate::retry::Backoff;
use crate::touch::{Touch, fold};
use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use syncline_engine::{Definition, Side};

/// How long a message of a newer form is deferred.
const NEWER_FORM_WAIT: SignedDuration = SignedDuration::from_secs(60);

/// The maximum number of touches in one run.
const TOUCHES_PER_RUN: usize = 1_000;

/// What an invocation is given: the definitions, and the deadline if it has one.
struct Bounds<'a> {
    definitions: &'a [Definition],
    deadline: Option<Timestamp>,
}

/// What became of the messages of one invocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchOutcome {
    /// Receipts of messages that are dealt with. They are acknowledged already, unless the queue did not
    /// answer.
    pub done: Vec<String>,
    /// Receipts of messages that have to be received again.
    pub release: Vec<String>,
    /// The fates of the touches, counted.
    pub summary: Summary,
    /// When the oldest of these touches was noticed. Absent if there were no touches.
    pub oldest: Option<Timestamp>,
}

impl BatchOutcome {
    fn add(&mut self, other: Self) {
        self.done.extend(other.done);
        self.release.extend(other.release);
        self.summary.add(&other.summary);
        self.oldest = self.oldest.into_iter().chain(other.oldest).min();
    }
}

/// Reconciles the touches of all messages together. An outage never fails a message: its touches are deferred
/// and the message is acknowledged. A message comes again only if its touches can be neither dealt with nor
/// deferred.
///
/// A message that was received before was in a run that crashed. Such a message is sent again as single
/// touches. A message with a single touch runs alone, before the messages that are received for the first
/// time. So only the touch that causes the crash goes on counting its receives. Each message is acknowledged
/// as soon as it is dealt with. The order of the single touches is reversed with each receive, so that a
/// touch that hangs until its process is ended delays the others only once.
///
/// If there is a `deadline`, no run begins whose lease would end after it. The touches that are left are
/// deferred.
pub async fn consume<P: Ports>(
    ports: &P,
    definitions: &[Definition],
    deliveries: &[Delivery],
    deadline: Option<Timestamp>,
) -> BatchOutcome {
    let bounds = Bounds { definitions, deadline };
    let mut outcome = BatchOutcome::default();
    let mut fresh: Vec<(String, Vec<Touch>)> = Vec::new();
    let mut alone: Vec<(String, Vec<Touch>)> = Vec::new();
    let mut receives = 0;
    for delivery in deliveries {
        let receipt = delivery.receipt.clone();
        match serde_json::from_str::<MessageBody>(&delivery.body) {
            Ok(body)
                if body.form <= MessageBody::FORM
                    && body.touches.iter().all(|touch| touch.form <= crate::TOUCH_FORM) =>
            {
                match (delivery.receive_count, body.touches.len()) {
                    (..=1, _) => fresh.push((receipt, body.touches)),
                    (count, ..=1) => {
                        receives = receives.max(count);
                        alone.push((receipt, body.touches));
                    }
                    _ => match send_singly(ports, &delivery.group, body.touches).await {
                        Ok(()) => outcome.done.push(receipt),
                        Err(_) => outcome.release.push(receipt),
                    },
                }
            }
            _ => {
                let due = ports.clock().now() + NEWER_FORM_WAIT;
                match ports.state().defer_message(&delivery.group, &delivery.body, due).await {
                    Ok(()) => outcome.done.push(receipt),
                    Err(_) => outcome.release.push(receipt),
                }
            }
        }
    }
    acknowledge(ports, &outcome.done).await;
    alone.sort_by_key(|(_, touches)| touches.first().map(Touch::deferred_key));
    if receives % 2 == 1 {
        alone.reverse();
    }
    for message in alone {
        outcome.add(reconcile_together(ports, &bounds, vec![message]).await);
    }
    outcome.add(reconcile_together(ports, &bounds, fresh).await);
    outcome
}

/// Acknowledges messages. If the queue does not answer, the messages are acknowledged with the invocation, or
/// they come again, which does no harm.
async fn acknowledge<P: Ports>(ports: &P, receipts: &[String]) {
    if receipts.is_empty() {
        return;
    }
    if let Err(error) = ports.queue().done(receipts).await {
        tracing::warn!(%error, "messages that are dealt with could not be acknowledged yet");
    }
}

async fn send_singly<P: Ports>(ports: &P, group: &str, touches: Vec<Touch>) -> Result<(), PortError> {
    tracing::warn!(%group, touches = touches.len(), "a message came again: its touches are tried one by one");
    let mut messages = Vec::new();
    for touch in fold(touches) {
        let body = serde_json::to_string(&MessageBody::new(vec![touch]))
            .map_err(|error| PortError::Store { message: error.to_string() })?;
        messages.push((group.to_owned(), body));
    }
    for sent in ports.queue().send(messages).await {
        sent?;
    }
    Ok(())
}

/// Reconciles the touches of these messages, by sync. A panic counts as a crash: the messages come again.
async fn reconcile_together<P: Ports>(
    ports: &P,
    bounds: &Bounds<'_>,
    messages: Vec<(String, Vec<Touch>)>,
) -> BatchOutcome {
    let mut outcome = BatchOutcome::default();
    if messages.is_empty() {
        return outcome;
    }
    let mut touches: BTreeMap<String, Vec<Touch>> = BTreeMap::new();
    let mut receipts = Vec::new();
    for (receipt, of_message) in messages {
        receipts.push(receipt);
        for touch in of_message {
            outcome.oldest = Some(outcome.oldest.map_or(touch.at, |oldest| oldest.min(touch.at)));
            touches.entry(touch.sync.clone()).or_default().push(touch);
        }
    }
    let mut failed = false;
    for (sync, touches) in touches {
        let run = AssertUnwindSafe(of_sync(ports, bounds, &sync, fold(touches))).catch_unwind();
        match run.await {
            Ok(Ok(summary)) => outcome.summary.add(&summary),
            Ok(Err(error)) => {
                tracing::error!(%sync, %error, "touches could not be stored; their messages come again");
                failed = true;
            }
            Err(_) => {
                tracing::error!(%sync, "a run panicked, which is a bug; its messages come again one by one");
                failed = true;
            }
        }
    }
    ports.steps().at(Step::Reconciled).await;
    if failed {
        outcome.release.extend(receipts);
    } else {
        acknowledge(ports, &receipts).await;
        outcome.done.extend(receipts);
    }
    outcome
}

/// Reconciles the touches of one sync, in one run after the other. The size of a run is limited so that the
/// run ends well within its lease.
async fn of_sync<P: Ports>(
    ports: &P,
    bounds: &Bounds<'_>,
    sync: &str,
    touches: Vec<Touch>,
) -> Result<Summary, PortError> {
    let mut summary = Summary::default();
    let mut left = touches.into_iter();
    loop {
        let run: Vec<Touch> = left.by_ref().take(TOUCHES_PER_RUN).collect();
        if run.is_empty() {
            return Ok(summary);
        }
        let now = ports.clock().now();
        if bounds.deadline.is_some_and(|deadline| now + ports.settings().lease > deadline) {
            let rest = run.into_iter().chain(left).collect();
            summary.add(&deferred(ports, sync, rest, Some(now)).await?);
            return Ok(summary);
        }
        summary.add(&one_run(ports, bounds.definitions, sync, run).await?);
    }
}

async fn one_run<P: Ports>(
    ports: &P,
    definitions: &[Definition],
    sync: &str,
    touches: Vec<Touch>,
) -> Result<Summary, PortError> {
    let definition = definitions.iter().find(|definition| definition.name == sync);
    let (Some(definition), None) = (definition, ports.state().paused(sync).await?) else {
        return deferred(ports, sync, touches, None).await;
    };
    if any_away(ports).await? {
        return deferred(ports, sync, touches, None).await;
    }
    if let Some(wait) = pace::draw(ports).await? {
        return deferred(ports, sync, touches, Some(ports.clock().now() + wait)).await;
    }
    match reconcile(ports, definition, touches.clone()).await {
        Ok(summary) => {
            if let Some(error) = &summary.outage {
                note_error(ports, sync, error).await?;
                return Ok(summary);
            }
            for side in [Side::Salesforce, Side::Postgres] {
                if summary.reached(side) && ports.state().breaker(side).await?.failures > 0 {
                    ports.state().put_breaker(side, &crate::Breaker::default()).await?;
                }
            }
            Ok(summary)
        }
        Err(error) => {
            tracing::warn!(%sync, touches = touches.len(), %error, "run deferred");
            if matches!(error, PortError::Identity { .. }) {
                pause_all(ports, definitions, PauseCause::OtherIdentity, &error.to_string()).await?;
            }
            note_error(ports, sync, &error).await?;
            deferred(ports, sync, touches, None).await
        }
    }
}

/// Defers touches until a given moment, or for a time that grows with each attempt.
async fn deferred<P: Ports>(
    ports: &P,
    sync: &str,
    touches: Vec<Touch>,
    until: Option<Timestamp>,
) -> Result<Summary, PortError> {
    let now = ports.clock().now();
    let summary = Summary { deferred: touches.len(), ..Summary::default() };
    let deferred = touches
        .into_iter()
        .map(|mut touch| {
            let due = until.unwrap_or_else(|| Backoff::Outage.due(now, touch.attempt, ports.random().bits()));
            touch.attempt += 1;
            Deferred { touch, due, waits_for: vec![] }
        })
        .collect();
    ports.state().store(sync, Outcomes { deferred, ..Outcomes::default() }).await?;
    Ok(summary)
}
