//! The records that catch-up has queued.

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
#[derive(Debug, Default)]
pub struct Offered {
    syncs: HashMap<SyncName, OfSync>,
}

#[derive(Debug, Default)]
struct OfSync {
    /// Where the catch-up began that was remembered last.
    from: Option<Timestamp>,
    records: HashMap<SalesforceId, Offer>,
}

/// What was queued for a record. A touch that says the same is not queued again.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Offer {
    stamp: Option<Timestamp>,
    deleted: bool,
    late: bool,
}

impl Offer {
    fn of(touch: &Touch) -> Self {
        Self { stamp: touch.stamp, deleted: touch.evidence.sf_deleted, late: touch.late }
    }
}

impl Offered {
    /// Says where a catch-up of a sync begins. Records with an older stamp are forgotten, because no catch-up
    /// meets them any more. If it begins before the one that was remembered last, somebody has put the cursor
    /// back to have records read again: then everything of the sync is forgotten.
    pub fn begins(&mut self, sync: &str, from: Timestamp) {
        let of_sync = self.syncs.entry(sync.to_owned()).or_default();
        if of_sync.from.is_some_and(|last| from < last) {
            of_sync.records.clear();
        }
        of_sync.from = Some(from);
        of_sync.records.retain(|_, offer| offer.stamp.is_some_and(|stamp| stamp >= from));
    }

    /// Forgets everything of a sync.
    pub fn forget(&mut self, sync: &str) {
        self.syncs.remove(sync);
    }

    /// Whether the touch says something that was not queued yet.
    #[must_use]
    pub fn is_new(&self, touch: &Touch) -> bool {
        let Some(id) = &touch.id else { return true };
        let known = self.syncs.get(&touch.sync).and_then(|of_sync| of_sync.records.get(id));
        known != Some(&Offer::of(touch))
    }

    /// Remembers a touch that the queue has accepted.
    pub fn queued(&mut self, touch: &Touch) {
        let Some(id) = &touch.id else { return };
        let of_sync = self.syncs.entry(touch.sync.clone()).or_default();
        if of_sync.records.len() < MOST || of_sync.records.contains_key(id) {
            of_sync.records.insert(id.clone(), Offer::of(touch));
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

    #[test]
    fn a_change_is_new_until_it_is_queued_and_when_it_says_something_else() {
        let mut offered = Offered::default();
        offered.begins("contacts", Timestamp::from_second(50).unwrap());
        let first = touch(100);
        assert!(offered.is_new(&first));
        offered.queued(&first);
        assert!(!offered.is_new(&first));
        assert!(offered.is_new(&touch(101)), "another stamp");
        let late = Touch { late: true, ..first.clone() };
        assert!(offered.is_new(&late), "near the end of the look-back it is read once more");
        offered.queued(&late);
        assert!(!offered.is_new(&late));
        let mut deleted = late;
        deleted.evidence.sf_deleted = true;
        assert!(offered.is_new(&deleted), "a delete within the same second");
    }

    #[test]
    fn a_cursor_that_is_put_back_makes_everything_new() {
        let mut offered = Offered::default();
        let at = |second| Timestamp::from_second(second).unwrap();
        offered.begins("contacts", at(50));
        offered.queued(&touch(100));
        offered.begins("contacts", at(90));
        assert!(!offered.is_new(&touch(100)));
        offered.begins("contacts", at(60));
        assert!(offered.is_new(&touch(100)));
        offered.queued(&touch(100));
        offered.begins("contacts", at(101));
        assert!(offered.is_new(&touch(100)), "what catch-up does not meet any more is not kept");
    }
}
