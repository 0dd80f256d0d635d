//! Messages in, receipts of the messages that are dealt with out.

use jiff::Timestamp;
use syncline_engine::Definition;
use syncline_sync::consume::{BatchOutcome, consume};
use syncline_sync::{Delivery, Ports};

/// Reconciles the touches of all deliveries together, and logs a summary (level debug).
///
/// With a `deadline`, no run is begun whose lease would end after it: the touches that are left are deferred.
/// The result holds the receipts of messages that are dealt with, and of messages that have to be received
/// again.
pub async fn handle<P: Ports>(
    ports: &P,
    definitions: &[Definition],
    deliveries: &[Delivery],
    deadline: Option<Timestamp>,
) -> BatchOutcome {
    let applied = consume(ports, definitions, deliveries, deadline).await;
    let summary = &applied.summary;
    let deleted = summary.rows_deleted + summary.records_deleted;
    if deleted + summary.conflicts + summary.rejected + summary.held > 0 {
        tracing::info!(
            rows_deleted = summary.rows_deleted,
            records_deleted = summary.records_deleted,
            conflicts = summary.conflicts,
            rejected = summary.rejected,
            held = summary.held,
            "reconciled, with what a person may want to look at"
        );
    }
    tracing::debug!(
        messages = deliveries.len(),
        equal = summary.equal,
        skipped = summary.skipped,
        deferred = summary.deferred,
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
