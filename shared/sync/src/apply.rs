//! Messages from the queue, reconciled.

use crate::ports::{
    Alert, Alerts, Clock, Deferred, Delivery, MessageBody, Outcomes, PortError, Ports, Random, State, Step,
    Steps,
};
use crate::reconcile::{Summary, reconcile};
use crate::retry::{Backoff, Disposition, disposition};
use crate::touch::{Touch, fold};
use jiff::SignedDuration;
use std::collections::BTreeMap;
use syncline_engine::{Definition, Side};

/// How long a message of a newer form waits.
const NEWER_FORM_WAIT: SignedDuration = SignedDuration::from_secs(60);

/// What became of a set of messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Receipts of messages that are dealt with.
    pub done: Vec<String>,
    /// Receipts of messages that have to come again.
    pub release: Vec<String>,
    /// What was written.
    pub summary: Summary,
}

/// Reconciles all touches of all messages together. An outage never fails a message: its touches are put off
/// and the message is done. Only where they cannot be put off does it come again.
pub async fn apply<P: Ports>(ports: &P, definitions: &[Definition], deliveries: &[Delivery]) -> Applied {
    let mut applied = Applied::default();
    let mut touches: BTreeMap<String, Vec<Touch>> = BTreeMap::new();
    let mut receipts = Vec::new();
    for delivery in deliveries {
        match serde_json::from_str::<MessageBody>(&delivery.body) {
            Ok(body)
                if body.v <= MessageBody::FORM
                    && body.touches.iter().all(|touch| touch.v <= crate::TOUCH_FORM) =>
            {
                receipts.push(delivery.receipt.clone());
                for touch in body.touches {
                    touches.entry(touch.sync.clone()).or_default().push(touch);
                }
            }
            _ => {
                let due = ports.clock().now() + NEWER_FORM_WAIT;
                match ports.state().defer_message(&delivery.group, &delivery.body, due).await {
                    Ok(()) => applied.done.push(delivery.receipt.clone()),
                    Err(_) => applied.release.push(delivery.receipt.clone()),
                }
            }
        }
    }
    let mut failed = false;
    for (sync, touches) in touches {
        let touches = fold(touches);
        match of_sync(ports, definitions, &sync, touches).await {
            Ok(summary) => applied.summary.add(&summary),
            Err(error) => {
                tracing::error!(%sync, %error, "touches could not be stored; their messages come again");
                failed = true;
            }
        }
    }
    ports.steps().at(Step::Reconciled).await;
    if failed {
        applied.release.extend(receipts);
    } else {
        applied.done.extend(receipts);
    }
    applied
}

async fn of_sync<P: Ports>(
    ports: &P,
    definitions: &[Definition],
    sync: &str,
    touches: Vec<Touch>,
) -> Result<Summary, PortError> {
    let now = ports.clock().now();
    let definition = definitions.iter().find(|definition| definition.name == sync);
    let (Some(definition), None) = (definition, ports.state().paused(sync).await?) else {
        return put_off(ports, sync, touches, Backoff::Outage).await;
    };
    for side in [Side::Salesforce, Side::Postgres] {
        let breaker = ports.state().breaker(side).await?;
        if breaker.is_open(now) {
            return put_off(ports, sync, touches, Backoff::Outage).await;
        }
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
            tracing::warn!(%sync, touches = touches.len(), %error, "run put off");
            note_error(ports, sync, &error).await?;
            put_off(ports, sync, touches, Backoff::Outage).await
        }
    }
}

/// What an error means for the touches to come.
async fn note_error<P: Ports>(ports: &P, sync: &str, error: &PortError) -> Result<(), PortError> {
    let now = ports.clock().now();
    match disposition(error) {
        Disposition::Release => return Err(error.clone()),
        Disposition::Retry(side) => {
            let breaker = ports.state().breaker(side).await?.failed(now, &error.to_string());
            ports.state().put_breaker(side, &breaker).await?;
        }
        Disposition::Limit => {
            let mut breaker = ports.state().breaker(Side::Salesforce).await?;
            breaker.open_until = Some(now + SignedDuration::from_mins(1));
            breaker.message = error.to_string();
            ports.state().put_breaker(Side::Salesforce, &breaker).await?;
        }
        Disposition::Pause => {
            let message = error.to_string();
            ports.state().put_paused(sync, Some(&message)).await?;
            ports.alerts().raise(Alert { sync: sync.to_owned(), message }).await;
        }
    }
    Ok(())
}

async fn put_off<P: Ports>(
    ports: &P,
    sync: &str,
    touches: Vec<Touch>,
    backoff: Backoff,
) -> Result<Summary, PortError> {
    let now = ports.clock().now();
    let summary = Summary { put_off: touches.len(), ..Summary::default() };
    let deferred = touches
        .into_iter()
        .map(|mut touch| {
            let due = backoff.due(now, touch.attempt, ports.random().bits());
            touch.attempt += 1;
            Deferred { touch, due, waits_for: vec![] }
        })
        .collect();
    ports.state().store(sync, Outcomes { deferred, ..Outcomes::default() }).await?;
    Ok(summary)
}
