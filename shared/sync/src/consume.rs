//! Takes messages from the queue and reconciles their touches.

use crate::enqueue::enqueue;
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

/// How a message is worked on, by what is known of its earlier runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Together with all other messages that are received for the first time.
    Together,
    /// In a run of its own.
    Alone,
    /// Not now: its touches are sent again as two messages, of which one is probably innocent.
    InHalves,
}

impl Turn {
    /// A run that did not come to its end may have saved the base of a record, but not what the record still waits
    /// for. So the record is read again, though its base knows the stamp of the touch.
    fn prepare(self, mut touch: Touch) -> Touch {
        if self != Self::Together {
            touch.stamp = None;
        }
        touch
    }
}

/// A message that is received a second time was in a run that did not come to its end, or was never in a run.
/// Nothing is known against its touches yet, so it runs alone once more. If it comes a third time, it is halved,
/// and so are its halves whenever they come a second time. So the touch that ends its runs is found after a
/// number of runs that grows with the logarithm of the number of touches, and so does the number of messages. A
/// single touch always runs alone, and goes on counting its receives.
fn turn(receive_count: u32, body: &MessageBody) -> Turn {
    match (receive_count, body.touches.len(), body.suspect) {
        (..=1, _, false) => Turn::Together,
        (_, ..=1, _) | (..=1, _, true) | (2, _, false) => Turn::Alone,
        _ => Turn::InHalves,
    }
}

/// Reconciles the touches of all messages together. An outage never fails a message: its touches are deferred
/// and the message is acknowledged. A message comes again only if its touches can be neither dealt with nor
/// deferred.
///
/// A message that was received before may hold a touch that ends the process. Such a message runs alone, before
/// the messages that are received for the first time, and is halved if that does not help, until only the touch
/// that causes the crash goes on counting its receives. Each message is acknowledged as soon as it is dealt with.
/// The order of the messages that run alone is reversed with each receive, so that a touch that hangs until its
/// process is ended delays the others only once.
///
/// If there is a `deadline`, no run begins whose lease would end after it. The touches that are left are sent to
/// the queue again if at least one run was possible; otherwise they are deferred.
pub async fn consume<P: Ports>(
    ports: &P,
    definitions: &[Definition],
    deliveries: &[Delivery],
    deadline: Option<Timestamp>,
) -> BatchOutcome {
    let bounds = Bounds { definitions, deadline };
    let mut outcome = BatchOutcome::default();
    let mut together: Vec<(String, Vec<Touch>)> = Vec::new();
    let mut alone: Vec<(String, Vec<Touch>)> = Vec::new();
    let mut receives = 0;
    for delivery in deliveries {
        let receipt = delivery.receipt.clone();
        let body = serde_json::from_str::<MessageBody>(&delivery.body).ok();
        let Some(body) = body.filter(MessageBody::is_known_form) else {
            let due = ports.clock().now() + NEWER_FORM_WAIT;
            match ports.state().defer_message(&delivery.group, &delivery.body, due).await {
                Ok(()) => outcome.done.push(receipt),
                Err(_) => outcome.release.push(receipt),
            }
            continue;
        };
        let turn = turn(delivery.receive_count, &body);
        let touches = body.touches.into_iter().map(|touch| turn.prepare(touch)).collect();
        match turn {
            Turn::Together => together.push((receipt, touches)),
            Turn::Alone => {
                receives = receives.max(delivery.receive_count);
                alone.push((receipt, touches));
            }
            Turn::InHalves => match send_halves(ports, &delivery.group, touches).await {
                Ok(()) => outcome.done.push(receipt),
                Err(_) => outcome.release.push(receipt),
            },
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
    outcome.add(reconcile_together(ports, &bounds, together).await);
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

/// Sends the touches of a message again, as two messages of half the size.
async fn send_halves<P: Ports>(ports: &P, group: &str, touches: Vec<Touch>) -> Result<(), PortError> {
    tracing::warn!(
        %group,
        touches = touches.len(),
        "runs with this message did not come to their end; its touches are tried in two halves"
    );
    let touches = fold(touches);
    let mut messages = Vec::new();
    for half in touches.chunks(touches.len().div_ceil(2).max(1)) {
        let body = serde_json::to_string(&MessageBody::suspect(half.to_vec()))
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
                tracing::error!(%sync, "a run panicked, which is a bug; its messages come again");
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

/// Reconciles the touches of one sync, in one run after the other. A run takes as many touches as this process
/// reconciles within a third of the lease, so that it ends well within its lease and before the deadline.
async fn of_sync<P: Ports>(
    ports: &P,
    bounds: &Bounds<'_>,
    sync: &str,
    touches: Vec<Touch>,
) -> Result<Summary, PortError> {
    let mut summary = Summary::default();
    let mut left = touches.into_iter();
    let mut ran = false;
    loop {
        let size = ports.process_memory().speed().run_size(ports.settings().lease / 3);
        let run: Vec<Touch> = left.by_ref().take(size).collect();
        if run.is_empty() {
            return Ok(summary);
        }
        let now = ports.clock().now();
        if bounds.deadline.is_some_and(|deadline| now + ports.settings().lease > deadline) {
            let rest: Vec<Touch> = run.into_iter().chain(left).collect();
            if ran {
                // To defer touches costs two writes for each, to send them again one for hundreds of them.
                enqueue(ports, rest).await?;
            } else {
                summary.add(&deferred(ports, sync, rest, Some(now)).await?);
            }
            return Ok(summary);
        }
        ran = true;
        let touches = run.len();
        let of_run = one_run(ports, bounds.definitions, sync, run).await?;
        if of_run.outage.is_none() && of_run.deferred < touches {
            let took = ports.clock().now().duration_since(now);
            ports.process_memory().speed().measured(touches, took);
        }
        summary.add(&of_run);
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
