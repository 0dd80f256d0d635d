//! The port to the state store.

use super::{Breaker, Cursor, Due, KnownRecord, Outcomes, Pause, PortError, Put, RecordRef, Rejected};
use jiff::{SignedDuration, Timestamp};
use std::future::Future;
use syncline_engine::{BaseKey, Side};

/// The state store. Bases are read consistently: a base that was saved is seen by every later read.
pub trait State: Send + Sync {
    /// Loads what is known of each record, one answer per reference. If several references lead to one base,
    /// each of them is answered with it.
    fn load(
        &self,
        sync: &str,
        refs: &[RecordRef],
    ) -> impl Future<Output = Result<Vec<KnownRecord>, PortError>> + Send;

    /// Saves bases by compare-and-set, each base independently. `false` means that the base was not saved:
    /// another version is stored, or its Salesforce Id, row key or external Id already leads to another base.
    fn put(&self, sync: &str, puts: Vec<Put>) -> impl Future<Output = Result<Vec<bool>, PortError>> + Send;

    /// Loads the rejected entries of records that have no base yet, one answer per key.
    fn rejected(
        &self,
        sync: &str,
        keys: &[BaseKey],
    ) -> impl Future<Output = Result<Vec<Option<Rejected>>, PortError>> + Send;

    /// Stores what a run found. A touch is folded into a deferred touch of the same record, if one is stored.
    fn store(&self, sync: &str, outcomes: Outcomes) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Defers a message whose form this release does not understand. The message is stored unchanged.
    fn defer_message(
        &self,
        group: &str,
        body: &str,
        due: Timestamp,
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Answers up to `limit` deferred touches and messages that are due. They stay stored.
    fn due(&self, now: Timestamp, limit: usize) -> impl Future<Output = Result<Vec<Due>, PortError>> + Send;

    /// Removes touches and messages that the queue has accepted, by their tokens.
    fn drop_due(&self, tokens: &[String]) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Loads how far the scans of a sync have come.
    fn cursor(&self, sync: &str) -> impl Future<Output = Result<Cursor, PortError>> + Send;

    /// Saves how far the scans of a sync have come, if the stored cursor still has the revision of this one. Answers
    /// the cursor as it is stored, with the next revision. `None` if another cursor was stored meanwhile, or the one
    /// that was read is deleted: nothing is stored then.
    fn put_cursor(
        &self,
        sync: &str,
        cursor: &Cursor,
    ) -> impl Future<Output = Result<Option<Cursor>, PortError>> + Send;

    /// Loads the breaker of a side.
    fn breaker(&self, side: Side) -> impl Future<Output = Result<Breaker, PortError>> + Send;

    /// Saves the breaker of a side.
    fn put_breaker(
        &self,
        side: Side,
        breaker: &Breaker,
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Adds `count` to a counter, if no more than `limit` are then counted within the window that ends at
    /// `now`. Either all of `count` is added, or nothing (`false`). This is one atomic step.
    fn take(
        &self,
        counter: &str,
        count: u64,
        limit: u64,
        now: Timestamp,
        window: SignedDuration,
    ) -> impl Future<Output = Result<bool, PortError>> + Send;

    /// What is counted within the window that ends at `now`, less what was allowed in addition.
    fn taken(
        &self,
        counter: &str,
        now: Timestamp,
        window: SignedDuration,
    ) -> impl Future<Output = Result<i64, PortError>> + Send;

    /// Allows `count` more on a counter, within the counter's window.
    fn allow(
        &self,
        counter: &str,
        count: u64,
        now: Timestamp,
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Takes `calls` from the bucket of Salesforce calls and answers how many calls are left, which may be a
    /// negative number. The bucket begins with `capacity`, gains `per_second` each second, and never holds
    /// more than `capacity`.
    fn draw(
        &self,
        calls: u64,
        per_second: f64,
        capacity: f64,
        now: Timestamp,
    ) -> impl Future<Output = Result<f64, PortError>> + Send;

    /// Counts the linked records of the sync.
    fn linked(&self, sync: &str) -> impl Future<Output = Result<u64, PortError>> + Send;

    /// Makes all deferred touches due that wait for no parent. They become due from `now` on, about 100 each
    /// second, but all of them within `spread`.
    fn make_due(
        &self,
        now: Timestamp,
        spread: SignedDuration,
    ) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Loads the pulse that was stored last. 0 if none was stored.
    fn pulse(&self) -> impl Future<Output = Result<u64, PortError>> + Send;

    /// Stores the pulse.
    fn put_pulse(&self, pulse: u64) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Deletes bases of records that ended before this moment, and counts that are older.
    fn forget(&self, before: Timestamp) -> impl Future<Output = Result<(), PortError>> + Send;

    /// Answers why the sync is paused. `None` if it is not paused.
    fn paused(&self, sync: &str) -> impl Future<Output = Result<Option<Pause>, PortError>> + Send;

    /// Pauses a sync, or resumes it (`None`).
    fn put_paused(
        &self,
        sync: &str,
        pause: Option<&Pause>,
    ) -> impl Future<Output = Result<(), PortError>> + Send;
}
