//! What happened on both sides, commit by commit, in one order: what the checkers of the simulation judge by.

use crate::ports::SteppedClock;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use syncline_engine::Side;
use syncline_sync::Clock;

/// Values of a record or row, by field.
pub type Values = BTreeMap<String, Option<String>>;

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// Somebody at either side.
    User,
    /// Syncline.
    Sync,
    /// A rule, trigger or cascade, in the same commit.
    Automation,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The record began; its values follow.
    Born,
    /// A field got another value.
    Set {
        /// The field.
        field: String,
        /// What stood.
        before: Option<String>,
        /// What whoever did it asked for; an automation set what nobody asked for.
        asked: Option<Option<String>>,
        /// What stands.
        after: Option<String>,
    },
    /// The record was deleted, holding this.
    Died(Values),
    /// It came out of the recycle bin.
    Returned,
    /// Its row has another key now; this was the old one.
    Rekeyed(String),
}

/// One thing that happened to one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, by the simulation's clock.
    pub at: Timestamp,
    /// Where.
    pub side: Side,
    /// The Salesforce Id or the row's key.
    pub record: String,
    /// What the record is called on both sides.
    pub name: String,
    /// Who.
    pub by: By,
    /// What.
    pub what: What,
    /// A restore has taken it back.
    pub taken_back: bool,
}

/// The events, in order.
#[derive(Clone)]
pub struct EventLog {
    events: Arc<Mutex<Vec<Event>>>,
    clock: SteppedClock,
}

impl EventLog {
    /// No events yet.
    #[must_use]
    pub fn new(clock: SteppedClock) -> Self {
        Self { events: Arc::default(), clock }
    }

    /// Everything that happened.
    #[must_use]
    pub fn all(&self) -> Vec<Event> {
        self.events.lock().unwrap().clone()
    }

    /// Who did the last thing that `counts` to this record.
    pub fn last_by(&self, side: Side, record: &str, counts: impl Fn(&What) -> bool) -> Option<By> {
        let events = self.events.lock().unwrap();
        let mut of_record = events.iter().rev().filter(|event| event.side == side && event.record == record);
        of_record.find(|event| counts(&event.what)).map(|event| event.by)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.lock().unwrap().len()
    }

    /// True if nothing happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What happened in Postgres from this event on is taken back.
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

    /// Every field that was asked for or differs.
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

/// One commit on one record: what stood, what was asked for, what stands.
pub(crate) struct Sets<'a> {
    pub(crate) before: &'a Values,
    pub(crate) asked: &'a Values,
    pub(crate) after: &'a Values,
}

impl Event {
    /// The field, the value that its author saw and the one that a person or an automation put there. `None` for what
    /// Syncline wrote as it stands.
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

/// What a record is called: nobody ever edits it.
#[must_use]
pub fn name_of(values: &Values) -> String {
    let name = values.get("LastName").or_else(|| values.get("Name"));
    name.cloned().flatten().unwrap_or_default()
}
