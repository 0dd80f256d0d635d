//! The steps of a run, drawn before the run begins. Each step has its own random numbers. So leaving steps
//! out changes none of the other steps, and a failing schedule can be made small.

use crate::options::{Dice, Options};

/// A kind of step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A process goes on to its next await.
    Step,
    /// A write that is under way to Salesforce is carried out and answered.
    Land,
    /// An outbound message arrives. It may arrive once more later.
    Deliver,
    /// Time passes, between a millisecond and 20 seconds.
    Wait,
    /// Somebody does something on one side.
    Act,
    /// The open transactions of people commit.
    Commit,
    /// A process ends, with everything that it has in memory.
    Crash,
    /// A write that is under way to Salesforce is carried out, and its answer is lost.
    LoseAnswer,
    /// A write that is under way to Salesforce never arrives.
    Drop,
    /// A waiting message of the queue is delivered twice.
    Duplicate,
    /// One side does not answer for a number of steps.
    Outage,
    /// The quota is spent for a number of steps.
    Limit,
    /// The database, with state and queue in it, is backed up or restored.
    Restore,
    /// The database alone is backed up or restored.
    RestoreAlone,
    /// The definition changes.
    Redefine,
    /// The capture triggers of a table are dropped.
    LoseCapture,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// What happens.
    pub kind: Kind,
    /// The seed of all random numbers that are drawn within the step.
    pub dice: u64,
}

/// The steps of a seed.
#[must_use]
pub fn script(seed: u64, options: &Options) -> Vec<Op> {
    let mut dice = Dice::new(seed);
    let faults = options.faults;
    let mut left = options.edits;
    // People act 1.4 times as often as they need to, so that their acts usually end before the last steps.
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
            let op = Op { kind, dice: of_step.bits() };
            let loses = matches!(kind, Kind::Step | Kind::Wait)
                && Dice::new(bits ^ 0xca97_04e5).often(faults.capture_lost);
            if loses { Op { kind: Kind::LoseCapture, ..op } } else { op }
        })
        .collect()
}
