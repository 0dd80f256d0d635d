//! The records that catch-up has queued.

use crate::ports::Cursor;
use crate::touch::Touch;
use jiff::Timestamp;
use std::collections::HashMap;
use syncline_engine::{SalesforceId, SyncName};

/// The most records that are remembered for one sync: some 20 MB. Records beyond it are queued by every
/// catch-up that meets them.
const MOST: usize = 100_000;

/// The records that catch-up has queued, with the stamp that led to it.
///
/// Each catch-up begins some minutes (the look-back) before the one before it, so it meets the same changes
/// again and again. Without this memory it would queue each of them every few seconds, and a burst of changes
/// would fill the queue faster than the touches are reconciled.
///
/// The memory holds only as long as the stored cursor is the one that this process stored last. If it is
/// another one, then another process went on, or the scans begin anew, or the database with the queue in it was
/// restored to an earlier time, and what was queued may have left the queue undone. Then all is forgotten.
#[derive(Debug, Default)]
pub struct QueuedByCatchUp {
    syncs: HashMap<SyncName, OfSync>,
}

#[derive(Debug, Default)]
struct OfSync {
    /// The cursor that was stored after the last page.
    cursor: Option<Cursor>,
    records: HashMap<SalesforceId, QueuedTouch>,
}

/// What was queued for a record. A touch that says the same is not queued again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct QueuedTouch {
    stamp: Option<Timestamp>,
    deleted: bool,
    late: bool,
}

impl QueuedTouch {
    fn of(touch: &Touch) -> Self {
        Self { stamp: touch.stamp, deleted: touch.evidence.sf_deleted, late: touch.late }
    }
}

impl QueuedByCatchUp {
    /// Goes on at a cursor that was read from the state store. When a catch-up begins there, records with an
    /// older stamp are forgotten, because no catch-up meets them any more.
    pub fn resume(&mut self, sync: &str, cursor: &Cursor) {
        let of_sync = self.syncs.entry(sync.to_owned()).or_default();
        if of_sync.cursor.take().as_ref() != Some(cursor) {
            of_sync.records.clear();
        }
        if cursor.scan_started.is_none() {
            of_sync.records.retain(|_, offer| offer.stamp >= cursor.stamp);
        }
    }

    /// Remembers the cursor that was stored after a page whose touches the queue has accepted.
    pub fn stored(&mut self, sync: &str, cursor: &Cursor) {
        self.syncs.entry(sync.to_owned()).or_default().cursor = Some(cursor.clone());
    }

    /// Whether the touch says something that was not queued yet.
    #[must_use]
    pub fn is_new(&self, touch: &Touch) -> bool {
        let Some(id) = &touch.id else { return true };
        let known = self.syncs.get(&touch.sync).and_then(|of_sync| of_sync.records.get(id));
        known != Some(&QueuedTouch::of(touch))
    }

    /// Remembers a touch that the queue has accepted.
    pub fn queued(&mut self, touch: &Touch) {
        let Some(id) = &touch.id else { return };
        let of_sync = self.syncs.entry(touch.sync.clone()).or_default();
        if of_sync.records.len() < MOST || of_sync.records.contains_key(id) {
            of_sync.records.insert(id.clone(), QueuedTouch::of(touch));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::touch::Source;

    fn touch(second: i64) -> Touch {
        let at = Timestamp::from_second(second).unwrap();
        let id = SalesforceId::parse("003000000000001").unwrap();
        Touch { stamp: Some(at), ..Touch::of_id("contacts", id, Source::CatchUp, at) }
    }

    fn cursor(second: i64) -> Cursor {
        Cursor { stamp: Some(Timestamp::from_second(second).unwrap()), ..Cursor::default() }
    }

    #[test]
    fn a_change_is_new_until_it_is_queued_and_when_it_says_something_else() {
        let mut memory = QueuedByCatchUp::default();
        memory.resume("contacts", &cursor(50));
        let first = touch(100);
        assert!(memory.is_new(&first));
        memory.queued(&first);
        assert!(!memory.is_new(&first));
        assert!(memory.is_new(&touch(101)), "another stamp");
        let late = Touch { late: true, ..first.clone() };
        assert!(memory.is_new(&late), "near the end of the look-back it is read once more");
        memory.queued(&late);
        assert!(!memory.is_new(&late));
        let mut deleted = late;
        deleted.evidence.sf_deleted = true;
        assert!(memory.is_new(&deleted), "a delete within the same second");
    }

    #[test]
    fn everything_is_new_unless_the_cursor_is_the_one_that_was_stored_last() {
        let mut memory = QueuedByCatchUp::default();
        let page = |memory: &mut QueuedByCatchUp, from: i64, to: i64| {
            memory.resume("contacts", &cursor(from));
            let new = memory.is_new(&touch(100));
            memory.queued(&touch(100));
            memory.stored("contacts", &cursor(to));
            new
        };
        assert!(page(&mut memory, 50, 60));
        assert!(!page(&mut memory, 60, 90), "it goes on where it stopped");
        assert!(page(&mut memory, 60, 90), "the cursor was put back");
        assert!(page(&mut memory, 95, 96), "another process went on");
        memory.resume("contacts", &cursor(96));
        assert!(!memory.is_new(&touch(100)));
        // The cursor could not be stored.
        assert!(page(&mut memory, 96, 97), "what was stored is not known");
        assert!(page(&mut memory, 101, 102), "what catch-up does not meet any more is not kept");
    }
}
