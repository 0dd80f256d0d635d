//! The events on both sides, commit by commit, in one order. The checkers of the simulation judge by these
//! events.

use crate::ports::SteppedClock;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use syncline_engine::Side;
use syncline_sync::Clock;

/// The values of a record or a row, by field.
pub type Values = BTreeMap<String, Option<String>>;

/// Who made a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// A person, on either side.
    User,
    /// Syncline.
    Sync,
    /// A rule, a trigger or a cascade, in the same commit as the change that led to it.
    Automation,
}

/// What was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The record was created. Its values follow as `Set` events.
    Born,
    /// A field was set.
    Set {
        /// The field.
        field: String,
        /// The value before the change.
        before: Option<String>,
        /// The value that the author asked for. Absent if an automation set the field and nobody asked for
        /// it.
        asked: Option<Option<String>>,
        /// The value after the change.
        after: Option<String>,
    },
    /// The record was deleted. These were its values.
    Died(Values),
    /// The record was taken out of the recycle bin.
    Returned,
    /// The row was given another key. This was the old key.
    Rekeyed(String),
}

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When the change happened, by the simulation's clock.
    pub at: Timestamp,
    /// The side on which the change happened.
    pub side: Side,
    /// The Salesforce Id or the key of the row.
    pub record: String,
    /// The name that the record has on both sides.
    pub name: String,
    /// Who made the change.
    pub by: By,
    /// What was changed.
    pub what: What,
    /// True if a restore has undone the change.
    pub taken_back: bool,
}

/// All events, in order.
#[derive(Clone)]
pub struct EventLog {
    events: Arc<Mutex<Vec<Event>>>,
    clock: SteppedClock,
}

impl EventLog {
    /// A log without events.
    #[must_use]
    pub fn new(clock: SteppedClock) -> Self {
        Self { events: Arc::default(), clock }
    }

    /// All events so far.
    #[must_use]
    pub fn all(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// The author of the last event of this record for which `counts` is true.
    pub fn last_by(&self, side: Side, record: &str, counts: impl Fn(&What) -> bool) -> Option<By> {
        let events = self.events.lock().unwrap();
        let mut of_record = events.iter().rev().filter(|event| event.side == side && event.record == record);
        of_record.find(|event| counts(&event.what)).map(|event| event.by)
    }

    /// The number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.lock().unwrap().len()
    }

    /// True if there are no events.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Marks the Postgres events from this position on as undone by a restore.
    pub fn take_back(&self, from: usize) {
        for event in &mut self.events.lock().unwrap()[from..] {
            event.taken_back |= event.side == Side::Postgres;
        }
    }

    pub(crate) fn note(&self, side: Side, record: &str, values: &Values, by: By, what: What) {
        let event = Event {
            at: self.clock.now(),
            side,
            record: record.to_owned(),
            name: name_of(values),
            by,
            what,
            taken_back: false,
        };
        self.events.lock().unwrap().push(event);
    }

    /// Notes an event for every field that was asked for or changed.
    pub(crate) fn note_sets(&self, side: Side, record: &str, by: By, sets: &Sets<'_>) {
        for (field, after) in sets.after {
            let before = sets.before.get(field).cloned().flatten();
            let asked = sets.asked.get(field).cloned();
            if before == *after && asked.as_ref().is_none_or(|asked| asked == after) {
                continue;
            }
            let what = What::Set { field: field.clone(), before, asked, after: after.clone() };
            self.note(side, record, sets.after, by, what);
        }
    }
}

/// One commit on one record: the values before it, the values asked for, and the values after it.
pub(crate) struct Sets<'a> {
    pub(crate) before: &'a Values,
    pub(crate) asked: &'a Values,
    pub(crate) after: &'a Values,
}

impl Event {
    /// The field, the value that the author of the change saw, and the value that a person or an automation
    /// set. `None` if Syncline wrote the value and nothing changed it on the way.
    #[must_use]
    pub fn edit(&self) -> Option<(&str, &Option<String>, &Option<String>)> {
        let What::Set { field, before, asked, after } = &self.what else { return None };
        match (self.by, asked) {
            (By::Sync, Some(asked)) if asked == after => None,
            (By::Sync, Some(asked)) => Some((field, asked, after)),
            _ => Some((field, before, after)),
        }
    }
}

/// The name of a record. Nobody ever edits it.
#[must_use]
pub fn name_of(values: &Values) -> String {
    let name = values.get("LastName").or_else(|| values.get("Name"));
    name.cloned().flatten().unwrap_or_default()
}
