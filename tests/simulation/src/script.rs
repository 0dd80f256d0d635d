//! What happens in a run, step by step, drawn before it begins: leaving steps out changes none of the others, which is
//! what makes a failing schedule small.

use crate::options::{Dice, Options};

/// A kind of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A process goes on to its next await.
    Step,
    /// A write under way in Salesforce is carried out and answered.
    Land,
    /// An outbound message arrives, perhaps not for the last time.
    Deliver,
    /// Time passes.
    Wait,
    /// Somebody does something.
    Act,
    /// Open transactions of people commit.
    Commit,
    /// A process is ended.
    Crash,
    /// A write is carried out, and its answer is lost.
    LoseAnswer,
    /// A write never arrives.
    Drop,
    /// A waiting message is sent twice.
    Duplicate,
    /// A side goes away.
    Outage,
    /// The allowance of calls is spent.
    Limit,
    /// The database and the state in it are backed up or restored.
    Restore,
    /// The database is backed up or restored alone.
    RestoreAlone,
    /// The definition changes.
    Redefine,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// What.
    pub kind: Kind,
    /// Everything that is drawn within it.
    pub dice: u64,
}

/// The steps of a seed.
#[must_use]
pub fn script(seed: u64, options: &Options) -> Vec<Op> {
    let mut dice = Dice::new(seed);
    let faults = options.faults;
    let mut left = options.edits;
    // People come in waves, and rest between them.
    let pace = u32::try_from(options.edits * 1400 / options.steps.max(1)).unwrap_or(1000);
    (0..options.steps)
        .map(|_| {
            let bits = dice.bits();
            let mut of_step = Dice::new(bits);
            let rare = [
                (Kind::Crash, faults.crash),
                (Kind::LoseAnswer, faults.answer_lost),
                (Kind::Drop, faults.dropped),
                (Kind::Duplicate, faults.queue_duplicate),
                (Kind::Outage, faults.outage),
                (Kind::Limit, faults.request_limit),
                (Kind::Restore, faults.restore),
                (Kind::RestoreAlone, faults.restore_alone),
                (Kind::Commit, if options.features.late_commits { 12 } else { 0 }),
                (Kind::Redefine, if options.features.definition_changes { 6 } else { 0 }),
            ];
            let fault = rare.into_iter().find(|(_, rate)| of_step.often(*rate)).map(|(kind, _)| kind);
            let acts = left > 0 && of_step.often(pace);
            left -= usize::from(acts && fault.is_none());
            let kind = match (fault, acts) {
                (Some(kind), _) => kind,
                (None, true) => Kind::Act,
                (None, false) => match of_step.below(100) {
                    0..60 => Kind::Step,
                    60..75 => Kind::Land,
                    75..85 => Kind::Deliver,
                    _ => Kind::Wait,
                },
            };
            Op { kind, dice: of_step.bits() }
        })
        .collect()
}
