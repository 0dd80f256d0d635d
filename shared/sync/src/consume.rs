//! Messages from the queue, reconciled.

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

/// How long a message of a newer form waits.
const NEWER_FORM_WAIT: SignedDuration = SignedDuration::from_secs(60);

/// Touches in one run, at most.
const TOUCHES_PER_RUN: usize = 1_000;

/// What an invocation works under.
struct Bounds<'a> {
    definitions: &'a [Definition],
    deadline: Option<Timestamp>,
}

/// What became of a set of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BatchOutcome {
    /// Receipts of messages that are dealt with, and acknowledged where the queue answered.
    pub done: Vec<String>,
    /// Receipts of messages that have to come again.
    pub release: Vec<String>,
    /// What was written.
    pub summary: Summary,
    /// When the oldest of their touches was noticed.
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

/// Reconciles all touches of all messages together. An outage never fails a message: its touches are put off
/// and the message is done. Only where they cannot be put off does it come again.
///
/// A message that was received before crashed its run, or was in one that crashed: it is sent again as single
/// touches, and what is a single touch runs alone and before the fresh ones, so that only the poisonous one goes on
/// counting its receives. Each message is acknowledged as soon as it is dealt with, and the order of single ones turns
/// round with each receive, so that one that hangs until its process is ended keeps the others waiting once.
///
/// Where there is a `deadline`, no run begins whose lease would end after it: what is left then is put off in time.
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

/// What cannot be acknowledged now is acknowledged with the invocation, or comes again, which does no harm.
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

/// A panic is the same as a crash: its messages come again.
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

/// One run after the other, each of so many touches that it ends well within its lease.
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

/// Puts touches off until a moment, or for a while that grows with each time.
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
