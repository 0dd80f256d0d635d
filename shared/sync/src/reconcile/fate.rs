//! What becomes of each record of a run: one fate for every touch that enters it.

use super::record::InRun;
use crate::ports::{Cleared, Deferred, HeldRecord, Put, Rejected};
use crate::touch::Touch;
use syncline_engine::Parent;

/// What became of a touch in a run. Each touch that enters a run leaves it with exactly one fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Both sides agree already, or all that was to be done is to remember what they agree on.
    Equal,
    /// There was nothing to look at: the base knows this stamp, the refused record did not change, or the row is
    /// another record's.
    Skipped,
    /// The plan's writes were sent and answered.
    Written,
    /// It is tried again after a back-off, because somebody else was at the record or a side was away.
    Again(Deferred),
    /// It is tried again after a back-off that begins once its base is saved.
    AgainOnceSaved,
    /// It is tried again when another run's lease, or this run's own lease after a lost answer, has ended.
    Waiting(Deferred),
    /// Nothing is written although the sides differ.
    Held(HeldRecord),
    /// A side refuses the record, or nobody but a person can say what is right.
    Rejected(Rejected),
}

/// The kinds of [`Fate`], for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FateKind {
    /// Both sides agree.
    Equal,
    /// There was nothing to look at.
    Skipped,
    /// The plan's writes were sent and answered.
    Written,
    /// It is tried again after a back-off.
    Again,
    /// It waits for the end of a lease.
    Waiting,
    /// Nothing is written although the sides differ.
    Held,
    /// It needs a person.
    Rejected,
}

impl Fate {
    pub(super) fn kind(&self) -> FateKind {
        match self {
            Self::Equal => FateKind::Equal,
            Self::Skipped => FateKind::Skipped,
            Self::Written => FateKind::Written,
            Self::Again(_) | Self::AgainOnceSaved => FateKind::Again,
            Self::Waiting(_) => FateKind::Waiting,
            Self::Held(_) => FateKind::Held,
            Self::Rejected(_) => FateKind::Rejected,
        }
    }
}

/// Stands for the touches that are looked at as one record. It can neither be copied nor made up, so a record that
/// left a run cannot leave it again.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    touches: usize,
}

impl Ticket {
    /// Another record's touches are looked at together with this one's.
    pub(super) fn take_in(&mut self, other: Self) {
        self.touches += other.touches;
    }

    pub(super) fn touches(&self) -> usize {
        self.touches
    }
}

/// Gives out a ticket for each touch that enters a run, and counts them.
#[derive(Debug, Default)]
pub(super) struct Entrance {
    entered: usize,
}

impl Entrance {
    pub(super) fn ticket(&mut self) -> Ticket {
        self.entered += 1;
        Ticket { touches: 1 }
    }

    pub(super) fn entered(&self) -> usize {
        self.entered
    }
}

/// A base that is saved when the run ends, and the touch that is tried again if another run saved it first.
#[derive(Debug)]
pub(super) struct BaseToSave {
    pub(super) put: Put,
    pub(super) touch: Touch,
}

/// A record that leaves the run.
#[derive(Debug)]
pub(super) struct Leaving {
    pub(super) ticket: Ticket,
    pub(super) fate: Fate,
    /// Its base, where that changed.
    pub(super) base: Option<BaseToSave>,
    /// Names under which it is neither rejected nor held any more.
    pub(super) cleared: Vec<Cleared>,
    /// Its two names, where it was linked in this run: what waits for it is due.
    pub(super) linked: Vec<Parent>,
}

impl Leaving {
    /// Nothing of the record is saved but its fate.
    pub(super) fn with_fate(record: impl InRun, fate: Fate) -> Self {
        let ticket = record.into_ticket();
        Self { ticket, fate, base: None, cleared: Vec::new(), linked: Vec::new() }
    }
}

/// What a step of a run answers: the records that go on to the next step, and what left here.
pub(super) struct Stepped<T> {
    pub(super) go_on: Vec<T>,
    pub(super) exits: Exits,
}

/// One thing that leaves a step, in the order in which it was decided.
pub(super) enum Exit {
    /// A record leaves the run.
    Record(Box<Leaving>),
    /// A further touch, of another record or of one that goes on.
    Touch(Box<Deferred>),
}

/// What left a step.
#[derive(Default)]
pub(super) struct Exits(Vec<Exit>);

impl Exits {
    /// A record leaves, and nothing of it is saved but its fate.
    pub(super) fn leave(&mut self, record: impl InRun, fate: Fate) {
        self.leave_with(Leaving::with_fate(record, fate));
    }

    /// A record leaves.
    pub(super) fn leave_with(&mut self, leaving: Leaving) {
        self.0.push(Exit::Record(Box::new(leaving)));
    }

    /// A further touch, beside the fate of the record that gave rise to it.
    pub(super) fn touch(&mut self, deferred: Deferred) {
        self.0.push(Exit::Touch(Box::new(deferred)));
    }

    /// A record leaves because several touches take its stead: the first is its fate, the others go beside it.
    pub(super) fn replace(&mut self, record: impl InRun, touches: Vec<Deferred>) {
        let mut touches = touches.into_iter();
        let fate = touches.next().map_or(Fate::Skipped, Fate::Again);
        self.leave(record, fate);
        touches.for_each(|touch| self.touch(touch));
    }

    /// Takes in what left a part of the step, and answers what goes on.
    pub(super) fn sort<T>(&mut self, stepped: Stepped<T>) -> Vec<T> {
        self.0.extend(stepped.exits.0);
        stepped.go_on
    }

    pub(super) fn with<T>(self, go_on: Vec<T>) -> Stepped<T> {
        Stepped { go_on, exits: self }
    }

    pub(super) fn into_iter(self) -> impl Iterator<Item = Exit> {
        self.0.into_iter()
    }
}
