//! What a run came to.

use crate::options::Options;
use crate::ports::SimPorts;
use std::hash::{DefaultHasher, Hash, Hasher};
use support::{By, Event, What};
use syncline_engine::{Definition, Side};
use syncline_sync::Conflict;

/// What a run came to.
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// What it was made of.
    pub options: Options,
    /// The ports, at rest.
    pub ports: SimPorts,
    /// The definitions as they were in the end.
    pub definitions: Vec<Definition>,
    /// Everything that happened on both sides.
    pub events: Vec<Event>,
    /// The conflict log, with what a restore took out of it.
    pub conflicts: Vec<Conflict>,
    /// The database, with the state in it, was restored to an earlier time.
    pub restored: bool,
    /// The database was restored alone after so many events.
    pub restored_alone: Option<usize>,
    /// The definition changed.
    pub redefined: bool,
    /// It did not come to rest.
    pub restless: bool,
    /// Rounds that coming to rest took.
    pub rounds: usize,
    /// Calls to Salesforce before edits and faults ended, and until it came to rest.
    pub calls: u64,
    /// Writes of a second pass over everything, at rest.
    pub second_pass: usize,
    /// Syncs that were resumed with more deletes allowed, after so many events.
    pub resumed: Option<usize>,
}

impl Report {
    /// The same for every run of the same seed: a hash over every write's value.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for event in &self.events {
            format!("{event:?}").hash(&mut hasher);
        }
        format!("{:?}", self.conflicts).hash(&mut hasher);
        hasher.finish()
    }
}

/// Who did it, for the coverage.
#[must_use]
pub fn automation_of(event: &Event) -> Option<&'static str> {
    let changed = match (&event.what, event.by) {
        (What::Died(_), By::Automation) => return Some("automation: deletes with the parent"),
        (What::Set { .. }, By::Automation) => true,
        (What::Set { asked: Some(asked), after, .. }, _) => asked != after,
        (What::Set { asked: None, .. }, _) => true,
        _ => false,
    };
    changed.then_some(match event.side {
        Side::Salesforce => "automation: in Salesforce",
        Side::Postgres => "automation: in Postgres",
    })
}
