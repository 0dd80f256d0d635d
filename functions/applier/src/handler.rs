//! Deliveries in, receipts out.

use jiff::Timestamp;
use syncline_engine::Definition;
use syncline_sync::apply::{Applied, apply};
use syncline_sync::{Delivery, Ports};

/// Reconciles everything that was delivered together; what would not be done by a deadline is put off.
pub async fn handle<P: Ports>(
    ports: &P,
    definitions: &[Definition],
    deliveries: &[Delivery],
    deadline: Option<Timestamp>,
) -> Applied {
    let applied = apply(ports, definitions, deliveries, deadline).await;
    let summary = &applied.summary;
    tracing::debug!(
        messages = deliveries.len(),
        equal = summary.equal,
        skipped = summary.skipped,
        put_off = summary.put_off,
        rows_inserted = summary.rows_inserted,
        rows_updated = summary.rows_updated,
        records_created = summary.records_created,
        records_updated = summary.records_updated,
        conflicts = summary.conflicts,
        rejected = summary.rejected,
        held = summary.held,
        "reconciled"
    );
    applied
}
