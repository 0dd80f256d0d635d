//! The end of a run: every fate is stored, and every base saved, in this one place.

use super::fate::{BaseToSave, Entrance, Exit, Exits, Fate, FateKind, Leaving};
use super::{Backoff, PortError, Ports, Run, Summary};
use crate::delete_limit::delete_counter;
use crate::ports::{Deferred, Outcomes, Put, Random, State, Step, Steps};
use crate::touch::Touch;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// How many touches entered a run, and how many left it by which fate. The two numbers are equal unless the run has a
/// bug: tests and the simulation see to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Touches that entered. A touch whose Id and key lead to two records counts twice.
    pub entered: usize,
    /// Touches that left, by fate.
    pub left: BTreeMap<FateKind, usize>,
}

impl Tally {
    /// Every touch that entered has left with one fate.
    #[must_use]
    pub fn is_even(&self) -> bool {
        self.entered == self.left.values().sum::<usize>()
    }
}

/// What the run found so far, in the order in which it was found.
#[derive(Default)]
struct Found {
    outcomes: Outcomes,
    bases: Vec<BaseOfRecord>,
    tally: Tally,
}

/// A base to save, and whether its record is tried again even if it is saved.
struct BaseOfRecord {
    put: Put,
    touch: Touch,
    again: bool,
}

impl Found {
    fn take_in(&mut self, exit: Exit, summary: &mut Summary) {
        match exit {
            Exit::Touch(deferred) => self.outcomes.deferred.push(*deferred),
            Exit::Record(leaving) => self.take_in_record(*leaving, summary),
        }
    }

    fn take_in_record(&mut self, leaving: Leaving, summary: &mut Summary) {
        let Leaving { ticket, fate, base, cleared, linked } = leaving;
        *self.tally.left.entry(fate.kind()).or_default() += ticket.touches();
        if let Some(BaseToSave { put, touch }) = base {
            self.bases.push(BaseOfRecord { put, touch, again: matches!(fate, Fate::AgainOnceSaved) });
        }
        self.outcomes.cleared.extend(cleared);
        self.outcomes.linked.extend(linked);
        match fate {
            Fate::Equal => summary.equal += 1,
            Fate::Skipped => summary.skipped += 1,
            Fate::Again(deferred) | Fate::Waiting(deferred) => self.outcomes.deferred.push(deferred),
            Fate::Held(held) => {
                summary.held += 1;
                self.outcomes.held.push(held);
            }
            Fate::Rejected(rejected) => {
                summary.rejected += 1;
                self.outcomes.rejected.push(rejected);
            }
            Fate::Written | Fate::AgainOnceSaved => {}
        }
    }
}

impl<P: Ports> Run<'_, P> {
    /// Stores what became of each record: first what is rejected and held, so that a later run, which may begin as soon
    /// as a base is saved, stores what it finds after it; then the bases; then all the rest.
    pub(super) async fn settle(mut self, entrance: Entrance, exits: Exits) -> Result<Summary, PortError> {
        let mut found = Found::default();
        for exit in exits.into_iter() {
            found.take_in(exit, &mut self.summary);
        }
        let Found { mut outcomes, bases, mut tally } = found;
        tally.entered = entrance.entered();
        self.ports.steps().tally(&tally);
        debug_assert!(tally.is_even(), "a touch left its run twice or not at all: {tally:?}");
        outcomes.begun = self.begun;
        let refusals = Outcomes {
            rejected: std::mem::take(&mut outcomes.rejected),
            held: std::mem::take(&mut outcomes.held),
            ..Outcomes::default()
        };
        if !refusals.is_empty() {
            self.ports.state().store(&self.definition.name, refusals).await?;
        }
        if self.summary.refused_deletes > 0 {
            let count = self.summary.refused_deletes;
            self.ports.state().allow(&delete_counter(&self.definition.name), count, self.now()).await?;
        }
        outcomes.deferred.extend(self.save_bases(bases).await?);
        self.at(Step::SavedBases).await;
        // What is rejected or held counts as that, although it is tried again from time to time.
        self.summary.deferred = outcomes.deferred.iter().filter(|one| one.touch.refusals == 0).count();
        if !outcomes.is_empty() {
            self.ports.state().store(&self.definition.name, outcomes).await?;
        }
        Ok(self.summary)
    }

    /// Step 9. Saves bases by compare-and-set. A record whose base another run saved first is tried again.
    async fn save_bases(&self, bases: Vec<BaseOfRecord>) -> Result<Vec<Deferred>, PortError> {
        if bases.is_empty() {
            return Ok(Vec::new());
        }
        let (puts, rest): (Vec<Put>, Vec<(Touch, bool)>) =
            bases.into_iter().map(|base| (base.put, (base.touch, base.again))).unzip();
        let saved = self.ports.state().put(&self.definition.name, puts).await?;
        let mut deferred = Vec::new();
        for (saved, (touch, again)) in saved.into_iter().zip(rest) {
            if !saved || again {
                deferred.push(self.again(touch, Backoff::Contention));
            }
        }
        Ok(deferred)
    }

    /// Tries a touch again, a little later.
    pub(super) fn again(&self, mut touch: Touch, backoff: Backoff) -> Deferred {
        let due = backoff.due(self.now(), touch.attempt, self.ports.random().bits());
        touch.attempt += 1;
        Deferred { touch, due, waits_for: vec![] }
    }

    /// Tries the touch of a record again that a side refused or hides, later from time to time: others may change what
    /// it was refused for.
    pub(super) fn after_refusal(&self, mut touch: Touch) -> Deferred {
        let due = Backoff::Refusal.due(self.now(), touch.refusals, self.ports.random().bits());
        (touch.attempt, touch.refusals) = (0, touch.refusals.saturating_add(1));
        Deferred { touch, due, waits_for: vec![] }
    }

    /// Tries a touch again whose record another run holds: soon, because that run is likely to end in a moment, and at
    /// the end of that run's lease at the latest.
    pub(super) fn after_lease(&self, mut touch: Touch, lease_until: Timestamp) -> Deferred {
        let soon = Backoff::Contention.due(self.now(), touch.attempt, self.ports.random().bits());
        touch.attempt += 1;
        Deferred { touch, due: soon.min(lease_until), waits_for: vec![] }
    }
}
