//! A record, and what stood before its last change.

use crate::value::{Stored, whole_second};
use jiff::Timestamp;
use std::collections::BTreeMap;

/// A record.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// The fields that are not null.
    pub values: BTreeMap<&'static str, Stored>,
    /// True if the record is in the recycle bin.
    pub deleted: bool,
    /// When the last change was committed.
    pub changed_at: Timestamp,
    before: Option<Box<Record>>,
}

impl Record {
    /// A record that is created now.
    pub(crate) fn new(now: Timestamp) -> Self {
        let mut record = Self { changed_at: now, ..Self::default() };
        for name in ["CreatedDate", "LastModifiedDate", "SystemModstamp"] {
            record.values.insert(name, Stored::Moment(whole_second(now)));
        }
        record
    }

    /// The `SystemModstamp`, in whole seconds.
    #[must_use]
    pub fn stamp(&self) -> Timestamp {
        match self.values.get("SystemModstamp") {
            Some(Stored::Moment(stamp)) => *stamp,
            _ => Timestamp::default(),
        }
    }

    /// The text of a field; `None` if the field is null.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<String> {
        self.values.get(field).map(Stored::text)
    }

    /// The record as it was before the changes of its last second. A record that was created in that second was
    /// nothing before.
    #[must_use]
    pub fn earlier(&self) -> Option<&Self> {
        self.before.as_deref()
    }

    /// The record is about to change: the stamp moves to that of the change, unless it is ahead of it already.
    pub(crate) fn begin_change(&mut self, stamp: Timestamp, now: Timestamp) {
        let stamp = whole_second(stamp);
        if self.stamp() < stamp {
            let before = Self { before: None, ..self.clone() };
            self.before = Some(Box::new(before));
            self.values.insert("SystemModstamp", Stored::Moment(stamp));
        }
        self.changed_at = now;
    }
}
